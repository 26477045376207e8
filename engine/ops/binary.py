"""Elementwise functions of several tensors, with NumPy's broadcasting.

Sources: https://onnx.ai/onnx/operators/ for the formulas, errors from `numerics.rounded` (one
correctly rounded operation, or the OpenCL C row of a built-in). Integers wrap; what ONNX leaves
open for them is fixed here: division truncates, and dividing by 0 gives 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial, reduce
from typing import Any

import numpy as np

from engine.errors import ShapeError
from engine.ir.types import (
    ALL_DTYPES,
    BOOL,
    DOUBLE,
    FLOAT,
    FLOAT16,
    FLOATS,
    INT32,
    INT64,
    INTEGERS,
    NUMERIC,
    STRING,
    TensorType,
    dtype_name,
)
from engine.ops.broadcasting import (
    HARD,
    Array,
    Elementwise,
    ErrorOf,
    broadcast_shape,
    broadcastable,
    draw,
    edges_of,
    present,
    same_dtype,
    spec_of,
)
from engine.ops.neighbours import NEIGHBOURS
from engine.ops.numerics import Error, Units, exact, finite, quadrature, rounded, saturated
from engine.ops.spec import (
    HERE,
    PEER,
    Arrays,
    Attributes,
    Call,
    Choose,
    Growth,
    Operand,
    OpSpec,
    Reject,
)


# ------------------------------------------------------------------------- formulas
def truncated_quotient(a: Array, b: Array) -> Array:
    """a / b; for integers truncated towards zero, and 0 where b is 0."""
    if a.dtype.kind == "f":
        quotient: Array = np.divide(a, b)
        return quotient
    floor = np.floor_divide(a, b)
    inexact = floor * b != a
    return np.where(b == 0, 0, floor + (inexact & ((a < 0) != (b < 0)))).astype(a.dtype)


def integer_power(a: Array, b: Array) -> Array:
    """a ** b of integers, wrapping; a negative exponent truncates the quotient 1 / a ** |b|.

    Modulo 2**64, of which that of every narrower integer is a part: b may be wider than a.
    """
    whole = np.power(a.astype(np.uint64), np.maximum(b, 0).astype(np.uint64)).astype(a.dtype)
    odd = np.where(b % 2 == 0, 1, a)
    below = np.where(a == 1, 1, np.where(a == -1, odd, 0)) if a.dtype.kind == "i" else a == 1
    return np.where(b < 0, below, whole).astype(a.dtype)


def _pow(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f" and b.dtype.kind != "f":
        y: Array = _whole_power(a, b)
    elif a.dtype.kind == "f":
        y = _real_power(a, b)
    elif b.dtype.kind == "f":
        y = saturated(_real_power(a.astype(np.float64), b), a.dtype)
    else:
        y = integer_power(a, b)
    return y


def _whole_power(a: Array, b: Array) -> Array:
    """The sign is that of an odd power, also where a double does not hold the exponent."""
    size = _real_power(np.abs(a), b.astype(np.float64))
    return np.where(np.signbit(a) & (b % 2 != 0), -size, size)


def _real_power(a: Array, b: Array) -> Array:
    """C's pow. A repeated exponent of stride 0 sends NumPy to sqrt, which differs at -inf, -0."""
    shape = np.broadcast_shapes(a.shape, b.shape)
    y: Array = np.power(a, np.array(np.broadcast_to(b, shape)))
    return y


def _mean(*values: Array) -> Array:
    return reduce(np.add, values) / len(values)


# ------------------------------------------------------------------------- errors
def _one_rounding(values: Sequence[Array], y: Array, units: Units) -> Error:
    return rounded(y, units)


def _built_in(name: str) -> ErrorOf:
    return lambda values, y, units: rounded(y, units, roundings=0, ulps=units.ulps(name))


def _prelu_error(values: Sequence[Array], y: Array, units: Units) -> Error:
    product = rounded(y, units)
    below = np.broadcast_to(values[0] < 0, y.shape)
    return Error(np.where(below, product.sigma, 0.0), np.where(below, product.bound, 0.0))


def _fold_error(values: Sequence[Array], y: Array, units: Units, ulps: float, n: int) -> Error:
    """Terms x_i / n are added from left to right; partial sums s_2, s_3, ... are stored.

    Worst case: sum (u_c + u_s)|s_k| over the partial sums, and 2 ULP_divide u_c |x_i / n| per term;
    sigma takes them in quadrature.
    """
    if len(values) == 1:
        return exact(y)[0]
    uc, us = units.u_compute, units.u_storage
    terms = [np.broadcast_to(v / n, y.shape) for v in values]
    total, partial = terms[0], []
    for term in terms[1:]:
        total = total + term
        partial.append(finite(total))
    sums = sum(partial, np.zeros(y.shape))
    sizes = sum((finite(t) for t in terms), np.zeros(y.shape))
    count = len(values)
    sigma = quadrature(
        np.hypot(uc, us) / np.sqrt(3) * quadrature(*partial),
        2 * ulps * uc / np.sqrt(3) * quadrature(*map(finite, terms)),
        np.sqrt(count) * units.floor,
    )
    bound = ((uc + us) * sums + 2 * ulps * uc * sizes) * (1 + 2 * count * (uc + us))
    return Error(sigma, bound + 3 * count * units.floor)


def _sum_error(values: Sequence[Array], y: Array, units: Units) -> Error:
    return _fold_error(values, y, units, 0.0, 1)


def _mean_error(values: Sequence[Array], y: Array, units: Units) -> Error:
    return _fold_error(values, y, units, units.ulps("divide"), len(values))


def _infer_pow(inputs: Sequence[Operand | None], _: Attributes) -> tuple[TensorType, ...]:
    base, exponent = present("Pow", inputs)
    same_dtype("Pow", [base], NUMERIC)
    same_dtype("Pow", [exponent], NUMERIC)
    return (TensorType(base.dtype, broadcast_shape("Pow", (base, exponent))),)


WHOLE = (INT64, INT32, np.dtype(np.uint8), np.dtype(np.uint64))
"""Dtypes of integers to integer powers that are drawn: any two."""


def _pow_example(choose: Choose) -> Call:
    """Any sign with whole exponents, positive bases with any exponent, integers."""
    shape = choose.shape((0, 4))
    other = broadcastable(choose, shape)
    kind = choose.one_of(("square", "whole", "real", "integers", "double"))
    if kind == "square":
        return Call((choose.tensor(shape), np.array(2, choose.one_of((np.float32, np.int64)))))
    if kind in ("real", "double"):
        dtype = FLOAT if kind == "real" else DOUBLE
        base, exponent = choose.tensor(shape, dtype, 0.0, 8.0), choose.tensor(other, dtype)
        return Call((choose.mixed(base, HARD), choose.mixed(exponent, HARD)))
    if kind == "integers":
        narrow, whole = choose.one_of(WHOLE), choose.one_of(WHOLE)
        lowest, most = (choose.one_of(((0, 4), (-3, 3), (0, 2**40)))) if whole == INT64 else (0, 9)
        exponent = choose.tensor(other, DOUBLE, lowest, most).astype(whole)
        return Call((choose.tensor(shape, narrow, -4.0, 4.0), exponent))
    exponent = np.rint(choose.tensor(other, FLOAT, 0.0, 4.0))
    base = choose.tensor(shape, FLOAT, -4.0, 4.0)
    if choose.integer(0, 2) == 2:  # of exponents that no float holds, 1 and -1 have powers
        signs = np.where(base < 0, np.float32(-1), np.float32(1))
        return Call((signs, exponent.astype(INT64) + choose.one_of((2**24, 2**40, 2**55))))
    return Call((base, exponent))


def _pow_grow(choose: Choose, x: TensorType) -> Growth | None:
    return Growth((HERE, np.array(2, x.dtype))) if x.dtype in FLOATS else None


def _pow_error(inputs: Arrays, attributes: Attributes, units: Units) -> tuple[Error, ...]:
    """The OpenCL C row of pow: 16 ULP in float, 4 in half.

    An integer exponent that 24 bits do not hold may be taken in three parts, with two products.
    """
    (y,) = POW.reference(inputs, attributes)
    if y.dtype != np.float64:
        return exact(y)
    b, ulps = np.asarray(inputs[1]), units.ulps("pow")
    once = rounded(y, units, roundings=0, ulps=ulps)
    if b.dtype.kind == "f":
        return (once,)
    thrice = rounded(y, units, roundings=2, ulps=3 * ulps)
    is_wide = np.abs(b.astype(np.float64)) >= 2**24
    return (
        Error(
            np.where(is_wide, thrice.sigma, once.sigma), np.where(is_wide, thrice.bound, once.bound)
        ),
    )


_bases = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1, -1, -2.5, 3, 1e-5, 1.1, 5e-324])
_exponents = np.array([2, 0.5, -1, 0, 1, 3, -2, -0.5, np.inf, -np.inf, np.nan])
_EXPONENTS = ((slice(None), "every pair"), *((slice(i, i + 1), "one exponent") for i in range(3)))


def _integer_to_a_float_power() -> Call:
    """Roots are cut, powers beyond the range its end, roots of negative numbers 0."""
    base, exponent = np.array([2, -3, 0, 7, 100, -100], "i4"), [0.5, 31, -1, 40.5, np.nan, 0]
    return Call((base[:, None], np.array(exponent, "f4")))


def _float_to_the_power_of_a_double() -> Call:
    return Call((np.linspace(2, 9, 17, dtype=np.float32), np.array(2.24643529)))


POW = replace(
    spec_of(Elementwise("Pow", _pow, _built_in("pow"))),
    infer_types=_infer_pow,
    error_model=_pow_error,
    example=_pow_example,
    grow=_pow_grow,
)
POW = replace(
    POW,
    rejects=POW.rejects[:1],
    edges=(
        *POW.edges,
        _integer_to_a_float_power,
        _float_to_the_power_of_a_double,
        *(
            lambda dtype=dtype, some=some, note=note: Call(
                (_bases.astype(dtype)[:, None], _exponents[some].astype(dtype)), note=note
            )
            for dtype in (FLOAT, DOUBLE)
            for some, note in _EXPONENTS
        ),
    ),
)


def _infer_prelu(inputs: Sequence[Operand | None], _: Attributes) -> tuple[TensorType, ...]:
    x, slope = present("PRelu", inputs)
    dtype = same_dtype("PRelu", (x, slope), NUMERIC)
    if broadcast_shape("PRelu", (x, slope)) != x.dims:
        raise ShapeError(f"PRelu: slope {slope.dims} does not broadcast to the input's {x.dims}")
    return (TensorType(dtype, x.dims),)


PRELU = replace(
    spec_of(
        Elementwise(
            "PRelu",
            lambda x, slope: np.where(x < 0, x * slope, x),
            _prelu_error,
            slope=lambda values, _: (
                np.maximum(1.0, finite(values[1])),
                np.maximum(0.0, -values[0]),
            ),
        )
    ),
    infer_types=_infer_prelu,
    edges=(
        lambda: Call((np.array([-np.inf, np.nan, -0.0, 2], "f4"), np.array(0.5, "f4"))),
        lambda: Call((np.zeros((0, 3), "f4"), np.ones(3, "f4"))),
    ),
)


def _modulo(a: Array, b: Array, fmod: int) -> Array:
    if a.dtype.kind == "f":
        exact_remainder: Array = np.fmod(a, b)
        return exact_remainder
    remainder = np.where(b == 0, 0, a - truncated_quotient(a, b) * b).astype(a.dtype)
    if fmod:
        return remainder
    wrong = (remainder != 0) & ((remainder < 0) != (b < 0))
    return np.where(wrong, remainder + b, remainder).astype(a.dtype)


def _infer_mod(inputs: Sequence[Operand | None], attributes: Attributes) -> tuple[TensorType, ...]:
    types = present("Mod", inputs)
    dtype = same_dtype("Mod", types, NUMERIC)
    if dtype in FLOATS and not attributes.get("fmod", 0):
        raise ShapeError(f"Mod: fmod=0 is for integers only, got {dtype_name(dtype)}; set fmod=1")
    return (TensorType(dtype, broadcast_shape("Mod", types)),)


def _mod_example(choose: Choose) -> Call:
    dtype = choose.one_of((INT64, FLOAT, np.dtype(np.int32), DOUBLE, FLOAT16))
    shape = choose.shape((0, 4))
    divisor = draw(choose, broadcastable(choose, shape), dtype, -4.0, 4.0)
    divisor = np.where(divisor == 0, 3, divisor).astype(dtype)
    fmod = 1 if dtype in FLOATS else choose.integer(0, 1)
    return Call((draw(choose, shape, dtype, -100.0, 100.0), divisor), {"fmod": fmod})


def _mod_edge() -> Call:
    table = np.array([7, -7, 4, -4, 0], "i4")
    return Call((table[:, None], table[:4]), {"fmod": 0})


def _remainders_in_lanes(dtype: np.dtype, divisor: float | Array) -> Call:
    """More than a vector holds, by one divisor or each by its own."""
    whole = np.arange(-100.0, 110.0)
    return Call((whole.astype(dtype), np.asarray(divisor).astype(dtype)), {"fmod": 1})


MOD = OpSpec(
    "Mod",
    (2, 2),
    _infer_mod,
    lambda inputs, attributes: (_mod_reference(inputs, attributes),),
    lambda inputs, attributes, units: exact(_mod_reference(inputs, attributes)),
    _mod_example,
    edges=(
        _mod_edge,
        *(
            partial(_remainders_in_lanes, dtype, divisor)
            for dtype in (FLOAT, DOUBLE, FLOAT16)
            for divisor in (4.0, np.linspace(-4, 5, 210))
        ),
        lambda: Call((np.array([5.5, -5.5, np.inf], "f4"), np.array(2.0, "f4")), {"fmod": 1}),
    ),
    laws=(NEIGHBOURS,),
    rejects=(Reject("float without fmod", lambda: Call((np.ones(3, "f4"),) * 2), "integers only"),),
    flops=lambda inputs, outputs, _: outputs[0].size,
    reads=("fmod",),
)


def _mod_reference(inputs: Arrays, attributes: Attributes) -> Array:
    a, b = inputs
    assert a is not None
    assert b is not None
    with np.errstate(all="ignore"):
        return _modulo(a, b, int(attributes.get("fmod", 0)))


def _bit_shift(inputs: Arrays, attributes: Attributes) -> Array:
    """Beyond the bits of the dtype, and by a negative number, what the sign alone leaves.

    So ONNX has it since opset 28, when signed integers came in; no width was defined before.
    """
    x, by = (np.asarray(a) for a in inputs)
    left = attributes["direction"] == "LEFT"
    within = (by >= 0) & (by < 8 * x.dtype.itemsize)
    steps = np.where(within, by, 0).astype(x.dtype)
    moved = np.left_shift(x, steps) if left else np.right_shift(x, steps)
    fill = np.where(~np.array(left) & (x < 0), -1, 0)
    return np.where(within, moved, fill.astype(x.dtype))


def _infer_bit_shift(
    inputs: Sequence[Operand | None], attributes: Attributes
) -> tuple[TensorType, ...]:
    types = present("BitShift", inputs)
    dtype = same_dtype("BitShift", types, INTEGERS)
    if (direction := attributes.get("direction")) not in ("LEFT", "RIGHT"):
        raise ShapeError(f"BitShift: direction={direction!r}, expected 'LEFT' or 'RIGHT'")
    return (TensorType(dtype, broadcast_shape("BitShift", types)),)


def _bit_shift_example(choose: Choose) -> Call:
    dtype = choose.one_of(sorted(INTEGERS, key=str))
    shape = choose.shape((0, 4))
    few = 0 if dtype.kind == "u" else -3
    by = choose.tensor(broadcastable(choose, shape), dtype, few, 8 * dtype.itemsize + 2)
    direction = choose.one_of(("LEFT", "RIGHT"))
    return Call((draw(choose, shape, dtype, -100.0, 100.0), by), {"direction": direction})


def _shifted(edge: Callable[[], Call], direction: str) -> Call:
    call = edge()
    return replace(call, attributes={"direction": direction}, note=f"{call.note} {direction}")


BIT_SHIFT = OpSpec(
    "BitShift",
    (2, 2),
    _infer_bit_shift,
    lambda inputs, attributes: (_bit_shift(inputs, attributes),),
    lambda inputs, attributes, units: exact(_bit_shift(inputs, attributes)),
    _bit_shift_example,
    is_exact=True,
    edges=tuple(
        partial(_shifted, edge, direction)
        for edge in edges_of(INTEGERS)
        for direction in ("LEFT", "RIGHT")
    ),
    rejects=(
        Reject("no direction", lambda: Call((np.ones(3, "u1"),) * 2), "expected 'LEFT' or 'RIGHT'"),
        Reject(
            "floats",
            lambda: Call((np.ones(3, "f4"),) * 2, {"direction": "LEFT"}),
            "float32 is not supported",
        ),
    ),
    laws=(NEIGHBOURS,),
    flops=lambda inputs, outputs, _: outputs[0].size,
    reads=("direction",),
)


def _infer_where(inputs: Sequence[Operand | None], _: Attributes) -> tuple[TensorType, ...]:
    condition, a, b = present("Where", inputs)
    if condition.dtype != BOOL:
        raise ShapeError(f"Where: condition is {dtype_name(condition.dtype)}, expected bool")
    dtype = same_dtype("Where", (a, b), ALL_DTYPES | {STRING})
    return (TensorType(dtype, broadcast_shape("Where", (condition, a, b))),)


def _where(inputs: Arrays, _: Attributes) -> tuple[Array, ...]:
    condition, a, b = (np.asarray(x) for x in inputs)
    return (np.where(condition, a, b),)


def _where_example(choose: Choose) -> Call:
    shape = choose.shape((0, 4))
    dtype = choose.one_of((FLOAT, INT64, BOOL))
    condition = draw(choose, broadcastable(choose, shape), BOOL, 0, 1)
    other = draw(choose, broadcastable(choose, shape), dtype, -4.0, 4.0)
    x = draw(choose, shape, dtype, -4.0, 4.0)
    return Call((condition, x, other) if choose.integer(0, 1) else (condition, other, x))


def _where_grow(choose: Choose, x: TensorType) -> Growth | None:
    if x.dtype not in ALL_DTYPES | {STRING}:
        return None
    condition = draw(choose, broadcastable(choose, x.dims), BOOL, 0, 1)
    return Growth((condition, HERE, PEER))


WHERE = OpSpec(
    "Where",
    (3, 3),
    _infer_where,
    _where,
    lambda inputs, attributes, units: exact(*_where(inputs, attributes)),
    _where_example,
    grow=_where_grow,
    is_exact=True,
    edges=(
        lambda: Call(
            (np.array([True, False]), np.array([np.nan, 1], "f4"), np.array(-np.inf, "f4"))
        ),
        lambda: Call((np.zeros((0, 1), bool), np.ones((1, 3), "i8"), np.array(2, "i8"))),
    ),
    rejects=(
        Reject(
            "condition that is not bool",
            lambda: Call((np.zeros(3, "f4"),) * 3),
            "condition is float32",
        ),
    ),
    laws=(NEIGHBOURS,),
)


_booleans = frozenset({BOOL})
_comparison: dict[str, Any] = {"predicate": True, "grows": False}
_logical: dict[str, Any] = {"predicate": True, "dtypes": _booleans, "commutes": True}
_bitwise: dict[str, Any] = {"dtypes": INTEGERS, "commutes": True, "is_exact": True}


def _ones(values: Arrays, _: Attributes) -> tuple[float, ...]:
    return (1.0,) * len(values)


FUNCTIONS = (
    Elementwise("Add", np.add, _one_rounding, slope=_ones, commutes=True, is_exact=True),
    Elementwise("Sub", np.subtract, _one_rounding, slope=_ones, is_exact=True),
    Elementwise(
        "Mul",
        np.multiply,
        _one_rounding,
        slope=lambda values, _: (finite(values[1]), finite(values[0])),
        commutes=True,
        is_exact=True,
    ),
    Elementwise("Div", truncated_quotient, _built_in("divide"), second=(0.25, 8.0)),
    Elementwise(
        "Max",
        lambda *v: reduce(np.maximum, v),
        arity=(1, 2**31),
        slope=_ones,
        commutes=True,
        is_exact=True,
    ),
    Elementwise(
        "Min",
        lambda *v: reduce(np.minimum, v),
        arity=(1, 2**31),
        slope=_ones,
        commutes=True,
        is_exact=True,
    ),
    Elementwise(
        "Sum",
        lambda *v: reduce(np.add, v),
        _sum_error,
        arity=(1, 2**31),
        dtypes=FLOATS,
        slope=_ones,
        commutes=True,
        is_exact=True,
    ),
    Elementwise("Mean", _mean, _mean_error, arity=(1, 2**31), dtypes=FLOATS, commutes=True),
    Elementwise("Equal", np.equal, dtypes=ALL_DTYPES | {STRING}, commutes=True, **_comparison),
    Elementwise("Greater", np.greater, **_comparison),
    Elementwise("GreaterOrEqual", np.greater_equal, **_comparison),
    Elementwise("Less", np.less, **_comparison),
    Elementwise("LessOrEqual", np.less_equal, **_comparison),
    Elementwise("And", np.logical_and, **_logical),
    Elementwise("Or", np.logical_or, **_logical),
    Elementwise("Xor", np.logical_xor, **_logical),
    Elementwise("BitwiseAnd", np.bitwise_and, **_bitwise),
    Elementwise("BitwiseOr", np.bitwise_or, **_bitwise),
    Elementwise("BitwiseXor", np.bitwise_xor, **_bitwise),
)
SPECS: tuple[OpSpec, ...] = (*map(spec_of, FUNCTIONS), POW, PRELU, MOD, BIT_SHIFT, WHERE)
