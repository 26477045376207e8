"""RotaryEmbedding of heads that lie apart or side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.opencl import strides
from engine.backends.opencl.reduce import accumulating_options
from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.ir.graph import Node
from engine.ops.rotary_embedding import heads_of

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend


def _prepare(backend: OpenCLBackend, node: Node) -> Kernel:
    y = node.outputs[0].known_type
    program = backend.program("rotary_embedding", accumulating_options(backend, y.dtype))
    heads = heads_of(y.dims, node.attributes)
    steps = [strides.dense(heads.shape)[axis] for axis in heads.order]

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        return backend.command(
            program, "RotaryEmbedding", (heads.sequence, heads.batch), (1, 1), *inputs, outputs[0],
            strides.longs(*steps), strides.ints(heads.count, heads.size, heads.pairs, 0),
            np.int32(heads.interleaved),
        )  # fmt: skip

    return BoundKernel(bind)


KERNELS = {"RotaryEmbedding": _prepare}
