"""Reductions: kept and reduced axes collapsed, long slices cut into pieces of a fixed size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.backends.opencl import strides
from engine.backends.opencl.commands import in_order
from engine.backends.order import Order, Sums
from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.ir.graph import Node
from engine.ir.types import BOOL, DOUBLE, FLOAT, FLOAT16, FLOATS, TensorType
from engine.ops.reduce import reduced_axes, reduced_shape

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend

COLUMNS = 256
"""Kept columns per work-item, as in kernels/reduce.cl."""
PIECE = 8192
"""Elements per piece of a long slice; fixed, so that results do not depend on the device."""
FEW = 64
"""With fewer work-items than this, slices of more than two pieces are cut."""


def accumulating_options(backend: OpenCLBackend, dtype: np.dtype, *more: str) -> tuple[str, ...]:
    """Build options for kernels that never accumulate in half: LOW computes as NORMAL does."""
    if backend.compute(dtype) == FLOAT16:
        return ("-DSTORAGE=half", "-DCOMPUTE=float", "-DHALF_STORAGE", *more)
    return backend.options(dtype, *more)


def accumulator_dtype(backend: OpenCLBackend, dtype: np.dtype) -> np.dtype:
    """The COMPUTE type of those kernels."""
    if dtype == BOOL:
        return np.dtype(np.uint8)
    compute = backend.compute(dtype)
    return FLOAT if compute == FLOAT16 else compute


def raw_options(dtype: np.dtype) -> tuple[str, ...]:
    """Build options for memory that holds accumulators as they are."""
    fp64 = ("-DUSE_FP64",) if dtype == DOUBLE else ()
    name = "double" if dtype == DOUBLE else "float"
    return (f"-DSTORAGE={name}", f"-DCOMPUTE={name}", *fp64)


@dataclass(frozen=True)
class Reduction:
    """Collapsed axes; shapes and strides of x. The inner axis is in neither list.

    Attributes:
        by_column: the inner axis is kept (else it is reduced).
    """

    kept: tuple[strides.Ints, strides.Ints]
    reduced: tuple[strides.Ints, strides.Ints]
    inner: int
    by_column: bool

    @property
    def outputs(self) -> int:
        """Kept elements, the inner axis not counted."""
        return math.prod(self.kept[0])

    @property
    def rows(self) -> int:
        """Reduced elements, the inner axis not counted."""
        return math.prod(self.reduced[0])


def reduction(x: Slot, axes: Sequence[int]) -> Reduction:
    """The shortest form of a reduction of `x` over `axes`."""
    shape = x.type.dims
    kept = strides.dense(reduced_shape(shape, tuple(axes), True))
    kept = tuple(0 if a in axes else s for a, s in enumerate(kept))
    extents, (source, target) = strides.collapse(shape, [x.strides, kept])
    by_column = target[-1] != 0
    if not axes or (all(t != 0 for t in target) and len(target) == 1):
        by_column = True

    def pick(here: bool) -> tuple[strides.Ints, strides.Ints]:
        axes = [a for a in range(len(extents) - 1) if (target[a] != 0) == here]
        return tuple(extents[a] for a in axes), tuple(source[a] for a in axes)

    return Reduction(pick(True), pick(False), extents[-1], by_column)


def _axes_arguments(form: Reduction) -> list[Any]:
    arguments: list[Any] = []
    for shape, steps in (form.kept, form.reduced):
        arguments += [np.int32(len(shape)), strides.dims(shape), strides.dims(steps)]
    return arguments


def _pieces(form: Reduction) -> tuple[int, int, int]:
    """(part_rows, part_inner, number of pieces) of one output's slice."""
    rows, inner = form.rows, 1 if form.by_column else form.inner
    width = min(form.inner, COLUMNS) if form.by_column else inner
    items = form.outputs * (-(-form.inner // COLUMNS) if form.by_column else 1)
    if items >= FEW or rows * width <= 2 * PIECE:
        return max(rows, 1), max(inner, 1), 1
    part_inner = max(min(inner, PIECE), 1)
    part_rows = max(1, min(rows, PIECE // max(min(width, PIECE), 1)))
    return part_rows, part_inner, -(-rows // part_rows) * -(-inner // part_inner)


@dataclass(frozen=True)
class Job:
    """What every launch of one reduction shares."""

    backend: OpenCLBackend
    program: Any
    form: Reduction
    x: Slot
    y: Slot
    count: int

    def scratch(self, elements: int) -> Slot:
        """Fresh memory in the accumulator's type."""
        dtype = accumulator_dtype(self.backend, self.x.type.dtype)
        arena = self.backend.allocate(elements * dtype.itemsize)
        return Slot(arena, 0, TensorType(dtype, (elements,)), dtype)

    def launch(self, name: str, aux: Slot, parts: Slot, pieces: Any, *, split: bool) -> Command:
        """One pass over x."""
        form, (part_rows, part_inner, number) = self.form, pieces
        head = (self.x, aux, self.y, parts, *_axes_arguments(form))
        long, last = np.int64, np.int32(split)
        if form.by_column:
            sizes = map(long, (form.inner, form.rows, part_rows, self.count))
            grid = (-(-form.inner // COLUMNS), form.outputs, number)
            return self.backend.command(
                self.program, f"{name}_columns", grid, (1, 1, 1), *head, *sizes, last
            )
        block = max(1, PIECE // max(form.rows * form.inner, 1) // 4)
        sizes = map(
            long,
            (form.outputs, form.rows, form.inner, block, part_rows, part_inner, self.count),
        )
        grid2 = (-(-form.outputs // block), number)
        return self.backend.command(self.program, name, grid2, (1, 1), *head, *sizes, last)

    def commands(
        self, name: str, aux: Slot | None, into: Slot | None
    ) -> tuple[list[Command], list[Any]]:
        """Launches and scratch that reduce x to y, or unfinished to `into` (one per output)."""
        pieces = _pieces(self.form)
        total = self.form.outputs * (self.form.inner if self.form.by_column else 1)
        if pieces[2] == 1:
            raw = into is not None
            return [self.launch(name, aux or self.x, into or self.x, pieces, split=raw)], []
        parts = self.scratch(total * pieces[2])
        first = self.launch(name, aux or self.x, parts, pieces, split=True)
        program, target = self.program, self.y
        if into is not None:
            program, target = self.backend.program("reduce", raw_options(into.type.dtype)), into
        merge = self.backend.command(
            program, f"{name}_merge", (total,), (1,), parts, aux or parts, target,
            np.int64(pieces[2]), np.int64(self.count),
        )  # fmt: skip
        return [first, merge], [parts.arena]


def limits(dtype: np.dtype) -> tuple[str, ...]:
    """-D options with the extremes of an integer dtype; none for floats."""
    if dtype in FLOATS:
        return ()
    info = np.iinfo(np.uint8 if dtype == BOOL else dtype)
    suffix = {8: "L"}.get(info.dtype.itemsize, "")
    suffix = "U" + suffix if info.dtype.kind == "u" else suffix
    lowest = f"(-{info.max}{suffix}-1)" if info.min else f"0{suffix}"
    return f"-DLOWEST=((COMPUTE){lowest})", f"-DHIGHEST=((COMPUTE){info.max}{suffix})"


def _axes(node: Node) -> tuple[int, ...]:
    x = node.inputs[0]
    assert x is not None
    axes_value = node.inputs[1] if len(node.inputs) > 1 else None
    listed = axes_value.constant if axes_value is not None else None
    return reduced_axes(node.op_type, len(x.known_type.shape), listed, node.attributes)


def _prepare(backend: OpenCLBackend, node: Node) -> Kernel:
    x = node.inputs[0]
    assert x is not None
    dtype, op = x.known_type.dtype, node.op_type
    axes = _axes(node)
    options = accumulating_options(backend, dtype, *limits(dtype))
    program = backend.program("reduce", options)

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        source, y = inputs[0], outputs[0]
        assert source is not None
        count = math.prod([source.type.dims[a] for a in axes])
        job = Job(backend, program, reduction(source, axes), source, y, count)
        if op != "ReduceLogSumExp":
            commands, scratch = job.commands(op, None, None)
            return in_order(commands, scratch)
        largest = job.scratch(max(y.type.size, 1))
        first, scratch = job.commands("ReduceMax", None, largest)
        second, more = job.commands(op, largest, None)
        return in_order([*first, *second], [largest.arena, *scratch, *more])

    return BoundKernel(bind, frozenset({1}))


def lanes_of(run: int, piece: tuple[int, int] | None = None) -> Sums:
    """The sums of kernels that go along rows: sixteen lanes, the rest apart, halves onto halves."""
    return Sums(run=run, lanes=16, rest="own", joined="halves", piece=piece)


def _order(backend: OpenCLBackend, node: Node) -> Order:
    """Row by row in sixteen lanes where the innermost axis is reduced, else element by element."""
    x = node.inputs[0]
    assert x is not None
    dtype = x.known_type.dtype
    slot = Slot(None, 0, x.known_type, backend.storage(dtype), x.layout)
    form = reduction(slot, _axes(node))
    *piece, number = _pieces(form)
    cut = (piece[0], piece[1]) if number > 1 else None
    sums = Sums(run=1, piece=cut) if form.by_column else lanes_of(form.inner, cut)
    return Order(accumulator_dtype(backend, dtype), sums)


def _why_not(backend: OpenCLBackend, node: Node) -> str | None:
    if len(node.inputs) > 0 and len(node.outputs[0].known_type.shape) > strides.MOST_AXES:
        return f"{node.op_type} takes at most {strides.MOST_AXES} axes"
    return None


_OPERATORS = (
    *("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2"),
    *("ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp"),
)
KERNELS = dict.fromkeys(_OPERATORS, _prepare)
WHY_NOT = dict.fromkeys(_OPERATORS, _why_not)
ORDERS = dict.fromkeys(_OPERATORS, _order)
