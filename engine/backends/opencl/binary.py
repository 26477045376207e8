"""Elementwise functions of several tensors: any mix of broadcasting and layouts, by strides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.backends.opencl import strides
from engine.backends.opencl.commands import in_order
from engine.backends.order import Order
from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.ir.graph import Node
from engine.ir.types import FLOAT, FLOAT16, FLOATS

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend

CHUNK = 4096
"""Elements per work-item: a piece of a long row, or several short rows."""

PREDICATES = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor")
VARIADIC = ("Max", "Min", "Sum", "Mean")
BITS = ("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitShift")


@dataclass(frozen=True)
class Walk:
    """How a kernel walks a dense output: rows of `inner` elements, and the operands' strides."""

    shape: strides.Ints
    inner: int
    rows: int
    operands: tuple[strides.Ints, ...]

    @property
    def global_size(self) -> tuple[int, int]:
        """Work-items: pieces of a row, blocks of rows."""
        return -(-self.inner // self.chunk), -(-self.rows // self.block)

    @property
    def chunk(self) -> int:
        """Elements of a row that one work-item owns."""
        return max(1, min(self.inner, CHUNK))

    @property
    def block(self) -> int:
        """Rows that one work-item owns."""
        return max(1, CHUNK // max(self.inner, 1))

    @cached_property
    def arguments(self) -> tuple[Any, ...]:
        """rank, shape, strides and steps of each operand, rows, inner, block, chunk."""
        outer = [strides.dims(s[:-1]) for s in self.operands]
        steps = [np.int64(s[-1]) for s in self.operands]
        numbers = map(np.int64, (self.rows, self.inner, self.block, self.chunk))
        return np.int32(len(self.shape)), strides.dims(self.shape), *outer, *steps, *numbers


def walk(backend: OpenCLBackend, output: Slot, operands: Sequence[Slot]) -> Walk:
    """The shortest walk over `output` in the order of its memory."""
    seen = tuple((s.type.dims, s.strides) for s in operands)
    return backend.context.once(_walk, output.type.dims, output.strides, seen)


def _walk(
    full: strides.Ints, steps: strides.Ints, operands: tuple[tuple[strides.Ints, strides.Ints], ...]
) -> Walk:
    seen = [strides.broadcast(*operand, full) for operand in operands]
    shape, sorted_ = strides.in_memory_order(full, steps, [steps, *seen])
    shape, (_, *merged) = strides.collapse(shape, sorted_)
    return Walk(shape[:-1], shape[-1], math.prod(shape[:-1]), tuple(merged))


def _why_not(backend: OpenCLBackend, node: Node) -> str | None:
    if len(node.outputs[0].known_type.shape) > strides.MOST_AXES:
        return f"{node.op_type} takes at most {strides.MOST_AXES} axes"
    if node.op_type == "Pow":
        base, exponent = (v.known_type.dtype for v in node.inputs if v is not None)
        if base not in FLOATS and exponent in FLOATS:
            return f"Pow has no OpenCL kernel for {base.name} to the power of {exponent.name}"
        if exponent == np.float64 != base:
            return f"Pow has no OpenCL kernel for {base.name} to the power of float64"
    return None


def _step(
    backend: OpenCLBackend, program: Any, kernel: str, a: Slot, b: Slot, y: Slot, counts: Any
) -> Command:
    way = walk(backend, y, (a, b))
    counts = [np.int32(c) for c in counts]
    arguments = (a, b, y, *way.arguments, *counts)
    return backend.command(program, kernel, way.global_size, (1, 1), *arguments)


def _exponent_options(backend: OpenCLBackend, node: Node) -> tuple[str, ...]:
    from engine.backends.opencl.backend import C_TYPES

    a, b = (v.known_type.dtype for v in node.inputs if v is not None)
    if node.op_type != "Pow" or backend.storage(a) == backend.storage(b):
        return ()
    more = ["-DB_HALF"] if backend.storage(b) == FLOAT16 else []
    if a in FLOATS and b not in FLOATS:
        wide = np.result_type(backend.compute(a), FLOAT)
        more.append(f"-DWHOLE_POWERS_IN={C_TYPES[wide]}")
    return (f"-DB_STORAGE={C_TYPES[backend.storage(b)]}", *more)


def _kernel_name(node: Node) -> str:
    if node.op_type == "Mod":
        return "Fmod" if node.attributes.get("fmod", 0) else "Mod"
    if node.op_type == "BitShift":
        return "ShiftLeft" if node.attributes["direction"] == "LEFT" else "ShiftRight"
    if node.op_type == "Pow":
        base, exponent = node.inputs
        assert base is not None
        assert exponent is not None
        two = exponent.constant is not None and exponent.constant.size == 1
        if two and exponent.constant == 2 and base.known_type == node.outputs[0].known_type:
            return "Mul"
    return node.op_type


def _prepare(backend: OpenCLBackend, node: Node) -> Kernel:
    a = node.inputs[0]
    assert a is not None
    name = _kernel_name(node)
    squared = node.op_type == "Pow" and name == "Mul"
    more: tuple[str, ...] = ("-DIS_PREDICATE",) if node.op_type in PREDICATES else ()
    if not squared:
        more += _exponent_options(backend, node)
    program = backend.program("binary", backend.options(a.known_type.dtype, *more))

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        first, second = inputs
        assert first is not None
        assert second is not None
        return _step(
            backend, program, name, first, first if squared else second, outputs[0], (1, 1)
        )

    return BoundKernel(bind)


def _prepare_variadic(backend: OpenCLBackend, node: Node) -> Kernel:
    """Left to right into the output: y = a op b, y = y op c, ...; one input alone: max(a, a)."""
    program = backend.program("binary", backend.options(node.outputs[0].known_type.dtype))
    name = {"Sum": "Add"}.get(node.op_type, node.op_type)

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        y, slots = outputs[0], [s for s in inputs if s is not None]
        n = len(slots)
        if n == 1:
            return _step(backend, program, "Max", slots[0], slots[0], y, (1, 1))
        steps = [_step(backend, program, name, slots[0], slots[1], y, (n, n))]
        steps += [_step(backend, program, name, y, s, y, (1, n)) for s in slots[2:]]
        return in_order(steps)

    return BoundKernel(bind)


def _prepare_where(backend: OpenCLBackend, node: Node) -> Kernel:
    storage = backend.storage(node.outputs[0].known_type.dtype)
    unsigned = np.dtype(f"u{storage.itemsize}")
    program = backend.program("binary", backend.options(unsigned, "-DONLY_WHERE"))

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        slots = [s for s in inputs if s is not None]
        way = walk(backend, outputs[0], slots)
        arguments = (*slots, outputs[0], *way.arguments)
        return backend.command(program, "Where", way.global_size, (1, 1), *arguments)

    return BoundKernel(bind)


def _order(backend: OpenCLBackend, node: Node) -> Order:
    """The one operation is rounded."""
    return Order(backend.compute(node.outputs[0].known_type.dtype))


KERNELS = {
    **dict.fromkeys((*PREDICATES, *BITS, "Add", "Sub", "Mul", "Div", "Pow"), _prepare),
    **dict.fromkeys(("Mod", "PRelu"), _prepare),
    **dict.fromkeys(VARIADIC, _prepare_variadic),
    "Where": _prepare_where,
}
WHY_NOT = dict.fromkeys(KERNELS, _why_not)
ORDERS = dict.fromkeys(("Add", "Sub", "Mul", "Div"), _order)
