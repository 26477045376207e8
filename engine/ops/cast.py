"""Cast between floats, integers, booleans and narrow formats; BitCast, which keeps the bits.

Source: https://onnx.ai/onnx/operators/onnx__Cast.html: floats are rounded to nearest even, integers
are cut to their low bits, float to integer truncates, and everything but 0 is true. What the
integer cannot hold ONNX leaves open; here it is `numerics.saturated`: the nearest end of the range,
0 for NaN. Integers never pass through half. (The importer turns CastLike into Cast.)
Of https://onnx.ai/onnx/operators/onnx__BitCast.html no bits become booleans here, because a byte
may be neither 0 nor 1.

Narrow formats: every value, whatever its dtype, is rounded to them once. With `saturate` (the
default) what is too large for an 8-bit float is its largest number, else infinity, or NaN where it
has none; bfloat16 has infinities, and float4e2m1 always saturates. float8e8m0 holds the powers of
two: `round_mode` says which, of the magnitude; 0 is its smallest with `saturate`, else NaN. Left
open by ONNX, and as its own cases have it: integers of 2 and 4 bits get the low bits of the
truncated number (0 of infinities and NaN), and float4e2m1 gets 0 of NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ml_dtypes
import numpy as np

from engine.errors import ShapeError, UnsupportedError
from engine.ir.types import (
    ALL_DTYPES,
    BFLOAT16,
    BOOL,
    DOUBLE,
    FLOAT,
    FLOAT4E2M1,
    FLOAT8E8M0,
    FLOAT16,
    FLOATS,
    FLOATS8,
    INT32,
    INT64,
    NARROW,
    NARROW_FLOATS,
    NARROW_INTEGERS,
    STRING,
    TensorType,
    element_bits,
)
from engine.ops.neighbours import NEIGHBOURS
from engine.ops.numerics import Error, Units, exact, finite, saturated
from engine.ops.operands import check_dtype
from engine.ops.spec import HERE, Arrays, Attributes, Call, Choose, Growth, Operand, OpSpec, Reject

DTYPES: dict[int, np.dtype] = {
    1: FLOAT,
    10: FLOAT16,
    11: DOUBLE,
    9: BOOL,
    **{k: np.dtype(n) for k, n in {2: "u1", 4: "u2", 12: "u4", 13: "u8"}.items()},
    **{k: np.dtype(n) for k, n in {3: "i1", 5: "i2", 6: "i4", 7: "i8"}.items()},
    16: BFLOAT16,
    17: np.dtype(ml_dtypes.float8_e4m3fn),
    18: np.dtype(ml_dtypes.float8_e4m3fnuz),
    19: np.dtype(ml_dtypes.float8_e5m2),
    20: np.dtype(ml_dtypes.float8_e5m2fnuz),
    21: np.dtype(ml_dtypes.uint4),
    22: np.dtype(ml_dtypes.int4),
    23: FLOAT4E2M1,
    24: FLOAT8E8M0,
    25: np.dtype(ml_dtypes.uint2),
    26: np.dtype(ml_dtypes.int2),
}
"""NumPy dtypes of numbers and booleans, by the numbers of onnx.TensorProto.DataType."""
NUMBERS = {dtype: number for number, dtype in DTYPES.items()}
ELEMENT_TYPES = {**DTYPES, 8: STRING}
"""All that tensors may be of: strings are not cast."""


def target(attributes: Attributes, op: str = "Cast") -> np.dtype:
    """The dtype that attribute `to` names; raises UnsupportedError."""
    number = int(attributes["to"])
    if number not in DTYPES:
        names = ", ".join(sorted(d.name for d in DTYPES.values()))
        raise UnsupportedError(f"{op}: to={number} is not supported, expected one of {names}")
    return DTYPES[number]


ROUND_MODES = ("up", "down", "nearest")


def saturates(attributes: Attributes) -> bool:
    """Whether what an 8-bit float cannot hold becomes its largest number."""
    return bool(attributes.get("saturate", 1))


def round_mode(attributes: Attributes) -> str:
    """How a number becomes a power of two; raises ShapeError."""
    mode = str(attributes.get("round_mode", "up"))
    if mode not in ROUND_MODES:
        raise ShapeError(f"Cast: round_mode={mode!r}, expected one of {', '.join(ROUND_MODES)}")
    return mode


def _convert(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    to = target(attributes)
    if x.dtype in NARROW:
        x = x.astype(np.int8 if x.dtype in NARROW_INTEGERS else np.float64)
    with np.errstate(all="ignore"):
        if to == FLOAT8E8M0:
            return _power_of_two(_wide(x), saturates(attributes), round_mode(attributes))
        if to in NARROW_FLOATS:
            return _narrowed(_wide(x), to, to == FLOAT4E2M1 or saturates(attributes))
        if to in NARROW_INTEGERS:
            return _low_bits(x, element_bits(to)).astype(to)
        if x.dtype.kind == "f" and to.kind in "iu":
            return saturated(x, to)
        y = x.astype(to)
    return y.astype(np.float64) if to in FLOATS else y


def _wide(x: np.ndarray) -> np.ndarray:
    """As float64; of integers beyond 2^53 what is lost leaves a bit, for one rounding in all."""
    wide = x.astype(np.float64)
    if x.dtype.kind not in "iu" or x.dtype.itemsize < 8:
        return wide
    lost = x & x.dtype.type(0xFFF)
    sticky = (x - lost) + np.where(lost, 0x800, 0).astype(x.dtype)
    return np.where(np.abs(wide) < 2.0**53, wide, sticky.astype(np.float64))


def _narrowed(x: np.ndarray, to: np.dtype, saturate: bool) -> np.ndarray:
    """To nearest, ties to even: whole multiples of a unit in the last place, which x's power has.

    Too large is what is so after rounding with as many exponents as it takes.
    """
    info = ml_dtypes.finfo(to)
    least, most = int(info.minexp), float(info.max)
    unit = np.ldexp(1.0, np.maximum(np.frexp(x)[1] - 1, least) - int(info.nmant))
    y = np.where(np.isfinite(x), np.rint(x / unit) * unit, x)
    if to == BFLOAT16 or not saturate:
        has_infinity = bool(np.isinf(np.array(np.inf).astype(to)))
        beyond = np.copysign(np.inf if has_infinity else np.nan, y)
        return np.where(np.abs(y) > most, beyond, y)
    return np.where(np.isnan(x), 0.0 if to == FLOAT4E2M1 else np.nan, np.clip(y, -most, most))


def _power_of_two(x: np.ndarray, saturate: bool, mode: str) -> np.ndarray:
    least, most = 2.0**-127, 2.0**127
    fraction, exponent = np.frexp(np.abs(x))  # 0.5 is a power of two, 1 the next
    up = {"up": fraction > 0.5, "down": fraction >= 1, "nearest": fraction >= 0.75}[mode]
    y = np.where(np.isfinite(x), np.ldexp(0.5, exponent + up), np.abs(x))
    if saturate:
        return np.where(np.abs(x) < least, least, np.minimum(y, most))
    return np.where((np.abs(x) < least) | (y > most), np.nan, y)


def _low_bits(x: np.ndarray, bits: int) -> np.ndarray:
    """As int64, of any sign: a conversion to an integer of so many bits cuts the rest off."""
    if x.dtype.kind == "f":
        x = np.where(np.isfinite(x), np.fmod(np.trunc(x), 2.0**bits), 0.0)
    return x.astype(np.int64)


def _error(y: np.ndarray, to: np.dtype, units: Units) -> tuple[Error, ...]:
    """Exact; where memory is narrower than the target, one rounding to it (and one to float)."""
    if to not in FLOATS or units.storage.itemsize >= to.itemsize:
        return exact(y)
    a, u = finite(y), units.u_storage or units.u_compute
    sigma = np.hypot(a * u / np.sqrt(3), units.floor)
    return (Error(sigma, a * u * (1 + 2.0**-10) + units.floor),)


_USUAL = (FLOAT, *(d for d in DTYPES.values() if d not in NARROW | {FLOAT}))
_NARROW = (BFLOAT16, *(d for d in DTYPES.values() if d in NARROW - {BFLOAT16}))
_PAIRS = (*[(_USUAL, _USUAL)] * 3, (_USUAL, _NARROW), (_NARROW, _USUAL))


def _example(choose: Choose) -> Call:
    """Small numbers, floats with fractions; or any, far beyond the range of every integer."""
    shape, (sources, targets) = choose.shape((0, 4)), choose.one_of(_PAIRS)
    dtype = choose.one_of(sources)
    attributes = _to_drawn(choose, targets)
    if dtype == BOOL:
        return Call((choose.tensor(shape, FLOAT, -1.0, 1.0) > 0,), attributes)
    size = choose.one_of((100.0, 2.0**65))
    if dtype not in NARROW:
        return Call((choose.tensor(shape, dtype, -size, size),), attributes)
    with np.errstate(all="ignore"):
        return Call((choose.tensor(shape, FLOAT, -size, size).astype(dtype),), attributes)


def _to_drawn(choose: Choose, dtypes: Sequence[np.dtype]) -> Attributes:
    to = choose.one_of(dtypes)
    more: dict[str, int | str] = {}
    if to in FLOATS8 | {FLOAT8E8M0}:
        more["saturate"] = choose.integer(0, 1)
    if to == FLOAT8E8M0:
        more["round_mode"] = choose.one_of(ROUND_MODES)
    return {"to": NUMBERS[to], **more}


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


def _around(to: np.dtype, source: np.dtype, **more: int | str) -> Callable[[], Call]:
    """Every power of two of a format, its neighbours, what lies halfway, and what is beyond."""

    def call() -> Call:
        info = ml_dtypes.finfo(to)
        least = int(info.minexp) - int(info.nmant) - 2
        powers = np.ldexp(1.0, np.arange(least, int(info.maxexp) + 2))
        steps = float(info.eps) * np.array([0, 0.5, 1, 1.5, 0.5 + 2.0**-9, 0.5 - 2.0**-9, -0.25])
        odd = [0.0, np.nan, np.inf, float(info.max), 0.75, 7.0]
        values = np.concatenate([np.outer(powers, 1 + steps).reshape(-1), odd])
        with np.errstate(all="ignore"):
            drawn = np.concatenate([values, -values]).astype(source)
        return Call((drawn,), {"to": NUMBERS[to], **more})

    return call


def _infer(inputs: Sequence[Operand | None], attributes: Attributes) -> tuple[TensorType, ...]:
    x = inputs[0]
    if x is None:
        raise ShapeError("Cast: input is missing")
    check_dtype("Cast", x.type.dtype, DTYPES.values())
    round_mode(attributes)
    return (TensorType(target(attributes), x.type.shape),)


def _cast(inputs: Arrays, attributes: Attributes) -> tuple[np.ndarray, ...]:
    return (_convert(np.asarray(inputs[0]), attributes),)


def _cast_grow(choose: Choose, x: TensorType) -> Growth | None:
    return None if x.dtype in (FLOAT, STRING) else Growth((HERE,), {"to": NUMBERS[FLOAT]})


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
        lambda: _edge([2**62 + 2**54 + 1, 2**62 + 2**54, -(2**62) - 2**54 - 1], "i8", BFLOAT16),
        lambda: _edge([1 + 2.0**-8 + 2.0**-40, 1 + 2.0**-8, 1e300, -1e-300], "f8", BFLOAT16),
        lambda: _edge([1 + 2.0**-4 + 2.0**-40, 1 + 2.0**-4], "f8", DTYPES[17]),
        lambda: _edge([200, -3, 8, -9, 2**40 + 7], "i8", DTYPES[22]),
        lambda: _edge([-9.5, 8.0, 1e9, 2.0**40, np.nan, np.inf, -np.inf], "f4", DTYPES[22]),
        lambda: Call((np.arange(-8, 8).astype(DTYPES[22]),), {"to": NUMBERS[FLOAT16]}),
        _around(BFLOAT16, FLOAT),
        lambda: Call((np.arange(65536, dtype=np.uint16).view(BFLOAT16),), {"to": 1}),
        *(
            _around(to, FLOAT, saturate=saturate)
            for to in sorted(FLOATS8, key=str)
            for saturate in (1, 0)
        ),
        _around(FLOAT4E2M1, FLOAT16),
        *(_around(FLOAT8E8M0, DOUBLE, round_mode=mode) for mode in ROUND_MODES),
        _around(FLOAT8E8M0, FLOAT, saturate=0, round_mode="nearest"),
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
    reads=("to", "saturate", "round_mode"),
)


# --------------------------------------------------------------------------- BitCast
_WIDE = (FLOAT, *(d for d in DTYPES.values() if d in ALL_DTYPES - {FLOAT}))


def _infer_bits(inputs: Sequence[Operand | None], attributes: Attributes) -> tuple[TensorType, ...]:
    x = inputs[0]
    if x is None:
        raise ShapeError("BitCast: input is missing")
    check_dtype("BitCast", x.type.dtype, ALL_DTYPES)
    to = target(attributes, "BitCast")
    check_dtype("BitCast", to, ALL_DTYPES, "output")
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
    dtype, shape = choose.one_of(_WIDE), choose.shape((0, 4))
    others = [d for d in _WIDE if d.itemsize == dtype.itemsize and d != BOOL]
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
