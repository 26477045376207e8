"""Conv and ConvTranspose over any number of spatial axes: BLAS products of gathered columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import as_strided

from engine.backends.cpu.scratch import scratch
from engine.backends.cpu.unary import activation
from engine.ir.graph import Node
from engine.ops.compose import epilogue_of
from engine.ops.conv_window import Window, conv_transpose_window, conv_window

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend, Function, Views
    from engine.backends.cpu.team import Team

Array: TypeAlias = np.ndarray
Index = tuple[slice, ...]
Finish = Callable[[Index], None]
"""`finish(part)` adds bias and residual to y[part] and applies the activation."""
Core = Callable[[Array, Array, Array, Finish], None]
"""`core(x, w, y, finish)`: one image; x (C, *in), w as ONNX has it, y (M, *out)."""

PART_FLOPS = 2_000_000
"""Work that is worth a second thread."""


def _conv(window: Window, team: Team) -> Core:
    """Rows of the output are shared out; each part gathers its columns and multiplies them."""
    group, strides = window.group, set(window.strides)
    is_pointwise = window.taps == 1 and strides == {1} and not any(window.begins + window.ends)

    def core(x: Array, w: Array, y: Array, finish: Finish) -> None:
        weights = w.reshape(group, w.shape[0] // group, -1)
        if is_pointwise:
            x, y = x.reshape(x.shape[0], -1), y.reshape(y.shape[0], -1)
        source = x if is_pointwise else _padded(x, window)
        rows = y.shape[1]
        sums = y.reshape(group, weights.shape[1], rows, -1)

        def part(start: int, stop: int) -> None:
            out = sums[:, :, start:stop].reshape(*sums.shape[:2], -1)
            if is_pointwise:
                columns = source.reshape(group, -1, rows)[:, :, start:stop]
            else:
                columns = _columns(source, window, start, stop)
            np.matmul(weights, columns, out=out)
            finish((slice(None), slice(start, stop)))

        flops_per_row = 2 * w.size * math.prod(y.shape[2:])
        team.split(rows, part, PART_FLOPS // max(flops_per_row, 1) + 1)

    return core


def _columns(padded: Array, window: Window, start: int, stop: int) -> Array:
    """What the output rows [start, stop) read: (group, C / group * taps, outputs)."""
    steps = padded.strides[1:]
    by_tap = tuple(s * d for s, d in zip(steps, window.dilations, strict=True))
    by_output = tuple(s * d for s, d in zip(steps, window.strides, strict=True))
    shape = (padded.shape[0], *window.kernel, stop - start, *window.outputs[1:])
    columns = scratch("conv columns", shape, padded.dtype)
    first = padded[:, start * window.strides[0] :]
    np.copyto(columns, as_strided(first, shape, (padded.strides[0], *by_tap, *by_output)))
    return columns.reshape(window.group, padded.shape[0] // window.group * window.taps, -1)


def _inside(*index: Any) -> tuple[Any, ...]:
    """An index behind the channel axis."""
    return (slice(None), *index)


def _padded(x: Array, window: Window) -> Array:
    if not any(window.begins + window.ends):
        return x
    extents = [b + n + e for b, n, e in zip(window.begins, x.shape[1:], window.ends, strict=True)]
    padded = scratch("conv padded", (x.shape[0], *extents), x.dtype)
    padded.fill(0)
    inner = tuple(slice(b, b + n) for b, n in zip(window.begins, x.shape[1:], strict=True))
    padded[_inside(*inner)] = x
    return padded
