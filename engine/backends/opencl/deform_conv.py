"""DeformConv on plain tensors, in float at least."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.opencl.gather import local_size
from engine.backends.opencl.pool import wide_options
from engine.backends.opencl.strides import dims
from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.ir.graph import Node
from engine.ops.deform_conv import window_of
from engine.ops.operands import input_at

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend


def _prepare(backend: OpenCLBackend, node: Node) -> Kernel:
    program = backend.program(
        "deform_conv", wide_options(backend, node.outputs[0].known_type.dtype)
    )

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        (x, w, offset), (y,) = inputs[:3], outputs
        bias, mask = (input_at(inputs, i) for i in (3, 4))
        assert x is not None
        assert w is not None
        window = window_of(x.type.dims, w.type.dims, node.attributes)
        groups = int(node.attributes.get("offset_group", 1))
        pairs = (x.type.dims[2:], window.outputs, window.kernel, window.strides)
        return backend.command(
            program,
            "DeformConv",
            (x.type.dims[0] * math.prod(window.outputs) if y.type.size else 0, window.group),
            local_size(backend, 2),
            *(x, w, offset, bias or x, mask or x, y),
            *(dims(pair) for pair in (*pairs, window.dilations, window.begins)),
            *(np.int64(v) for v in (x.type.dims[1], w.type.dims[0], window.group, groups)),
            *(np.int32(v is not None) for v in (bias, mask)),
        )

    return BoundKernel(bind)


KERNELS = {"DeformConv": _prepare}
