"""Operators that neither have a kernel nor a definition by ONNX, taken apart into others that do.

Source: https://onnx.ai/onnx/operators/, the texts of Hardmax, LpNormalization, GlobalLpPool,
LpPool, EyeLike, OneHot and Mod.
"""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto

from engine.errors import ModelError, UnsupportedError
from engine.ir.graph import Value
from engine.onnx_import.form import Emitter, Form
from engine.onnx_import.rewrites.steps import Steps
from engine.onnx_import.tensors import DTYPES, dtype_of


def hardmax(form: Form, emitter: Emitter) -> None:
    """OneHot of ArgMax; before opset 13 of what is flattened to two dimensions at `axis`."""
    steps, x = Steps(form, emitter), form.inputs[0]
    assert x is not None
    rank, axis = steps.rank(x, "its input"), int(form.take("axis"))
    if not -rank <= axis < rank:
        raise ModelError(f"{form.title}: axis={axis} is no axis of a tensor of rank {rank}")
    axis %= rank
    flat = steps.of("Flatten", x, axis=axis) if form.opset < 13 else x
    along = 1 if form.opset < 13 else axis
    places = steps.of("ArgMax", flat, axis=along, keepdims=0)
    depth = steps.of("Shape", flat, start=along, end=along + 1)
    dtype = emitter.dtype(x) or np.dtype(np.float32)
    values = emitter.constant(f"{form.outputs[0]}_values", np.array([0, 1], dtype))
    hot = steps.of("OneHot", places, depth, values, axis=along)
    form.op_type, form.inputs = "Reshape", [hot, steps.of("Shape", x)]
    form.attributes = {"allowzero": 1}


def one_hot(form: Form, emitter: Emitter) -> None:
    """Indices and depth of other dtypes are cast to int64, as ONNX's text has it."""
    steps = Steps(form, emitter)
    for index in (0, 1):
        value = form.inputs[index]
        dtype = emitter.dtype(value)
        if value is not None and dtype is not None and dtype.kind == "f":
            form.inputs[index] = steps.cast(value, TensorProto.INT64)


def lp_normalization(form: Form, emitter: Emitter) -> None:
    """x / norm, and 0 where the norm is."""
    steps, x = Steps(form, emitter), form.inputs[0]
    assert x is not None
    p, axis, rank = form.take("p"), int(form.take("axis")), steps.rank(x, "its input")
    if not -rank <= axis < rank:
        raise ModelError(f"{form.title}: axis={axis} is no axis of a tensor of rank {rank}")
    if p not in (1, 2):
        raise ModelError(f"{form.title}: p={p}, expected 1 or 2")
    norm = steps.of(f"ReduceL{p}", x, steps.integers("axis", axis), keepdims=1)
    is_zero = steps.of("Equal", norm, steps.like("zero", 0, x))
    form.op_type = "Div"
    form.inputs = [x, steps.of("Where", is_zero, steps.like("one", 1, x), norm)]


def global_lp_pool(form: Form, emitter: Emitter) -> None:
    """The norm over all axes behind the second."""
    steps, x = Steps(form, emitter), form.inputs[0]
    assert x is not None
    p = _order(form)
    rank = steps.rank(x, "its input")
    if rank < 3:
        raise ModelError(f"{form.title}: an input of rank {rank} has no axes behind the second")
    axes = steps.integers("axes", *range(2, rank))
    if p in (1, 2):
        name = f"ReduceL{int(p)}"
        form.op_type, form.inputs, form.attributes = name, [x, axes], {"keepdims": 1}
        return
    total = steps.of("ReduceSum", _powers(steps, x, p), axes, keepdims=1)
    form.op_type, form.inputs = "Pow", [total, steps.like("root", 1 / p, x)]


def lp_pool(form: Form, emitter: Emitter) -> None:
    """The mean of |x|^p over each window, padding counted as 0, times its size; then the root."""
    steps, x = Steps(form, emitter), form.inputs[0]
    assert x is not None
    p = _order(form)
    if form.take("ceil_mode"):
        raise UnsupportedError(f"{form.title}: ceil_mode=1 is not supported, only 0")
    size = math.prod(int(n) for n in form.attributes.get("kernel_shape", ()))
    attributes, form.attributes = {**form.attributes, "count_include_pad": 1}, {}
    mean = steps.of("AveragePool", _powers(steps, x, p), **attributes)
    total = steps.of("Mul", mean, steps.like("size", size, x))
    form.op_type, form.inputs = ("Sqrt", [total]) if p == 2 else ("Pow", [total])
    if p != 2:
        form.inputs.append(steps.like("root", 1 / p, x))


def eye_like(form: Form, emitter: Emitter) -> None:
    """Ones above the diagonal k and below it."""
    steps, x = Steps(form, emitter), form.inputs[0]
    assert x is not None
    if steps.rank(x, "its input") != 2:
        raise ModelError(f"{form.title}: its input has not two dimensions")
    k = emitter.constant(f"{form.outputs[0]}_k", np.array(form.take("k"), np.int64))
    kind = form.attributes.get("dtype")
    dtype = emitter.dtype(x) or np.dtype(np.float32)
    if kind is not None:
        dtype = dtype_of(kind, f"{form.title}: attribute 'dtype'")
    ones = steps.of("ConstantOfShape", steps.of("Shape", x), value=np.ones(1, np.float32))
    diagonal = steps.of("Trilu", steps.of("Trilu", ones, k, upper=1), k, upper=0)
    to = next(number for number, known in DTYPES.items() if known == dtype)
    form.op_type, form.inputs, form.attributes = "Cast", [diagonal], {"to": to}


def binarizer(form: Form, emitter: Emitter) -> None:
    """1 above the threshold, else 0; of integers above the whole number below it."""
    steps, x = Steps(form, emitter), form.inputs[0]
    dtype, threshold = emitter.dtype(x), form.take("threshold")
    if dtype is None:
        raise UnsupportedError(f"{form.title}: the dtype of its input is not known at import")
    if dtype.kind in "iu":
        threshold = min(max(math.floor(threshold), np.iinfo(dtype).min), np.iinfo(dtype).max)
    above = steps.of("Greater", x, steps.like("threshold", threshold, x))
    to = next(number for number, known in DTYPES.items() if known == dtype)
    form.op_type, form.inputs, form.attributes = "Cast", [above], {"to": to}


def array_feature_extractor(form: Form, emitter: Emitter) -> None:
    """Columns by index; of a vector a matrix of one row, as in onnxruntime."""
    steps, (x, indices) = Steps(form, emitter), form.inputs
    assert x is not None
    if steps.rank(x, "its input") == 1:
        x = steps.of("Unsqueeze", x, steps.integers("axes", 0))
    flat = steps.of("Reshape", indices, steps.integers("flat", -1))
    form.op_type, form.inputs, form.attributes = "Gather", [x, flat], {"axis": -1}


def mod(form: Form, emitter: Emitter) -> None:
    """Of floats with the sign of the divisor, which opset 28 defines: the other one, moved."""
    x, y = form.inputs
    dtype = emitter.dtype(x)
    if form.opset < 28 or form.value("fmod") or dtype is None or dtype.kind != "f":
        return
    steps = Steps(form, emitter)
    zero = steps.like("zero", 0, x)
    rest = steps.of("Mod", x, y, fmod=1)
    is_zero, negative = steps.of("Equal", rest, zero), steps.of("Less", y, zero)
    differs = steps.of("Xor", steps.of("Less", rest, zero), negative)
    signed = steps.of("Where", negative, steps.like("minus_zero", -0.0, x), zero)
    moved = steps.of("Where", differs, steps.of("Add", rest, y), rest)
    form.op_type, form.inputs, form.attributes = "Where", [is_zero, signed, moved], {}


def _order(form: Form) -> float:
    """A whole number; before opset 2 any."""
    p = form.take("p")
    if p <= 0:
        raise ModelError(f"{form.title}: p={p}, expected a number above 0")
    return float(p)


def _powers(steps: Steps, x: Value, p: float) -> Value:
    """|x|^p."""
    if p == 2:
        return steps.of("Mul", x, x)
    size = steps.of("Abs", x)
    return size if p == 1 else steps.of("Pow", size, steps.like("p", p, x))


def compress(form: Form, emitter: Emitter) -> None:
    """`Gather` of the places where the condition holds; what it has beyond them counts not."""
    steps, axis, (data, condition) = Steps(form, emitter), form.take("axis"), form.inputs
    if axis is None:
        data, axis = steps.of("Reshape", data, steps.integers("flat", -1)), 0
    extent = steps.part(steps.of("Shape", data, start=axis), 0, 1)
    ours = steps.of("Slice", condition, steps.integers("first", 0), extent)
    places = steps.of("Squeeze", steps.of("NonZero", ours), steps.integers("rows", 0))
    form.op_type, form.inputs, form.attributes = "Gather", [data, places], {"axis": axis}
