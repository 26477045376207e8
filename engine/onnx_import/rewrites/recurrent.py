"""LSTM, GRU and RNN: nodes that leave out outputs, or say so by an attribute.

Source: https://onnx.ai/onnx/operators/onnx__LSTM.html, versions 1, 7, 14 and 22: beside that, only
`layout` came (14), whose default is what there was.
"""

from __future__ import annotations

from engine.onnx_import.form import Emitter, Form
from engine.ops.recurrent_form import STATES, form_of


def first_forms(form: Form, emitter: Emitter) -> None:
    """`output_sequence` says whether Y is there: a node that names it wants it.

    The default of GRU's `direction` in opset 1 has a slip of the pen: "foward".
    """
    form.attributes.pop("output_sequence", None)
    if form.attributes.get("direction") == "foward":
        del form.attributes["direction"]


def every_output(form: Form, emitter: Emitter) -> None:
    """Kernels write all of Y, Y_h and Y_c; what the attributes say is checked before shapes are."""
    form_of(form.op_type, form.attributes, form.title)
    form.outputs += [""] * (1 + STATES[form.op_type] - len(form.outputs))
