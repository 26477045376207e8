"""A convolution over one to three spatial axes, cut into the launches that compute it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

from engine.ir.graph import Node
from engine.ops.conv_window import Window, conv_transpose_window, conv_window

T = TypeVar("T")


@dataclass(frozen=True)
class AxisPhase:
    """Along one axis: outputs first, first + step, ... and the taps that reach them.

    The j-th of `count` outputs reads, at its t-th tap, input j * stride - pad + t * dilation with
    the weight of kernel position taps[t].
    """

    taps: range
    stride: int
    dilation: int
    pad: int
    first: int
    step: int
    count: int


ONE_TAP = AxisPhase(range(1), 1, 1, 0, 0, 1, 1)
"""An axis of extent 1."""
Phase = tuple[AxisPhase, AxisPhase, AxisPhase]
"""Slices, rows, columns."""


Volume = tuple[int, int, int]


@dataclass(frozen=True)
class Geometry:
    """A Conv or ConvTranspose over at most three spatial axes; missing outer ones have extent 1.

    Attributes:
        size, out_size: slices, rows and columns of x and of y. outputs: channels of all groups.
    """

    transposed: bool
    group: int
    phases: list[Phase]
    batch: int
    channels: int
    size: Volume
    outputs: int
    out_size: Volume

    @property
    def channels_per_group(self) -> int:
        """Input channels that one output reads."""
        return self.channels // self.group

    @property
    def outputs_per_group(self) -> int:
        """Output channels of one group."""
        return self.outputs // self.group


def _window(node: Node) -> Window:
    x, w = (v.known_type.dims for v in node.inputs[:2] if v is not None)
    window_of = conv_transpose_window if node.op_type == "ConvTranspose" else conv_window
    return window_of(x, w, node.attributes)


def launch_count(node: Node) -> int:
    """How many phases the geometry of a node has, without making them."""
    if node.op_type == "Conv":
        return 1
    window = _window(node)
    return math.prod(min(s, o) for s, o in zip(window.strides, window.outputs, strict=True))


def geometry(node: Node) -> Geometry:
    """The geometry of a node whose types are known."""
    x, y = (v.known_type.dims for v in (node.inputs[0], node.outputs[0]) if v is not None)
    transposed, window = node.op_type == "ConvTranspose", _window(node)
    phases = (_conv_transpose_phases if transposed else _conv_phases)(window)
    size, out_size = _padded(x[2:], 1), _padded(y[2:], 1)
    return Geometry(transposed, window.group, phases, x[0], x[1], size, y[1], out_size)


def _padded(axes: Sequence[T], missing: T) -> tuple[T, T, T]:
    """One to three spatial entries as those of slices, rows and columns."""
    slices, rows, columns = [missing] * (3 - len(axes)) + list(axes)
    return slices, rows, columns


def _conv_phases(window: Window) -> list[Phase]:
    """The one phase of a Conv."""
    axes = [
        AxisPhase(range(k), s, d, b, 0, 1, o)
        for k, s, d, b, o in zip(
            window.kernel,
            window.strides,
            window.dilations,
            window.begins,
            window.outputs,
            strict=True,
        )
    ]
    return [_padded(axes, ONE_TAP)]


def _conv_transpose_phases(window: Window) -> list[Phase]:
    """One phase per residue of the output position modulo the strides."""
    axes = [list(_residues(window, axis)) for axis in range(len(window.kernel))]
    return list(product(*_padded(axes, [ONE_TAP])))


def _residues(window: Window, axis: int) -> Iterator[AxisPhase]:
    """Output o reads input i at tap t where o = i * stride - begin + t * dilation.

    For o = j * stride + first that is i = j + (first + begin - t * dilation) / stride, for the taps
    that divide. They form an arithmetic progression, walked from the last so that i grows.
    """
    stride, dilation = window.strides[axis], window.dilations[axis]
    outputs = window.outputs[axis]
    for first in range(min(stride, outputs)):
        shifted = first + window.begins[axis]
        reaching = [
            t for t in range(window.kernel[axis]) if (shifted - t * dilation) % stride == 0
        ][::-1]
        count = -(-(outputs - first) // stride)
        if not reaching:
            yield AxisPhase(range(0), 1, 1, 0, first, stride, count)
            continue
        last, period = reaching[0], reaching[0] - reaching[1] if len(reaching) > 1 else 1
        taps = range(last, -1, -period)[: len(reaching)]
        pad = -((shifted - last * dilation) // stride)
        spacing = period * dilation // stride if len(reaching) > 1 else 1
        yield AxisPhase(taps, 1, spacing, pad, first, stride, count)
