"""ScatterElements and ScatterND: a copy of the data, then one launch that applies the updates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.opencl.commands import in_order
from engine.backends.opencl.gather import index_option, local_size, too_many_axes
from engine.backends.opencl.layout import copy_program, strided_copy
from engine.backends.opencl.strides import dense, dims
from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.ir.graph import Node
from engine.ops.scatter import REDUCTIONS

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend

PIECE = 1024
"""Elements of a slice that one work-item of a CPU device owns."""


def _programs(backend: OpenCLBackend, node: Node) -> tuple[object, object]:
    options = backend.options(node.outputs[0].known_type.dtype, index_option(node))
    return copy_program(backend, node), backend.program("scatter", options)


def _reduction(node: Node) -> np.int32:
    return np.int32(REDUCTIONS.index(str(node.attributes.get("reduction", "none"))))


def _copied(backend: OpenCLBackend, program: object, x: Slot, y: Slot) -> Command:
    return strided_copy(backend, program, x, y, (y.type.dims, x.strides, y.strides))


def _prepare_elements(backend: OpenCLBackend, node: Node) -> Kernel:
    copying, program = _programs(backend, node)

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        (x, indices, updates), (y,) = inputs, outputs
        assert x is not None
        assert indices is not None
        shape = indices.type.dims
        axis = int(node.attributes.get("axis", 0)) % len(shape)
        off = [k for k in range(len(shape)) if k != axis]
        i_strides, y_strides = dense(shape), dense(y.type.dims)
        lines = math.prod(shape[k] for k in off) if indices.type.size else 0
        scatter = backend.command(
            program,
            "scatter_elements",
            (lines,),
            local_size(backend, 1),
            indices,
            updates,
            y,
            np.int32(len(off)),
            dims([shape[k] for k in off]),
            dims([i_strides[k] for k in off]),
            dims([y_strides[k] for k in off]),
            np.int64(shape[axis]),
            np.int64(i_strides[axis]),
            np.int64(y.type.dims[axis]),
            np.int64(y_strides[axis]),
            _reduction(node),
        )
        return in_order([_copied(backend, copying, x, y), scatter])

    return BoundKernel(bind)


def _prepare_nd(backend: OpenCLBackend, node: Node) -> Kernel:
    copying, program = _programs(backend, node)

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        (x, indices, updates), (y,) = inputs, outputs
        assert x is not None
        assert indices is not None
        shape, tuples = y.type.dims, indices.type.dims
        depth = tuples[-1]
        inner = math.prod(shape[depth:])
        piece = min(PIECE, inner) if backend.info.is_cpu else 1
        scatter = backend.command(
            program,
            "scatter_slices",
            (-(-inner // piece) if piece and indices.type.size else 0,),
            local_size(backend, 1),
            indices,
            updates,
            y,
            np.int64(math.prod(tuples[:-1])),
            np.int64(inner),
            np.int32(depth),
            dims(shape[:depth]),
            dims([s * inner for s in dense(shape[:depth])]),
            np.int64(piece),
            _reduction(node),
        )
        return in_order([_copied(backend, copying, x, y), scatter])

    return BoundKernel(bind)


KERNELS = {"ScatterElements": _prepare_elements, "ScatterND": _prepare_nd}
WHY_NOT = dict.fromkeys(KERNELS, too_many_axes)
