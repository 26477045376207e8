"""GridSample: pixels as rows of channels, taken for all positions at once, blended axis by axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.ir.graph import Node

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views

Array = np.ndarray
Taps = list[tuple[Array, Array]]
"""(pixel, weight) of each tap along an axis, for all positions; -1 is a pixel that reads as 0."""
FURTHEST = 2.0**20
A = -0.75


def _reflected(places: Array, low: float, span: float) -> Array:
    """A wave between low and low + span that is steady on them."""
    if span == 0:
        return np.zeros_like(places)
    return low + span - np.abs(np.mod(places - low, 2 * span) - span)


def _reflected_pixels(pixels: Array, size: int, *, aligned: bool) -> Array:
    """The same of whole numbers: the border pixel is met once where corners are aligned."""
    period = max(2 * size - 2 if aligned else 2 * size, 1)
    rest = np.mod(pixels, period)
    return np.asarray(np.where(rest < size, rest, period - rest - (not aligned)))


def _weights(t: Array, mode: str) -> tuple[int, list[Array]]:
    """The first tap, counted from the pixel below, and the weights of all; t lies in [0, 1)."""
    if mode == "nearest":
        return 0, [np.ones_like(t)]
    s = 1 - t
    if mode == "linear":
        return 0, [s, t]
    inner = [((A + 2) * d - (A + 3)) * d * d + 1 for d in (t, s)]
    return -1, [A * t * s * s, *inner, A * s * t * t]


def _taps(g: Array, size: int, mode: str, padding: str, *, aligned: bool) -> Taps:
    g = np.clip(np.where(np.isnan(g), -1, g), -FURTHEST, FURTHEST).astype(g.dtype)
    at = (g + 1) / 2 * (size - 1) if aligned else ((g + 1) * size - 1) / 2
    at = np.rint(at) if mode == "nearest" else at
    low, span = (0.0, size - 1.0) if aligned else (-0.5, float(size))
    beyond = (at < low) | (at > low + span)
    if padding == "reflection":
        at = np.where(beyond, _reflected(at, low, span), at)
    elif padding == "border" and mode != "cubic":
        at = np.where(beyond, np.clip(at, 0, size - 1), at)
    below = np.floor(at)
    first, weights = _weights(at - below, mode)
    taps = []
    for k, weight in enumerate(weights, first):
        pixel = below.astype(np.int64) + k
        if padding == "zeros":
            pixel = np.where((pixel < 0) | (pixel >= size), -1, pixel)
        elif padding == "border":
            pixel = np.clip(pixel, 0, size - 1)
        else:
            pixel = _reflected_pixels(pixel, size, aligned=aligned)
        taps.append((pixel, weight.astype(g.dtype)))
    return taps


def _blended(rows: Array, sizes: Sequence[int], axes: Sequence[Taps], place: Array) -> Array:
    """(..., C): of the rows, the last of which is 0, at `place` along the axes so far."""
    if not axes:
        return np.asarray(rows[place])
    total = np.zeros((*place.shape, rows.shape[1]), rows.dtype)
    for pixel, weight in axes[0]:
        inner = np.where((place < 0) | (pixel < 0), -1, place * sizes[0] + pixel)
        total += weight[..., None] * _blended(rows, sizes[1:], axes[1:], inner)
    return total


def _make(backend: CpuBackend, node: Node) -> Function:
    mode = node.attributes.get("mode", "linear")
    padding = node.attributes.get("padding_mode", "zeros")
    aligned = bool(node.attributes.get("align_corners", 0))

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        (x, grid), (y,) = inputs, outputs
        assert x is not None
        assert grid is not None
        if not y.size:
            return
        compute = backend.compute(x.dtype)
        n, channels, *sizes = x.shape
        rows = np.moveaxis(x, 1, -1).reshape(-1, channels).astype(compute)
        rows = np.concatenate([rows, np.zeros((1, channels), compute)])
        with np.errstate(all="ignore"):
            axes = [
                _taps(grid[..., -1 - k].astype(compute), size, mode, padding, aligned=aligned)
                for k, size in enumerate(sizes)
            ]
            images = np.arange(n).reshape(n, *[1] * len(sizes))
            place = np.broadcast_to(images, grid.shape[:-1])
            y[...] = np.moveaxis(_blended(rows, sizes, axes, place), -1, 1)

    return run


KERNELS = {"GridSample": _make}
