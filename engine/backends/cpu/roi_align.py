"""RoiAlign, region by region: means axis by axis, maxima sample by sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engine.ir.graph import Node
from engine.ops.gather import in_range
from engine.ops.roi_align import SAMPLES_MAX, Regions, regions_of

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views

Array = np.ndarray


@dataclass(frozen=True)
class _Axis:
    """The samples of all bins along one axis, each array (samples, bins).

    Attributes:
        taps: the pixels below and above, each with its weight. inside: False where a 0 is read.
    """

    taps: tuple[tuple[Array, Array], tuple[Array, Array]]
    inside: Array

    @property
    def count(self) -> int:
        """Samples of a bin."""
        return len(self.inside)


def _axis(first: np.floating, last: np.floating, bins: int, extent: int, r: Regions) -> _Axis:
    dtype = first.dtype.type
    start = first * dtype(r.scale) - dtype(r.shift)
    size = last * dtype(r.scale) - dtype(r.shift) - start
    step = (size if r.shift else np.maximum(size, dtype(1))) / dtype(bins)
    count = r.ratio
    if not count and np.isfinite(step):
        count = int(np.clip(np.ceil(step), 0, SAMPLES_MAX))
    within = (np.arange(count, dtype=dtype)[:, None] + dtype(0.5)) / dtype(max(count, 1))
    at = start + step * (np.arange(bins, dtype=dtype) + within)
    inside = (at >= -1) & (at <= extent)
    at = np.clip(np.where(inside, at, dtype(0)), 0, extent - 1)
    low = at.astype(np.int64)
    above = at - low.astype(dtype)
    return _Axis(((low, 1 - above), (np.minimum(low + 1, extent - 1), above)), inside)


def _sums(image: Array, axis: _Axis) -> Array:
    """(..., bins) of (..., extent): over the samples of each bin."""
    total = np.zeros((*image.shape[:-1], axis.inside.shape[1]), image.dtype)
    for s in range(axis.count):
        for pixel, weight in axis.taps:
            total += np.where(axis.inside[s], image[..., pixel[s]] * weight[s], 0)
    return total


def _mean(image: Array, down: _Axis, across: _Axis) -> Array:
    """(C, bins of rows, bins of columns)."""
    rows = _sums(image.swapaxes(1, 2), down)
    total = _sums(rows.swapaxes(1, 2), across)
    return np.asarray(total / image.dtype.type(max(down.count * across.count, 1)))


def _largest(image: Array, down: _Axis, across: _Axis) -> Array:
    """The same of the largest weighted pixel; NaN is. 0 of no samples."""
    shape = (len(image), down.inside.shape[1], across.inside.shape[1])
    y = np.full(shape, -np.inf if down.count * across.count else 0, image.dtype)
    for j in range(shape[1] if across.count else 0):
        best = y[:, j]
        for s in range(down.count):
            inside = across.inside & down.inside[s, j]
            for row, above in down.taps:
                line = image[:, row[s, j]]
                for column, beside in across.taps:
                    found = line[:, column] * (above[s, j] * beside)
                    np.maximum(best, np.where(inside, found, 0).max(axis=1), out=best)
    return y


def _make(backend: CpuBackend, node: Node) -> Function:
    r = regions_of(node.attributes)
    pool = _largest if r.takes_largest else _mean

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        (x, rois, batch), (y,) = inputs, outputs
        assert x is not None
        assert rois is not None
        if not y.size:
            return
        compute = backend.compute(x.dtype)
        ends = rois.astype(compute)
        with np.errstate(all="ignore"):
            for i, number in enumerate(in_range("RoiAlign", batch, x.shape[0])):
                image = x[number].astype(compute, copy=False)
                down = _axis(ends[i, 1], ends[i, 3], r.pooled[0], image.shape[1], r)
                across = _axis(ends[i, 0], ends[i, 2], r.pooled[1], image.shape[2], r)
                y[i] = pool(image, down, across)

    return run


KERNELS = {"RoiAlign": _make}
