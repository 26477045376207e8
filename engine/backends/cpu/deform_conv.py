"""DeformConv: pixels as rows of channels, blended for every tap; then one product of matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.ir.graph import Node
from engine.ops.conv_window import Window
from engine.ops.deform_conv import window_of

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views

Array = np.ndarray


def _places(offset: Array, window: Window, axis: int) -> Array:
    """(N, groups, kernel_h, kernel_w, oH, oW): where taps read along an axis, 0 being rows."""
    moved = offset.reshape(len(offset), -1, *window.kernel, 2, *window.outputs)[:, :, :, :, axis]
    taps = np.arange(window.kernel[axis]) * window.dilations[axis] - window.begins[axis]
    outputs = np.arange(window.outputs[axis]) * window.strides[axis]
    if axis == 0:
        here = taps[:, None, None, None] + outputs[:, None]
    else:
        here = taps[:, None, None] + outputs
    return np.asarray(moved + here.astype(offset.dtype))


def _between(place: Array, extent: int) -> list[tuple[Array, Array]]:
    """(pixel, weight) below and above a place; -1 beyond the image, NaN included."""
    inside = (place > -1) & (place < extent)
    at = np.where(inside, place, 0)
    below = np.floor(at)
    pixel, share = below.astype(np.int64), at - below
    above = np.where(pixel + 1 < extent, pixel + 1, -1)
    return [
        (np.where(inside, pixel, -1), 1 - share),
        (np.where(inside, above, -1), share),
    ]


def _read(x: Array, offset: Array, mask: Array | None, window: Window, groups: int) -> Array:
    """(N, groups, taps..., oH, oW, C / groups): what each tap reads of each group's channels."""
    n, channels, height, width = x.shape
    each, pixels = channels // groups, n * groups * height * width
    rows = x.reshape(n * groups, each, height * width).swapaxes(1, 2).reshape(pixels, each)
    rows = np.concatenate([rows, np.zeros((1, each), x.dtype)])
    images = np.arange(n * groups).reshape(n, groups, 1, 1, 1, 1) * height
    down = _between(_places(offset, window, 0), height)
    across = _between(_places(offset, window, 1), width)
    total = np.zeros((*down[0][0].shape, each), x.dtype)
    for i, above in down:
        for j, beside in across:
            place = np.where((i < 0) | (j < 0), -1, (images + i) * width + j)
            total += (above * beside)[..., None] * rows[place]
    if mask is not None:
        total *= mask.reshape(*total.shape[:-1], 1)
    return total


def _product(read: Array, w: Array, group: int) -> Array:
    """(N, M, oH oW): the sum over channels of a group and taps."""
    n, groups, *taps, down, across, each = read.shape
    depth, places = math.prod(w.shape[1:]), down * across
    lines = read.reshape(n, groups, math.prod(taps), places, each)
    lines = lines.transpose(0, 1, 4, 2, 3).reshape(n, group, depth, places)
    y = w.reshape(group, len(w) // group, depth) @ lines
    return np.asarray(y.reshape(n, len(w), places))


def _make(backend: CpuBackend, node: Node) -> Function:
    groups, group = (int(node.attributes.get(k, 1)) for k in ("offset_group", "group"))

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        (y,) = outputs
        if not y.size:
            return
        compute = backend.compute(y.dtype)
        wide = [None if v is None else v.astype(compute, copy=False) for v in inputs]
        x, w, offset, b, mask = (*wide, None, None)[:5]
        assert x is not None
        assert w is not None
        assert offset is not None
        window = window_of(x.shape, w.shape, node.attributes)
        with np.errstate(all="ignore"):
            total = _product(_read(x, offset, mask, window, groups), w, group)
            y[...] = (total if b is None else total + b[:, None]).reshape(y.shape)

    return run


KERNELS = {"DeformConv": _make}
