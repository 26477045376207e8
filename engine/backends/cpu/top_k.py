"""TopK by NumPy's stable sort."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.ir.graph import Node

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views


def _make(backend: CpuBackend, node: Node) -> Function:
    axis = int(node.attributes.get("axis", -1))
    largest = bool(node.attributes.get("largest", 1))

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x, (values, indices) = inputs[0], outputs
        assert x is not None
        k = values.shape[axis]
        if largest:  # backwards, so that of equal elements the first comes out first
            order = np.argsort(np.flip(x, axis), axis=axis, kind="stable")
            order = x.shape[axis] - 1 - np.flip(order, axis)
        else:
            order = np.argsort(x, axis=axis, kind="stable")
        first = np.moveaxis(np.moveaxis(order, axis, 0)[:k], 0, axis)
        indices[...] = first
        values[...] = np.take_along_axis(x, first, axis)

    return run


KERNELS = {"TopK": _make}
