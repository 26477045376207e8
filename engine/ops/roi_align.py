"""RoiAlign: regions of images, each divided into bins that are sampled between pixels.

Source: https://onnx.ai/onnx/operators/onnx__RoiAlign.html and onnx's reference evaluator. Inputs:
x, rois (x1, y1, x2, y2), batch_indices. No bin has more than 1024 samples along an axis.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.errors import ShapeError, UnsupportedError
from engine.ir.types import (
    DOUBLE,
    FLOAT,
    FLOAT16,
    FLOATS,
    INT64,
    TensorType,
    check_dims,
    dtype_name,
)
from engine.ops.gather import in_range
from engine.ops.numerics import Error, Units, finite, magnified
from engine.ops.operands import Operands, check_dtype, tensor, zeros
from engine.ops.spec import Arrays, Attributes, Call, Choose, OpSpec, Reject

Array = np.ndarray
BINS_MAX = 4096
"""Along an axis: what is known of each bin is held while a region is read."""
SAMPLES_MAX = 1024
MODES = ("avg", "max")
COORDINATES = ("half_pixel", "output_half_pixel")


@dataclass(frozen=True)
class Regions:
    """Attributes, settled."""

    pooled: tuple[int, int]
    ratio: int
    scale: float
    takes_largest: bool
    shift: float


def regions_of(attributes: Attributes) -> Regions:
    """Raises ShapeError for what ONNX does not define."""
    mode, how = attributes.get("mode", "avg"), "coordinate_transformation_mode"
    coordinates = attributes.get(how, COORDINATES[0])
    pooled = tuple(int(attributes.get(f"output_{k}", 1)) for k in ("height", "width"))
    ratio = int(attributes.get("sampling_ratio", 0))
    if mode not in MODES or coordinates not in COORDINATES:
        raise ShapeError(f"RoiAlign: mode={mode!r}, {how}={coordinates!r}; expected one of "
                         f"{', '.join(MODES)} and one of {', '.join(COORDINATES)}")  # fmt: skip
    if not 1 <= min(pooled) <= max(pooled) <= BINS_MAX or not 0 <= ratio <= SAMPLES_MAX:
        raise ShapeError(
            f"RoiAlign: output_height={pooled[0]}, output_width={pooled[1]} and "
            f"sampling_ratio={ratio}, expected 1 to {BINS_MAX} bins, and 0 to {SAMPLES_MAX} samples"
        )
    shift = 0.5 if coordinates == "half_pixel" else 0.0
    scale = float(attributes.get("spatial_scale", 1.0))
    return Regions((pooled[0], pooled[1]), ratio, scale, mode == "max", shift)


def _infer(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    op, r = "RoiAlign", regions_of(attributes)
    x, rois, batch = (
        tensor(op, inputs, i, n) for i, n in enumerate(("X", "rois", "batch_indices"))
    )
    check_dtype(op, x.dtype, FLOATS, "X")
    check_dtype(op, batch.dtype, frozenset({INT64}), "batch_indices")
    if rois.dtype != x.dtype:
        raise UnsupportedError(
            f"{op}: X is {dtype_name(x.dtype)}, rois are {dtype_name(rois.dtype)}"
        )
    if len(x.dims) != 4 or rois.dims[1:] != (4,) or batch.dims != rois.dims[:1]:
        raise ShapeError(
            f"{op}: X has shape {x.dims}, rois {rois.dims} and batch_indices {batch.dims}; "
            "expected (N, C, H, W), (R, 4) and (R,)"
        )
    shape = (rois.dims[0], x.dims[1], *r.pooled)
    check_dims(shape, op)
    if 0 not in shape and 0 in x.dims:
        raise ShapeError(f"{op}: X of shape {x.dims} has no pixels to read")
    return (TensorType(x.dtype, shape),)


@dataclass(frozen=True)
class Samples:
    """The samples of all bins of one region along one axis.

    Attributes:
        places: (bins, samples) real. inside: bool, False beyond the image, where a 0 is read.
        taps: for each of both pixels beside a sample, which one and its weight.
        size: of the region, in pixels.
    """

    places: Array
    inside: Array
    taps: tuple[tuple[Array, Array], tuple[Array, Array]]
    size: float

    @property
    def count(self) -> int:
        """Of a bin."""
        return int(self.places.shape[1])


def samples_along(ends: tuple[Any, Any], bins: int, extent: int, r: Regions) -> Samples:
    """In the dtype of the ends."""
    dtype = np.asarray(ends[0]).dtype.type
    start, end = (dtype(v * dtype(r.scale) - dtype(r.shift)) for v in ends)
    size = end - start if r.shift else max(end - start, dtype(1))
    step = size / dtype(bins)
    wanted = np.ceil(step) if np.isfinite(step) else 0
    count = r.ratio or int(min(max(wanted, 0), SAMPLES_MAX))
    bin_, sample = np.arange(bins, dtype=dtype)[:, None], np.arange(count, dtype=dtype)
    places = start + bin_ * step + (sample + dtype(0.5)) * step / dtype(max(count, 1))
    inside = (places >= -1) & (places <= extent)
    at = np.clip(np.where(inside, places, 0), 0, extent - 1)
    low = np.floor(at).astype(np.int64)
    t = at - low.astype(dtype)
    taps = (low, 1 - t), (np.minimum(low + 1, extent - 1), t)
    return Samples(places, inside, taps, float(size))


def each_region(inputs: Sequence[Any], r: Regions) -> Iterator[tuple[int, Array, Samples, Samples]]:
    """Its number, its image (C, H, W), and its samples along rows and columns."""
    x, rois, batch = (np.asarray(v) for v in inputs)
    if not x.size:
        return
    for i, image in enumerate(in_range("RoiAlign", batch, x.shape[0])):
        x1, y1, x2, y2 = rois[i]
        down = samples_along((y1, y2), r.pooled[0], x.shape[2], r)
        across = samples_along((x1, x2), r.pooled[1], x.shape[3], r)
        yield i, x[image], down, across


def pooled(inputs: Sequence[Any], attributes: Attributes) -> Array:
    """All regions, in the dtype of x."""
    r, (x, rois, _) = regions_of(attributes), inputs
    y = np.zeros((rois.shape[0], x.shape[1], *r.pooled), x.dtype)
    for i, image, down, across in each_region(inputs, r):
        count = down.count * across.count
        if not r.takes_largest:
            rows = _added_up(image.swapaxes(1, 2), down).swapaxes(1, 2)
            y[i] = _added_up(rows, across) / max(count, 1)
            continue
        for j in range(r.pooled[0] if count else 0):
            y[i, :, j] = _largest(image, down, across, j)
    return y


def _added_up(image: Array, s: Samples) -> Array:
    """(C, lines, bins) of (C, lines, extent): sums over the samples of each bin."""
    parts = (np.where(s.inside, image[:, :, index] * weight, 0) for index, weight in s.taps)
    return np.asarray(sum(part.sum(3) for part in parts))


def _largest(image: Array, down: Samples, across: Samples, j: int) -> Array:
    """(C, bins) of row j: the largest single weighted pixel of all samples."""
    inside, found = down.inside[j][:, None, None] & across.inside, []
    for row, above in down.taps:
        for column, beside in across.taps:
            pixels = image[:, row[j][:, None, None], column]
            weighted = pixels * above[j][:, None, None] * beside
            found.append(np.where(inside, weighted, 0).max((1, 3)))
    return np.asarray(np.max(found, axis=0))


def _reference(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    with np.errstate(all="ignore"):
        return (pooled([np.asarray(v) for v in inputs], attributes),)


def _error(inputs: Arrays, attributes: Attributes, units: Units) -> tuple[Error, ...]:
    """Computed in float at least; M the largest pixel of an image, n the samples of a bin.

    Sums of 4n products: 4n + 8 roundings of M; four weights, each two differences: 8 more. A place
    is off by 8u (|start| + |size| + 1), and the slope is at most 2M. Where a place lies that near
    the end of what is read, or the number of samples is that near the next, all may differ. So they
    may in an image with pixels that are no numbers, where a place is that near a pixel.
    """
    x, rois, _ = (np.asarray(v) for v in inputs)
    (y,), r = _reference(inputs, attributes), regions_of(attributes)
    wide = replace(units, compute=FLOAT) if units.compute == FLOAT16 else units
    steps, jumps = np.zeros(y.shape), np.zeros(y.shape)
    with np.errstate(all="ignore"):
        for i, image, down, across in each_region((x, rois, inputs[2]), r):
            largest = finite(image).max((1, 2), initial=0.0)[:, None, None]
            count, slack, jumpy = 1, 0.0, False
            is_open = not np.isfinite(image).all()
            for s, bins, extent, ends in (
                (down, r.pooled[0], x.shape[2], rois[i, 1::2]),
                (across, r.pooled[1], x.shape[3], rois[i, 0::2]),
            ):
                reach = float((finite(ends) * abs(r.scale)).sum()) + 2
                is_coarse = bool((ends * r.scale * 2**8 % 1 == 0).all()) and reach < 2**12
                off = 8 * reach
                near = 8 * wide.u_compute * reach
                away = np.minimum(np.abs(s.places + 1), np.abs(s.places - extent))
                jumpy |= bool((away <= near).any())
                step = s.size / bins
                is_near = abs(step - np.round(step)) <= near and not r.ratio
                jumpy |= is_near and not is_coarse
                jumpy |= not np.isfinite(step) or step > SAMPLES_MAX - 1
                jumpy |= is_open and bool((_from_pixels(s.places) <= near).any())
                count, slack = count * s.count, slack + off
            steps[i] = largest * (4 * count + 16 + 2 * slack)
            jumps[i] = np.inf if jumpy and is_open else 2 * largest * jumpy
    found = magnified(y, steps, wide)
    return (Error(found.sigma + jumps, found.bound + jumps),)


def _from_pixels(places: Array) -> Array:
    """How far places are from the next pixel; such as are exact in any order do not move."""
    is_exact = places * 2**8 == np.rint(places * 2**8)
    return np.asarray(np.where(is_exact, np.inf, np.abs(places - np.rint(places))))


def _example(choose: Choose) -> Call:
    """Regions inside the image, across its border and beyond it."""
    dtype = choose.one_of((FLOAT, FLOAT16, DOUBLE))
    x = choose.tensor(
        (choose.integer(1, 2), choose.one_of((1, 3)), 7, choose.one_of((9, 4))), dtype
    )
    count, reach = choose.one_of((2, 1, 5)), choose.one_of((9.0, 14.0))
    corners = choose.tensor((count, 2), dtype, -2.0, reach)
    extents = choose.tensor((count, 2), dtype, 0.0, reach)
    rois = np.concatenate([corners, corners + extents], 1).astype(dtype)
    attributes: dict[str, Any] = {
        "mode": choose.one_of(MODES),
        "coordinate_transformation_mode": choose.one_of(COORDINATES),
        "output_height": choose.integer(1, 3),
        "output_width": choose.integer(1, 4),
        "sampling_ratio": choose.one_of((2, 0, 1, 3)),
        "spatial_scale": choose.one_of((1.0, 0.5, 0.3)),
    }
    batch = np.arange(count, dtype=np.int64) % x.shape[0]
    return Call((x, rois, batch), attributes)


def _edge(mode: str, *rois: tuple[float, float, float, float], **more: Any) -> Call:
    x = (np.arange(60, dtype=np.float32) * 7 % 31).reshape(1, 2, 5, 6) - 9
    batch = np.zeros(len(rois), np.int64)
    given = np.array(rois, np.float32).reshape(-1, 4)
    return Call((x, given, batch), {"mode": mode, "output_height": 2, "output_width": 2, **more})


def _hard(mode: str) -> Call:
    """Pixels that are no finite numbers, in samples and where no sample is."""
    made = _edge(mode, *_ROIS)
    x = np.array(made.inputs[0])
    x[0, 0, 0, 0], x[0, 0, 4, 5], x[0, 1, 2, 2], x[0, 1, 4, 0] = np.inf, np.nan, np.nan, -np.inf
    return Call((x, *made.inputs[1:]), made.attributes)


def _beside_nan() -> Call:
    """In float the one sample lies on a pixel, and the one before, no number, is not read."""
    x = np.ones((1, 1, 1, 9), np.float32)
    x[..., 4] = np.nan
    region = np.array([[2.738266706466675, 0, 8.261733055114746, 1]], np.float32)
    single = {"output_height": 1, "output_width": 1, "sampling_ratio": 1}
    return Call((x, region, np.zeros(1, np.int64)), single)


def _call(*shapes: tuple[int, ...], **attributes: Any) -> Call:
    *floats, batch = shapes
    return Call((*(zeros(*s) for s in floats), np.zeros(batch, np.int64)), attributes)


_ROIS = (
    (0, 0, 4, 4),
    (1, 1, 3.5, 2.25),
    (2, 2, 2, 2),
    (-9, -9, -5, -5),
    (3, 1, 20, 9),
    (4, 4, 1, 1),
)

SPECS: tuple[OpSpec, ...] = (
    OpSpec(
        "RoiAlign",
        (3, 3),
        _infer,
        _reference,
        _error,
        _example,
        edges=(
            *(
                lambda mode=mode, how=how: _edge(mode, *_ROIS, coordinate_transformation_mode=how)
                for mode in MODES
                for how in COORDINATES
            ),
            *(lambda mode=mode: _hard(mode) for mode in MODES),
            _beside_nan,
            lambda: _edge("avg"),
            lambda: _call((1, 0, 3, 3), (2, 4), (2,)),
        ),
        rejects=(
            Reject("mode", lambda: _edge("min", *_ROIS), "mode='min'"),
            Reject("rois", lambda: _call((1, 1, 3, 3), (2, 5), (2,)), "expected"),
            Reject("ratio", lambda: _edge("avg", *_ROIS, sampling_ratio=-1), "sampling_ratio=-1"),
            Reject("nothing", lambda: _call((1, 1, 0, 3), (2, 4), (2,)), "no pixels"),
            Reject("no images", lambda: _call((0, 1, 3, 3), (2, 4), (2,)), "no pixels"),
            Reject("rank", lambda: _call((1, 3, 3), (2, 4), (2,)), "expected"),
            Reject("indices", lambda: _call((1, 1, 3, 3), (2, 4), (3,)), "expected"),
            Reject("bins", lambda: _edge("avg", *_ROIS, output_height=0), "output_height=0"),
            Reject("many bins", lambda: _edge("avg", *_ROIS, output_width=10**7), "1 to 4096"),
            Reject("samples", lambda: _edge("avg", *_ROIS, sampling_ratio=2**31), "0 to 1024"),
            Reject(
                "coordinates",
                lambda: _edge("avg", *_ROIS, coordinate_transformation_mode="pixel"),
                "coordinate_transformation_mode='pixel'",
            ),
        ),
        flops=lambda inputs, outputs, a: (
            8 * outputs[0].size * max(1, a.get("sampling_ratio", 0)) ** 2
        ),
        reads=(
            "coordinate_transformation_mode",
            "mode",
            "output_height",
            "output_width",
            "sampling_ratio",
            "spatial_scale",
        ),
    ),
)
