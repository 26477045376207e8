"""Det: Gaussian elimination with partial pivoting in double, on all matrices at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.ir.graph import Node

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views


def _pivots(columns: np.ndarray) -> np.ndarray:
    """Where each column (of the last axis) is largest; NaN is."""
    return np.asarray(np.argmax(np.abs(columns), axis=-1))


def _determinants(a: np.ndarray) -> np.ndarray:
    """(count,) from (count, n, n), which is used up."""
    every, n = np.arange(a.shape[0]), a.shape[-1]
    product = np.ones(a.shape[0])
    for k in range(n):
        pivot = k + _pivots(a[:, k:, k])
        row = a[every, pivot]
        a[every, pivot] = a[:, k]
        largest = row[:, k]
        product *= np.where(pivot == k, largest, -largest)
        factors = a[:, k + 1 :, k] / np.where(largest == 0, 1, largest)[:, None]
        a[:, k + 1 :, k + 1 :] -= factors[:, :, None] * row[:, None, k + 1 :]
    return product


def _make(backend: CpuBackend, node: Node) -> Function:
    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x, y = inputs[0], outputs[0]
        assert x is not None
        n = x.shape[-1]
        matrices = x.reshape(y.size, n, n).astype(np.float64)
        y[...] = _determinants(matrices).reshape(y.shape)

    return run


KERNELS = {"Det": _make}
