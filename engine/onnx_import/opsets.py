"""Every older form of an operator, rewritten into the newest one.

Source: https://github.com/onnx/onnx/blob/main/docs/Changelog.md. A rule `(below, rewrite)` applies
to nodes of an opset lower than `below`; `rewrite` changes the Form in place and may emit nodes
before it. Attributes at their default may be left out: operator specs fill them in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from engine.errors import ModelError, UnsupportedError
from engine.ir.graph import Value
from engine.onnx_import.facts import dtype_before_run, rank_before_run
from engine.onnx_import.tensors import dtype_of

ANY = 10_000
"""For rules that hold in every opset."""


@dataclass
class Form:
    """One node on its way into the graph; `outputs` are names, "" where omitted in between."""

    title: str
    op_type: str
    opset: int
    inputs: list[Value | None]
    outputs: list[str]
    attributes: dict[str, Any]

    def input(self, index: int) -> Value | None:
        """An input, None when omitted."""
        return self.inputs[index] if index < len(self.inputs) else None

    def set_input(self, index: int, value: Value | None) -> None:
        """Replace or append, padding with omitted inputs."""
        self.inputs += [None] * (index + 1 - len(self.inputs))
        self.inputs[index] = value


class Emitter(Protocol):
    """What rules may do to the graph that is being built."""

    def constant(self, name: str, array: np.ndarray) -> Value:
        """A new constant; the name is made unique."""
        ...

    def emit(
        self, op_type: str, inputs: Sequence[Value | None], attributes: dict[str, Any]
    ) -> Value:
        """A node before the one being rewritten; returns its only output."""
        ...

    def is_read(self, name: str) -> bool:
        """True when a node or the model's outputs read that name."""
        ...


Rewrite = Callable[[Form, Emitter], None]


def _ints_to_input(attribute: str, index: int) -> Rewrite:
    """An integer-list attribute becomes an int64 input."""

    def rewrite(form: Form, emitter: Emitter) -> None:
        if attribute in form.attributes:
            values = np.array(form.attributes.pop(attribute), np.int64)
            form.set_input(index, emitter.constant(f"{form.outputs[0]}_{attribute}", values))

    return rewrite


def _slice(form: Form, emitter: Emitter) -> None:
    starts, ends = form.attributes["starts"], form.attributes["ends"]
    form.attributes.setdefault("axes", tuple(range(len(starts))))
    if not len(starts) == len(ends) == len(form.attributes["axes"]):
        raise ModelError(
            f"{form.title}: starts={starts}, ends={ends} and axes={form.attributes['axes']} "
            "must have one length"
        )
    for index, name in enumerate(("starts", "ends", "axes"), start=1):
        _ints_to_input(name, index)(form, emitter)


def _clip(form: Form, emitter: Emitter) -> None:
    dtype = dtype_before_run(form.inputs[0])
    widest = float(np.finfo(np.float32).max)
    for index, name in enumerate(("min", "max"), start=1):
        limit = form.attributes.pop(name, None)
        if limit is not None and abs(limit) < widest:
            form.set_input(
                index, emitter.constant(f"{form.outputs[0]}_{name}", np.array(limit, dtype))
            )


def _pad(form: Form, emitter: Emitter) -> None:
    _ints_to_input("pads", 1)(form, emitter)
    value = form.attributes.pop("value", 0.0)
    if value != 0:
        array = np.array(value, dtype_before_run(form.inputs[0]))
        form.set_input(2, emitter.constant(f"{form.outputs[0]}_value", array))


def _dropout(form: Form, emitter: Emitter) -> None:
    """At inference, Identity; a mask that somebody reads, or training, is refused."""
    training = form.input(2)
    if training is not None and (training.constant is None or bool(np.any(training.constant))):
        raise UnsupportedError(f"{form.title}: training_mode is set; export the model in eval mode")
    if len(form.outputs) > 1 and emitter.is_read(form.outputs[1]):
        raise UnsupportedError(
            f"{form.title}: its mask '{form.outputs[1]}' is read; only inference is supported"
        )
    form.op_type, form.inputs, form.outputs = "Identity", form.inputs[:1], form.outputs[:1]
    form.attributes = {}


def _softmax(form: Form, emitter: Emitter) -> None:
    """Below 13: flattened to two dimensions at `axis` (default 1), then along the second."""
    axis, x = form.attributes.get("axis", 1), form.inputs[0]
    rank = rank_before_run(x)
    if axis == -1 or (rank is not None and axis % max(rank, 1) == rank - 1):
        form.attributes["axis"] = -1
        return
    flat = emitter.emit("Flatten", [x], {"axis": axis})
    result = emitter.emit(form.op_type, [flat], {"axis": -1})
    shape = emitter.emit("Shape", [x], {})
    form.op_type, form.inputs, form.attributes = "Reshape", [result, shape], {}


def _batch_normalization(form: Form, emitter: Emitter) -> None:
    if form.attributes.pop("training_mode", 0) or len(form.outputs) > 1:
        raise UnsupportedError(f"{form.title}: training mode; export the model in eval mode")
    if form.attributes.pop("spatial", 1) != 1:
        raise UnsupportedError(f"{form.title}: spatial=0 (statistics per element) is not supported")
    form.attributes.pop("momentum", None)


def _upsample(form: Form, emitter: Emitter) -> None:
    """Resize with asymmetric coordinates, as Upsample computes."""
    if "scales" in form.attributes:
        scales = np.array(form.attributes.pop("scales"), np.float32)
        form.set_input(1, emitter.constant(f"{form.outputs[0]}_scales", scales))
    _resize_10(form, emitter)
    form.op_type = "Resize"


def _resize_10(form: Form, emitter: Emitter) -> None:
    """Opset 10 rounds positions up when it shrinks and down when it grows.

    (onnx's resize_downsample_nearest: 0, 1.67 -> 0, 2.) Scales unknown here are taken to grow.
    """
    scales = form.input(1)
    form.inputs = [form.inputs[0], None, scales]
    form.attributes["coordinate_transformation_mode"] = "asymmetric"
    if form.attributes.get("mode", "nearest") == "nearest":
        factors = np.ones(1) if scales is None or scales.constant is None else scales.constant
        shrinks = bool(np.any(factors < 1))
        if shrinks and np.any(factors > 1):
            raise UnsupportedError(
                f"{form.title}: grows and shrinks at once, in opset {form.opset}"
            )
        form.attributes["nearest_mode"] = "ceil" if shrinks else "floor"


def _resize(form: Form, emitter: Emitter) -> None:
    """Empty tensors, and a roi that the mode does not use, count as omitted."""
    if form.attributes.get("coordinate_transformation_mode") != "tf_crop_and_resize":
        form.inputs[1:2] = [None] * len(form.inputs[1:2])
    for i, value in enumerate(form.inputs[1:], start=1):
        if value is not None and value.constant is not None and value.constant.size == 0:
            form.inputs[i] = None


def _split(form: Form, emitter: Emitter) -> None:
    if form.input(1) is None:
        form.attributes["num_outputs"] = len(form.outputs)


def _cast(form: Form, emitter: Emitter) -> None:
    """`to` stays ONNX's number; saturate and round_mode concern 8-bit floats only."""
    dtype_of(form.attributes["to"], f"{form.title}: attribute 'to'")
    form.attributes = {"to": form.attributes["to"]}


def _top_k(form: Form, emitter: Emitter) -> None:
    k = np.array([form.attributes.pop("k")], np.int64)
    form.set_input(1, emitter.constant(f"{form.outputs[0]}_k", k))


def _scatter(form: Form, emitter: Emitter) -> None:
    form.op_type = "ScatterElements"


def _grid_sample(form: Form, emitter: Emitter) -> None:
    newer = {"bilinear": "linear", "bicubic": "cubic"}
    mode = form.attributes.get("mode", "bilinear")
    form.attributes["mode"] = newer.get(mode, mode)


def _sum(form: Form, emitter: Emitter) -> None:
    """Of two tensors it is Add, which passes fuse."""
    if len(form.inputs) == 2:
        form.op_type = "Add"


def _group_normalization(form: Form, emitter: Emitter) -> None:
    raise UnsupportedError(
        f"{form.title}: GroupNormalization of opset {form.opset} has its scale per group; "
        "export with opset 21 or newer"
    )


Rules = tuple[tuple[int, Rewrite], ...]
_AXES_13: Rules = ((13, _ints_to_input("axes", 1)),)
_AXES_18: Rules = ((18, _ints_to_input("axes", 1)),)

RULES: dict[str, Rules] = {
    "BatchNormalization": ((ANY, _batch_normalization),),
    "Cast": ((ANY, _cast),),
    "Clip": ((11, _clip),),
    "Dropout": ((ANY, _dropout),),
    "GridSample": ((20, _grid_sample),),
    "GroupNormalization": ((21, _group_normalization),),
    "Hardmax": ((13, _softmax),),
    "LogSoftmax": ((13, _softmax),),
    "Pad": ((11, _pad),),
    "ReduceSum": _AXES_13,
    "Resize": ((11, _resize_10), (ANY, _resize)),
    "Scatter": ((ANY, _scatter),),
    "Slice": ((10, _slice),),
    "Softmax": ((13, _softmax),),
    "Split": ((13, _ints_to_input("split", 1)), (18, _split)),
    "Squeeze": _AXES_13,
    "Sum": ((ANY, _sum),),
    "TopK": ((10, _top_k),),
    "Unsqueeze": _AXES_13,
    "Upsample": ((ANY, _upsample),),
    **{
        f"Reduce{kind}": _AXES_18
        for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
    },
}
"""By ONNX name; several rules of one operator apply in order."""

REWRITTEN_AWAY = frozenset(("Constant", "Dropout", "Scatter", "Upsample"))
"""Operators that the importer accepts without a spec of their own."""


def to_newest(form: Form, emitter: Emitter) -> None:
    """Apply the rules of the form's operator."""
    for below, rewrite in RULES.get(form.op_type, ()):
        if form.opset < below:
            rewrite(form, emitter)
