"""MatMul and Gemm: NumPy's matmul, which hands two-dimensional float products to BLAS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.cpu.cast import to_integers
from engine.backends.cpu.scratch import scratch
from engine.backends.cpu.unary import activation
from engine.ir.graph import Node
from engine.ops.compose import epilogue_of
from engine.ops.matmul import gemm_factors

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views
    from engine.backends.cpu.team import Team

PART_FLOPS = 2_000_000
"""Work that is worth a second thread."""
EXACT_MAX = ((2**24, np.dtype(np.float32)), (2**53, np.dtype(np.float64)))
"""Up to where a floating-point number has every integer."""
INTEGER_PRODUCTS_MIN = 4096
"""So many are worth converting to it and back."""


def multiply(team: Team, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """numpy.matmul into `out`, shared out over the longest axis of the result."""
    if min(a.ndim, b.ndim) < 2 or not out.size or not a.size:
        np.matmul(a, b, out=out)
        return
    if b.ndim == 2 and a.flags.c_contiguous and out.flags.c_contiguous:
        a, out = a.reshape(-1, a.shape[-1]), out.reshape(-1, out.shape[-1])
    a = np.broadcast_to(a, (*out.shape[:-2], *a.shape[-2:]))
    b = np.broadcast_to(b, (*out.shape[:-2], *b.shape[-2:]))
    axis = int(np.argmax(out.shape))
    left, right = axis != out.ndim - 1, axis != out.ndim - 2

    def part(start: int, stop: int) -> None:
        index = (*(slice(None),) * axis, slice(start, stop))
        np.matmul(a[index] if left else a, b[index] if right else b, out=out[index])

    flops = 2 * out.size * a.shape[-1] // out.shape[axis]
    team.split(out.shape[axis], part, PART_FLOPS // max(flops, 1) + 1)


def _largest(x: np.ndarray) -> int:
    """The greatest magnitude among integers."""
    return max(int(x.max(initial=0)), -int(x.min(initial=0)))


def multiply_integers(team: Team, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """The same of integers, by BLAS where no sum leaves what float or double have exactly.

    NumPy's own loops over integers take some 30 times as long.
    """
    if min(a.ndim, b.ndim) < 2 or out.size * a.shape[-1] < INTEGER_PRODUCTS_MIN:
        np.matmul(a, b, out=out)
        return
    most = a.shape[-1] * _largest(a) * _largest(b)
    if most > EXACT_MAX[-1][0]:
        multiply(team, a, b, out)
        return
    dtype = next(dtype for end, dtype in EXACT_MAX if most <= end)
    sums = scratch("matmul sums", out.shape, dtype)
    multiply(team, a.astype(dtype), b.astype(dtype), sums)
    out[...] = sums.astype(np.int64)


def _combine(out: np.ndarray, c: np.ndarray | None, alpha: float, beta: float) -> None:
    """alpha out + beta c, in place."""
    if alpha != 1:
        np.multiply(out, alpha, out=out, casting="unsafe")
    if c is not None:
        c = c.astype(out.dtype, copy=False)
        out += c if beta == 1 else (c * beta).astype(out.dtype, copy=False)


def _combine_integers(out: np.ndarray, c: np.ndarray | None, alpha: float, beta: float) -> None:
    """The same, wrapping where both factors are whole; otherwise by float64, made whole once."""
    if c is None:
        c, beta = np.zeros((), out.dtype), 0.0
    if not (alpha.is_integer() and beta.is_integer()):
        with np.errstate(all="ignore"):
            to_integers(alpha * out.astype(np.float64) + beta * c.astype(np.float64), out)
        return
    bits = 8 * out.dtype.itemsize
    left, right = (np.uint64(int(f) % 2**bits).astype(out.dtype) for f in (alpha, beta))
    out *= left
    out += c * right


def _make(backend: CpuBackend, node: Node) -> Function:
    compute = backend.compute(node.outputs[0].known_type.dtype)
    is_gemm = node.op_type == "Gemm"
    turned = [is_gemm and bool(node.attributes.get(name)) for name in ("transA", "transB")]
    alpha, beta = gemm_factors(node.attributes) if is_gemm else (1.0, 1.0)
    operands = node.body[0].inputs if node.body else range(len(node.inputs))
    addend = operands[2] if len(operands) > 2 else None
    epilogue = epilogue_of(node)
    end = activation(epilogue.activation, epilogue.alpha, epilogue.beta)

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        y = outputs[0]
        out = y if y.dtype == compute else scratch("matmul y", y.shape, compute)
        a, b = (
            (x.T if turn else x).astype(compute, copy=False)
            for x, turn in zip(inputs[:2], turned, strict=True)
            if x is not None
        )
        if compute.kind == "f":
            multiply(backend.team, a, b, out)
        else:
            multiply_integers(backend.team, a, b, out)
        c = None if addend is None else inputs[addend]
        if compute.kind != "f":
            _combine_integers(out, c, alpha, beta)
        else:
            _combine(out, c, alpha, beta)
        if epilogue.residual is not None:
            out += inputs[epilogue.residual]
        if end is not None:
            end(out, out)
        if out is not y:
            y[...] = out

    return run


KERNELS = {"MatMul": _make, "Gemm": _make}
