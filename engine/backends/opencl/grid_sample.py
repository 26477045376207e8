"""GridSample on plain tensors of one to three spatial axes, in float at least."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.opencl.gather import local_size
from engine.backends.opencl.pool import volume, why_not_spatial, wide_options
from engine.backends.opencl.strides import dims
from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.ir.graph import Node
from engine.ops.grid_sample import MODES, PADDINGS, choice

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend

WORK = 4096
"""Pixels read per work-item on a CPU device."""


def _prepare(backend: OpenCLBackend, node: Node) -> Kernel:
    options = wide_options(backend, node.outputs[0].known_type.dtype)
    program = backend.program("grid_sample", options)
    mode = MODES.index(choice(node.attributes, "mode", MODES))
    padding = PADDINGS.index(choice(node.attributes, "padding_mode", PADDINGS))

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        (x, grid), (y,) = inputs, outputs
        assert x is not None
        n, channels, *spatial = x.type.dims
        points = math.prod(y.type.dims[2:])
        taps = (2, 1, 4)[mode] ** len(spatial)
        block = max(1, WORK // (taps * max(1, channels))) if backend.info.is_cpu else 1
        return backend.command(
            program,
            "grid_sample",
            (-(-n * points // block) if y.type.size else 0,),
            local_size(backend, 1),
            x,
            grid,
            y,
            dims(volume(spatial, 1)),
            np.int32(len(spatial)),
            *(np.int64(v) for v in (channels, points, n * points, block)),
            *(np.int32(v) for v in (mode, padding)),
            np.int32(int(node.attributes.get("align_corners", 0))),
        )

    return BoundKernel(bind)


KERNELS = {"GridSample": _prepare}
WHY_NOT = {"GridSample": why_not_spatial}
