"""Pooling: a running maximum or sum over the taps of the window, each a strided view of x."""

from __future__ import annotations

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

Spans = tuple[tuple[slice, ...], tuple[slice, ...]]


def _spans(tap: Sequence[int], sizes: Sequence[int], window: Window) -> Spans | None:
    """(slices of x, slices of y) where one tap falls inside the input; None where nowhere."""
    read, write = [], []
    for axis, (t, size) in enumerate(zip(tap, sizes, strict=True)):
        step, count = window.strides[axis], window.outputs[axis]
        shift = t * window.dilations[axis] - window.begins[axis]
        first = max(0, -(shift // step))
        last = min(count - 1, (size - 1 - shift) // step)
        if last < first:
            return None
        start = first * step + shift
        read.append(slice(start, start + (last - first) * step + 1, step))
        write.append(slice(first, last + 1))
    everything = (slice(None), slice(None))
    return (*everything, *read), (*everything, *write)


def _max_over_taps(x: np.ndarray, y: np.ndarray, window: Window) -> None:
    for tap in product(*map(range, window.kernel)):
        spans = _spans(tap, x.shape[2:], window)
        if spans is not None:
            part = y[spans[1]]
            np.maximum(part, x[spans[0]], out=part)


def _sum_over_taps(x: np.ndarray, y: np.ndarray, window: Window) -> None:
    """y += the taps, row by row: the error grows with the sides of the window, not its area."""
    for outer in product(*map(range, window.kernel[:-1])):
        row = np.zeros_like(y)
        for last in range(window.kernel[-1]):
            spans = _spans((*outer, last), x.shape[2:], window)
            if spans is not None:
                row[spans[1]] += x[spans[0]]
        y += row


def _make_max(backend: CpuBackend, node: Node) -> Function:
    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x, y = inputs[0], outputs[0]
        assert x is not None
        y[...] = -np.inf if x.dtype in FLOATS else np.iinfo(x.dtype).min
        _max_over_taps(x, y, pool_window("MaxPool", x.shape, node.attributes))

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
