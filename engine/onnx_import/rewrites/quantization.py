"""Quantised operators, by the arithmetic that defines them: integers exactly, then one scaling.

Source: https://onnx.ai/onnx/operators/, QuantizeLinear, DequantizeLinear, MatMulInteger,
ConvInteger, QLinearMatMul and QLinearConv. Products are summed in int32, those of convolutions in
double, which holds them; QLinear operators scale in double, which no precision of a backend stores
in half. So their integers come out the same everywhere (docs/numerics.md). What is quantised to
8-bit floats and float4e2m1 is no integer first: the quotient is rounded by the Cast.
"""

from __future__ import annotations

from collections.abc import Collection

import ml_dtypes
import numpy as np
from onnx import TensorProto

from engine.errors import ModelError
from engine.ir.graph import Value
from engine.ir.types import (
    BFLOAT16,
    FLOAT4E2M1,
    FLOATS,
    FLOATS8,
    NARROW_FLOATS,
    NARROW_INTEGERS,
    dtype_name,
)
from engine.onnx_import.form import Emitter, Form
from engine.onnx_import.rewrites.steps import Steps
from engine.onnx_import.tensors import DTYPES, dtype_of

INT32, DOUBLE = TensorProto.INT32, TensorProto.DOUBLE
FLOAT = np.dtype(np.float32)
EIGHT_BITS = frozenset(map(np.dtype, ("int8", "uint8")))
SMALL = EIGHT_BITS | frozenset(map(np.dtype, ("int16", "uint16")))
WORD = np.dtype(np.int32)
QUANTIZED = SMALL | NARROW_INTEGERS | FLOATS8 | {FLOAT4E2M1}
SCALES = FLOATS | NARROW_FLOATS


def quantize_linear(form: Form, emitter: Emitter) -> None:
    """saturate(round(x / scale) + zero_point); the quotient in the scale's dtype, ties to even.

    The quotient of a scale that only Cast computes with is one of float, rounded to its dtype.
    """
    steps = Steps(form, emitter)
    x, scale, zero_point = (form.input(i) for i in range(3))
    assert x is not None
    steps.check("x", x, FLOATS | {BFLOAT16, WORD})
    own = steps.check("y_zero_point", zero_point, QUANTIZED)
    kind = form.take("output_dtype") or 0
    asked = _dtype(form, "output_dtype", kind, QUANTIZED) if kind else own
    if own is not None and asked != own:
        raise ModelError(f"{form.title}: output_dtype is not that of its zero point, {own.name}")
    kind = kind or _kind(own or np.dtype(np.uint8))
    saturate = bool(form.take("saturate"))
    precision = form.take("precision") or _kind(steps.check("y_scale", scale, SCALES) or FLOAT)
    is_narrow = _dtype(form, "precision", precision, SCALES) in NARROW_FLOATS
    scale, zero_point = _spread(form, steps, x, (scale, zero_point))
    assert scale is not None
    operands = steps.cast(x, precision), steps.cast(scale, precision)
    if is_narrow:
        wide = steps.of("Div", *(steps.cast(value, TensorProto.FLOAT) for value in operands))
        quotient = steps.cast(steps.cast(wide, precision), TensorProto.FLOAT)
    else:
        quotient = steps.of("Div", *operands)
    if DTYPES[kind] not in NARROW_FLOATS:
        quotient = steps.of("Round", quotient)
    _saturate(form, steps, steps.cast(quotient, DOUBLE), zero_point, kind, saturate)


def dequantize_linear(form: Form, emitter: Emitter) -> None:
    """(x - zero_point) * scale, in the scale's dtype."""
    steps = Steps(form, emitter)
    x, scale, zero_point = (form.input(i) for i in range(3))
    assert x is not None
    own = steps.check("x", x, QUANTIZED | {WORD})
    steps.check("x_zero_point", zero_point, QUANTIZED | {WORD} if own is None else {own})
    kind = form.take("output_dtype") or _kind(steps.check("x_scale", scale, SCALES) or FLOAT)
    _dtype(form, "output_dtype", kind, FLOATS | {BFLOAT16})
    scale, zero_point = _spread(form, steps, x, (scale, zero_point))
    assert scale is not None
    product = steps.of("Mul", _centred(steps, x, zero_point, DOUBLE), steps.cast(scale, DOUBLE))
    form.op_type, form.inputs, form.attributes = "Cast", [product], {"to": kind}


def mat_mul_integer(form: Form, emitter: Emitter) -> None:
    """(a - a_zero_point) @ (b - b_zero_point) in int32."""
    steps = Steps(form, emitter)
    a, b, a_zero, b_zero = (form.input(i) for i in range(4))
    _check_bytes(steps, (a, a_zero), (b, b_zero))
    form.op_type, form.inputs = "MatMul", _centred_matrices(steps, a, b, a_zero, b_zero)


def conv_integer(form: Form, emitter: Emitter) -> None:
    """The convolution of x - x_zero_point with w - w_zero_point, whose border is 0."""
    steps = Steps(form, emitter)
    x, w, x_zero, w_zero = (form.input(i) for i in range(4))
    _check_bytes(steps, (x, x_zero), (w, w_zero))
    y = _exact_conv(form, steps, (x, w, x_zero, w_zero), None)
    form.op_type, form.inputs, form.attributes = "Cast", [y], {"to": INT32}


def q_linear_mat_mul(form: Form, emitter: Emitter) -> None:
    """The product in int32, scaled once."""
    steps = Steps(form, emitter)
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = form.inputs
    _check_bytes(steps, (a, a_zero), (b, b_zero), (y_zero, y_zero))
    product = steps.of("MatMul", *_centred_matrices(steps, a, b, a_zero, b_zero))
    scale = _scale(steps, _by_rows(steps, a_scale, a), b_scale, y_scale)
    scaled = steps.of("Round", steps.of("Mul", steps.cast(product, DOUBLE), scale))
    assert y_zero is not None
    _saturate(form, steps, scaled, y_zero, _kind(emitter.dtype(y_zero) or np.dtype(np.uint8)))


def q_linear_conv(form: Form, emitter: Emitter) -> None:
    """The convolution with its bias in integers, scaled once."""
    steps = Steps(form, emitter)
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero = form.inputs[:8]
    _check_bytes(steps, (x, x_zero), (w, w_zero), (y_zero, y_zero))
    y = _exact_conv(form, steps, (x, w, x_zero, w_zero), form.input(8))
    w_scale = steps.along(w_scale, 1, steps.rank(w, "the weight"), steps.extent(w, 0))
    scale = _scale(steps, x_scale, w_scale, y_scale)
    scaled = steps.of("Round", steps.of("Mul", y, scale))
    assert y_zero is not None
    _saturate(form, steps, scaled, y_zero, _kind(emitter.dtype(y_zero) or np.dtype(np.uint8)))


# --------------------------------------------------------------------- parts
def _check_bytes(steps: Steps, *pairs: tuple[Value | None, Value | None]) -> None:
    """Tensors of eight bits, each with a zero point of its own dtype."""
    for value, zero_point in pairs:
        own = steps.check("an input", value, EIGHT_BITS)
        steps.check("a zero point", zero_point, EIGHT_BITS if own is None else {own})


def _kind(dtype: np.dtype) -> int:
    """The ONNX element type of a scale or a zero point."""
    return next(kind for kind, known in DTYPES.items() if known == dtype)


def _dtype(form: Form, name: str, kind: int, allowed: Collection[np.dtype]) -> np.dtype:
    """An attribute that names an element type; raises UnsupportedError or ModelError."""
    dtype = dtype_of(kind, f"{form.title}: attribute '{name}'")
    if dtype not in allowed:
        raise ModelError(f"{form.title}: {name} is {dtype_name(dtype)}, which cannot be here")
    return dtype


def _saturate(
    form: Form,
    steps: Steps,
    rounded: Value,
    zero_point: Value | None,
    kind: int,
    saturate: bool = True,
) -> None:
    """The last node: the zero point added, and a Cast, which saturates.

    That to integers of 2 and 4 bits does not.
    """
    if zero_point is not None:
        rounded = steps.of("Add", rounded, steps.cast(steps.scalar(zero_point), DOUBLE))
    dtype, more = DTYPES[kind], {}
    if dtype in NARROW_INTEGERS:
        limits = ml_dtypes.iinfo(dtype)
        ends = (("least", limits.min), ("most", limits.max))
        bounds = (steps.like(name, float(end), rounded) for name, end in ends)
        rounded = steps.of("Clip", rounded, *bounds)
    if dtype in FLOATS8:
        more = {"saturate": int(saturate)}
    form.op_type, form.inputs, form.attributes = "Cast", [rounded], {"to": kind, **more}


def _centred(steps: Steps, value: Value, zero_point: Value | None, kind: int) -> Value:
    """value - zero_point, exactly, as int32 or double."""
    wide = steps.cast(value, kind)
    return wide if zero_point is None else steps.of("Sub", wide, steps.cast(zero_point, kind))


def _scale(steps: Steps, a: Value | None, b: Value | None, y: Value | None) -> Value:
    assert a is not None
    assert b is not None
    assert y is not None
    of_a, of_b, of_y = (steps.cast(steps.scalar(s), DOUBLE) for s in (a, b, y))
    return steps.of("Div", steps.of("Mul", of_a, of_b), of_y)


def _centred_matrices(
    steps: Steps, a: Value | None, b: Value | None, a_zero: Value | None, b_zero: Value | None
) -> list[Value | None]:
    """int32; zero points by rows of a and by columns of b."""
    assert a is not None
    assert b is not None
    return [
        _centred(steps, a, _by_rows(steps, a_zero, a), INT32),
        _centred(steps, b, b_zero, INT32),
    ]


def _by_rows(steps: Steps, parameter: Value | None, a: Value | None) -> Value | None:
    """A vector along the rows of a, which has some; one number stays as it is."""
    if parameter is None or steps.is_one(parameter):
        return parameter
    rank = steps.rank(a, "input a")
    return steps.along(parameter, -2, rank) if rank > 1 else parameter


def _exact_conv(
    form: Form,
    steps: Steps,
    operands: tuple[Value | None, Value | None, Value | None, Value | None],
    bias: Value | None,
) -> Value:
    x, w, x_zero, w_zero = operands
    _check_zero_points(steps, x_zero, w_zero)
    assert x is not None
    assert w is not None
    w_zero = steps.along(w_zero, 0, steps.rank(w, "the weight"), steps.extent(w, 0))
    inputs = [_centred(steps, x, x_zero, DOUBLE), _centred(steps, w, w_zero, DOUBLE)]
    if bias is not None:
        inputs.append(steps.cast(bias, DOUBLE))
    attributes, form.attributes = form.attributes, {}
    return steps.of("Conv", *inputs, **attributes)


def _check_zero_points(steps: Steps, x_zero: Value | None, w_zero: Value | None) -> None:
    """That of x is one number, those of w a number or a vector."""
    for name, value, most in (("x", x_zero, 1), ("w", w_zero, None)):
        rank, extent = steps.emitter.rank(value), steps.extent(value, 0)
        if (rank or 0) > 1 or (most is not None and extent is not None and extent > most):
            wanted = "one number" if most else "one number or a vector"
            raise ModelError(f"{steps.form.title}: a zero point of {name} is not {wanted}")


def _spread(
    form: Form, steps: Steps, x: Value, parameters: tuple[Value | None, Value | None]
) -> list[Value | None]:
    """Scale and zero point in shapes that broadcast to x: for all, for an axis, or for blocks."""
    axis, block = int(form.take("axis") or 0), int(form.take("block_size") or 0)
    given = [p for p in parameters if p is not None]
    if not block and all(map(steps.is_one, given)):
        return [None if p is None else steps.scalar(p) for p in parameters]
    ranks = {steps.rank(p, "a parameter") for p in given}
    if len(ranks) > 1:
        raise ModelError(f"{form.title}: scale and zero point have {sorted(ranks)} axes")
    rank = steps.rank(x, "its input")
    if not -rank <= axis < max(rank, 1):
        raise ModelError(f"{form.title}: axis={axis} is outside [{-rank}, {rank - 1}]")
    if block < 0:
        raise ModelError(f"{form.title}: block_size={block}, expected 0 or more")
    if ranks != {rank if block else 1}:
        wanted = f"{rank} axes, for blocks" if block else "one number, or a vector"
        raise ModelError(f"{form.title}: a scale of {ranks} axes, expected {wanted}")
    if not block:
        return [steps.along(p, axis, rank) for p in parameters]
    return [None if p is None else _blocks(steps, p, x, axis % rank, block) for p in parameters]


def _blocks(steps: Steps, parameter: Value, x: Value, axis: int, block: int) -> Value:
    """Each element of an axis `block` times, cut to the extent that x has there."""
    for known in (parameter.type, x.type):
        if known is None or not known.is_static:
            break
    else:
        _check_blocks(steps, parameter.known_type.dims, x.known_type.dims, axis, block)
    one = steps.integers("one", 1)
    extent = steps.of("Shape", x, start=axis, end=axis + 1)
    upright = steps.of("Unsqueeze", parameter, steps.integers("after", axis + 1))
    shape = steps.of("Shape", parameter)
    before = steps.of("Slice", shape, steps.integers("begin", 0), steps.integers("to", axis + 1))
    after = steps.of("Slice", shape, steps.integers("to", axis + 1), steps.integers("end", 2**31))
    width = steps.of("Min", steps.integers("block", block), extent)
    repeated = steps.of("Expand", upright, steps.of("Concat", before, width, after, axis=0))
    left = steps.of("Slice", shape, steps.integers("begin", 0), steps.integers("axis", axis))
    flat = steps.of("Concat", left, steps.integers("rest", -1), after, axis=0)
    whole = steps.of("Reshape", repeated, flat)
    begin, along = steps.integers("begin", 0), steps.integers("axis", axis)
    return steps.of("Slice", whole, begin, extent, along, one)


def _check_blocks(
    steps: Steps, blocks: tuple[int, ...], shape: tuple[int, ...], axis: int, block: int
) -> None:
    expected = (*shape[:axis], -(-shape[axis] // block), *shape[axis + 1 :])
    if blocks != expected:
        raise ModelError(
            f"{steps.form.title}: a scale of shape {blocks} for blocks of {block} along axis "
            f"{axis} of {shape}, expected {expected}"
        )
