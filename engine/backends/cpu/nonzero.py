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
    y, indices, inverse, counts = np.unique(
        x, return_index=True, return_inverse=True, return_counts=True, axis=axis
    )
    inverse = inverse.reshape(-1)
    if not attributes.get("sorted", 1):
        order = np.argsort(indices)
        inverse = np.argsort(order)[inverse]
        y = y.take(order, 0 if axis is None else axis)
        indices, counts = indices[order], counts[order]
    return [y, indices, inverse, counts]


COMPUTED = {"NonZero": _nonzero, "Unique": _unique}
KERNELS = {op_type: kernel_of(compute) for op_type, compute in COMPUTED.items()}
