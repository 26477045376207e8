"""Pooling: a running maximum or sum over the taps of the window, each a strided view of x."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from engine.ir.graph import Node
from engine.ir.types import FLOATS
from engine.ops.conv_window import Window
from engine.ops.pool import pool_window, window_counts

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views

Span = tuple[slice, slice]
"""Positions of x along an axis, and those of y that they belong to."""


def _spans(axis: int, size: int, window: Window) -> list[Span]:
    """All that an axis of y reads of x: one span for each tap or each position, what is fewer."""
    one_by_one = _of_tap if window.kernel[axis] <= size else _of_position
    found = (one_by_one(k, axis, size, window) for k in range(min(window.kernel[axis], size)))
    return [span for span in found if span is not None]


def _of_tap(tap: int, axis: int, size: int, window: Window) -> Span | None:
    """What one tap reads at every output where it falls on x."""
    step, count = window.strides[axis], window.outputs[axis]
    shift = tap * window.dilations[axis] - window.begins[axis]
    first = max(0, -(shift // step))
    last = min(count - 1, (size - 1 - shift) // step)
    if last < first:
        return None
    start = first * step + shift
    return slice(start, start + (last - first) * step + 1, step), slice(first, last + 1)


def _of_position(position: int, axis: int, size: int, window: Window) -> Span | None:
    """One position of x, at every output one of whose taps falls on it.

    Those outputs o have position + begin - o * stride = tap * dilation.
    """
    step, dilation = window.strides[axis], window.dilations[axis]
    reach, common = position + window.begins[axis], math.gcd(step, dilation)
    if reach % common:
        return None
    spacing = dilation // common
    residue = reach // common * pow(step // common, -1, spacing) % spacing
    least = max(0, -((dilation * (window.kernel[axis] - 1) - reach) // step))
    first = least + (residue - least) % spacing
    last = min(window.outputs[axis] - 1, reach // step)
    if last < first:
        return None
    return slice(position, position + 1), slice(first, last + 1, spacing)


def _pairs(axes: Sequence[Span]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Spans of all axes as an index of x and one of y."""
    everything = (slice(None), slice(None))
    return (*everything, *(read for read, _ in axes)), (*everything, *(write for _, write in axes))


def _max_over_taps(x: np.ndarray, y: np.ndarray, window: Window) -> None:
    for axes in product(*(_spans(i, n, window) for i, n in enumerate(x.shape[2:]))):
        read, write = _pairs(axes)
        part = y[write]
        np.maximum(part, x[read], out=part)


def _max_and_place(
    x: np.ndarray, y: np.ndarray, places: np.ndarray, window: Window, *, by_columns: bool
) -> None:
    """The same with the place of the first maximum; both outputs are filled beforehand."""
    spatial = x.shape[2:]
    flat = np.arange(math.prod(spatial))
    image = (flat.reshape(spatial[::-1]).T if by_columns else flat.reshape(spatial))[None, None]
    for axes in product(*(_spans(i, n, window) for i, n in enumerate(spatial))):
        read, write = _pairs(axes)
        given, best = x[read], y[write]
        is_better = (given > best) | (places[write] < 0)
        if x.dtype in FLOATS:
            is_better |= np.isnan(given) & ~np.isnan(best)
        np.copyto(best, given, where=is_better)
        np.copyto(places[write], image[read], where=is_better)
    images = np.arange(math.prod(x.shape[:2])).reshape(*x.shape[:2], *[1] * len(spatial))
    np.add(places, images * image.size, out=places, where=places >= 0)


def _sum_over_taps(x: np.ndarray, y: np.ndarray, window: Window) -> None:
    """y += the taps, row by row: the error grows with the sides of the window, not its area."""
    *outers, lasts = (_spans(i, n, window) for i, n in enumerate(x.shape[2:]))
    for outer in product(*outers):
        row = np.zeros_like(y)
        for last in lasts:
            read, write = _pairs((*outer, last))
            row[write] += x[read]
        y += row


def _make_max(backend: CpuBackend, node: Node) -> Function:
    by_columns = bool(node.attributes.get("storage_order", 0))

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x, y = inputs[0], outputs[0]
        assert x is not None
        y[...] = -np.inf if x.dtype in FLOATS else np.iinfo(x.dtype).min
        window = pool_window("MaxPool", x.shape, node.attributes)
        if len(outputs) == 1:
            _max_over_taps(x, y, window)
            return
        outputs[1][...] = -1
        _max_and_place(x, y, outputs[1], window, by_columns=by_columns)

    return run


def _make_average(backend: CpuBackend, node: Node) -> Function:
    include_pad = bool(node.attributes.get("count_include_pad", 0))

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x, y = inputs[0], outputs[0]
        assert x is not None
        window = pool_window("AveragePool", x.shape, node.attributes)
        wide = np.zeros(y.shape, backend.compute(x.dtype))
        _sum_over_taps(x, wide, window)
        counts = np.maximum(window_counts(x.shape, window, include_pad), 1)
        np.divide(wide, counts.astype(wide.dtype), out=wide)
        y[...] = wide

    return run


def _make_global_average(backend: CpuBackend, node: Node) -> Function:
    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x = inputs[0]
        assert x is not None
        flat = x.reshape(*x.shape[:2], int(np.prod(x.shape[2:])))
        mean = flat.mean(axis=2, dtype=backend.compute(x.dtype))
        outputs[0][...] = mean.reshape(outputs[0].shape)

    return run


def _make_global_max(backend: CpuBackend, node: Node) -> Function:
    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x = inputs[0]
        assert x is not None
        np.max(x, axis=tuple(range(2, x.ndim)), keepdims=True, out=outputs[0])

    return run


KERNELS = {
    "MaxPool": _make_max,
    "AveragePool": _make_average,
    "GlobalAveragePool": _make_global_average,
    "GlobalMaxPool": _make_global_max,
}
