"""RoiAlign, region by region: means as products of matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.ir.graph import Node
from engine.ops.roi_align import pooled

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views


def _make(backend: CpuBackend, node: Node) -> Function:
    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x, rois, batch = inputs
        compute = backend.compute(x.dtype)
        wide = [v.astype(compute, copy=False) for v in (x, rois)]
        with np.errstate(all="ignore"):
            outputs[0][...] = pooled([*wide, batch], node.attributes)

    return run


KERNELS = {"RoiAlign": _make}
