"""DFT: the discrete Fourier transform along one axis, of pairs (real, imaginary) in the last axis.

MelWeightMatrix: what brings the spectrum onto the mel scale.

Source: https://onnx.ai/onnx/operators/onnx__DFT.html, onnx__MelWeightMatrix.html and
onnx's reference evaluator. Inputs of DFT: x, dft_length, axis. The importer makes of an STFT the
DFT of its frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from engine.errors import ShapeError
from engine.ir.types import BFLOAT16, DOUBLE, FLOAT, FLOAT16, FLOATS, INT64, TensorType, check_dims
from engine.ops.cast import NUMBERS as DTYPE_NUMBERS
from engine.ops.cast import target
from engine.ops.numerics import (
    Error,
    Units,
    exact,
    finite,
    rounded,
    saturated,
    sum_of_products,
)
from engine.ops.operands import (
    INDEX_DTYPES,
    Ints,
    Operands,
    check_dtype,
    input_at,
    integers,
    known,
    known_integers,
    tensor,
    zeros,
)
from engine.ops.spec import Arrays, Attributes, Call, Choose, OpSpec, Reject

Array = np.ndarray


@dataclass(frozen=True)
class Transform:
    """One DFT.

    Attributes:
        length: N. read: how many elements of a line are; any others count as 0. made: how many are.
        mirrors: the line read is the first half of one whose other half is its conjugate.
        parts: 1 for real results.
    """

    axis: int
    length: int
    read: int
    made: int
    parts: int
    inverse: bool
    mirrors: bool


def transform_of(
    shape: Ints, length: Ints | None, axis: Ints | None, attributes: Attributes
) -> Transform:
    """Raises ShapeError for what ONNX does not define."""
    inverse, onesided = (bool(attributes.get(k, 0)) for k in ("inverse", "onesided"))
    for name, value in (("dft_length", length), ("axis", axis)):
        if value is not None and len(value) != 1:
            raise ShapeError(f"DFT: {name}={list(value)}, expected one number")
    rank, at = len(shape), -2 if axis is None else axis[0]
    if not -rank <= at < rank or at in (-1, rank - 1):
        raise ShapeError(f"DFT: axis={at} is no signal axis of an input of shape {shape}")
    at %= rank
    expected = (2,) if inverse and onesided else (1,) if onesided else (1, 2)
    if shape[-1] not in expected:
        raise ShapeError(
            f"DFT: an input of shape {shape} for inverse={int(inverse)} and "
            f"onesided={int(onesided)}, expected a last axis of {' or '.join(map(str, expected))}"
        )
    n = 2 * (shape[at] - 1) if inverse and onesided else shape[at]
    n = n if length is None else length[0]
    if n < 1:
        raise ShapeError(f"DFT: dft_length={n} for an input of shape {shape}, expected at least 1")
    half = n // 2 + 1
    return Transform(
        axis=at,
        length=n,
        read=min(shape[at], half if inverse and onesided else n),
        made=half if onesided and not inverse else n,
        parts=1 if inverse and onesided else 2,
        inverse=inverse,
        mirrors=inverse and onesided,
    )


def roots(n: int) -> tuple[Array, Array]:
    """Cosine and sine of 2 pi k/n for k < n; quarters of the circle are exact."""
    k = np.arange(n)
    angle = 2 * np.pi * k / n
    is_quarter = 4 * k % n == 0
    return tuple(np.where(is_quarter, np.rint(v), v) for v in (np.cos(angle), np.sin(angle)))  # type: ignore[return-value]


def mirror_weights(t: Transform) -> Array:
    """How often each element that is read counts: itself, and where mirrored its conjugate."""
    k = np.arange(t.read)
    return np.where(t.mirrors & (k > 0) & (2 * k != t.length), 2.0, 1.0)


def _infer(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    x = tensor("DFT", inputs, 0, "input")
    check_dtype("DFT", x.dtype, FLOATS)
    length = known_integers("DFT", inputs, 1, "dft_length")
    axis = known_integers("DFT", inputs, 2, "axis")
    t = transform_of(x.dims, length, axis, attributes)
    shape = (*x.dims[: t.axis], t.made, *x.dims[t.axis + 1 : -1], t.parts)
    check_dims(shape, "DFT")
    return (TensorType(x.dtype, shape),)


def given_transform(inputs: Sequence[Array | None], shape: Ints, a: Attributes) -> Transform:
    """The same from the arrays of inputs 1 and 2."""
    length, axis = (input_at(inputs, i) for i in (1, 2))
    return transform_of(
        tuple(shape),
        None if length is None else integers(length),
        None if axis is None else integers(axis),
        a,
    )


def _lines(x: Array, t: Transform) -> Array:
    """What is read, weighted, as (..., read) of complex numbers."""
    lines = np.moveaxis(x, t.axis, -2)[..., : t.read, :]
    whole = lines[..., 0] + 1j * (lines[..., 1] if x.shape[-1] == 2 else 0)
    return np.asarray(whole * mirror_weights(t))


def _placed(y: Array, t: Transform) -> Array:
    """(..., made) complex back to the axis, in parts."""
    parts = (y.real, y.imag)[: t.parts]
    return np.moveaxis(np.stack(parts, -1), -2, t.axis)


def _reference(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    x = np.asarray(inputs[0])
    t = given_transform(inputs, x.shape, attributes)
    cosine, sine = roots(t.length)
    root = cosine + (1j if t.inverse else -1j) * sine
    matrix = root[np.outer(np.arange(t.read), np.arange(t.made)) % t.length]
    y = _lines(x, t) @ matrix
    return (_placed(y / t.length if t.inverse else y, t),)


def _error(inputs: Arrays, attributes: Attributes, units: Units) -> tuple[Error, ...]:
    """A sum of two products for each element read, with rounded roots: one term more.

    In float at least. Every root counts as 1, which also covers a fast transform: there the error
    of each element travels with factors of that size, through fewer roundings. A line that holds an
    infinity or NaN has no bound: which of its results are NaN depends on the order.
    """
    x = np.asarray(inputs[0])
    t = given_transform(inputs, x.shape, attributes)
    (y,) = _reference(inputs, attributes)
    wide = replace(units, compute=FLOAT) if units.compute == FLOAT16 else units
    scale = 1 / t.length if t.inverse else 1.0
    lines = _lines(finite(x), t) * scale
    sizes = (lines.real + lines.imag).sum(-1, keepdims=True)
    squares = (lines.real**2 + lines.imag**2).sum(-1, keepdims=True)
    spread = np.ones(t.made) * (1 + 1j)
    magnitudes, quadratic = (_placed(v * spread, t) for v in (sizes, squares))
    error = sum_of_products(y, quadratic, magnitudes, 2 * t.read + 2, wide)
    with np.errstate(all="ignore"):
        is_open = ~np.isfinite(_lines(x, t)).all(-1, keepdims=True)
    bound = np.where(_placed(is_open * spread, t) != 0, np.inf, error.bound)
    return (Error(error.sigma, bound),)


def _example(choose: Choose) -> Call:
    dtype = choose.one_of((FLOAT, FLOAT16, DOUBLE))
    inverse, onesided = choose.integer(0, 1), choose.integer(0, 1)
    parts = (2 if inverse else 1) if onesided else choose.one_of((1, 2))
    shape = [choose.one_of((4, 2, 3, 5, 8, 9, 16, 17)) for _ in range(choose.integer(1, 3))]
    axis = choose.integer(0, len(shape) - 1)
    lengths = (None, shape[axis], shape[axis] + 3, max(1, shape[axis] - 2), 1)
    n = choose.one_of(lengths)
    x = choose.tensor((*shape, parts), dtype)
    named = choose.one_of((axis, axis - len(shape) - 1))
    default = axis == len(shape) - 1 and bool(choose.integer(0, 1))
    return Call(
        (
            x,
            None if n is None else np.array(n, choose.one_of((np.int64, np.int32))),
            None if default else np.array(named, np.int64),
        ),
        {"inverse": inverse, "onesided": onesided},
    )


def _call(x: Array, length: int | None = None, axis: int | None = None, **flags: int) -> Call:
    given = (None if v is None else np.array(v, np.int64) for v in (length, axis))
    return Call((x, *given), flags)


# --------------------------------------------------------------------------- MelWeightMatrix
NUMBERS = ("num_mel_bins", "dft_length", "sample_rate", "lower_edge_hertz", "upper_edge_hertz")


def corners_of(bins: int, length: int, rate: int, low: float, high: float) -> Array:
    """The bins of a spectrum at which triangles begin, peak and end: bins + 2 whole numbers.

    Evenly spaced on the mel scale, 2595 log10(1 + hertz / 700).
    """
    first, last = (2595 * np.log10(1 + np.array([low, high]) / 700)).tolist()
    mel = first + (last - first) / (bins + 2) * np.arange(bins + 2)
    return np.asarray(np.floor((length + 1) * 700 * (10 ** (mel / 2595) - 1) / rate))


def _infer_mel(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    op = "MelWeightMatrix"
    given = [known(op, inputs, i, name) for i, name in enumerate(NUMBERS)]
    for i, (v, name) in enumerate(zip(given, NUMBERS, strict=True)):
        if v is not None:
            check_dtype(op, v.dtype, INDEX_DTYPES if i < 3 else FLOATS | {BFLOAT16}, name)
    if any(v is None or v.size != 1 for v in given):
        raise ShapeError(f"{op}: {', '.join(NUMBERS)} must be one number each")
    bins, length, rate, low, high = (np.asarray(v).reshape(()).item() for v in given)
    if bins < 0 or length < 1 or rate < 1:
        raise ShapeError(f"{op}: num_mel_bins={bins}, dft_length={length}, sample_rate={rate}")
    shape = (length // 2 + 1, bins)
    check_dims(shape, op)
    check_dims((bins + 2,), op)
    with np.errstate(all="ignore"):
        corners = corners_of(bins, length, rate, low, high)
    if not ((corners >= 0) & (corners < shape[0])).all():
        raise ShapeError(
            f"{op}: edges of {low:g} and {high:g} hertz leave the {shape[0]} bins of a DFT of "
            f"{length} at {rate} hertz"
        )
    to = target({"to": attributes.get("output_datatype", 1)}, op)
    return (TensorType(to, shape),)


def mel_weights(inputs: Sequence[Array | None], attributes: Attributes) -> Array:
    """The triangles, in double: whole bins over whole bins, 1 at the peak.

    Peaks that lie before their beginnings, because the edges fall, are left out as others do.
    """
    bins, length, rate, low, high = (np.asarray(v).reshape(()).item() for v in inputs)
    corners = corners_of(bins, length, rate, low, high)
    weights, row = np.zeros((length // 2 + 1, bins)), np.arange(length // 2 + 1)
    for i in range(bins):
        left, peak, right = corners[i : i + 3]
        rising, falling = (row >= left) & (row < peak), (row >= peak) & (row < right)
        weights[rising, i] = (row[rising] - left) / max(peak - left, 1)
        weights[falling, i] = (right - row[falling]) / max(right - peak, 1)
        if peak >= left:
            weights[int(peak), i] = 1
    return weights


def _reference_mel(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    to, y = target({"to": attributes.get("output_datatype", 1)}), mel_weights(inputs, attributes)
    return (y if to in FLOATS else saturated(y, to),)


def _error_mel(inputs: Arrays, attributes: Attributes, units: Units) -> tuple[Error, ...]:
    """A quotient of whole numbers, rounded to the output; corners are exact or all is wrong."""
    (y,) = _reference_mel(inputs, attributes)
    return (rounded(y, units),) if y.dtype in FLOATS else exact(y)


def _example_mel(choose: Choose) -> Call:
    """Edges well inside what the DFT reaches, and corners away from whole bins."""
    numbers = (choose.integer(1, 9), choose.one_of((16, 9, 33, 512)), choose.one_of((8192, 16000)))
    edges = (choose.one_of((0.0, 100.0, 333.0)), choose.one_of((3500.0, 1000.0, 3999.0)))
    dtype = choose.one_of((np.int64, np.int32))
    inputs = [np.array(v, dtype) for v in numbers] + [np.array(v, np.float32) for v in edges]
    to = choose.one_of((FLOAT, DOUBLE, INT64))
    return Call(tuple(inputs), {"output_datatype": DTYPE_NUMBERS[to]})


def _mel(*numbers: float) -> Call:
    dtypes = (np.int64, np.int64, np.int64, np.float32, np.float32)
    return Call(tuple(np.array(v, d) for v, d in zip(numbers, dtypes, strict=True)))


SPECS: tuple[OpSpec, ...] = (
    OpSpec(
        "MelWeightMatrix",
        (5, 5),
        _infer_mel,
        _reference_mel,
        _error_mel,
        _example_mel,
        constant_inputs=frozenset(range(5)),
        edges=(
            lambda: _mel(8, 16, 8192, 0, 4096),
            lambda: _mel(3, 16, 8192, 1000, 1001),
            lambda: _mel(3, 64, 8192, 3000, 100),
        ),
        rejects=(
            Reject("beyond", lambda: _mel(8, 16, 8000, 0, 40000), "leave the 9 bins"),
            Reject("below", lambda: _mel(8, 16, 8000, -900, 4000), "leave the 9 bins"),
            Reject("rate", lambda: _mel(8, 16, 0, 0, 4000), "sample_rate=0"),
            Reject("bins", lambda: _mel(-8, 16, 8000, 0, 4000), "num_mel_bins=-8"),
            Reject("length", lambda: _mel(8, 0, 8000, 0, 4000), "dft_length=0"),
            Reject("size", lambda: _mel(2**40, 2**40, 8000, 0, 4000), "elements, more than"),
            Reject("no edge", lambda: _mel(8, 16, 8000, np.nan, 4000), "edges of nan"),
        ),
        reads=("output_datatype",),
    ),
    OpSpec(
        "DFT",
        (1, 3),
        _infer,
        _reference,
        _error,
        _example,
        constant_inputs=frozenset({1, 2}),
        edges=(
            lambda: _call(zeros(0, 4, 2)),
            lambda: _call(np.ones((1, 97, 1), np.float32), axis=1, onesided=1),
            lambda: _call(np.ones((5, 2), np.float32), 6, 0, inverse=1, onesided=1),
            lambda: _call(np.ones((5, 2), np.float32), 20, 0, inverse=1, onesided=1),
        ),
        rejects=(
            Reject("axis", lambda: _call(zeros(2, 4, 1), axis=2), "axis=2 is no signal"),
            Reject("from the end", lambda: _call(zeros(2, 4, 1), axis=-1), "axis=-1 is no signal"),
            Reject("parts", lambda: _call(zeros(2, 4, 3)), "last axis of 1 or 2"),
            Reject("complex", lambda: _call(zeros(2, 4, 2), onesided=1), "last axis of 1"),
            Reject("rank", lambda: _call(zeros(2)), "no signal axis"),
            Reject("length", lambda: _call(zeros(2, 4, 2), 0), "dft_length=0"),
            Reject("size", lambda: _call(zeros(1, 4, 2), 2**62), "elements, more than"),
            Reject(
                "lengths", lambda: Call((zeros(2, 4, 1), np.array([4, 4]))), "expected one number"
            ),
            Reject("nothing", partial(_call, zeros(2, 1, 2), inverse=1, onesided=1), "length=0"),
        ),
        flops=lambda inputs, outputs, _: outputs[0].size * (inputs[0].size if inputs[0] else 0),
        reads=("inverse", "onesided"),
    ),
)
