"""Normalizations: by rows of plain tensors; BatchNormalization in either layout."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.opencl.reduce import accumulating_options, accumulator_dtype, lanes_of
from engine.backends.opencl.strides import MOST_AXES, broadcast, dense, dims
from engine.backends.order import Order
from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.ir.graph import Node
from engine.ir.types import FLOAT
from engine.ops.reduce import normal_axis

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend

COLUMNS = 256
"""Channels per work-item of BatchNormalization_last, as in kernels/normalization.cl."""
BLOCK = 4096
"""Elements per work-item where rows are short."""


def _epsilon(node: Node) -> np.float32:
    return np.float32(node.attributes.get("epsilon", 1e-5))


def _program(backend: OpenCLBackend, node: Node) -> object:
    x = node.inputs[0]
    assert x is not None
    return backend.program("normalization", accumulating_options(backend, x.known_type.dtype))


def _prepare_layer(backend: OpenCLBackend, node: Node) -> Kernel:
    program = _program(backend, node)

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        x, scale, bias = (*inputs, None)[:3]
        y, mean, inverse = (*outputs, outputs[0], outputs[0])[:3] if len(outputs) < 3 else outputs
        shape = y.type.dims
        axis = normal_axis(node.op_type, int(node.attributes.get("axis", -1)), len(shape))
        rows, n = prod(shape[:axis]), prod(shape[axis:])
        block = max(1, BLOCK // max(n, 1))
        return backend.command(
            program, node.op_type, (-(-rows // block),), (1,),
            x, scale, bias or scale, y, mean, inverse,
            np.int64(rows), np.int64(n), np.int64(block), _epsilon(node),
            np.int32(bias is not None), np.int32(len(outputs) == 3),
        )  # fmt: skip

    return BoundKernel(bind)


def _prepare_rms(backend: OpenCLBackend, node: Node) -> Kernel:
    program = _program(backend, node)

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        x, scale = inputs
        assert scale is not None
        shape, given = outputs[0].type.dims, scale.type.dims
        axis = normal_axis(node.op_type, int(node.attributes.get("axis", -1)), len(shape))
        rows, n = prod(shape[:axis]), prod(shape[axis:])
        block = max(1, BLOCK // max(n, 1))
        by_column = scale.type.size == n and given[axis - len(shape) :] == shape[axis:]
        strides = broadcast(given, dense(given), shape)
        return backend.command(
            program, node.op_type, (-(-rows // block),), (1,), x, scale, outputs[0],
            np.int64(rows), np.int64(n), np.int64(block), _epsilon(node),
            np.int32(by_column), np.int32(len(shape)), dims(shape), dims(strides),
        )  # fmt: skip

    return BoundKernel(bind)


def _prepare_group(backend: OpenCLBackend, node: Node) -> Kernel:
    program = _program(backend, node)

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        shape = outputs[0].type.dims
        groups = int(node.attributes.get("num_groups", max(shape[1], 1)))
        sizes = map(np.int64, (groups, shape[1] // groups, prod(shape[2:])))
        rows = shape[0] * groups if prod(shape) else 0
        return backend.command(
            program, "GroupNormalization", (rows,), (1,), *inputs, *outputs, *sizes, _epsilon(node)
        )

    return BoundKernel(bind)


def _prepare_batch(backend: OpenCLBackend, node: Node) -> Kernel:
    program = _program(backend, node)

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        y = outputs[0]
        shape = y.type.dims
        channels, pixels, rows = shape[1], prod(shape[2:]), shape[0]
        name, piece = "BatchNormalization", max(1, min(pixels, BLOCK))
        grid = (-(-pixels // piece), rows * channels)
        if pixels == 1 or (y.layout == "channels_last" and len(shape) > 2):
            name, rows, pixels = "BatchNormalization_last", rows * pixels, 1
            piece = max(1, 4 * BLOCK // max(min(channels, COLUMNS), 1))
            grid = (-(-channels // COLUMNS), -(-rows // piece))
        sizes = map(np.int64, (rows, channels, pixels, piece))
        return backend.command(program, name, grid, (1, 1), *inputs, y, *sizes, _epsilon(node))

    return BoundKernel(bind)


def _one_dtype(backend: OpenCLBackend, node: Node) -> str | None:
    names = sorted({v.known_type.dtype.name for v in node.inputs if v is not None})
    return f"{node.op_type} of mixed dtypes {' and '.join(names)}" if len(names) > 1 else None


def _why_not_layer(backend: OpenCLBackend, node: Node) -> str | None:
    x = node.inputs[0]
    assert x is not None
    shape = x.known_type.dims
    axis = normal_axis(node.op_type, int(node.attributes.get("axis", -1)), len(shape))
    for parameter in node.inputs[1:]:
        if parameter is not None and parameter.known_type.size != prod(shape[axis:]):
            return f"LayerNormalization with scale or bias of shape {parameter.known_type.dims}"
    if len(node.outputs) > 1 and x.known_type.dtype != FLOAT:
        return f"LayerNormalization with Mean and InvStdDev of {x.known_type.dtype.name}"
    if len(node.outputs) == 2:
        return "LayerNormalization with Mean but without InvStdDev"
    return _one_dtype(backend, node)


def _why_not_rms(backend: OpenCLBackend, node: Node) -> str | None:
    rank = len(node.outputs[0].known_type.shape)
    return f"{node.op_type} takes at most {MOST_AXES} axes" if rank > MOST_AXES else None


def _order(backend: OpenCLBackend, node: Node) -> Order:
    """What is normalized together is one row."""
    shape, dtype = node.outputs[0].known_type.dims, node.outputs[0].known_type.dtype
    if node.op_type in ("InstanceNormalization", "GroupNormalization"):
        run = prod(shape[1:]) // int(node.attributes.get("num_groups", max(shape[1], 1)))
    elif node.op_type == "BatchNormalization":
        run = 0
    else:
        axis = normal_axis(node.op_type, int(node.attributes.get("axis", -1)), len(shape))
        run = prod(shape[axis:])
    return Order(accumulator_dtype(backend, dtype), lanes_of(run))


KERNELS = {
    "BatchNormalization": _prepare_batch,
    "LayerNormalization": _prepare_layer,
    "RMSNormalization": _prepare_rms,
    "InstanceNormalization": _prepare_group,
    "GroupNormalization": _prepare_group,
}
WHY_NOT = {
    **dict.fromkeys(KERNELS, _one_dtype),
    "LayerNormalization": _why_not_layer,
    "RMSNormalization": _why_not_rms,
}
ORDERS = dict.fromkeys(KERNELS, _order)
