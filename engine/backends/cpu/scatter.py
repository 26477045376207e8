"""ScatterElements and ScatterND: copy, then combine in row-major order of the updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.ir.graph import Node
from engine.ops.scatter import Where, elements_where, scatter_into, tuples_where

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views


def _make(where_of: Where) -> Callable[[CpuBackend, Node], Function]:
    def make(backend: CpuBackend, node: Node) -> Function:
        reduction = str(node.attributes.get("reduction", "none"))

        def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
            x, _, updates = inputs
            assert x is not None
            assert updates is not None
            where = where_of(inputs, node.attributes)
            if x.dtype == np.float16 and reduction in ("add", "mul"):
                wide = x.astype(np.float32)
                scatter_into(wide, where, updates.astype(np.float32), reduction)
                outputs[0][...] = wide
                return
            outputs[0][...] = x
            scatter_into(outputs[0], where, updates, reduction)

        return run

    return make


KERNELS = {"ScatterElements": _make(elements_where), "ScatterND": _make(tuples_where)}
