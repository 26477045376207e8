"""TopK of plain tensors."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.ir.graph import Node
from engine.ops.reduce import normal_axis

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend

BLOCK = 4096
"""Elements per work-item where lines are short."""


def _prepare(backend: OpenCLBackend, node: Node) -> Kernel:
    x = node.inputs[0]
    assert x is not None
    program = backend.program("top_k", backend.options(x.known_type.dtype))
    axis = normal_axis("TopK", int(node.attributes.get("axis", -1)), len(x.known_type.shape))
    name = "Largest" if node.attributes.get("largest", 1) else "Smallest"

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        source, (values, indices) = inputs[0], outputs
        assert source is not None
        shape = source.type.dims
        lines, n, inner = (
            prod(shape[:axis] + shape[axis + 1 :]),
            shape[axis],
            prod(shape[axis + 1 :]),
        )
        block = max(1, BLOCK // max(n, 1))
        k = values.type.dims[axis]
        sizes = map(np.int64, (lines, n, inner, k, block))
        grid = (-(-lines // block),)
        return backend.command(program, name, grid, (1,), source, values, indices, *sizes)

    return BoundKernel(bind)


KERNELS = {"TopK": _prepare}
