"""ArgMax and ArgMin of plain tensors."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.opencl.reduce import accumulating_options
from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.ir.graph import Node
from engine.ops.reduce import normal_axis

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend

COLUMNS = 64
"""Columns per work-item, as in kernels/argmax.cl."""
BLOCK = 4096
"""Elements per work-item where slices are short."""


def _prepare(backend: OpenCLBackend, node: Node) -> Kernel:
    x = node.inputs[0]
    assert x is not None
    op = node.op_type
    program = backend.program("argmax", accumulating_options(backend, x.known_type.dtype))
    axis = normal_axis(op, int(node.attributes.get("axis", 0)), len(x.known_type.shape))
    last = np.int32(node.attributes.get("select_last_index", 0))

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        source, y = inputs[0], outputs[0]
        assert source is not None
        shape = source.type.dims or (1,)
        outer, n, inner = prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])
        long = np.int64
        if inner == 1:
            block = max(1, BLOCK // n)
            rows = (long(outer), long(n), long(block))
            return backend.command(
                program, f"{op}_rows", (-(-outer // block),), (1,), source, y, *rows, last
            )
        block = max(1, BLOCK // max(n * min(inner, COLUMNS), 1))
        grid = (-(-inner // COLUMNS), -(-outer // block))
        sizes = (long(outer), long(n), long(inner), long(block))
        return backend.command(program, op, grid, (1, 1), source, y, *sizes, last)

    return BoundKernel(bind)


KERNELS = {"ArgMax": _prepare, "ArgMin": _prepare}
