"""MatMul (batched, broadcasting) and Gemm.

Source: https://onnx.ai/onnx/operators/onnx__MatMul.html and onnx__Gemm.html. MatMul follows
numpy.matmul: (..., M, K) x (..., K, N) with broadcast batch axes; a rank-1 operand gains an axis
that the result lacks. Gemm: y = alpha op(A) op(B) + beta C, with C broadcast to (M, N).

Integers wrap. Of integers, ONNX leaves open how Gemm's float factors meet them: here whole factors
are integers too, and with any other the sum of both terms is taken in float64 and then made an
integer by `numerics.saturated`, once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from engine.errors import ShapeError
from engine.ir.types import FLOAT, FLOATS, TensorType
from engine.ops.broadcasting import same_dtype
from engine.ops.numerics import Error, Units, exact, saturated, sum_of_products, where_sums_fit
from engine.ops.spec import (
    HERE,
    Arrays,
    Attributes,
    Call,
    Choose,
    Growth,
    Law,
    Operand,
    OpSpec,
    Reject,
    domain_of,
    example_by_growing,
)

Array: TypeAlias = np.ndarray
Grow = Callable[[Choose, TensorType], Growth | None]
Flops = Callable[[Sequence[TensorType | None], Sequence[TensorType], Attributes], int]
DTYPES: frozenset[np.dtype[Any]] = frozenset(
    {*FLOATS, *(np.dtype(t) for t in (np.int32, np.int64, np.uint32, np.uint64))}
)


def _operands(op: str, inputs: Sequence[Operand | None]) -> tuple[TensorType, TensorType]:
    a, b = inputs[0], inputs[1]
    if a is None or b is None:
        raise ShapeError(f"{op}: A and B are required")
    same_dtype(op, [given.type for given in inputs if given is not None], DTYPES)
    return a.type, b.type


def matmul_shape(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a matrix product; raises ShapeError."""
    if not a or not b:
        raise ShapeError(f"MatMul: A has shape {a} and B {b}; scalars have no product")
    rows, columns = a if len(a) > 1 else (1, *a), b if len(b) > 1 else (*b, 1)
    if rows[-1] != columns[-2]:
        raise ShapeError(
            f"MatMul: A has shape {a} and B {b}; A's last extent {rows[-1]} differs from "
            f"B's {columns[-2]}"
        )
    try:
        batch = np.broadcast_shapes(rows[:-2], columns[:-2])
    except ValueError:
        raise ShapeError(f"MatMul: batch axes of A {a} and B {b} do not broadcast") from None
    return (*batch, *rows[-2:-1][: len(a) > 1], *columns[-1:][: len(b) > 1])


def _two(inputs: Sequence[Array | None]) -> tuple[Array, Array]:
    a, b = inputs[:2]
    if a is None or b is None:
        raise AssertionError("A and B are required")
    return a, b


def _infer_matmul(inputs: Sequence[Operand | None], _: Attributes) -> tuple[TensorType, ...]:
    a, b = _operands("MatMul", inputs)
    return (TensorType(a.dtype, matmul_shape(a.dims, b.dims)),)


def _matmul(inputs: Arrays, _: Attributes) -> tuple[Array, ...]:
    a, b = _two(inputs)
    with np.errstate(all="ignore"):
        return (np.asarray(np.matmul(a, b)),)


def _matmul_error(inputs: Arrays, attributes: Attributes, units: Units) -> tuple[Error, ...]:
    """K products in any order: numerics.sum_of_products. Integers wrap, without error."""
    a, b = _two(inputs)
    (y,) = _matmul(inputs, attributes)
    if y.dtype != np.float64:
        return exact(y)
    (squares,) = _matmul((a * a, b * b), attributes)
    (sizes,) = _matmul((abs(a), abs(b)), attributes)
    return (sum_of_products(y, squares, sizes, a.shape[-1], units),)


def gemm_factors(attributes: Attributes) -> tuple[float, float]:
    """The attributes alpha and beta as ONNX holds them: floats, also for double tensors."""
    alpha, beta = (float(np.float32(attributes.get(k, 1.0))) for k in ("alpha", "beta"))
    return alpha, beta


def _infer_gemm(inputs: Sequence[Operand | None], attributes: Attributes) -> tuple[TensorType, ...]:
    a, b = _operands("Gemm", inputs)
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise ShapeError(f"Gemm: A is {a} and B {b}; both must have rank 2")
    m, k = a.dims[::-1] if attributes.get("transA") else a.dims
    depth, n = b.dims[::-1] if attributes.get("transB") else b.dims
    if k != depth:
        raise ShapeError(
            f"Gemm: op(A) is ({m}, {k}) and op(B) ({depth}, {n}); the inner extents differ"
        )
    c = inputs[2] if len(inputs) > 2 else None
    if c is not None:
        padded = (1,) * (2 - len(c.type.shape)) + c.type.dims
        if len(padded) != 2 or padded[0] not in (1, m) or padded[1] not in (1, n):
            raise ShapeError(f"Gemm: C is {c.type}, which does not broadcast to ({m}, {n})")
    return (TensorType(a.dtype, (m, n)),)


def _gemm_parts(inputs: Arrays, attributes: Attributes) -> tuple[Array, Array, Array | None]:
    """op(A), op(B) and C."""
    a, b = _two(inputs)
    a, b = a.T if attributes.get("transA") else a, b.T if attributes.get("transB") else b
    return a, b, inputs[2] if len(inputs) > 2 else None


def _gemm(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    a, b, c = _gemm_parts(inputs, attributes)
    alpha, beta = gemm_factors(attributes)
    with np.errstate(all="ignore"):
        product = a @ b
        if c is None:
            c, beta = np.zeros((), a.dtype), 0.0
        if a.dtype.kind != "f" and alpha.is_integer() and beta.is_integer():
            whole = int(alpha) * product.astype(object) + int(beta) * c.astype(object)
            return (_wrapped(whole, a.dtype),)
        y = np.asarray(alpha * product + beta * c)
        return (y if a.dtype.kind == "f" else saturated(y, a.dtype),)


def _wrapped(exact: Array, dtype: np.dtype) -> Array:
    """Python's integers modulo 2^bits, as the integers of a dtype."""
    low: Array = (exact % 2 ** (8 * dtype.itemsize)).astype(np.uint64).astype(dtype)
    return low


def _gemm_error(inputs: Arrays, attributes: Attributes, units: Units) -> tuple[Error, ...]:
    """K products and beta C, numerics.sum_of_products.

    A factor other than 1 rounds its term once, and is itself rounded to the compute format: two
    more roundings, and its term joins the squares. There is no bound where op(A) op(B) may overflow
    before a smaller alpha.
    """
    a, b, c = _gemm_parts(inputs, attributes)
    alpha, beta = gemm_factors(attributes)
    (y,) = _gemm(inputs, attributes)
    if a.dtype != np.float64:
        return exact(y)
    product, magnitude, n = a @ b, abs(a) @ abs(b), a.shape[1]
    squares, sizes = alpha**2 * ((a * a) @ (b * b)), abs(alpha) * magnitude
    terms = n
    if alpha != 1:
        squares, n = squares + (alpha * product) ** 2, n + 2
    if c is not None:
        term = np.broadcast_to(beta * c, y.shape)
        squares, sizes, n = squares + (1 + (beta != 1)) * term**2, sizes + abs(term), n + 3
    error = sum_of_products(y, squares, sizes, n, units)
    return (error if abs(alpha) >= 1 else where_sums_fit(error, magnitude, terms, units),)


def _example(grow: Grow, rank: tuple[int, int]) -> Callable[[Choose], Call]:
    """Of any dtype; integers up to their ends."""

    def draw(choose: Choose) -> Array:
        shape = choose.shape(rank)
        dtype = choose.one_of((FLOAT, *sorted(DTYPES - {FLOAT}, key=str)))
        return choose.tensor(shape, dtype, *domain_of(choose, dtype, -4.0, 4.0))

    return example_by_growing(grow, draw)


def _weights(choose: Choose, shape: Sequence[int], dtype: np.dtype) -> Array:
    return choose.tensor(shape, dtype, *domain_of(choose, dtype, -1.0, 1.0))


def _grow_matmul(choose: Choose, x: TensorType) -> Growth | None:
    if x.dtype not in DTYPES or len(x.shape) < 2 or 0 in x.shape:
        return None
    n = choose.one_of((1, 2, 3, 16, 17, 33))
    batch = choose.one_of(((), (1,), x.dims[:-2]))
    if choose.integer(0, 3) == 0:
        return Growth((_weights(choose, (*batch, n, x.dims[-2]), x.dtype), HERE))
    return Growth((HERE, _weights(choose, (*batch, x.dims[-1], n), x.dtype)))


def _grow_gemm(choose: Choose, x: TensorType) -> Growth | None:
    if x.dtype not in DTYPES or len(x.shape) != 2 or 0 in x.shape:
        return None
    attributes = {k: 1 for k in ("transA", "transB") if choose.integer(0, 1)}
    m, k = x.dims[::-1] if "transA" in attributes else x.dims
    n = choose.one_of((1, 2, 3, 16, 17, 33))
    b = _weights(choose, (n, k) if "transB" in attributes else (k, n), x.dtype)
    factors: dict[str, float] = {}
    for name in ("alpha", "beta"):
        if choose.integer(0, 1):
            factors[name] = choose.one_of((2.0, 0.5, -0.3))
    if choose.integer(0, 1):
        return Growth((HERE, b), {**attributes, **factors})
    shape = choose.one_of(((n,), (1, n), (m, 1), (m, n), (), (1,)))
    c = choose.tensor(shape, x.dtype, *domain_of(choose, x.dtype, -4.0, 4.0))
    return Growth((HERE, b, c), {**attributes, **factors})


def _exchange(call: Call) -> Call | None:
    """(A B)^T = B^T A^T."""
    a, b = _two(call.inputs)
    if a.ndim < 2 or b.ndim < 2:
        return None
    return Call((b.swapaxes(-1, -2), a.swapaxes(-1, -2)))


def _store_transposed(call: Call) -> Call:
    """A and B stored the other way round, and both flags turned."""
    a, b = _two(call.inputs)
    rest = call.inputs[2:]
    turned = {k: 1 - int(call.attributes.get(k, 0)) for k in ("transA", "transB")}
    return Call((a.T, b.T, *rest), {**call.attributes, **turned})


def _call(*shapes: tuple[int, ...], dtype: str = "f4", **attributes: object) -> Call:
    rng = np.random.default_rng(sum(map(sum, shapes)))
    return Call(tuple((rng.standard_normal(s) * 3).astype(dtype) for s in shapes), attributes)


def _at_the_ends(dtype: np.dtype, **attributes: float) -> Call:
    """Sums and products that wrap, and an addend that float64 does not hold."""
    limits = np.iinfo(dtype)
    a = np.array([[limits.min, limits.max], [1, 1], [0, 0]], dtype)
    b = np.array([[limits.max, 1, 0], [limits.max, 3, 2]], dtype)
    return Call(
        (a, b, np.array([limits.max - 1, limits.max // 2 + 2, limits.min], dtype)), attributes
    )


def _depth_flops(axis: str) -> Flops:
    def flops(
        inputs: Sequence[TensorType | None], outputs: Sequence[TensorType], attributes: Attributes
    ) -> int:
        """Two per product."""
        a = inputs[0]
        return 2 * outputs[0].size * a.dims[0 if attributes.get(axis) else -1] if a else 0

    return flops


MATMUL = OpSpec(
    "MatMul",
    (2, 2),
    _infer_matmul,
    _matmul,
    _matmul_error,
    _example(_grow_matmul, (2, 4)),
    grow=_grow_matmul,
    is_exact=True,
    edges=(
        lambda: _call((5,), (5,)),
        lambda: _call((5,), (2, 5, 3)),
        lambda: _call((2, 3, 5), (5,)),
        lambda: _call((2, 1, 7, 33), (3, 33, 50)),
        lambda: _call((3, 7, 600), (600, 35)),
        lambda: _call((2, 3), (3, 4), dtype="i4"),
        lambda: _call((2, 0), (0, 4)),
        lambda: _call((0, 2, 3), (3, 4)),
    ),
    rejects=(
        Reject("inner extents", lambda: _call((2, 3), (4, 2)), "last extent 3 differs from B's 4"),
        Reject("batch axes", lambda: _call((2, 2, 3), (3, 3, 2)), "do not broadcast"),
        Reject("scalar", lambda: _call((), (3,)), "scalars"),
    ),
    laws=(Law("transposed product", _exchange, lambda _, y: y.swapaxes(-1, -2)),),
    flops=_depth_flops(""),
)

GEMM = OpSpec(
    "Gemm",
    (2, 3),
    _infer_gemm,
    _gemm,
    _gemm_error,
    _example(_grow_gemm, (2, 2)),
    grow=_grow_gemm,
    is_exact=True,
    edges=(
        lambda: _call((1, 2048), (1000, 2048), (1000,), transB=1),
        lambda: _call((8, 5), (8, 33), (5, 1), transA=1, alpha=0.5, beta=-2.0),
        lambda: _call((7, 0), (0, 3), (3,)),
        *(partial(_at_the_ends, np.dtype(t)) for t in ("i4", "i8", "u4", "u8")),
        *(partial(_at_the_ends, np.dtype(t), alpha=0.5, beta=-1.5) for t in ("i4", "u8")),
        partial(_at_the_ends, np.dtype("i8"), alpha=3.0, beta=2.0**40),
        lambda: Call(  # The product overflows, a quarter of it does not.
            (np.array([[2, 1]], np.float32), np.array([[3e38, 0], [0, 1]], np.float32)),
            {"alpha": 0.25},
        ),
    ),
    rejects=(
        Reject("rank", lambda: _call((2, 3, 4), (4, 2)), "rank 2"),
        Reject("inner extents", lambda: _call((2, 3), (2, 3)), "inner extents"),
        Reject("C", lambda: _call((2, 3), (3, 4), (3,)), "broadcast"),
    ),
    laws=(Law("operands stored transposed", _store_transposed, lambda _, y: y),),
    flops=_depth_flops("transA"),
    reads=("alpha", "beta", "transA", "transB"),
)

SPECS = (MATMUL, GEMM)
