"""Pooling on channels-last tensors; sums are made in float at least, at every precision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.opencl.gather import local_size
from engine.backends.opencl.strides import dims
from engine.backends.order import Order, Sums
from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.errors import GraphError
from engine.ir.graph import Node
from engine.ir.types import FLOAT, FLOAT16
from engine.ops.pool import pool_window

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend

WORK = 16384
"""Loaded elements per work-item on a CPU device."""
LOWEST = {np.dtype(np.int8): "CHAR_MIN", np.dtype(np.uint8): "0"}


def wide_options(backend: OpenCLBackend, dtype: np.dtype, *more: str) -> tuple[str, ...]:
    """Build options for kernels that load half as float, whatever the precision."""
    if backend.storage(dtype) == FLOAT16:
        return ("-DSTORAGE=half", "-DCOMPUTE=float", "-DHALF_STORAGE", *more)
    return backend.options(dtype, *more)


def channels_last(node: Node, *slots: Slot | None) -> None:
    """Raise GraphError unless the slots have the layout that `layouts.lower` gives them."""
    for slot in slots:
        assert slot is not None
        if len(slot.type.dims) > 2 and slot.layout != "channels_last":
            raise GraphError(f"{node.title}: tensors must be channels_last, got {slot.layout}")


def volume(values: Sequence[int], fill: int) -> list[int]:
    """One to three spatial entries as (D, H, W)."""
    return [fill] * (3 - len(values)) + [int(v) for v in values]


def _program(backend: OpenCLBackend, node: Node) -> object:
    dtype = node.outputs[0].known_type.dtype
    more = (f"-DLOWEST={LOWEST[dtype]}",) if dtype in LOWEST else ()
    return backend.program("pool", wide_options(backend, dtype, *more))


def _prepare(backend: OpenCLBackend, node: Node) -> Kernel:
    program = _program(backend, node)
    switch = "storage_order" if node.op_type == "MaxPool" else "count_include_pad"

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        x, y = inputs[0], outputs[0]
        channels_last(node, x, *outputs)
        assert x is not None
        shape = x.type.dims
        window = pool_window(node.op_type, shape, node.attributes)
        pixels = shape[0] * math.prod(window.outputs) if y.type.size else 0
        work = max(1, shape[1] * window.taps)
        block = max(1, WORK // work) if backend.info.is_cpu else 1
        return backend.command(
            program,
            "MaxPoolWithIndices" if len(outputs) > 1 else node.op_type,
            (-(-pixels // block),),
            local_size(backend, 1),
            x,
            *outputs,
            dims(volume(shape[2:], 1)),
            dims(volume(window.outputs, 1)),
            dims(volume(window.kernel, 1)),
            dims(volume(window.strides, 1)),
            dims(volume(window.dilations, 1)),
            dims(volume(window.begins, 0)),
            dims(volume(window.ends, 0)),
            np.int64(shape[1]),
            np.int64(pixels),
            np.int32(block),
            np.int32(bool(node.attributes.get(switch, 0))),
        )

    return BoundKernel(bind)


def _prepare_global(backend: OpenCLBackend, node: Node) -> Kernel:
    program = _program(backend, node)

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        x, y = inputs[0], outputs[0]
        channels_last(node, x, y)
        assert x is not None
        n, channels, *spatial = x.type.dims
        return backend.command(
            program,
            node.op_type,
            (-(-channels // 16), n),
            local_size(backend, 2),
            x,
            y,
            np.int64(channels),
            np.int64(math.prod(spatial)),
        )

    return BoundKernel(bind)


def why_not_spatial(backend: OpenCLBackend, node: Node) -> str | None:
    """None for one to three spatial axes."""
    rank = len(node.outputs[0].known_type.shape)
    if not 3 <= rank <= 5:
        return f"the OpenCL {node.op_type} takes rank 3 to 5, got rank {rank}"
    return None


def _order(backend: OpenCLBackend, node: Node) -> Order:
    """A window row by row, the sums of rows one after the other."""
    x = node.inputs[0]
    assert x is not None
    window = pool_window(node.op_type, x.known_type.dims, node.attributes)
    run = window.kernel[-1]
    return Order(_accumulator(backend, node), Sums(run=run, piece=(1, run)))


def _order_global(backend: OpenCLBackend, node: Node) -> Order:
    """Blocks of 64 pixels, each in four interleaved parts."""
    x = node.inputs[0]
    assert x is not None
    pixels = math.prod(x.known_type.dims[2:])
    sums = Sums(run=pixels, lanes=4, rest="first", joined="neighbours", piece=(1, 64))
    return Order(_accumulator(backend, node), sums)


def _accumulator(backend: OpenCLBackend, node: Node) -> np.dtype:
    compute = backend.compute(node.outputs[0].known_type.dtype)
    return FLOAT if compute == FLOAT16 else compute


KERNELS = {
    "MaxPool": _prepare,
    "AveragePool": _prepare,
    "GlobalAveragePool": _prepare_global,
    "GlobalMaxPool": _prepare_global,
}
WHY_NOT = dict.fromkeys(KERNELS, why_not_spatial)
ORDERS = {"AveragePool": _order, "GlobalAveragePool": _order_global}
