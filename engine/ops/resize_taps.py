"""Where every output position of a Resize reads, and with which weights: one table per axis.

Source: https://onnx.ai/onnx/operators/onnx__Resize.html and onnx's reference evaluator.
Coordinates are computed in double here, once; kernels on every device get the same tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.errors import ShapeError
from engine.ir.types import ELEMENTS_MAX, check_dims
from engine.ops.operands import Ints, normal_axes
from engine.ops.spec import Attributes

Array = np.ndarray
COORDINATES = (
    "half_pixel",
    "asymmetric",
    "align_corners",
    "pytorch_half_pixel",
    "half_pixel_symmetric",
    "tf_crop_and_resize",
)
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
MODES = ("nearest", "linear", "cubic")
POLICIES = ("stretch", "not_larger", "not_smaller")
CHOICES = {
    "mode": MODES,
    "coordinate_transformation_mode": COORDINATES,
    "nearest_mode": NEAREST,
    "keep_aspect_ratio_policy": POLICIES,
}


@dataclass(frozen=True)
class AxisTaps:
    """How one axis is resampled.

    Attributes:
        indices: (outputs, K) int64, inside the input. weights: (outputs, K) float64.
        outside: (outputs,) bool, True where tf_crop_and_resize extrapolates.
    """

    axis: int
    indices: Array
    weights: Array
    outside: Array


@dataclass(frozen=True)
class Extents:
    """Output shape, and for every axis the scale that coordinates use."""

    shape: Ints
    scales: tuple[float, ...]
    axes: Ints


def _choice(attributes: Attributes, name: str, options: Sequence[str]) -> str:
    value = str(attributes.get(name, options[0]))
    if value not in options:
        raise ShapeError(f"Resize: {name}={value!r} is not one of {', '.join(options)}")
    return value


def _entries(name: str, values: Array, count: int) -> list[float]:
    given = [float(v) for v in values.ravel()]
    if (
        len(given) != count
        or not all(map(math.isfinite, given))
        or (min(given, default=1) <= 0 and name == "scales")
        or min(given, default=0) < 0
    ):
        raise ShapeError(f"Resize: {name}={given}, expected {count} positive, finite entries")
    return given


def _check_extent(axis: int, extent: float) -> None:
    if not extent <= ELEMENTS_MAX:
        raise ShapeError(f"Resize: axis {axis} becomes {extent:g}, more than {ELEMENTS_MAX}")


def extents(x: Ints, scales: Array | None, sizes: Array | None, attributes: Attributes) -> Extents:
    """The output shape; empty arrays count as omitted."""
    axes = attributes.get("axes")
    normal = normal_axes("Resize", range(len(x)) if axes is None else axes, len(x), x)
    factors, shape = [1.0] * len(x), list(x)
    has_scales, has_sizes = (v is not None and v.size > 0 for v in (scales, sizes))
    if has_scales == has_sizes and len(normal) > 0:
        raise ShapeError("Resize: exactly one of scales and sizes must be given")
    if has_scales:
        assert scales is not None
        for axis, scale in zip(normal, _entries("scales", scales, len(normal)), strict=True):
            factors[axis] = scale
            _check_extent(axis, x[axis] * scale)
            shape[axis] = math.floor(np.float32(x[axis]) * np.float32(scale))
    elif has_sizes:
        assert sizes is not None
        wanted = _entries("sizes", sizes, len(normal))
        ratios = [w / max(x[a], 1) for a, w in zip(normal, wanted, strict=True)]
        policy = _choice(attributes, "keep_aspect_ratio_policy", POLICIES)
        if policy != "stretch":
            common = (min if policy == "not_larger" else max)(ratios)
            ratios = [common] * len(ratios)
            wanted = [math.floor(common * x[a] + 0.5) for a in normal]
        for axis, size in zip(normal, wanted, strict=True):
            _check_extent(axis, size)
        for axis, ratio, size in zip(normal, ratios, wanted, strict=True):
            factors[axis], shape[axis] = ratio, int(size)
    check_dims(shape, "Resize")
    if any(n == 0 and m > 0 for n, m in zip(x, shape, strict=True)):
        raise ShapeError(f"Resize: an input of shape {x} has nothing to fill {tuple(shape)} from")
    return Extents(tuple(shape), tuple(factors), normal)


def _coordinates(
    mode: str, size: int, outputs: int, scale: float, roi: tuple[float, float]
) -> Array:
    """Position in the input of every output index, as a real number.

    half_pixel_symmetric is rearranged around the centre, and divides once: a place that is a pixel
    must not come out as a little more.
    """
    i = np.arange(outputs, dtype=np.float64)
    width = scale * size
    if mode == "align_corners":
        return np.zeros(outputs) if width == 1 else i * (size - 1) / (width - 1)
    if mode == "asymmetric":
        return i / scale
    if mode == "tf_crop_and_resize":
        begin, end = roi
        span = (end - begin) * (size - 1)
        start = begin * (size - 1)
        return np.full(outputs, span / 2) + start if width == 1 else i * span / (width - 1) + start
    if mode == "pytorch_half_pixel" and width == 1:
        return np.full(outputs, -0.5)
    if mode == "half_pixel_symmetric" and width:
        steps = i + 0.5 - outputs / 2
        return (size - 1) / 2 + (
            steps * size / outputs if scale == outputs / size else steps / scale
        )
    return (i + 0.5) / scale - 0.5


def _cubic(a: float) -> Callable[[Array], Array]:
    """Keys' kernel, support 2 (R. Keys, IEEE Trans. ASSP 29, 1981)."""

    def weight(distance: Array) -> Array:
        d = np.abs(distance)
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        return np.asarray(np.where(d <= 1, near, np.where(d < 2, far, 0.0)))

    return weight


def _triangle(distance: Array) -> Array:
    return np.asarray(np.maximum(0.0, 1 - np.abs(distance)))


_ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _taps(
    axis: int, size: int, outputs: int, scale: float, roi: tuple[float, float], a: Attributes
) -> AxisTaps:
    mode, how = _choice(a, "mode", MODES), _choice(a, "coordinate_transformation_mode", COORDINATES)
    x = _coordinates(how, size, outputs, scale, roi)
    if not np.isfinite(x).all():
        raise ShapeError(f"Resize: scale {scale} and roi {roi} of axis {axis} lead to no position")
    outside = ((x < 0) | (x > size - 1)) & (how == "tf_crop_and_resize")
    if mode == "nearest":
        index = _ROUNDINGS[_choice(a, "nearest_mode", NEAREST)](x)
        indices = np.clip(index, 0, size - 1).astype(np.int64)[:, None]
        return AxisTaps(axis, indices, np.ones((outputs, 1)), outside)
    kernel = _triangle if mode == "linear" else _cubic(float(a.get("cubic_coeff_a", -0.75)))
    support = 1 if mode == "linear" else 2
    shrink = min(scale, 1.0) if a.get("antialias", 0) and outputs else 1.0
    first = math.floor(-support / shrink) + 1
    base = np.ceil(x) - 1  # the fraction lies in (0, 1], as in onnx's reference
    offsets = np.arange(first, 2 - first if shrink < 1 else 1 + support)
    weights = kernel((offsets[None] - (x - base)[:, None]) * shrink)
    raw = base[:, None] + offsets[None]
    if a.get("exclude_outside", 0):
        weights = np.where((raw < 0) | (raw >= size), 0.0, weights)
    if a.get("exclude_outside", 0) or shrink < 1:
        weights = weights / weights.sum(axis=1, keepdims=True)
    return AxisTaps(axis, np.clip(raw, 0, size - 1).astype(np.int64), weights, outside)


def resized_shape(
    x: Ints, roi: Array | None, scales: Array | None, sizes: Array | None, attributes: Attributes
) -> Ints:
    """The output shape, without the tables that go with it; raises ShapeError."""
    for name, options in CHOICES.items():
        _choice(attributes, name, options)
    plan = extents(x, scales, sizes, attributes)
    _ranges(len(x), plan, roi, attributes)
    return plan.shape


def _ranges(
    rank: int, plan: Extents, roi: Array | None, attributes: Attributes
) -> dict[int, tuple[float, float]]:
    """The part of each axis that tf_crop_and_resize reads; all of it in every other mode."""
    ranges = dict.fromkeys(range(rank), (0.0, 1.0))
    if attributes.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        count = len(plan.axes)
        if roi is None or roi.size != 2 * count:
            raise ShapeError(f"Resize: tf_crop_and_resize needs a roi of {2 * count} entries")
        flat = roi.astype(np.float64).ravel()
        if not np.isfinite(flat).all():
            raise ShapeError(f"Resize: roi={flat.tolist()}, expected finite entries")
        ranges |= {axis: (flat[i], flat[i + count]) for i, axis in enumerate(plan.axes)}
    return ranges


def resize_taps(
    x: Ints, roi: Array | None, scales: Array | None, sizes: Array | None, attributes: Attributes
) -> tuple[Ints, tuple[AxisTaps, ...]]:
    """(output shape, taps of every axis that changes; none where y is empty); raises ShapeError."""
    plan = extents(x, scales, sizes, attributes)
    ranges = _ranges(len(x), plan, roi, attributes)
    if 0 in plan.shape:
        return plan.shape, ()
    crops = attributes.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    taps = tuple(
        _taps(axis, x[axis], plan.shape[axis], plan.scales[axis], ranges[axis], attributes)
        for axis in range(len(x))
        if (crops and ranges[axis] != (0.0, 1.0))
        or plan.scales[axis] != 1
        or x[axis] != plan.shape[axis]
    )
    return plan.shape, taps
