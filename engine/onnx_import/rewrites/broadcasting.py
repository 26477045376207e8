"""Below opset 7, only what an attribute allows is broadcast, and to the first input alone."""

from __future__ import annotations

import numpy as np

from engine.errors import ModelError, UnsupportedError
from engine.onnx_import.form import Emitter, Form


def binary(form: Form, emitter: Emitter) -> None:
    """The second input meets the last axes of the first, or those from `axis` on.

    Ranks are checked. Extents are mostly not known yet: there the rules of opset 7 hold.
    """
    axis, broadcast = form.take("axis"), form.take("broadcast")
    a, b = (emitter.rank(value) for value in form.inputs)
    if a is not None and b is not None and (b > a or (b < a and not broadcast)):
        raise ModelError(
            f"{form.title}: opset {form.opset} with broadcast={broadcast} does not bring inputs of "
            f"rank {a} and {b} together"
        )
    if broadcast and axis is not None:
        _align(form, emitter, axis)


def gemm(form: Form, emitter: Emitter) -> None:
    """C is broadcast as today."""
    form.attributes.pop("broadcast", None)


def prelu(form: Form, emitter: Emitter) -> None:
    """A slope for each channel, which is axis 1, or one for all."""
    rank = emitter.rank(form.inputs[1])
    if rank == 1:
        _align(form, emitter, 1)
    elif rank != 0:
        raise UnsupportedError(
            f"{form.title}: opset {form.opset} defines slopes of rank 1; export with a newer opset"
        )


def _align(form: Form, emitter: Emitter, axis: int) -> None:
    """Axes of one element behind the second input, so that its first one meets `axis`."""
    a, b = form.inputs[:2]
    if b is not None and b.type is not None and b.type.is_static and b.type.size == 1:
        return
    rank, own = emitter.rank(a), emitter.rank(b)
    if rank is None or own is None:
        raise UnsupportedError(
            f"{form.title}: axis={axis} needs the ranks of both inputs, which are not known at "
            "import; export with opset 7 or newer"
        )
    behind = rank - axis - own
    if axis < 0 or behind < 0:
        raise ModelError(
            f"{form.title}: {own} axes from axis={axis} on do not fit into an input of rank {rank}"
        )
    if behind:
        axes = np.arange(own, own + behind, dtype=np.int64)
        added = emitter.constant(f"{form.outputs[0]}_axes", axes)
        form.inputs[1] = emitter.emit("Unsqueeze", [b, added], {})
