"""NonZero and Unique."""

from __future__ import annotations

import numpy as np

from engine.backends.cpu.computed import Arrays, kernel_of
from engine.ir.node import Attributes


def _nonzero(arrays: Arrays, attributes: Attributes) -> list[np.ndarray]:
    x = np.asarray(arrays[0])
    if not x.ndim:
        return [np.zeros((0, np.count_nonzero(x)), np.int64)]
    return [np.stack(np.nonzero(x))]


def _unique(arrays: Arrays, attributes: Attributes) -> list[np.ndarray]:
    x, axis = np.asarray(arrays[0]), attributes.get("axis")
    _, indices, inverse, counts = np.unique(
        _sortable(x), return_index=True, return_inverse=True, return_counts=True, axis=axis
    )
    inverse = inverse.reshape(-1)
    if not attributes.get("sorted", 1):
        order = np.argsort(indices)
        inverse = np.argsort(order)[inverse]
        indices, counts = indices[order], counts[order]
    y = x.reshape(-1)[indices] if axis is None else x.take(indices, axis)
    return [y, indices, inverse, counts]


def _sortable(x: np.ndarray) -> np.ndarray:
    """Strings by their number in order, for NumPy compares no rows of objects."""
    if x.dtype != object:
        return x
    return np.unique(x, return_inverse=True)[1].reshape(x.shape)


COMPUTED = {"NonZero": _nonzero, "Unique": _unique}
KERNELS = {op_type: kernel_of(compute) for op_type, compute in COMPUTED.items()}
