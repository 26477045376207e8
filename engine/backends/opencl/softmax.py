"""Softmax and LogSoftmax of plain tensors along any axis."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.opencl.reduce import accumulating_options, accumulator_dtype, lanes_of
from engine.backends.order import Order, Sums
from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.ir.graph import Node
from engine.ops.reduce import normal_axis

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend

COLUMNS = 128
"""Columns per work-item, as in kernels/softmax.cl."""
BLOCK = 2048
"""Elements per work-item where rows are short."""


def _prepare(backend: OpenCLBackend, node: Node) -> Kernel:
    x = node.inputs[0]
    assert x is not None
    op = node.op_type
    program = backend.program("softmax", accumulating_options(backend, x.known_type.dtype))
    axis = normal_axis(op, int(node.attributes.get("axis", -1)), len(x.known_type.shape))

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        source, y = inputs[0], outputs[0]
        shape = y.type.dims or (1,)
        outer, n, inner = prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])
        if inner != 1:
            grid = (-(-inner // COLUMNS), outer if n else 0)
            return backend.command(
                program, f"{op}_columns", grid, (1, 1), source, y, np.int64(n), np.int64(inner)
            )
        block = max(1, BLOCK // max(n, 1))
        sizes = map(np.int64, (outer, n, block))
        return backend.command(program, op, (-(-outer // block),), (1,), source, y, *sizes)

    return BoundKernel(bind)


def _order(backend: OpenCLBackend, node: Node) -> Order:
    """Along a row in sixteen lanes, element by element where other axes lie inside."""
    shape, dtype = node.outputs[0].known_type.dims or (1,), node.outputs[0].known_type.dtype
    axis = normal_axis(node.op_type, int(node.attributes.get("axis", -1)), len(shape))
    inner = prod(shape[axis + 1 :])
    sums = lanes_of(shape[axis]) if inner == 1 else Sums()
    return Order(accumulator_dtype(backend, dtype), sums)


KERNELS = {"Softmax": _prepare, "LogSoftmax": _prepare}
ORDERS = dict.fromkeys(KERNELS, _order)
