"""GridSample: tap after tap, all positions and channels at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.ir.graph import Node
from engine.ops.grid_sample import sample

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views


def _make(backend: CpuBackend, node: Node) -> Function:
    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x, grid = inputs
        assert x is not None
        assert grid is not None
        compute = backend.compute(x.dtype)
        wide, places = x.astype(compute, copy=False), grid.astype(compute, copy=False)
        with np.errstate(all="ignore"):
            outputs[0][...] = sample(wide, places, node.attributes)

    return run


KERNELS = {"GridSample": _make}
