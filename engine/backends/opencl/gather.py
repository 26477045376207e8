"""Gather, GatherElements, GatherND, OneHot, Trilu on plain tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.opencl.layout import raw
from engine.backends.opencl.strides import dense, dims
from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.ir.graph import Node
from engine.ir.types import INT64

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend

WORK = 2048
"""Elements per work-item on a CPU device."""
INDEX_NAMES = {INT64: "long", np.dtype(np.int32): "int"}


def per_item(backend: OpenCLBackend, elements: int = 1) -> int:
    """How many pieces of `elements` one work-item takes."""
    return max(1, WORK // max(1, elements)) if backend.info.is_cpu else 1


def local_size(backend: OpenCLBackend, rank: int) -> tuple[int, ...] | None:
    """Work-groups of one on a CPU device, the driver's choice elsewhere."""
    return (1,) * rank if backend.info.is_cpu else None


def index_option(node: Node, index: int = 1) -> str:
    """-DINDEX for the input that holds indices."""
    value = node.inputs[index]
    assert value is not None
    return f"-DINDEX={INDEX_NAMES[value.known_type.dtype]}"


def _program(backend: OpenCLBackend, node: Node, index: int = 1) -> object:
    dtype = node.outputs[0].known_type.dtype
    return backend.program("gather", raw(backend, dtype, index_option(node, index)))


def _slices(
    backend: OpenCLBackend,
    program: object,
    slots: tuple[Slot | None, Slot | None, Slot],
    *,
    outer: int,
    count: int,
    batched: bool,
    extents: Sequence[int],
    inner: int,
) -> Command:
    """`gather_slices`; extents: of the indexed axes, whose slices of `inner` elements are dense."""
    steps = tuple(s * inner for s in dense(extents))
    piece = min(inner, 2 * WORK) if backend.info.is_cpu else 1
    block = per_item(backend, inner)
    slices = outer * count
    pieces = -(-inner // piece) if piece else 0
    return backend.command(
        program,
        "gather_slices",
        (pieces, -(-slices // block)),
        local_size(backend, 2),
        *slots,
        *(np.int64(v) for v in (slices, count, inner, math.prod(extents) * inner)),
        np.int64(count if batched else 0),
        np.int32(len(extents)),
        dims(extents),
        dims(steps),
        np.int32(block),
        np.int64(piece),
    )


def _prepare_gather(backend: OpenCLBackend, node: Node) -> Kernel:
    program = _program(backend, node)

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        x, indices = inputs
        assert x is not None
        assert indices is not None
        shape = x.type.dims
        axis = int(node.attributes.get("axis", 0)) % len(shape)
        return _slices(
            backend,
            program,
            (x, indices, outputs[0]),
            outer=math.prod(shape[:axis]),
            count=indices.type.size,
            batched=False,
            extents=shape[axis : axis + 1],
            inner=math.prod(shape[axis + 1 :]),
        )

    return BoundKernel(bind)


def _prepare_nd(backend: OpenCLBackend, node: Node) -> Kernel:
    program = _program(backend, node)
    batch = int(node.attributes.get("batch_dims", 0))

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        x, indices = inputs
        assert x is not None
        assert indices is not None
        shape, tuples = x.type.dims, indices.type.dims
        depth = tuples[-1]
        return _slices(
            backend,
            program,
            (x, indices, outputs[0]),
            outer=math.prod(shape[:batch]),
            count=math.prod(tuples[batch:-1]),
            batched=True,
            extents=shape[batch : batch + depth],
            inner=math.prod(shape[batch + depth :]),
        )

    return BoundKernel(bind)


def _prepare_elements(backend: OpenCLBackend, node: Node) -> Kernel:
    program = _program(backend, node)

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        x, indices = inputs
        assert x is not None
        assert indices is not None
        shape = x.type.dims
        axis = int(node.attributes.get("axis", 0)) % len(shape)
        strides = list(dense(shape))
        step, strides[axis] = strides[axis], 0
        count, block = indices.type.size, per_item(backend)
        return backend.command(
            program,
            "gather_elements",
            (-(-count // block),),
            local_size(backend, 1),
            x,
            indices,
            outputs[0],
            np.int64(count),
            np.int32(len(shape)),
            dims(indices.type.dims),
            dims(strides),
            np.int64(shape[axis]),
            np.int64(step),
            np.int32(block),
        )

    return BoundKernel(bind)


def _prepare_one_hot(backend: OpenCLBackend, node: Node) -> Kernel:
    program = _program(backend, node, 0)

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        shape = outputs[0].type.dims
        axis = int(node.attributes.get("axis", -1)) % len(shape)
        count, block = outputs[0].type.size, per_item(backend)
        return backend.command(
            program,
            "one_hot",
            (-(-count // block),),
            local_size(backend, 1),
            inputs[0],
            inputs[2],
            outputs[0],
            np.int64(count),
            np.int64(shape[axis]),
            np.int64(math.prod(shape[axis + 1 :])),
            np.int32(block),
        )

    return BoundKernel(bind, frozenset({1}))


def _prepare_trilu(backend: OpenCLBackend, node: Node) -> Kernel:
    options = raw(backend, node.outputs[0].known_type.dtype, "-DINDEX=long")
    program = backend.program("gather", options)
    given = node.inputs[1] if len(node.inputs) > 1 else None
    k = 0 if given is None or given.constant is None else int(given.constant.reshape(()))

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        *outer, height, width = outputs[0].type.dims
        return backend.command(
            program,
            "trilu",
            (math.prod(outer) * height,),
            local_size(backend, 1),
            inputs[0],
            outputs[0],
            np.int64(height),
            np.int64(width),
            np.int64(k),
            np.int32(int(node.attributes.get("upper", 1))),
        )

    return BoundKernel(bind, frozenset({1}))


def _why_not_one_hot(backend: OpenCLBackend, node: Node) -> str | None:
    indices = node.inputs[0]
    assert indices is not None
    if indices.known_type.dtype not in INDEX_NAMES:
        return (
            f"the OpenCL OneHot takes int32 or int64 indices, not {indices.known_type.dtype.name}"
        )
    return None


def too_many_axes(backend: OpenCLBackend, node: Node) -> str | None:
    """None, or why indices cannot walk the tensors of a node."""
    x = node.inputs[0]
    assert x is not None
    rank = len(x.known_type.shape)
    return f"the OpenCL {node.op_type} takes 8 axes, got rank {rank}" if rank > 8 else None


KERNELS = {
    "Gather": _prepare_gather,
    "GatherElements": _prepare_elements,
    "GatherND": _prepare_nd,
    "OneHot": _prepare_one_hot,
    "Trilu": _prepare_trilu,
}
WHY_NOT = {
    "GatherElements": too_many_axes,
    "GatherND": too_many_axes,
    "OneHot": _why_not_one_hot,
}
