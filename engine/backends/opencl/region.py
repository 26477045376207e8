"""Concat, Split, Slice: strided copies between a tensor and its parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.opencl.commands import in_order
from engine.backends.opencl.layout import copy_program, shifted, strided_copy, too_many_axes
from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.ir.graph import Node
from engine.ops.operands import integers
from engine.ops.region import slice_ranges

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend


def constants(node: Node) -> list[np.ndarray | None]:
    """The constant behind every input, None where there is none."""
    return [None if v is None else v.constant for v in node.inputs]


def _prepare_concat(backend: OpenCLBackend, node: Node) -> Kernel:
    program = copy_program(backend, node)

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        (target,) = outputs
        axis = int(node.attributes["axis"]) % len(target.type.dims)
        parts, start = [], 0
        for source in inputs:
            assert source is not None
            shape = source.type.dims
            view = shifted(target, start * target.strides[axis])
            walk = (shape, source.strides, target.strides)
            if source.type.size:
                parts.append(strided_copy(backend, program, source, view, walk))
            start += shape[axis]
        return in_order(parts)

    return BoundKernel(bind)


def _prepare_split(backend: OpenCLBackend, node: Node) -> Kernel:
    program = copy_program(backend, node)

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        source = inputs[0]
        assert source is not None
        axis = int(node.attributes.get("axis", 0)) % len(source.type.dims)
        parts, start = [], 0
        for target in outputs:
            shape = target.type.dims
            view = shifted(source, start * source.strides[axis])
            walk = (shape, source.strides, target.strides)
            if target.type.size:
                parts.append(strided_copy(backend, program, view, target, walk))
            start += shape[axis]
        return in_order(parts)

    return BoundKernel(bind, frozenset({1}))


def _prepare_slice(backend: OpenCLBackend, node: Node) -> Kernel:
    program = copy_program(backend, node)
    _, starts, ends, axes, steps = (*constants(node), None, None)[:5]

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        source, target = inputs[0], outputs[0]
        assert source is not None
        ranges = slice_ranges(
            source.type.dims,
            integers(starts),
            integers(ends),
            None if axes is None else integers(axes),
            None if steps is None else integers(steps),
        )
        first = sum(r.start * s for r, s in zip(ranges, source.strides, strict=True))
        strides = tuple(r.step * s for r, s in zip(ranges, source.strides, strict=True))
        view = shifted(source, first if target.type.size else 0)
        return strided_copy(
            backend, program, view, target, (target.type.dims, strides, target.strides)
        )

    return BoundKernel(bind, frozenset({1, 2, 3, 4}))


KERNELS = {
    "Concat": _prepare_concat,
    "Split": _prepare_split,
    "Slice": _prepare_slice,
}
WHY_NOT = dict.fromkeys(KERNELS, too_many_axes)
