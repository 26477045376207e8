"""MatMul and Gemm: a constant right side runs as a convolution of one tap, others directly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.opencl import strides
from engine.backends.opencl.conv import PIXELS
from engine.backends.opencl.conv_pack import BLOCK, pack_bias
from engine.backends.opencl.epilogue import activation_of
from engine.backends.opencl.matmul_pack import packed_matrix, packed_size
from engine.backends.order import Order
from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.ir.graph import Node, Value
from engine.ir.types import FLOATS
from engine.ops.compose import epilogue_of
from engine.ops.matmul import gemm_factors

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend

Ints = tuple[int, ...]
ROWS = 7
"""Rows per work-item of matmul."""


@dataclass(frozen=True)
class _Product:
    """A MatMul or Gemm as batches of (M, K) x (K, N).

    Attributes:
        batch: broadcast batch extents. left, right: element strides of the operands on
            (*batch, rows, columns). addend: index of Gemm's C in the node's inputs, or None.
        residual: index of a tensor of the output's shape, or None.
    """

    batch: Ints
    m: int
    n: int
    k: int
    left: Ints
    right: Ints
    addend: int | None
    residual: int | None
    alpha: float
    beta: float


def _product(node: Node) -> _Product:
    a, b = (v.known_type.dims for v in node.inputs[:2] if v is not None)
    core = node.body[0].inputs if node.body else range(len(node.inputs))
    residual = epilogue_of(node).residual
    if node.op_type == "Gemm":
        turned_a, turned_b = (bool(node.attributes.get(k)) for k in ("transA", "transB"))
        m, k = a[::-1] if turned_a else a
        left: Ints = (1, a[1]) if turned_a else (a[1], 1)
        right: Ints = (1, b[1]) if turned_b else (b[1], 1)
        n = b[0] if turned_b else b[1]
        addend = 2 if len(core) > 2 and node.inputs[2] is not None else None
        return _Product((), m, n, k, left, right, addend, residual, *gemm_factors(node.attributes))
    a, b = a if len(a) > 1 else (1, *a), b if len(b) > 1 else (*b, 1)
    batch = tuple(np.broadcast_shapes(a[:-2], b[:-2]))
    left = strides.broadcast(a[:-2], strides.dense(a)[:-2], batch) + strides.dense(a)[-2:]
    right = strides.broadcast(b[:-2], strides.dense(b)[:-2], batch) + strides.dense(b)[-2:]
    return _Product(batch, a[-2], b[-1], a[-1], left, right, None, residual, 1.0, 1.0)


def _why_not(backend: OpenCLBackend, node: Node) -> str | None:
    type_ = node.outputs[0].known_type
    if len(type_.shape) - 2 > strides.MOST_AXES:
        return f"{node.op_type} over more than {strides.MOST_AXES} batch axes has no OpenCL kernel"
    if type_.dtype not in FLOATS and (node.op_type == "Gemm" or node.body):
        return f"{node.op_type} has no OpenCL kernel for {type_.dtype.name}"
    return None


def _is_packable(node: Node, p: _Product) -> bool:
    """True where conv_tile computes the product: one constant right side, no factors.

    An addend must be a constant row, to become the bias, or a tensor of the output's shape.
    """
    b = node.inputs[1]
    if b is None or b.contents is None or node.outputs[0].known_type.dtype not in FLOATS:
        return False
    if b.contents.type.size != p.k * p.n or p.left[-1] != 1 or p.alpha != 1 or p.beta != 1:
        return False
    if p.addend is None or _is_row(node.inputs[p.addend]):
        return True
    c = node.inputs[p.addend]
    return c is not None and c.known_type.dims == (p.m, p.n) and p.residual is None


def _is_row(value: Value | None) -> bool:
    """True for a constant that is the same for all rows."""
    if value is None or value.contents is None:
        return False
    shape = value.contents.type.dims
    return len(shape) < 2 or shape[0] == 1


def _prepare(backend: OpenCLBackend, node: Node) -> Kernel:
    p = _product(node)
    return (_prepare_packed if _is_packable(node, p) else _prepare_direct)(backend, node, p)


def _prepare_packed(backend: OpenCLBackend, node: Node, p: _Product) -> Kernel:
    """Rows are the pixels of a 1 x 1 convolution (kernels/conv.cl)."""
    program = backend.program("conv", backend.options(node.outputs[0].known_type.dtype))
    activation = activation_of(backend, epilogue_of(node))
    b, packed = node.inputs[1], {1}
    assert b is not None
    turned = bool(node.attributes.get("transB"))
    weights = backend.pack_rows(
        b,
        f"tiles {turned}",
        packed_size(p.k, p.n),
        lambda constant, most: packed_matrix(constant, p.k, p.n, most, turned=turned),
    )
    bias = None
    full = p.residual
    if p.addend is not None:
        c = node.inputs[p.addend]
        assert c is not None
        if _is_row(c):
            bias = backend.pack(c, f"row of {p.n}", lambda a: pack_bias(_row(a, p.n), 1, BLOCK))
            packed.add(p.addend)
        else:
            full = p.addend
    rows = math.prod(p.batch) * p.m

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        y = outputs[0]
        residual = None if full is None else inputs[full]
        return backend.command(
            program,
            "conv_tile",
            (-(-rows // PIXELS), -(-p.n // BLOCK), 1),
            (1, 1, 1),
            inputs[0],
            weights,
            bias or weights,
            residual or y,
            y,
            strides.ints(1, 1, rows, p.k, p.k, 0, 0, 0),
            strides.ints(rows, 1, 1, rows, p.n, 0, 0, 0),
            strides.ints(*(1,) * 9, *(0,) * 7),
            strides.longs(0, 0, 0, p.n),
            strides.ints(bias is not None, residual is not None, activation.kind, 0),
            np.float32(activation.alpha),
            np.float32(activation.beta),
        )

    return BoundKernel(bind, frozenset(packed))


def _row(c: np.ndarray, n: int) -> np.ndarray:
    return np.broadcast_to(c.reshape(-1), (n,))


def _prepare_direct(backend: OpenCLBackend, node: Node, p: _Product) -> Kernel:
    """Any strides, any batch (kernels/matmul.cl)."""
    program = backend.program("matmul", backend.options(node.outputs[0].known_type.dtype))
    activation = activation_of(backend, epilogue_of(node))
    axes = len(p.batch)
    addend: Ints = (0,) * (axes + 2)
    if p.addend is not None:
        c = node.inputs[p.addend]
        assert c is not None
        shape = c.known_type.dims
        addend = strides.broadcast(shape, strides.dense(shape), (p.m, p.n))

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        y = outputs[0]
        c = None if p.addend is None else inputs[p.addend]
        residual = None if p.residual is None else inputs[p.residual]
        return backend.command(
            program,
            "matmul",
            (-(-p.m // ROWS), -(-p.n // BLOCK), math.prod(p.batch)),
            (1, 1, 1),
            inputs[0],
            inputs[1],
            c or y,
            residual or y,
            y,
            strides.ints(p.m, p.n, p.k, 0),
            strides.longs(*p.left[-2:], *p.right[-2:], *addend[-2:], 0, 0),
            np.int32(axes),
            strides.dims(p.batch),
            strides.dims(p.left[:-2]),
            strides.dims(p.right[:-2]),
            strides.dims(addend[:-2]),
            strides.ints(c is not None, residual is not None, activation.kind, 0),
            np.float32(p.alpha),
            np.float32(p.beta),
            np.float32(activation.alpha),
            np.float32(activation.beta),
        )

    return BoundKernel(bind)


def _order(backend: OpenCLBackend, node: Node) -> Order:
    """One accumulator per output, k ascending; a packed constant row of Gemm comes first."""
    p = _product(node)
    starts = _is_packable(node, p) and p.addend is not None and _is_row(node.inputs[p.addend])
    compute = backend.compute(node.outputs[0].known_type.dtype)
    return Order(compute, start=p.addend if starts else None)


KERNELS = {"MatMul": _prepare, "Gemm": _prepare}
WHY_NOT = {"MatMul": _why_not, "Gemm": _why_not}
ORDERS = {"MatMul": _order, "Gemm": _order}
