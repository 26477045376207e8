"""Resize along three axes at most of any layout, by the tables of `engine.ops.resize_taps`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.opencl.commands import in_order
from engine.backends.opencl.gather import local_size
from engine.backends.opencl.layout import raw
from engine.backends.opencl.pool import wide_options
from engine.backends.opencl.region import constants
from engine.backends.opencl.strides import MOST_AXES, collapse, dims, in_memory_order
from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.ir.graph import Node
from engine.ir.types import DOUBLE, FLOAT, INT32, TensorType
from engine.ops.resize import extrapolation, taps_of
from engine.ops.resize_taps import AxisTaps

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend

AXES = 3
"""That one launch resizes."""


def _taps(node: Node) -> tuple[AxisTaps, ...]:
    x = node.inputs[0]
    assert x is not None
    return taps_of(constants(node), x.known_type.dims, node.attributes)


def uploaded(backend: OpenCLBackend, array: np.ndarray, dtype: np.dtype) -> Slot:
    """A table at its own dtype, which no precision rounds to half."""
    table = np.ascontiguousarray(array, dtype)
    slot = Slot(backend.allocate(table.nbytes), 0, TensorType(dtype, table.shape), dtype)
    backend.write(slot, table)
    return slot


def _along(taps: Sequence[AxisTaps], values: Sequence[int], missing: int) -> list[int]:
    """The entries of `values` along the resized axes, behind `missing` for those that are not."""
    return [missing] * (AXES - len(taps)) + [values[t.axis] for t in taps]


def _tables(taps: Sequence[AxisTaps]) -> tuple[list[int], np.ndarray, np.ndarray]:
    """(taps of each axis, indices, weights) as kernels/resize.cl has them."""
    counts, indices, weights = [], [np.zeros(0)], [np.zeros(0)]
    for _ in range(AXES - len(taps)):
        counts.append(1)
        indices.append(np.zeros(1))
        weights.append(np.ones(1))
    for t in taps:
        counts.append(t.indices.shape[1])
        indices.append(np.where(t.outside[:, None], -1, t.indices).ravel())
        weights.append(t.weights.ravel())
    return counts, np.concatenate(indices), np.concatenate(weights)


def _kept(
    taps: Sequence[AxisTaps], x: Slot, y: Slot
) -> tuple[list[int], list[int], list[int], int]:
    """(extents, strides in x, strides in y) of what no tap moves, and the contiguous run in it."""
    resized = {t.axis for t in taps}
    stays = [axis for axis in range(len(y.type.dims)) if axis not in resized]
    walks = [tuple(slot.strides[axis] for axis in stays) for slot in (x, y)]
    shape, walks = in_memory_order([y.type.dims[axis] for axis in stays], walks[1], walks)
    shape, (xs, ys) = collapse(shape, walks)
    is_run = xs[-1] == ys[-1] == 1
    outer = len(shape) - is_run
    return list(shape[:outer]), list(xs[:outer]), list(ys[:outer]), shape[-1] if is_run else 1


def _prepare(backend: OpenCLBackend, node: Node) -> Kernel:
    type_, taps = node.outputs[0].known_type, _taps(node)
    counts, indices, weights = _tables(taps)
    is_copy = max(counts) == 1
    options = raw(backend, type_.dtype) if is_copy else wide_options(backend, type_.dtype)
    program = backend.program("resize", options)
    beyond = extrapolation(node.attributes, type_.dtype)

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        x, y = inputs[0], outputs[0]
        assert x is not None
        if not type_.size:
            return in_order([])
        shape, xs, ys, run = _kept(taps, x, y)
        extents = _along(taps, y.type.dims, 1)
        compute = DOUBLE if type_.dtype == DOUBLE else FLOAT
        tables = [uploaded(backend, indices, INT32), uploaded(backend, beyond, y.storage)]
        more = [] if is_copy else [uploaded(backend, weights, compute)]
        command = backend.command(
            program,
            "resize_nearest" if is_copy else "resize_weighted",
            (math.prod(shape) * extents[0] * extents[1],),
            local_size(backend, 1),
            x,
            *tables,
            y,
            dims(extents),
            dims(_along(taps, x.strides, 0)),
            dims(_along(taps, y.strides, 0)),
            np.int32(len(shape)),
            *map(dims, (shape, xs, ys)),
            np.int64(run),
            *more,
            *([] if is_copy else [dims(counts)]),
        )
        return in_order([command], [t.arena for t in (*tables, *more)])

    return BoundKernel(bind, frozenset({1, 2, 3}))


def _why_not(backend: OpenCLBackend, node: Node) -> str | None:
    rank, taps = len(node.outputs[0].known_type.shape), _taps(node)
    if len(taps) > AXES:
        return f"the OpenCL Resize changes {AXES} axes at most, not {len(taps)}"
    if rank - len(taps) > MOST_AXES:
        return f"the OpenCL Resize leaves {MOST_AXES} axes at most, not {rank - len(taps)}"
    return None


KERNELS = {"Resize": _prepare}
WHY_NOT = {"Resize": _why_not}
