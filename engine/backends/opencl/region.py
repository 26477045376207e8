"""Concat, Split, Slice: strided copies between a tensor and its parts; Pad: a kernel of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.opencl.commands import in_order
from engine.backends.opencl.layout import copy_program, raw, shifted, strided_copy, too_many_axes
from engine.backends.opencl.strides import dims, in_memory_order
from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.ir.graph import Node
from engine.ops.operands import input_at, integers
from engine.ops.region import PAD_MODES, Padding, pad_parts, slice_ranges

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend

ROWS = 2048
"""Elements that one work-item of Pad writes, unless a single row is longer."""


def _constants(node: Node) -> list[np.ndarray | None]:
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
    _, starts, ends, axes, steps = (*_constants(node), None, None)[:5]

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


# --------------------------------------------------------------------------- Pad
def _merged(parts: Sequence[Padding], strides: Sequence[int], mode: str) -> tuple[list, list]:
    """Neighbouring axes merged where the inner one is whole and x is contiguous across both.

    With a constant the outer axis may be padded: its padding is whole rows of the inner one.
    """
    axes: list[Padding] = []
    steps: list[int] = []
    for part, step in zip(parts, strides, strict=True):
        outer = axes[-1] if axes else None
        is_whole = part.output == part.extent
        if (
            outer is not None
            and is_whole
            and steps[-1] == step * part.extent
            and (mode == "constant" or outer.output == outer.extent)
        ):
            n = part.extent
            axes[-1] = Padding(0, outer.extent * n, outer.before * n, outer.after * n)
            steps[-1] = step
        else:
            axes.append(part)
            steps.append(step)
    return axes, steps


def _prepare_pad(backend: OpenCLBackend, node: Node) -> Kernel:
    program = backend.program("region", raw(backend, node.outputs[0].known_type.dtype))
    given = _constants(node)
    mode = str(node.attributes.get("mode", "constant"))

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        source, value, target = inputs[0], input_at(inputs, 2), outputs[0]  # type: ignore[arg-type]
        assert source is not None
        parts = pad_parts(source.type.dims, given, node.attributes)
        crop = sum(p.crop * s for p, s in zip(parts, source.strides, strict=True))
        order, (strides, index) = in_memory_order(
            target.type.dims, target.strides, (source.strides, tuple(range(len(parts))))
        )
        axes, steps = _merged([parts[i] for i in index], strides, mode)
        axes, steps = (axes, steps) if axes else ([Padding(0, 1, 0, 0)], [1])
        rows = math.prod(p.output for p in axes[:-1]) if target.type.size else 0
        block = max(1, ROWS // max(1, axes[-1].output)) if backend.info.is_cpu else 1
        return backend.command(
            program,
            "pad",
            (-(-rows // block),),
            (1,) if backend.info.is_cpu else None,
            shifted(source, crop if source.type.size else 0),
            value or source,
            target,
            np.int32(len(axes)),
            dims([p.output for p in axes]),
            dims([p.extent for p in axes]),
            dims([p.before for p in axes]),
            dims(steps),
            np.int64(rows),
            np.int32(block),
            np.int32(PAD_MODES.index(mode)),
            np.int32(value is not None),
        )

    return BoundKernel(bind, frozenset({1, 3}))


def _why_not_pad(backend: OpenCLBackend, node: Node) -> str | None:
    rank = len(node.outputs[0].known_type.shape)
    return f"the OpenCL Pad takes 8 axes, got rank {rank}" if rank > 8 else None


KERNELS = {
    "Concat": _prepare_concat,
    "Split": _prepare_split,
    "Slice": _prepare_slice,
    "Pad": _prepare_pad,
}
WHY_NOT = {**dict.fromkeys(KERNELS, too_many_axes), "Pad": _why_not_pad}
