"""CumSum and CumProd on plain tensors: one work-item per line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.opencl.gather import local_size
from engine.backends.opencl.pool import wide_options
from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.ir.graph import Node

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend


def _prepare(backend: OpenCLBackend, node: Node) -> Kernel:
    program = backend.program("cumsum", wide_options(backend, node.outputs[0].known_type.dtype))
    given = node.inputs[1]
    assert given is not None
    assert given.constant is not None
    axis = int(given.constant.reshape(()))

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        shape = outputs[0].type.dims
        along = axis % len(shape)
        inner = math.prod(shape[along + 1 :])
        return backend.command(
            program,
            node.op_type,
            (inner, math.prod(shape[:along]) if outputs[0].type.size else 0),
            local_size(backend, 2),
            inputs[0],
            outputs[0],
            np.int64(shape[along]),
            np.int64(inner),
            np.int32(int(node.attributes.get("exclusive", 0))),
            np.int32(int(node.attributes.get("reverse", 0))),
        )

    return BoundKernel(bind, frozenset({1}))


KERNELS = dict.fromkeys(("CumSum", "CumProd"), _prepare)
