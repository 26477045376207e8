"""Pad: one launch that writes every row of the output once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.opencl.layout import raw, shifted
from engine.backends.opencl.region import constants
from engine.backends.opencl.strides import dims, in_memory_order
from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.ir.graph import Node
from engine.ops.pad import PAD_MODES, Padding, pad_parts

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend

ROWS = 2048
"""Elements that one work-item writes, unless a single row is longer."""


def _merged(
    parts: Sequence[Padding], strides: Sequence[int], mode: str
) -> tuple[list[Padding], list[int]]:
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


def _prepare(backend: OpenCLBackend, node: Node) -> Kernel:
    program = backend.program("pad", raw(backend, node.outputs[0].known_type.dtype))
    given = constants(node)
    mode = str(node.attributes.get("mode", "constant"))

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        source, target = inputs[0], outputs[0]
        value = inputs[2] if len(inputs) > 2 else None
        assert source is not None
        parts = pad_parts(source.type.dims, given, node.attributes)
        crop = sum(p.crop * s for p, s in zip(parts, source.strides, strict=True))
        _, (strides, index) = in_memory_order(
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


def _why_not(backend: OpenCLBackend, node: Node) -> str | None:
    rank = len(node.outputs[0].known_type.shape)
    return f"the OpenCL Pad takes 8 axes, got rank {rank}" if rank > 8 else None


KERNELS = {"Pad": _prepare}
WHY_NOT = {"Pad": _why_not}
