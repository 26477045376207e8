"""Resize of spatial axes on channels-last tensors, by the tables of `engine.ops.resize_taps`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.opencl.commands import in_order
from engine.backends.opencl.gather import local_size
from engine.backends.opencl.layout import raw
from engine.backends.opencl.pool import channels_last, volume, why_not_spatial, wide_options
from engine.backends.opencl.region import constants
from engine.backends.opencl.strides import dims
from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.ir.graph import Node
from engine.ir.types import DOUBLE, FLOAT, INT32, TensorType
from engine.ops.resize import taps_of
from engine.ops.resize_taps import AxisTaps

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend


def _taps(node: Node) -> tuple[AxisTaps, ...]:
    x = node.inputs[0]
    assert x is not None
    return taps_of(constants(node), x.known_type.dims, node.attributes)


def _tables(node: Node) -> tuple[list[int], list[np.ndarray], list[np.ndarray]]:
    """(taps, indices, weights) of D, H and W; an axis that stays has one tap of weight 1."""
    shape = node.outputs[0].known_type.dims
    changed = {t.axis: t for t in _taps(node)}
    counts, indices, weights = [], [], []
    for axis in range(len(shape) - 3, len(shape)):
        tap = changed.get(axis)
        extent = shape[axis] if axis >= 2 else 1
        at = tap.indices if tap and axis >= 2 else np.arange(extent)[:, None]
        w = tap.weights if tap and axis >= 2 else np.ones((extent, 1))
        counts.append(at.shape[1])
        indices.append(at.astype(np.int32).ravel())
        weights.append(w.ravel())
    return counts, indices, weights


def uploaded(backend: OpenCLBackend, array: np.ndarray, dtype: np.dtype) -> Slot:
    """A table at its own dtype, which no precision rounds to half."""
    table = np.ascontiguousarray(array, dtype)
    slot = Slot(backend.allocate(table.nbytes), 0, TensorType(dtype, table.shape), dtype)
    backend.write(slot, table)
    return slot


def _prepare(backend: OpenCLBackend, node: Node) -> Kernel:
    dtype = node.outputs[0].known_type.dtype
    counts, indices, weights = _tables(node)
    is_copy = max(counts) == 1
    options = raw(backend, dtype) if is_copy else wide_options(backend, dtype)
    program = backend.program("resize", options)

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        x, y = inputs[0], outputs[0]
        channels_last(node, x, y)
        assert x is not None
        n, channels, *spatial = y.type.dims
        extents = volume(spatial, 1)
        index = uploaded(backend, np.concatenate(indices), INT32)
        tables, more = [index], []
        if not is_copy:
            compute = DOUBLE if dtype == DOUBLE else FLOAT
            tables.append(uploaded(backend, np.concatenate(weights), compute))
            more.append(dims(counts))
        command = backend.command(
            program,
            "resize_nearest" if is_copy else "resize_weighted",
            (n * extents[0] * extents[1] if y.type.size else 0,),
            local_size(backend, 1),
            x,
            *tables,
            y,
            dims(volume(x.type.dims[2:], 1)),
            dims(extents),
            *more,
            np.int64(channels),
        )
        return in_order([command], [t.arena for t in tables])

    return BoundKernel(bind, frozenset({1, 2, 3}))


def _why_not(backend: OpenCLBackend, node: Node) -> str | None:
    if node.attributes.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        return "the OpenCL Resize has no tf_crop_and_resize"
    if any(t.axis < 2 for t in _taps(node)):
        return "the OpenCL Resize changes spatial axes only"
    return why_not_spatial(backend, node)


KERNELS = {"Resize": _prepare}
WHY_NOT = {"Resize": _why_not}
