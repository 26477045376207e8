"""Operators with another name, or other names of values, or that meant something else."""

from __future__ import annotations

import numpy as np

from engine.errors import ModelError
from engine.ir.graph import Value
from engine.onnx_import.form import Emitter, Form
from engine.ops.cast import NUMBERS


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


def group_normalization(form: Form, emitter: Emitter) -> None:
    """Scale and bias had one number for each group; each is repeated for the group's channels.

    Where the groups do not divide the channels, what comes out does not fit them and is refused.
    """
    groups = int(form.attributes["num_groups"])
    if groups < 1:
        raise ModelError(f"{form.title}: num_groups={groups}, expected at least 1")

    def constant(name: str, *numbers: int) -> Value:
        return emitter.constant(f"{form.outputs[0]}_{name}", np.array(numbers, np.int64))

    count, column = constant("groups", groups), constant("column", groups, 1)
    channels = emitter.emit("Shape", [form.inputs[0]], {"start": 1, "end": 2})
    each = emitter.emit("Div", [channels, count], {})
    wanted, flat = emitter.emit("Concat", [count, each], {"axis": 0}), constant("flat", -1)
    for index in (1, 2):
        parameter = form.inputs[index]
        if emitter.rank(parameter) not in (None, 1):
            raise ModelError(f"{form.title}: scale and bias are vectors of {groups} numbers")
        upright = emitter.emit("Reshape", [parameter, column], {})
        repeated = emitter.emit("Expand", [upright, wanted], {})
        form.inputs[index] = emitter.emit("Reshape", [repeated, flat], {})


def scatter(form: Form, emitter: Emitter) -> None:
    """ONNX's own name since opset 11."""
    form.op_type = "ScatterElements"


def grid_sample(form: Form, emitter: Emitter) -> None:
    """Two modes have new names."""
    newer = {"bilinear": "linear", "bicubic": "cubic"}
    mode = form.value("mode")
    form.attributes["mode"] = newer.get(mode, mode)


def roi_align(form: Form, emitter: Emitter) -> None:
    """Coordinates were not shifted by half a pixel."""
    form.attributes["coordinate_transformation_mode"] = "output_half_pixel"


def sum_(form: Form, emitter: Emitter) -> None:
    """Of two tensors it is Add, which passes fuse."""
    if len(form.inputs) == 2:
        form.op_type = "Add"


def gemm(form: Form, emitter: Emitter) -> None:
    """With a factor of zero the third input is not read, as in BLAS: no infinity in it is NaN."""
    if form.value("beta") == 0:
        del form.inputs[2:]


def is_inf(form: Form, emitter: Emitter) -> None:
    """Of one sign alone, or of none: what is infinite, and has the sign."""
    negative, positive = form.take("detect_negative"), form.take("detect_positive")
    if negative and positive:
        return
    x = form.inputs[0]
    infinite = emitter.emit("IsInf", [x], {})
    if negative or positive:
        dtype = emitter.dtype(x) or np.dtype(np.float32)
        zero = emitter.constant(f"{form.outputs[0]}_zero", np.zeros((), dtype))
        wanted = emitter.emit("Less" if negative else "Greater", [x, zero], {})
    else:
        wanted = emitter.emit("IsNaN", [x], {})
    form.op_type, form.inputs = "And", [infinite, wanted]


def rms_normalization(form: Form, emitter: Emitter) -> None:
    """Where the scale is of another dtype, which Y has, what is normalized becomes that first.

    ONNX's own body multiplies one by the other, which its Mul cannot.
    """
    x, scale = form.inputs
    from_, to = emitter.dtype(x), emitter.dtype(scale)
    if from_ is None or to is None or from_ == to:
        return
    ones = emitter.constant(f"{form.outputs[0]}_ones", np.ones(1, from_))
    normalized = emitter.emit("RMSNormalization", [x, ones], form.attributes)
    cast = emitter.emit("Cast", [normalized], {"to": NUMBERS[to]})
    form.op_type, form.inputs, form.attributes = "Mul", [cast, scale], {}
