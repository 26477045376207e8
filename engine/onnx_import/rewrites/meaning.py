"""Operators with another name, or other names of values, or that meant something else."""

from __future__ import annotations

from engine.errors import ModelError
from engine.onnx_import.form import Emitter, Form


def softmax(form: Form, emitter: Emitter) -> None:
    """Flattened to two dimensions at `axis`, then along the second."""
    axis, x = form.value("axis"), form.inputs[0]
    rank = emitter.rank(x)
    if rank is not None and not -rank <= axis < rank:
        raise ModelError(f"{form.title}: axis={axis} is outside [{-rank}, {rank - 1}]")
    if axis == -1 or (rank is not None and axis % rank == rank - 1):
        form.attributes["axis"] = -1
        return
    flat = emitter.emit("Flatten", [x], {"axis": axis})
    result = emitter.emit(form.op_type, [flat], {"axis": -1})
    shape = emitter.emit("Shape", [x], {})
    form.op_type, form.inputs, form.attributes = "Reshape", [result, shape], {"allowzero": 1}


def scatter(form: Form, emitter: Emitter) -> None:
    """ONNX's own name since opset 11."""
    form.op_type = "ScatterElements"


def grid_sample(form: Form, emitter: Emitter) -> None:
    """Two modes have new names."""
    newer = {"bilinear": "linear", "bicubic": "cubic"}
    mode = form.value("mode")
    form.attributes["mode"] = newer.get(mode, mode)


def sum_(form: Form, emitter: Emitter) -> None:
    """Of two tensors it is Add, which passes fuse."""
    if len(form.inputs) == 2:
        form.op_type = "Add"
