"""DFT on plain tensors by its sum, in float at least; the roots of unity come from a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.opencl.commands import in_order
from engine.backends.opencl.gather import local_size
from engine.backends.opencl.pool import wide_options
from engine.backends.opencl.region import constants
from engine.backends.opencl.resize import uploaded
from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.ir.graph import Node
from engine.ir.types import DOUBLE, FLOAT
from engine.ops.dft import given_transform, roots

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend

WORK = 4096
"""Elements read per work-item on a CPU device."""


def _prepare(backend: OpenCLBackend, node: Node) -> Kernel:
    dtype = node.outputs[0].known_type.dtype
    program = backend.program("dft", wide_options(backend, dtype))

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        x, y = inputs[0], outputs[0]
        assert x is not None
        shape = x.type.dims
        t = given_transform(constants(node), shape, node.attributes)
        cosine, sine = roots(t.length)
        table = np.stack([cosine, sine if t.inverse else -sine], -1)
        table /= t.length if t.inverse else 1
        slot = uploaded(backend, table.ravel(), DOUBLE if dtype == DOUBLE else FLOAT)
        count = y.type.size // t.parts
        block = max(1, WORK // max(1, t.read)) if backend.info.is_cpu else 1
        numbers = (t.length, shape[t.axis], t.read, t.made, math.prod(shape[t.axis + 1 : -1]))
        command = backend.command(
            program,
            "DFT",
            (-(-count // block),),
            local_size(backend, 1),
            x,
            slot,
            y,
            *(np.int64(v) for v in (*numbers, count, block)),
            *(np.int32(v) for v in (shape[-1], t.parts, t.mirrors)),
        )
        return in_order([command], [slot.arena])

    return BoundKernel(bind, frozenset({1, 2}))


KERNELS = {"DFT": _prepare}
