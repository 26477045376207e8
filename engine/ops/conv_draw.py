"""Drawing convolutions: windows that fit, groups that divide, sizes beside the tile widths."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from engine.ir.types import FLOATS, TensorType
from engine.ops.conv_window import Ints
from engine.ops.spec import HERE, Choose, Growth

Array: TypeAlias = np.ndarray
GrowthInputs = tuple[Array | str | None, ...]


def _draw_geometry(choose: Choose, sizes: Ints, attributes: dict[str, Any]) -> Ints:
    """Draw strides, dilations and pads into `attributes`; returns a kernel that fits the sizes."""
    kernel, dilations, pads = [], [], []
    for size in sizes:
        pad = choose.one_of((0, 1, 2))
        tap = choose.integer(1, min(5, size + 2 * pad))
        widest = (size + 2 * pad - 1) // (tap - 1) if tap > 1 else 1
        kernel.append(tap)
        dilations.append(choose.integer(1, max(1, min(3, widest))))
        pads.append(pad)
    if any(pads):
        skew = [min(choose.integer(0, 1), p) for p in pads]
        attributes["pads"] = [p - s for p, s in zip(pads, skew, strict=True)] + pads
        spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        if any(n + 2 * p - s < k for n, p, s, k in zip(sizes, pads, skew, spans, strict=True)):
            attributes["pads"] = pads + pads
    if any(d > 1 for d in dilations):
        attributes["dilations"] = dilations
    if choose.integer(0, 1):
        attributes["strides"] = [choose.integer(1, 3) for _ in sizes]
    return tuple(kernel)


def _draw_group(choose: Choose, channels: int) -> int:
    """1, a small divisor, or one group per channel."""
    divisors = [g for g in range(1, channels + 1) if channels % g == 0]
    return choose.one_of([*divisors[:3], channels])


def grow_conv(choose: Choose, x: TensorType) -> Growth | None:
    """A Conv of a (N, C, ...) tensor with up to three spatial axes."""
    if x.dtype not in FLOATS or not 3 <= len(x.shape) <= 5 or 0 in x.shape:
        return None
    attributes: dict[str, Any] = {}
    kernel = _draw_geometry(choose, x.dims[2:], attributes)
    group = _draw_group(choose, x.dims[1])
    if group > 1:
        attributes["group"] = group
    out = group * choose.one_of((1, 2, 3, 17))
    w = choose.tensor((out, x.dims[1] // group, *kernel), x.dtype, -1.0, 1.0)
    return Growth(_with_bias(choose, w, out, x), attributes)


def grow_transpose(choose: Choose, x: TensorType) -> Growth | None:
    """A ConvTranspose of a (N, C, ...) tensor with up to three spatial axes."""
    if x.dtype not in FLOATS or not 3 <= len(x.shape) <= 5 or 0 in x.shape:
        return None
    rank = len(x.shape) - 2
    attributes: dict[str, Any] = {}
    kernel = [choose.integer(1, 4) for _ in range(rank)]
    group = _draw_group(choose, x.dims[1])
    if group > 1:
        attributes["group"] = group
    if choose.integer(0, 1):
        strides = [choose.integer(1, 3) for _ in range(rank)]
        attributes["strides"] = strides
        attributes["output_padding"] = [choose.integer(0, s - 1) for s in strides]
    if choose.integer(0, 1):
        attributes["pads"] = [(k - 1) // 2 for k in kernel] + [k // 2 for k in kernel]
    elif choose.integer(0, 1):
        attributes["dilations"] = [choose.integer(1, 3) for _ in range(rank)]
    out = choose.one_of((1, 2, 3, 17))
    w = choose.tensor((x.dims[1], out, *kernel), x.dtype, -1.0, 1.0)
    return Growth(_with_bias(choose, w, group * out, x), attributes)


def _with_bias(choose: Choose, w: Array, channels: int, x: TensorType) -> GrowthInputs:
    if choose.integer(0, 1):
        return (HERE, w, choose.tensor((channels,), x.dtype))
    return (HERE, w)


def draw_image(choose: Choose) -> Array:
    """A (N, C, ...) tensor, three spatial axes being rare."""
    n, c = choose.one_of((1, 2, 3)), choose.one_of((1, 2, 3, 4, 6, 16, 33))
    axes = choose.one_of((2, 1, 2, 1, 2, 3))
    return choose.tensor((n, c, *choose.shape((axes, axes), 9)))
