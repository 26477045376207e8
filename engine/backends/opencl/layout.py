"""Operators that rearrange or repeat whole tensors: each is one strided copy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.backends.opencl.strides import broadcast, collapse, dims, in_memory_order
from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.ir.graph import Node
from engine.ops.layout import block_size, permutation

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend

Ints = tuple[int, ...]
Walk = tuple[Ints, Ints, Ints]
"""(shape, strides of the source, strides of the target) of a copy."""

ELEMENTS = {1: "uchar", 2: "ushort", 4: "uint", 8: "ulong"}
RUN = 4096
"""Elements that one work-item of a CPU device moves along contiguous memory."""
TILE = 16
"""Sides of the blocks of a transposition on a CPU device: a cache line of float."""
MOST_AXES = 10
"""Eight outer axes (dims_t) and the two of a block."""


def raw(backend: OpenCLBackend, dtype: np.dtype, *more: str) -> tuple[str, ...]:
    """Build options that move elements of a logical dtype as unsigned integers."""
    return (f"-DELEMENT={ELEMENTS[backend.storage(dtype).itemsize]}", *more)


def shifted(slot: Slot, elements: int) -> Slot:
    """The slot's memory from a later element on."""
    return replace(slot, offset_nbytes=slot.offset_nbytes + elements * slot.storage.itemsize)


def _axis_a(shape: Ints, source: Ints) -> int:
    """The second axis of a block: where the source is contiguous, else the next inner one."""
    if source[-1] not in (0, 1):
        for axis in range(len(shape) - 1):
            if source[axis] == 1:
                return axis
    return len(shape) - 2


def _block(na: int, nb: int, is_transposed: bool) -> tuple[int, int]:
    """(ta, tb): elements per work-item of a processor along the two inner axes."""
    if is_transposed and min(na, nb) >= TILE:
        return TILE, TILE
    tb = max(1, min(nb, RUN))
    return max(1, min(na, RUN // tb)), tb


def strided_copy(
    backend: OpenCLBackend, program: object, source: Slot, target: Slot, walk: Walk
) -> Command:
    """Copy over `walk`; both slots start at the walk's first element."""
    is_cpu = backend.info.is_cpu
    grid, arguments = backend.context.once(_copy, walk, is_cpu)
    local = (1, 1, 1) if is_cpu else None
    return backend.command(program, "copy", grid, local, source, target, *arguments)


def _copy(walk: Walk, is_cpu: bool) -> tuple[Ints, tuple[Any, ...]]:
    """Work-items and arguments of a copy, which follow from its walk alone."""
    shape, (xs, ys) = in_memory_order(walk[0], walk[2], walk[1:])
    shape, (xs, ys) = collapse(shape, (xs, ys))
    if len(shape) == 1:
        shape, xs, ys = (1, *shape), (0, *xs), (0, *ys)
    a, b = _axis_a(shape, xs), len(shape) - 1
    outer = [k for k in range(len(shape)) if k not in (a, b)]
    is_transposed = xs[a] == 1 and ys[b] == 1 and xs[b] != 1
    ta, tb = _block(shape[a], shape[b], is_transposed) if is_cpu else (1, 1)
    grid = -(-shape[b] // tb), -(-shape[a] // ta), math.prod(shape[k] for k in outer)
    return grid, (
        np.int32(len(outer)),
        dims([shape[k] for k in outer]),
        dims([xs[k] for k in outer]),
        dims([ys[k] for k in outer]),
        *(np.int64(v) for v in (shape[a], shape[b], xs[a], xs[b], ys[a], ys[b])),
        np.int32(ta),
        np.int32(tb),
    )


def copy_program(backend: OpenCLBackend, node: Node) -> object:
    """The program of `strided_copy` for the dtype that a node moves."""
    return backend.program("layout", raw(backend, node.outputs[0].known_type.dtype))


# --------------------------------------------------------------------------- walks
def _same(source: Slot, target: Slot, node: Node) -> Walk:
    return target.type.dims, source.strides, target.strides


def _transpose(source: Slot, target: Slot, node: Node) -> Walk:
    perm = permutation(len(source.type.dims), node.attributes)
    return target.type.dims, tuple(source.strides[p] for p in perm), target.strides


def _expand(source: Slot, target: Slot, node: Node) -> Walk:
    shape = target.type.dims
    return shape, broadcast(source.type.dims, source.strides, shape), target.strides


def _tile(source: Slot, target: Slot, node: Node) -> Walk:
    """One axis per repeat and one per extent."""
    shape: list[int] = []
    xs: list[int] = []
    ys: list[int] = []
    rows = zip(source.type.dims, target.type.dims, source.strides, target.strides, strict=True)
    for n, m, x, y in rows:
        shape += [m // n if n else 0, n]
        xs += [0, x]
        ys += [n * y, y]
    return tuple(shape), tuple(xs), tuple(ys)


def _blocks(deep: Slot, wide: Slot, deep_first: bool) -> Walk:
    """Walk over (n, c, h, by, w, bx) with the strides of the deep and of the wide tensor."""
    n, c, h, w = wide.type.dims
    b = h // deep.type.dims[2] if deep.type.dims[2] else 1
    sn, sc, sh, sw = deep.strides
    outer, inner = (c * b, c) if deep_first else (b, 1)
    channel = 1 if deep_first else b * b
    deep_strides = (sn, channel * sc, sh, outer * sc, sw, inner * sc)
    tn, tc, th, tw = wide.strides
    return (n, c, h // b, b, w // b, b), deep_strides, (tn, tc, b * th, th, b * tw, tw)


def _depth_to_space(source: Slot, target: Slot, node: Node) -> Walk:
    block_size("DepthToSpace", source.type.dims, node.attributes)
    return _blocks(source, target, node.attributes.get("mode", "DCR") == "DCR")


def _space_to_depth(source: Slot, target: Slot, node: Node) -> Walk:
    shape, deep, wide = _blocks(target, source, True)
    return shape, wide, deep


def _make(
    walk_of: Callable[[Slot, Slot, Node], Walk],
) -> Callable[[OpenCLBackend, Node], Kernel]:
    def prepare(backend: OpenCLBackend, node: Node) -> Kernel:
        program = copy_program(backend, node)

        def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
            source, target = inputs[0], outputs[0]
            assert source is not None
            return strided_copy(backend, program, source, target, walk_of(source, target, node))

        return BoundKernel(bind, frozenset(range(1, len(node.inputs))))

    return prepare


def too_many_axes(backend: OpenCLBackend, node: Node) -> str | None:
    """None, or why a strided copy cannot walk the tensors of a node."""
    rank = max(len(v.known_type.shape) for v in (*node.inputs, *node.outputs) if v is not None)
    axes = 2 * rank if node.op_type == "Tile" else rank
    if axes > MOST_AXES:
        return f"the OpenCL copy walks {MOST_AXES} axes, {node.op_type} of rank {rank} needs {axes}"
    return None


KERNELS = {
    "Transpose": _make(_transpose),
    "Expand": _make(_expand),
    "Tile": _make(_tile),
    "DepthToSpace": _make(_depth_to_space),
    "SpaceToDepth": _make(_space_to_depth),
    "Reorder": _make(_same),
}
WHY_NOT = dict.fromkeys(KERNELS, too_many_axes)
