"""RoiAlign on plain tensors, in float at least."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.opencl.gather import local_size
from engine.backends.opencl.pool import wide_options
from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.ir.graph import Node
from engine.ir.types import DOUBLE
from engine.ops.roi_align import SAMPLES_MAX, regions_of

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend


def _prepare(backend: OpenCLBackend, node: Node) -> Kernel:
    dtype = node.outputs[0].known_type.dtype
    program = backend.program("roi_align", wide_options(backend, dtype))
    r = regions_of(node.attributes)
    number = np.float64 if dtype == DOUBLE else np.float32

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        x, y = inputs[0], outputs[0]
        assert x is not None
        return backend.command(
            program,
            "RoiAlign",
            (y.type.size,),
            local_size(backend, 1),
            *inputs,
            y,
            *(np.int64(v) for v in (*x.type.dims, *r.pooled, r.ratio, SAMPLES_MAX)),
            number(r.scale),
            number(r.shift),
            np.int32(r.takes_largest),
        )

    return BoundKernel(bind)


KERNELS = {"RoiAlign": _prepare}
