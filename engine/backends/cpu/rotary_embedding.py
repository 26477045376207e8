"""RotaryEmbedding in the tensor's own dtype; half in float."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.ir.graph import Node
from engine.ops.rotary_embedding import heads_of

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views


def _make(backend: CpuBackend, node: Node) -> Function:
    heads = heads_of(node.outputs[0].known_type.dims, node.attributes)
    batch, sequence, pairs = heads.batch, heads.sequence, heads.pairs
    angles = (batch, 1, sequence, pairs) if heads.is_apart else (batch, sequence, 1, pairs)

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x, cosine, sine = (a for a in inputs if a is not None)
        x, y = x.reshape(heads.shape), outputs[0].reshape(heads.shape)
        first, second = (x[..., part].astype(np.float32) for part in (heads.firsts, heads.seconds))
        cosine, sine = cosine.reshape(angles), sine.reshape(angles)
        y[..., heads.firsts] = first * cosine - second * sine
        y[..., heads.seconds] = first * sine + second * cosine
        y[..., 2 * pairs :] = x[..., 2 * pairs :]

    return run


KERNELS = {"RotaryEmbedding": _make}
