"""Strides of operands on one iteration space, and the shortest form of that space.

An *iteration space* is a shape; an *operand* on it is one stride per axis, in stored elements (0
where the operand is repeated). Kernels walk such spaces by `row_offset` of kernels/common.cl.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Ints = tuple[int, ...]
MOST_AXES = 8
"""Axes that a kernel's dims_t holds."""


def dense(shape: Sequence[int]) -> Ints:
    """Row-major strides."""
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= extent
    return tuple(reversed(strides))


def broadcast(shape: Sequence[int], strides: Sequence[int], to: Sequence[int]) -> Ints:
    """Strides of an operand of `shape` on the space `to` (NumPy's broadcasting, right-aligned)."""
    missing = len(to) - len(shape)
    kept = (
        0 if extent == 1 and full != 1 else stride
        for extent, stride, full in zip(shape, strides, to[missing:], strict=True)
    )
    return (0,) * missing + tuple(kept)


def in_memory_order(
    shape: Sequence[int], leading: Sequence[int], operands: Sequence[Sequence[int]]
) -> tuple[Ints, list[Ints]]:
    """The same space with its axes sorted so that the strides of `leading` descend.

    For a dense `leading` operand it is then row-major. Returns (shape, operands).
    """
    order = sorted(range(len(shape)), key=lambda axis: (-leading[axis], axis))
    return tuple(shape[a] for a in order), [tuple(s[a] for a in order) for s in operands]


def collapse(shape: Sequence[int], operands: Sequence[Sequence[int]]) -> tuple[Ints, list[Ints]]:
    """The same walk, in the same order, over as few axes as possible.

    Axes of extent 1 are dropped; neighbours are merged where the outer stride of *every* operand
    is its inner stride times the inner extent. At least one axis remains: (1,), with strides 1.

    Returns:
        (shape, operands): collapse((2, 3, 4), [(12, 4, 1), (0, 4, 1)]) is
        ((2, 12), [(12, 1), (0, 1)]).
    """
    extents: list[int] = []
    columns: list[list[int]] = []
    for axis, extent in enumerate(shape):
        if extent == 1:
            continue
        column = [strides[axis] for strides in operands]
        if columns and all(o == i * extent for o, i in zip(columns[-1], column, strict=True)):
            extents[-1] *= extent
            columns[-1] = column
        else:
            extents.append(extent)
            columns.append(column)
    if not extents:
        extents, columns = [1], [[1] * len(operands)]
    return tuple(extents), [tuple(c[k] for c in columns) for k in range(len(operands))]


def ints(*values: int) -> Any:
    """An intN kernel argument."""
    return np.array(values, np.int32)


def longs(*values: int) -> Any:
    """A longN kernel argument."""
    return np.array(values, np.int64)


def dims(values: Sequence[int]) -> Any:
    """A dims_t kernel argument; raises ValueError beyond MOST_AXES values."""
    if len(values) > MOST_AXES:
        raise ValueError(f"{len(values)} axes, kernels take {MOST_AXES}")
    padded = np.zeros(MOST_AXES, np.int64)
    padded[: len(values)] = values
    return padded
