"""Outputs that are the input's bytes; the copy for where they cannot share memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.backends.opencl.layout import copy_program, strided_copy
from engine.backends.opencl.strides import dense
from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.ir.graph import Node

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend


def _prepare(backend: OpenCLBackend, node: Node) -> Kernel:
    program = copy_program(backend, node)

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        source, target = inputs[0], outputs[0]
        assert source is not None
        shape = target.type.dims
        if source.type.dims == shape:
            walk = (shape, source.strides, target.strides)
        else:  # layouts.py gives the others plain tensors
            walk = (shape, dense(shape), dense(shape))
        return strided_copy(backend, program, source, target, walk)

    return BoundKernel(bind, frozenset(range(1, len(node.inputs))))


KERNELS = dict.fromkeys(
    ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"), _prepare
)
