"""DeformConv: what every tap reads, then products of matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.ir.graph import Node
from engine.ops.deform_conv import deformed

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views


def _make(backend: CpuBackend, node: Node) -> Function:
    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        compute = backend.compute(outputs[0].dtype)
        wide = [None if v is None else v.astype(compute, copy=False) for v in inputs]
        with np.errstate(all="ignore"):
            outputs[0][...] = deformed(wide, node.attributes)

    return run


KERNELS = {"DeformConv": _make}
