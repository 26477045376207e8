"""Copies between two slots of one context, whatever their storage and layout."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.opencl.launch import BytesCopy, EmptyCommand
from engine.backends.opencl.layout import ELEMENTS, RUN, strided_copy
from engine.backends.opencl.strides import collapse, dims, in_memory_order
from engine.backends.protocol import Command, Slot
from engine.errors import PlanError
from engine.ir.types import FLOAT, FLOAT16

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend


def copy(backend: OpenCLBackend, source: Slot, target: Slot) -> Command:
    """The command that makes `target` hold what `source` holds.

    Raises:
        PlanError: the logical types differ, or the memory overlaps.
    """
    if source.type != target.type:
        raise PlanError(f"copy: {source.type} cannot become {target.type}")
    if not source.nbytes or _is_itself(source, target):
        return EmptyCommand()
    if _overlaps(source, target):
        raise PlanError(f"copy: the source and the target of {source.type} overlap")
    if source.storage != target.storage:
        return _convert(backend, source, target)
    if _same_order(source, target):
        return BytesCopy(backend.context, source, target)
    program = backend.program("layout", (f"-DELEMENT={ELEMENTS[source.storage.itemsize]}",))
    walk = (source.type.dims, source.strides, target.strides)
    return strided_copy(backend, program, source, target, walk)


def _convert(backend: OpenCLBackend, source: Slot, target: Slot) -> Command:
    if {source.storage, target.storage} != {FLOAT, FLOAT16}:
        raise PlanError(
            f"copy: {source.type} is stored as {source.storage.name} and as {target.storage.name}"
        )
    options = ("-DTO_HALF",) if target.storage == FLOAT16 else ()
    program = backend.program("copy", options)
    shape, operands = in_memory_order(
        source.type.dims, target.strides, (source.strides, target.strides)
    )
    shape, (xs, ys) = collapse(shape, operands)
    run = min(shape[-1], RUN) if backend.info.is_cpu else 1
    return backend.command(
        program,
        "convert",
        (-(-shape[-1] // run), math.prod(shape[:-1])),
        (1, 1) if backend.info.is_cpu else None,
        source,
        target,
        np.int32(len(shape) - 1),
        dims(shape[:-1]),
        dims(xs[:-1]),
        dims(ys[:-1]),
        *(np.int64(v) for v in (shape[-1], xs[-1], ys[-1])),
        np.int32(run),
    )


def _same_order(source: Slot, target: Slot) -> bool:
    """Whether the elements follow one another in the same order in memory."""
    rows = zip(source.type.dims, source.strides, target.strides, strict=True)
    return all(x == y for extent, x, y in rows if extent > 1)


def _is_itself(source: Slot, target: Slot) -> bool:
    return (
        source.arena.buffer == target.arena.buffer
        and source.offset_nbytes == target.offset_nbytes
        and source.storage == target.storage
        and _same_order(source, target)
    )


def _overlaps(source: Slot, target: Slot) -> bool:
    return bool(
        source.arena.buffer == target.arena.buffer
        and source.offset_nbytes < target.offset_nbytes + target.nbytes
        and target.offset_nbytes < source.offset_nbytes + source.nbytes
    )
