"""Kernels whose inputs are known when they are prepared: their results are there at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from engine.backends.cpu.packed import Packed
from engine.backends.cpu.region import constants
from engine.ir.graph import Node
from engine.ir.node import Attributes

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views

Arrays: TypeAlias = Sequence[np.ndarray | None]
Compute: TypeAlias = Callable[[Arrays, Attributes], Sequence[np.ndarray]]
"""An operator on arrays at their logical dtypes; how much comes out depends on what goes in."""


def kernel_of(compute: Compute) -> Callable[[CpuBackend, Node], Function]:
    """What makes the kernel."""

    def make(backend: CpuBackend, node: Node) -> Function:
        results = compute(constants(node), node.attributes)

        def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
            for out, result in zip(outputs, results, strict=False):
                out[...] = result

        return Packed(run, frozenset(range(len(node.inputs))))

    return make
