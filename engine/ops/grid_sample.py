"""GridSample: values of an image at given positions, between and beyond its pixels.

Source: https://onnx.ai/onnx/operators/onnx__GridSample.html and onnx's reference evaluator. A
position counts from -1 to 1 along each axis, the innermost axis first; one that is NaN counts as
-1, as in PyTorch, and none lies further out than 2^20.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.errors import ShapeError, UnsupportedError
from engine.ir.types import DOUBLE, FLOAT, FLOAT16, FLOATS, TensorType, dtype_name
from engine.ops.numerics import Error, Units, finite, magnified, where_settled
from engine.ops.operands import Operands, check_dtype, tensor, zeros
from engine.ops.spec import Arrays, Attributes, Call, Choose, Law, OpSpec, Reject

Array = np.ndarray
MODES = ("linear", "nearest", "cubic")
PADDINGS = ("zeros", "border", "reflection")
FURTHEST = 2.0**20
CUBIC_A = -0.75
"""Of Keys' kernel (IEEE Trans. ASSP 29, 1981)."""


@dataclass(frozen=True)
class Taps:
    """Where K taps along one axis read, for every position.

    Attributes:
        places: real positions, before anything beyond the border is moved.
        indices: (K, ...) int64, inside the axis. weights: (K, ...).
        inside: (K, ...) bool, False where a zero is read instead.
    """

    places: Array
    indices: Array
    weights: Array
    inside: Array


def choice(attributes: Attributes, name: str, options: Sequence[str]) -> str:
    """A text attribute, by default the first option; raises ShapeError for any other."""
    value = str(attributes.get(name, options[0]))
    if value not in options:
        raise ShapeError(f"GridSample: {name}={value!r} is not one of {', '.join(options)}")
    return value


def _infer(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    x, grid = tensor("GridSample", inputs, 0, "X"), tensor("GridSample", inputs, 1, "grid")
    check_dtype("GridSample", x.dtype, FLOATS, "X")
    choice(attributes, "mode", MODES)
    choice(attributes, "padding_mode", PADDINGS)
    if grid.dtype != x.dtype:
        raise UnsupportedError(
            f"GridSample: X is {dtype_name(x.dtype)} and grid {dtype_name(grid.dtype)}; only one "
            "dtype for both is supported"
        )
    axes = len(x.dims) - 2
    if axes < 1 or len(grid.dims) != axes + 2 or grid.dims[-1] != axes:
        raise ShapeError(
            f"GridSample: X has shape {x.dims} and grid {grid.dims}, expected (N, C, D1...Dr) and "
            "(N, E1...Er, r)"
        )
    if grid.dims[0] != x.dims[0]:
        raise ShapeError(f"GridSample: X has {x.dims[0]} images, grid is for {grid.dims[0]}")
    shape = (*x.dims[:2], *grid.dims[1:-1])
    if 0 in x.dims[2:] and 0 not in shape:
        raise ShapeError(f"GridSample: X of shape {x.dims} has no pixels to read")
    return (TensorType(x.dtype, shape),)


# --------------------------------------------------------------------------- positions
def _folded(places: Array, low: float, span: float) -> Array:
    """Reflected at low and low + span until between them."""
    if span == 0:
        return np.zeros_like(places)
    rest = np.fmod(np.abs(places - low), 2 * span)
    return np.asarray(low + np.where(rest > span, 2 * span - rest, rest))


def _cubic(distance: Array) -> Array:
    """Keys' kernel, support 2."""
    a, d = CUBIC_A, np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.asarray(np.where(d <= 1, near, far))


def taps_along(grid: Array, size: int, attributes: Attributes) -> Taps:
    """The taps along an axis of `size` pixels, computed in the dtype of the positions."""
    mode = choice(attributes, "mode", MODES)
    padding = choice(attributes, "padding_mode", PADDINGS)
    aligned = bool(attributes.get("align_corners", 0))
    g = np.clip(np.where(np.isnan(grid), -1, grid), -FURTHEST, FURTHEST).astype(grid.dtype)
    places = ((g + 1) * (size - 1)) / 2 if aligned else ((g + 1) * size - 1) / 2
    low, span = (0.0, size - 1.0) if aligned else (-0.5, float(size))
    at = np.rint(places) if mode == "nearest" else places
    beyond = (at < low) | (at > low + span)
    if padding == "border" and mode != "cubic":
        at = np.where(beyond, np.clip(at, 0, size - 1), at)
    elif padding == "reflection":
        at = np.where(beyond, _folded(at, low, span), at).astype(grid.dtype)
    base = np.floor(at)
    offsets = {"nearest": (0,), "linear": (0, 1), "cubic": (-1, 0, 1, 2)}[mode]
    indices = np.stack([base.astype(np.int64) + k for k in offsets])
    t = at - base
    if mode == "nearest":
        weights = np.ones((1, *at.shape), at.dtype)
    elif mode == "linear":
        weights = np.stack([1 - t, t])
    else:
        weights = np.stack([_cubic(k - t) for k in offsets])
    inside = (indices >= 0) & (indices < size)
    if padding == "reflection":
        indices = _folded(indices.astype(np.float64), low, span).astype(np.int64)
    inside |= padding != "zeros"
    return Taps(places, np.clip(indices, 0, size - 1), weights.astype(grid.dtype), inside)


def sample(x: Array, grid: Array, attributes: Attributes, *, absolute: bool = False) -> Array:
    """The sum over all combinations of taps; with `absolute`, of absolute values."""
    n, channels, *sizes = x.shape
    flat = x.reshape(n, channels, math.prod(sizes))
    axes = [taps_along(grid[..., -1 - k], e, attributes) for k, e in enumerate(sizes)]
    y = np.zeros((n, channels, *grid.shape[1:-1]), x.dtype)
    if not y.size:
        return y
    for chosen in itertools.product(*(range(len(t.weights)) for t in axes)):
        index = np.zeros(grid.shape[:-1], np.int64)
        weight, inside = np.ones(grid.shape[:-1], x.dtype), np.ones(grid.shape[:-1], np.bool_)
        for t, k, size in zip(axes, chosen, sizes, strict=True):
            index, inside = index * size + t.indices[k], inside & t.inside[k]
            weight = weight * t.weights[k]
        pixels = np.take_along_axis(flat, index.reshape(n, 1, -1), 2).reshape(y.shape)
        read = np.where(inside[:, None], pixels, 0)
        y += np.abs(read * weight[:, None]) if absolute else read * weight[:, None]
    return y


def _reference(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    x, grid = inputs
    with np.errstate(all="ignore"):
        return (sample(np.asarray(x), np.asarray(grid), attributes),)


# --------------------------------------------------------------------------- errors
def _slack(grid: Array, size: int, attributes: Attributes, u: float) -> Array:
    """What a position may be off: three roundings of (|g| + 1) size / 2 + 1, four where folded.

    0 where all steps are exact in any order: multiples of 2^-9 that fit the format.
    """
    g = np.minimum(np.abs(np.where(np.isnan(grid), -1, grid)), FURTHEST)
    magnitude = (g + 1) * size / 2 + 1
    folds = attributes.get("padding_mode", "zeros") == "reflection"
    slack = u * (4 * magnitude + 2 * size + 2 if folds else 3 * magnitude + 1)
    is_coarse = (g * 2**8 == np.rint(g * 2**8)) & ((g + 2) * (size + 2) * 2**10 < 1 / u)
    return np.asarray(np.where(is_coarse, 0.0, slack))


def _jumps(places: Array, slack: Array) -> Array:
    """Bool: so near between two pixels, of which the nearest is taken, that it may be the other."""
    away = np.abs(places - np.floor(places) - 0.5)
    return np.asarray((slack > 0) & (away <= slack))


def _error(inputs: Arrays, attributes: Attributes, units: Units) -> tuple[Error, ...]:
    """Computed in float at least. With K taps along each of r axes, and M the largest pixel:

    - products and sums: (K^r + 2r) roundings of S, the sum of the absolute products;
    - weights: each off by 2u (linear: a difference, twice) or 40u (cubic: Horner's scheme, whose
      roundings are magnified by distances up to 2), hence r K L^(r-1) times that of M, with L the
      largest sum of absolute weights, 1 or 1.375;
    - positions: the slack times D L^(r-1) M, with D the largest sum of absolute slopes, 2 or 3;
    - where the result jumps, all that pixels can differ by.
    """
    x, grid = (np.asarray(i) for i in inputs)
    (y,) = _reference(inputs, attributes)
    wide = replace(units, compute=FLOAT) if units.compute == FLOAT16 else units
    mode, sizes = attributes.get("mode", "linear"), x.shape[2:]
    taps, off, total, slope = {
        "nearest": (1, 0.0, 1.0, 0.0),
        "linear": (2, 2.0, 1.0, 2.0),
        "cubic": (4, 40.0, 1.375, 3.0),
    }[mode]
    largest = finite(x).max(tuple(range(2, x.ndim)), initial=0.0)
    largest = largest.reshape(*x.shape[:2], *[1] * len(sizes)) * np.ones(y.shape)
    moved, jumps = np.zeros(grid.shape[:-1]), np.zeros(grid.shape[:-1], np.bool_)
    for k, size in enumerate(sizes):
        g = grid[..., -1 - k]
        slack = _slack(g, size, attributes, wide.u_compute)
        moved = moved + slack / wide.u_compute
        if mode == "nearest":
            jumps |= _jumps(taps_along(g, size, attributes).places, slack)
    beyond = np.where(jumps[:, None], 2 * total ** len(sizes) * largest, 0.0)
    results = _beside(x, grid, attributes, wide.u_compute)
    if mode == "nearest":
        return (where_settled(Error(beyond, beyond), results),)
    with np.errstate(all="ignore"):
        s = sample(x, grid, attributes, absolute=True)
    r, rest = len(sizes), total ** (len(sizes) - 1)
    steps = (taps**r + 2 * r) * s + rest * largest * (r * taps * off + slope * moved[:, None])
    found = magnified(y, steps, wide)
    error = Error(found.sigma + beyond, found.bound + beyond + taps**r * units.floor)
    return (where_settled(error, results),)


def _beside(x: Array, grid: Array, attributes: Attributes, u: float) -> Iterator[Array]:
    """The result, and where some pixels are no numbers those of positions to either side."""
    sizes = x.shape[:1:-1]
    steps = [2 * _slack(grid[..., k], e, attributes, u) / max(e, 1) for k, e in enumerate(sizes)]
    yield _reference((x, grid), attributes)[0]
    if np.isfinite(x).all():
        return
    for signs in itertools.product((-1, 0, 1), repeat=len(sizes)):
        aside = np.stack([sign * step for sign, step in zip(signs, steps)], -1)
        yield _reference((x, grid + aside), attributes)[0]


# --------------------------------------------------------------------------- calls
def _example(choose: Choose) -> Call:
    """Positions anywhere, many of them beyond the border, and whole ones on and between pixels."""
    axes = choose.one_of((2, 3, 1))
    dtype = choose.one_of((FLOAT, FLOAT16, DOUBLE))
    sides = (4, 1, 2, 3, 7, 16) if axes < 3 else (2, 1, 3, 4)
    shape = (choose.integer(1, 2), choose.one_of((1, 3, 16)), *_some(choose, axes, sides))
    points = _some(choose, axes, (3, 1, 2, 5, 17) if axes < 3 else (2, 1, 3))
    reach = choose.one_of((1.0, 1.5, 4.0, 100.0))
    grid = choose.tensor((shape[0], *points, axes), dtype, -reach, reach)
    if choose.integer(0, 3) == 3:
        grid = (np.rint(grid * 16) / 16).astype(dtype)
    attributes = {
        "mode": choose.one_of(MODES),
        "padding_mode": choose.one_of(PADDINGS),
        "align_corners": choose.integer(0, 1),
    }
    return Call((choose.tensor(shape, dtype), grid), attributes)


def _some(choose: Choose, count: int, sides: Sequence[int]) -> tuple[int, ...]:
    return tuple(choose.one_of(sides) for _ in range(count))


def _edge(mode: str, padding: str, aligned: int, size: int = 4) -> Call:
    """Every quarter of a pixel from far below to far above, all of them exact in half."""
    x = np.arange(2.0 * size * 3, dtype=np.float32).reshape(1, 2, size, 3) ** 2 % 31
    line = np.arange(-3, 3.03125, 1 / 32)
    odd = [1e30, -1e30, np.inf, -np.inf, np.nan]
    down = np.array([*line, *odd], np.float32)
    across = np.where(np.arange(down.size) % 2, 0.5, -0.25)
    grid = np.stack([across, down], -1).astype(np.float32)[None, None]
    return Call((x, grid), {"mode": mode, "padding_mode": padding, "align_corners": aligned})


def _beside_nan(mode: str, position: float, pixel: int) -> Call:
    """In float the position is another one, and the pixel that is no number not read."""
    x = np.ones((1, 1, 1, 13), np.float32)
    x[..., pixel] = np.nan
    grid = np.array([position, 0.0], np.float32).reshape(1, 1, 1, 2)
    return Call((x, grid), {"mode": mode, "align_corners": 1})


def _flipped(call: Call) -> Call:
    x, grid = call.inputs
    assert x is not None
    return Call((np.flip(x, 1).copy(), grid), call.attributes)


def _call(x: Array, grid: Array, **attributes: object) -> Call:
    return Call((x, grid), attributes)


SPECS: tuple[OpSpec, ...] = (
    OpSpec(
        "GridSample",
        (2, 2),
        _infer,
        _reference,
        _error,
        _example,
        edges=(
            *(
                lambda mode=mode, padding=padding, aligned=aligned: _edge(mode, padding, aligned)
                for mode in MODES
                for padding in PADDINGS
                for aligned in (0, 1)
            ),
            lambda: _edge("cubic", "reflection", 1, size=1),
            lambda: _call(zeros(1, 2, 3, 3), zeros(1, 0, 2, 2)),
            lambda: _call(zeros(1, 0, 3, 0), zeros(1, 2, 2, 2)),
            lambda: _beside_nan("nearest", -0.0833333432674408, 5),
            lambda: _beside_nan("linear", -0.1666666865348816, 4),
        ),
        rejects=(
            Reject("mode", lambda: _call(zeros(1, 1, 2, 2), zeros(1, 1, 1, 2), mode="area"), "ar"),
            Reject(
                "padding",
                lambda: _call(zeros(1, 1, 2, 2), zeros(1, 1, 1, 2), padding_mode="wrap"),
                "padding_mode='wrap'",
            ),
            Reject("rank", lambda: _call(zeros(1, 1, 2, 2), zeros(1, 1, 1, 3)), "expected"),
            Reject(
                "axes of the grid", lambda: _call(zeros(1, 1, 2, 2), zeros(1, 1, 2)), "expected"
            ),
            Reject("no spatial axis", lambda: _call(zeros(1, 1), zeros(1, 0)), "expected"),
            Reject("images", lambda: _call(zeros(1, 1, 2, 2), zeros(2, 1, 1, 2)), "1 images"),
            Reject("nothing", lambda: _call(zeros(1, 1, 0, 2), zeros(1, 1, 1, 2)), "no pixels"),
            Reject(
                "dtypes", lambda: _call(zeros(1, 1, 2, 2), np.zeros((1, 1, 1, 2))), "float64; only"
            ),
        ),
        laws=(Law("channels reversed", _flipped, lambda c, y: np.flip(y, 1)),),
        flops=lambda inputs, outputs, a: (
            outputs[0].size
            * 2
            * {"nearest": 0, "cubic": 4}.get(a.get("mode", ""), 2) ** (len(outputs[0].shape) - 2)
        ),
        reads=("align_corners", "mode", "padding_mode"),
    ),
)
