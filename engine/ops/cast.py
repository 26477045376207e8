"""Cast between floats, integers and booleans; BitCast, which keeps the bits and not the number.

Source: https://onnx.ai/onnx/operators/onnx__Cast.html: floats are rounded to nearest even, integers
are cut to their low bits, float to integer truncates, and everything but 0 is true. What the
integer cannot hold ONNX leaves open; here it is `numerics.saturated`: the nearest end of the range,
0 for NaN. Integers never pass through half. (The importer turns CastLike into Cast.)
Of https://onnx.ai/onnx/operators/onnx__BitCast.html no bits become booleans here, because a byte
may be neither 0 nor 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from engine.errors import ShapeError, UnsupportedError
from engine.ir.types import (
    ALL_DTYPES,
    BOOL,
    DOUBLE,
    FLOAT,
    FLOAT16,
    FLOATS,
    INT32,
    INT64,
    TensorType,
)
from engine.ops.neighbours import NEIGHBOURS
from engine.ops.numerics import Error, Units, exact, finite, saturated
from engine.ops.operands import check_dtype
from engine.ops.spec import HERE, Arrays, Attributes, Call, Choose, Growth, Operand, OpSpec, Reject

DTYPES = {
    1: FLOAT,
    10: FLOAT16,
    11: DOUBLE,
    9: BOOL,
    **{k: np.dtype(n) for k, n in {2: "u1", 4: "u2", 12: "u4", 13: "u8"}.items()},
    **{k: np.dtype(n) for k, n in {3: "i1", 5: "i2", 6: "i4", 7: "i8"}.items()},
}
"""NumPy dtypes by the numbers of onnx.TensorProto.DataType."""
NUMBERS = {dtype: number for number, dtype in DTYPES.items()}


def target(attributes: Attributes, op: str = "Cast") -> np.dtype:
    """The dtype that attribute `to` names; raises UnsupportedError."""
    number = int(attributes["to"])
    if number not in DTYPES:
        names = ", ".join(sorted(d.name for d in DTYPES.values()))
        raise UnsupportedError(f"{op}: to={number} is not supported, expected one of {names}")
    return DTYPES[number]


def _convert(x: np.ndarray, to: np.dtype) -> np.ndarray:
    if x.dtype.kind == "f" and to.kind in "iu":
        return saturated(x, to)
    with np.errstate(all="ignore"):
        y = x.astype(to)
    return y.astype(np.float64) if to in FLOATS else y


def _error(y: np.ndarray, to: np.dtype, units: Units) -> tuple[Error, ...]:
    """Exact; where memory is narrower than the target, one rounding to it (and one to float)."""
    if to not in FLOATS or units.storage.itemsize >= to.itemsize:
        return exact(y)
    a, u = finite(y), units.u_storage or units.u_compute
    sigma = np.hypot(a * u / np.sqrt(3), units.floor)
    return (Error(sigma, a * u * (1 + 2.0**-10) + units.floor),)


_DRAWN = (FLOAT, *(d for d in DTYPES.values() if d != FLOAT))


def _example(choose: Choose) -> Call:
    """Small numbers, floats with fractions; or any, far beyond the range of every integer."""
    shape, dtype = choose.shape((0, 4)), choose.one_of(_DRAWN)
    to = choose.one_of(_DRAWN)
    if dtype == BOOL:
        return Call((choose.tensor(shape, FLOAT, -1.0, 1.0) > 0,), {"to": NUMBERS[to]})
    size = choose.one_of((100.0, 2.0**65))
    return Call((choose.tensor(shape, dtype, -size, size),), {"to": NUMBERS[to]})


def _ends(source: np.dtype, to: np.dtype) -> Callable[[], Call]:
    """Both ends of an integer's range, one step outside and inside, halfway, and what is no number.

    More than sixteen, so that vectors see them.
    """

    def call() -> Call:
        limits = np.iinfo(to)
        with np.errstate(all="ignore"):  # half overflows
            ends = np.array([limits.min, limits.max, float(limits.max) + 1]).astype(source)
            near = [np.nextafter(ends, source.type(0)), np.nextafter(ends, source.type(np.inf))]
            steps = [ends - 1, ends - source.type(0.5), ends + source.type(0.5), ends + 1, 2 * ends]
            odd = np.array([np.nan, np.inf, -np.inf, -0.0, -0.5, 0.5, 1e30, -1e30]).astype(source)
        return Call((np.concatenate([ends, *near, *steps, odd]),), {"to": NUMBERS[to]})

    return call


def _infer(inputs: Sequence[Operand | None], attributes: Attributes) -> tuple[TensorType, ...]:
    x = inputs[0]
    if x is None:
        raise ShapeError("Cast: input is missing")
    check_dtype("Cast", x.type.dtype, ALL_DTYPES)
    return (TensorType(target(attributes), x.type.shape),)


def _cast(inputs: Arrays, attributes: Attributes) -> tuple[np.ndarray, ...]:
    return (_convert(np.asarray(inputs[0]), target(attributes)),)


def _cast_grow(choose: Choose, x: TensorType) -> Growth | None:
    return Growth((HERE,), {"to": NUMBERS[FLOAT]}) if x.dtype != FLOAT else None


def _edge(values: Sequence[float], dtype: str, to: np.dtype) -> Call:
    return Call((np.array(values, dtype),), {"to": NUMBERS[to]})


CAST = OpSpec(
    "Cast",
    (1, 1),
    _infer,
    _cast,
    lambda inputs, a, units: _error(_cast(inputs, a)[0], target(a), units),
    _example,
    grow=_cast_grow,
    is_exact=True,
    edges=(
        lambda: _edge([1.9, -1.9, 0.5, -0.5], "f4", INT32),
        lambda: _edge([np.nan, np.inf, -0.0, 1e-30], "f4", BOOL),
        lambda: _edge([65519.0, 65520.0, 1e-8, np.nan, 1 + 2.0**-11], "f4", FLOAT16),
        lambda: _edge([2**53 + 1, -(2**40), 3], "i8", DOUBLE),
        lambda: _edge([2**31 + 5, -1, 300], "i8", INT32),
        lambda: _edge([1 + 2.0**-11 + 2.0**-40, 1e300], "f8", FLOAT16),
        lambda: Call((np.zeros((0, 3), "f4"),), {"to": NUMBERS[INT64]}),
        *(
            _ends(source, to)
            for source in (FLOAT, FLOAT16, DOUBLE)
            for to in DTYPES.values()
            if to.kind in "iu"
        ),
    ),
    rejects=(
        Reject("strings", lambda: Call((np.zeros(3, "f4"),), {"to": 8}), "to=8 is not supported"),
    ),
    laws=(NEIGHBOURS,),
    reads=("to",),
    ignores=("round_mode", "saturate"),  # of 8-bit floats, which are refused
)


# --------------------------------------------------------------------------- BitCast
def _infer_bits(inputs: Sequence[Operand | None], attributes: Attributes) -> tuple[TensorType, ...]:
    x = inputs[0]
    if x is None:
        raise ShapeError("BitCast: input is missing")
    check_dtype("BitCast", x.type.dtype, ALL_DTYPES)
    to = target(attributes, "BitCast")
    if to.itemsize != x.type.dtype.itemsize:
        raise ShapeError(
            f"BitCast: input of dtype {x.type.dtype.name} becomes {to.name}, expected a type of "
            f"{8 * x.type.dtype.itemsize} bits"
        )
    if to == BOOL != x.type.dtype:
        raise UnsupportedError(f"BitCast: {x.type.dtype.name} to bool is not supported")
    return (TensorType(to, x.type.shape),)


def _bit_cast(inputs: Arrays, attributes: Attributes) -> tuple[np.ndarray, ...]:
    """What arrives as double is a float of the target's width."""
    x, to = np.asarray(inputs[0]), target(attributes, "BitCast")
    if x.dtype in FLOATS:
        x = x.astype(f"f{to.itemsize}")
    with np.errstate(all="ignore"):
        y = np.ascontiguousarray(x).reshape(x.shape).view(to)
        return (y.astype(np.float64) if to in FLOATS else y,)


def _bits_example(choose: Choose) -> Call:
    """Numbers, and as the source of floats integers of any bits but those of NaN."""
    dtype, shape = choose.one_of(_DRAWN), choose.shape((0, 4))
    others = [d for d in _DRAWN if d.itemsize == dtype.itemsize and d != BOOL]
    to = choose.one_of([d for d in others if d != dtype] or others)
    if dtype == BOOL:
        return Call((choose.tensor(shape, FLOAT, -1.0, 1.0) > 0,), {"to": NUMBERS[to]})
    if to in FLOATS:
        numbers = choose.tensor(shape, to, -100.0, 100.0)
        return Call((numbers.view(dtype).reshape(shape),), {"to": NUMBERS[to]})
    return Call((choose.tensor(shape, dtype, -100.0, 100.0),), {"to": NUMBERS[to]})


def _bits(values: Sequence[float], dtype: str, to: np.dtype) -> Call:
    return Call((np.array(values, dtype),), {"to": NUMBERS[to]})


BIT_CAST = OpSpec(
    "BitCast",
    (1, 1),
    _infer_bits,
    _bit_cast,
    lambda inputs, a, units: _error(_bit_cast(inputs, a)[0], target(a), units),
    _bits_example,
    edges=(
        lambda: _bits([0.0, -0.0, 1.5, np.inf, -np.inf, 65504, 2.0**-24], "f4", INT32),
        lambda: _bits([0, -(2**31), 0x7F800000, 0x3FC00000, 0x7F7FFFFF, 0x38801000], "i4", FLOAT),
        lambda: _bits([-1, 2**62, -(2**63), 0x3FF8000000000000], "i8", DOUBLE),
        lambda: _bits([1.5, -0.0, np.inf, 65504, 2.0**-24], "f2", np.dtype(np.uint16)),
        lambda: _bits([0, 0x3E00, 0x7C00, 0x8001], "u2", FLOAT16),
        lambda: _bits([-1, -128, 127], "i1", np.dtype(np.uint8)),
        lambda: Call((np.array([True, False]),), {"to": NUMBERS[np.dtype(np.int8)]}),
        lambda: Call((np.zeros((0, 3), "f4"),), {"to": NUMBERS[INT32]}),
    ),
    rejects=(
        Reject("width", lambda: _bits([1], "f4", INT64), "of 32 bits"),
        Reject("bool", lambda: _bits([2], "u1", BOOL), "to bool"),
        Reject("strings", lambda: Call((np.zeros(3, "f4"),), {"to": 8}), "BitCast: to=8 is not"),
    ),
    laws=(NEIGHBOURS,),
    reads=("to",),
)


SPECS: tuple[OpSpec, ...] = (CAST, BIT_CAST)
