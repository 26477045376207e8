"""Conv and ConvTranspose over one to three spatial axes, on channels-last tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.opencl.commands import in_order
from engine.backends.opencl.conv_pack import (
    BLOCK,
    grouped,
    outside_size,
    pack_bias,
    pack_depthwise,
    pack_tiles,
)
from engine.backends.opencl.conv_phases import Phase, geometry, launch_count
from engine.backends.opencl.epilogue import activation_of
from engine.backends.opencl.strides import dense, ints, longs
from engine.backends.order import Order
from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.ir.graph import Node, Value
from engine.ir.types import TensorType
from engine.ops.compose import epilogue_of

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend

Fills = list[tuple[Command, Slot]]
"""Launches that pack what the model computes, each with the slot it fills."""

PIXELS, STRIP = 7, 8
"""Pixels per work-item of conv_tile, columns per work-item of conv_depthwise."""


LAUNCHES_MAX = 4096
"""Of one ConvTranspose: one for each pair of residues modulo its strides."""


def _why_not(backend: OpenCLBackend, node: Node) -> str | None:
    axes = len(node.outputs[0].known_type.shape) - 2
    if axes > 3:
        return f"{node.op_type} over {axes} spatial axes has no OpenCL kernel"
    launches = launch_count(node)
    if launches > LAUNCHES_MAX:
        return f"{node.op_type} takes {launches} launches at its strides, more than {LAUNCHES_MAX}"
    return None


def _is_constant(value: Value | None) -> bool:
    return value is not None and value.is_constant


def _is_finite(value: Value | None) -> bool:
    """Whether 0 times every weight is 0: conv_depthwise leaves out what lies in the padding."""
    assert value is not None
    assert value.contents is not None
    return bool(np.isfinite(value.contents.array).all())


class _Convolution:
    """A node made ready: its program, and its constants in the kernels' arrangement."""

    def __init__(self, backend: OpenCLBackend, node: Node) -> None:
        self.backend, self.node, self.geometry = backend, node, geometry(node)
        self.dtype = node.outputs[0].known_type.dtype
        skips = ("-DSKIPS_OUTSIDE",) if self.geometry.transposed else ()
        self.program = backend.program("conv", backend.options(self.dtype, *skips))
        epilogue = epilogue_of(node)
        self.residual, self.activation = epilogue.residual, activation_of(backend, epilogue)
        core = node.body[0].inputs if node.body else range(len(node.inputs))
        self.bias = core[2] if len(core) > 2 and node.inputs[2] is not None else None
        g = self.geometry
        self.depthwise = (
            g.group > 1 == g.channels_per_group
            and _is_constant(node.inputs[1])
            and (g.transposed or _is_finite(node.inputs[1]))
        )
        tensors = [i for i in (0, self.bias, self.residual) if i is not None]
        self.constants = {i: self._pack(i) for i in tensors if self._is_packed(i)}
        self.weights = (
            [self._pack_weights(phase) for phase in g.phases] if self._is_packed(1) else None
        )

    @property
    def packed_inputs(self) -> frozenset[int]:
        """Every constant: tensors are packed here, limits of a Clip have become arguments."""
        return frozenset(i for i in range(len(self.node.inputs)) if self._is_packed(i))

    def _is_packed(self, i: int) -> bool:
        return _is_constant(self.node.inputs[i])

    def _pack(self, i: int) -> Slot:
        value = self.node.inputs[i]
        assert value is not None
        if i != self.bias:
            return self.backend.pack(value, "channels last", lambda a: np.moveaxis(a, 1, -1))
        group, block = (1, 16) if self.depthwise else (self.geometry.group, BLOCK)
        how = f"bias of {group} groups in {block}"
        return self.backend.pack(value, how, lambda b: pack_bias(b, group, block))

    def _pack_weights(self, phase: Phase) -> Slot:
        value, g = self.node.inputs[1], self.geometry
        assert value is not None
        pack = pack_depthwise if self.depthwise else pack_tiles
        taps = [along.taps for along in phase]
        how = f"{pack.__name__} {g.group} {g.transposed} {taps}"
        return self.backend.pack(
            value, how, lambda w: pack(grouped(w, g.group, transposed=g.transposed), phase)
        )

    # ------------------------------------------------------------------ launching
    def bind(self, inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        """One launch per phase, behind those that pack weights and bias the model computes."""
        slots = [self.constants.get(i, slot) for i, slot in enumerate(inputs)]
        fills: Fills = []
        weights = self.weights or [
            self._fill_weights(fills, slots[1], phase) for phase in self.geometry.phases
        ]
        bias = None if self.bias is None else slots[self.bias]
        if bias is not None and self.bias not in self.constants:
            bias = self._fill_bias(fills, bias)
        residual = None if self.residual is None else slots[self.residual]
        launches = [
            self._launch(phase, slots[0], packed, bias, residual, outputs[0])
            for phase, packed in zip(self.geometry.phases, weights, strict=True)
        ]
        return in_order(
            [*(command for command, _ in fills), *launches], [slot.arena for _, slot in fills]
        )

    def _launch(
        self,
        phase: Phase,
        x: Slot | None,
        weights: Slot,
        bias: Slot | None,
        residual: Slot | None,
        y: Slot,
    ) -> Command:
        g = self.geometry
        counts = [along.count for along in phase]
        lines, share = g.batch * counts[0] * counts[1], g.outputs_per_group
        pixels = lines * counts[2]
        if self.depthwise:
            name = "conv_depthwise"
            size = -(-counts[2] // STRIP), lines, -(-g.outputs // 16)
        else:
            name = "conv_tile"
            size = -(-pixels // PIXELS), -(-share // BLOCK), g.group
        image, *steps = (step * g.outputs for step in dense((1, *g.out_size)))
        start = sum(along.first * step for along, step in zip(phase, steps, strict=True))
        steps = [along.step * step for along, step in zip(phase, steps, strict=True)]
        act = self.activation
        return self.backend.command(
            self.program,
            name,
            size,
            (1, 1, 1),
            x,
            weights,
            bias or weights,
            _moved(residual or y, start),
            _moved(y, start),
            ints(*g.size, g.channels, g.channels_per_group, 0, 0, 0),
            ints(pixels, *counts, share, 0, 0, 0),
            ints(
                *(len(along.taps) for along in phase),
                *(along.stride for along in phase),
                *(along.dilation for along in phase),
                *(along.pad for along in phase),
                *(0, 0, 0, 0),
            ),
            longs(image, *steps),
            ints(bias is not None, residual is not None, act.kind, 0),
            np.float32(act.alpha),
            np.float32(act.beta),
        )

    # ------------------------------------------------------------------ weights from the model
    def _fill_weights(self, fills: Fills, w: Slot | None, phase: Phase) -> Slot:
        """A launch that packs computed weights into memory of this command's own."""
        assert w is not None
        g = self.geometry
        first, second, *taps = w.strides
        steps = list(zip(phase, (0,) * (3 - len(taps)) + tuple(taps), strict=True))
        by_group = w.type.dims[0] // g.group * first
        by_output, by_channel = (second, first) if g.transposed else (first, second)
        by_tap = (along.taps.step * step for along, step in steps)
        return self._fill(
            fills,
            w,
            (by_group, by_output, by_channel, *by_tap),
            (g.group, g.outputs_per_group, g.channels_per_group),
            [len(along.taps) for along in phase],
            sum(along.taps[0] * step for along, step in steps if along.taps),
        )

    def _fill_bias(self, fills: Fills, b: Slot) -> Slot:
        """The same for the bias, as weights of one channel and one tap."""
        g = self.geometry
        group, share = (1, g.outputs) if self.depthwise else (g.group, g.outputs_per_group)
        return self._fill(fills, b, (share, 1, 0, 0, 0, 0), (group, share, 1), (1, 1, 1), 0)

    def _fill(
        self,
        fills: Fills,
        source: Slot,
        strides: tuple[int, ...],
        extents: tuple[int, int, int],
        taps: Sequence[int],
        start: int,
    ) -> Slot:
        """Launch conv_pack; `extents`: groups, outputs per group, channels per group."""
        group, share, channels = extents
        blocks, depth = -(-share // BLOCK), math.prod(taps) * channels
        zeros = outside_size(channels, taps[2])
        type_ = TensorType(source.type.dtype, (group * blocks * depth * BLOCK + zeros,))
        arena = self.backend.allocate(type_.size * source.storage.itemsize)
        packed = Slot(arena, 0, type_, source.storage)
        command = self.backend.command(
            self.program,
            "conv_pack",
            (max(depth, 1), blocks, group),
            (1, 1, 1),
            source,
            packed,
            longs(*strides, 0, 0),
            ints(*taps[1:], start, depth),
            np.int32(share),
            np.int32(channels),
            np.int32(zeros),
        )
        fills.append((command, packed))
        return packed


def _moved(slot: Slot, elements: int) -> Slot:
    """A slot that begins some elements further."""
    moved = slot.offset_nbytes + elements * slot.storage.itemsize
    return replace(slot, offset_nbytes=moved)


def _prepare(backend: OpenCLBackend, node: Node) -> Kernel:
    convolution = _Convolution(backend, node)
    return BoundKernel(convolution.bind, convolution.packed_inputs)


def _order(backend: OpenCLBackend, node: Node) -> Order:
    """conv_tile and conv_depthwise: one accumulator per output, the bias first."""
    core = node.body[0].inputs if node.body else range(len(node.inputs))
    biased = len(core) > 2 and node.inputs[2] is not None
    return Order(backend.compute(node.outputs[0].known_type.dtype), start=2 if biased else None)


KERNELS = {"Conv": _prepare, "ConvTranspose": _prepare}
WHY_NOT = {"Conv": _why_not, "ConvTranspose": _why_not}
ORDERS = {"Conv": _order, "ConvTranspose": _order}
