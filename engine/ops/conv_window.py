"""Window: how the kernel of a Conv or ConvTranspose slides, with `auto_pad` resolved.

Source: https://onnx.ai/onnx/operators/onnx__Conv.html and onnx__ConvTranspose.html.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from engine.errors import ShapeError
from engine.ir.types import check_dims
from engine.ops.spec import Attributes

Ints = tuple[int, ...]
AUTO_PADS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


@dataclass(frozen=True)
class Window:
    """How a kernel slides: one entry per spatial axis, `auto_pad` resolved.

    Attributes:
        begins, ends: padding before and after the input (Conv), or rows cropped from the full
            result (ConvTranspose; an end below 0 asks for rows that no tap reaches).
        outputs: spatial extents of y.
    """

    kernel: Ints
    strides: Ints
    dilations: Ints
    begins: Ints
    ends: Ints
    outputs: Ints
    group: int

    @property
    def taps(self) -> int:
        """Kernel positions."""
        return math.prod(self.kernel)

    @property
    def spans(self) -> Ints:
        """Input positions (Conv) or output positions (ConvTranspose) that one kernel covers."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))


def _per_axis(op: str, attributes: Attributes, name: str, rank: int, default: int) -> Ints:
    values = tuple(int(v) for v in attributes.get(name) or (default,) * rank)
    if len(values) != rank:
        raise ShapeError(f"{op}: {name}={list(values)} has {len(values)} entries, expected {rank}")
    least = 0 if name in ("pads", "output_padding") else 1
    if any(v < least for v in values):
        raise ShapeError(f"{op}: {name}={list(values)}, every entry must be at least {least}")
    return values


def _kernel(op: str, x: Ints, w: Ints, attributes: Attributes) -> Ints:
    if len(x) < 3 or len(w) != len(x):
        raise ShapeError(
            f"{op}: x has shape {x} and w {w}; expected equal ranks of at least 3 (N, C, spatial)"
        )
    kernel = _per_axis(op, attributes, "kernel_shape", len(x) - 2, 1)
    if attributes.get("kernel_shape") and kernel != w[2:]:
        raise ShapeError(f"{op}: kernel_shape={list(kernel)} but w has shape {w}")
    if 0 in w[2:]:
        raise ShapeError(f"{op}: w has shape {w}; expected kernels of at least 1 along each axis")
    return w[2:]


def _pads(op: str, attributes: Attributes, rank: int) -> tuple[str, Ints]:
    auto = attributes.get("auto_pad") or "NOTSET"
    if auto not in AUTO_PADS:
        raise ShapeError(f"{op}: auto_pad={auto!r} is not one of {', '.join(AUTO_PADS)}")
    return auto, _per_axis(op, attributes, "pads", 2 * rank, 0)


def settled(x: Ints, window: Window, extents: Ints, positions: Ints, what: str) -> Window:
    """The window, with steps no longer than what they walk over.

    A stride between positions of which there is one, and a dilation of one tap, may be 2**62.

    Args:
        x: the shape of the input. what: the tensor that the window slides over, in errors.
        extents: of that tensor. positions: how many the window has there.

    Raises:
        ShapeError: that tensor has more elements than any may have.
    """
    check_dims((*x[:2], *extents), what)
    strides = (
        s if n > 1 else min(s, max(e, 1))
        for s, n, e in zip(window.strides, positions, extents, strict=True)
    )
    dilations = (d if k > 1 else 1 for d, k in zip(window.dilations, window.kernel, strict=True))
    return replace(window, strides=tuple(strides), dilations=tuple(dilations))


def conv_window(x: Ints, w: Ints, attributes: Attributes, op: str = "Conv") -> Window:
    """The window of a Conv, or of `op`, from the shapes of x and w; raises ShapeError."""
    kernel = _kernel(op, x, w, attributes)
    rank = len(kernel)
    strides = _per_axis(op, attributes, "strides", rank, 1)
    dilations = _per_axis(op, attributes, "dilations", rank, 1)
    group = int(attributes.get("group", 1))
    if group < 1 or x[1] != w[1] * group or w[0] % group:
        raise ShapeError(
            f"{op}: x has {x[1]} channels, w has shape {w}, group={group}; "
            f"expected {w[1]} * group channels and w's first extent divisible by group"
        )
    auto, pads = _pads(op, attributes, rank)
    begins, ends, outputs = [], [], []
    for axis in range(rank):
        size, span = x[2 + axis], (kernel[axis] - 1) * dilations[axis] + 1
        begin, end = pads[axis], pads[rank + axis]
        if auto == "VALID":
            begin = end = 0
        elif auto != "NOTSET":
            total = max(0, (-(-size // strides[axis]) - 1) * strides[axis] + span - size)
            begin = total // 2 if auto == "SAME_UPPER" else total - total // 2
            end = total - begin
        if size + begin + end < span:
            raise ShapeError(
                f"{op}: spatial axis {axis} has {size} + {begin} + {end} padded elements, "
                f"fewer than the kernel spans ({span})"
            )
        begins.append(begin)
        ends.append(end)
        outputs.append((size + begin + end - span) // strides[axis] + 1)
    window = Window(kernel, strides, dilations, tuple(begins), tuple(ends), tuple(outputs), group)
    padded = tuple(map(sum, zip(begins, x[2:], ends, strict=True)))
    return settled(x, window, padded, window.outputs, f"{op}: the padded input")


def conv_transpose_window(x: Ints, w: Ints, attributes: Attributes) -> Window:
    """The window of a ConvTranspose from the shapes of x and w; raises ShapeError.

    auto_pad SAME_* gives exactly input * stride outputs, as ONNX's text says, also where the
    kernel spans less than the stride (onnxruntime then gives fewer).
    """
    op = "ConvTranspose"
    kernel = _kernel(op, x, w, attributes)
    rank = len(kernel)
    strides = _per_axis(op, attributes, "strides", rank, 1)
    dilations = _per_axis(op, attributes, "dilations", rank, 1)
    extra = _per_axis(op, attributes, "output_padding", rank, 0)
    group = int(attributes.get("group", 1))
    if group < 1 or x[1] != w[0] or w[0] % group:
        raise ShapeError(
            f"{op}: x has {x[1]} channels, w has shape {w}, group={group}; "
            "expected equal channel counts, divisible by group"
        )
    auto, pads = _pads(op, attributes, rank)
    wanted = tuple(int(v) for v in attributes.get("output_shape") or ())
    if wanted and len(wanted) not in (rank, rank + 2):
        raise ShapeError(f"{op}: output_shape={list(wanted)}, expected {rank} spatial extents")
    begins, ends, outputs, whole = [], [], [], []
    for axis in range(rank):
        span = (kernel[axis] - 1) * dilations[axis] + 1
        full = strides[axis] * (x[2 + axis] - 1) + span + extra[axis]
        begin, end = pads[axis], pads[rank + axis]
        if wanted or auto in ("SAME_UPPER", "SAME_LOWER"):
            size = wanted[len(wanted) - rank + axis] if wanted else x[2 + axis] * strides[axis]
            total = max(0, full - size)
            begin = total // 2 if auto == "SAME_UPPER" else total - total // 2
            end = full - size - begin
        elif auto == "VALID":
            begin = end = 0
        if full - begin - end < 1 <= x[2 + axis]:
            raise ShapeError(
                f"{op}: spatial axis {axis} of the full result has {full} elements, "
                f"pads ({begin}, {end}) leave none"
            )
        begins.append(begin)
        ends.append(end)
        outputs.append(max(0, full - begin - end))
        whole.append(max(0, full, begin + outputs[-1]))
    window = Window(kernel, strides, dilations, tuple(begins), tuple(ends), tuple(outputs), group)
    return settled(x, window, tuple(whole), x[2:], f"{op}: the result before it is cropped")
