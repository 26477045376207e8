"""RandomUniformLike and RandomNormalLike by NumPy's generator, anew from the seed in every run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.ir.graph import Node
from engine.ops.noise import affine, seed_of

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views


def _make(backend: CpuBackend, node: Node) -> Function:
    offset, factor = affine(node.op_type, node.attributes)

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        (y,) = outputs
        state = np.random.RandomState(seed_of(node.attributes))
        is_normal = node.op_type == "RandomNormalLike"
        numbers = (state.standard_normal if is_normal else state.random_sample)(y.size)
        numbers *= factor
        numbers += offset
        with np.errstate(over="ignore"):
            y[...] = numbers.reshape(y.shape)

    return run


KERNELS = dict.fromkeys(("RandomUniformLike", "RandomNormalLike"), _make)
