"""Det: determinants of square matrices.

Source: https://onnx.ai/onnx/operators/onnx__Det.html. x (..., n, n), y (...); of no rows it is 1. A
NaN in a matrix makes its determinant NaN. What cancels on the way is lost, so it is computed in
double, whatever the dtype.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from engine.errors import ShapeError
from engine.ir.types import DOUBLE, FLOAT, FLOAT16, FLOATS, TensorType
from engine.ops.numerics import Error, Units, finite, quadrature
from engine.ops.operands import Operands, check_dtype, tensor, zeros
from engine.ops.spec import HERE, Arrays, Attributes, Call, Choose, Growth, Law, OpSpec, Reject

Array = np.ndarray


def _infer(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    x = tensor("Det", inputs, 0, "X")
    check_dtype("Det", x.dtype, FLOATS)
    if len(x.dims) < 2 or x.dims[-1] != x.dims[-2]:
        raise ShapeError(f"Det: X has shape {x.dims}, expected square matrices")
    return (TensorType(x.dtype, x.dims[:-2]),)


def _reference(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    x = np.asarray(inputs[0])
    y = np.ones(x.shape[:-2])
    with np.errstate(all="ignore"):
        for at in np.ndindex(y.shape):
            sign, _, upper = _factors(x[at])
            y[at] = np.nan if np.isnan(x[at]).any() else sign * np.prod(np.diag(upper))
    return (y,)


def _error(inputs: Arrays, attributes: Attributes, units: Units) -> tuple[Error, ...]:
    """Gaussian elimination with partial pivoting, then a product of n pivots; all in double.

    What is computed is the determinant of X + E with |E| <= gamma_n |L||U| (Higham, theorem 9.3),
    and |det(X + E) - det X| <= prod(s_k + |E|) - prod(s_k) with the singular values s_k (Ipsen and
    Rehman, SIAM J. Matrix Anal. Appl. 30, 2008). |L| <= 1; for sigma U is that of float64, for the
    bound |u_ij| <= 2^(i-1) max_i |x_ij|, whatever the pivots. Partial products of pivots round n
    times more; there is no bound where one may overflow.
    """
    x, (y,) = np.asarray(inputs[0]), _reference(inputs, attributes)
    n, sigma, bound = x.shape[-1], np.zeros(y.shape), np.zeros(y.shape)
    wide = replace(units, compute=DOUBLE)
    u, inside = wide.u_compute, wide.without_storage()
    gamma = n * u / (1 - n * u)
    with np.errstate(all="ignore"):
        for at in np.ndindex(y.shape):
            if not np.isfinite(x[at]).all():
                bound[at] = np.inf
                continue
            singular = np.linalg.svd(x[at], compute_uv=False)
            _, lower, upper = _factors(x[at])
            spread = _moved(singular, u * np.linalg.norm(np.abs(lower) @ np.abs(upper)))
            sigma[at] = np.hypot(spread, u * np.sqrt(n / 3) * abs(y[at]))
            worst = _moved(singular, gamma * _grown(x[at])) * (1 + 2 * gamma)
            bound[at] = worst + gamma * (abs(y[at]) + worst)
            partial_product = np.prod(np.maximum(1, 2 * np.abs(np.diag(upper))))
            bound[at] += 2 * n * inside.floor * partial_product
            if not partial_product < inside.largest:
                bound[at] = np.inf
        a, us = finite(y), wide.u_storage
        bound = bound * (1 + us) + us * a + wide.floor
        sigma = quadrature(sigma, us * a / np.sqrt(3), wide.floor)
    return (Error(np.minimum(np.nan_to_num(sigma, nan=np.inf), bound), bound),)


def _moved(singular: Array, perturbation: float | np.floating) -> float:
    """prod(s_k + e) - prod(s_k), term by term, so that nothing cancels."""
    total, before = 0.0, 1.0
    for s in singular:
        total, before = total * (s + perturbation) + before * perturbation, before * s
    return float(total)


def _factors(x: Array) -> tuple[float, Array, Array]:
    """(sign, L, U) with det x = sign det U, by the largest pivot of each column."""
    sign, lower, upper = 1.0, np.eye(len(x)), x.copy()
    for k in range(len(x)):
        pivot = k + int(np.argmax(np.abs(upper[k:, k])))
        sign = sign if pivot == k else -sign
        upper[[k, pivot]], lower[[k, pivot], :k] = upper[[pivot, k]], lower[[pivot, k], :k]
        if upper[k, k]:
            lower[k + 1 :, k] = upper[k + 1 :, k] / upper[k, k]
            upper[k + 1 :] -= np.outer(lower[k + 1 :, k], upper[k])
    return sign, lower, upper


def _grown(x: Array) -> float:
    """Of |L||U| at most: the Frobenius norm of sum over k <= min(i, j) of 2^(k-1) max_i |x_ij|."""
    steps = 2.0 ** (1 + np.minimum.outer(np.arange(len(x)), np.arange(len(x)))) - 1
    return float(np.linalg.norm(steps * np.max(np.abs(x), axis=0, initial=0.0)))


def _example(choose: Choose) -> Call:
    n = choose.one_of((2, 1, 3, 4, 5, 8, 9, 17))
    shape = (*choose.shape((0, 2), 5), n, n)
    x = choose.tensor(shape, choose.one_of((FLOAT, DOUBLE, FLOAT16)))
    if n > 1 and choose.integer(0, 3) == 3:
        x[..., -1, :] = x[..., 0, :]  # singular
    return Call((x,))


def _grow(choose: Choose, x: TensorType) -> Growth | None:
    square = len(x.shape) > 1 and x.dims[-1] == x.dims[-2] and 0 < x.dims[-1] < 10
    return Growth((HERE,)) if square and x.dtype in FLOATS else None


def _rows_turned(call: Call) -> Call | None:
    """Two swaps, which leave the sign."""
    x = np.asarray(call.inputs[0])
    order = [1, 2, 0, *range(3, x.shape[-1])]
    return Call((x[..., order, :].copy(),)) if x.shape[-1] > 2 else None


def _transposed(call: Call) -> Call:
    return Call((np.swapaxes(np.asarray(call.inputs[0]), -1, -2).copy(),))


def _permutation(*order: int) -> Call:
    """Every pivot stands in another row, and there is one in each column."""
    return Call((np.eye(len(order), dtype=np.float32)[list(order)] * 2,), note="a permutation")


def _hilbert(n: int, dtype: str) -> Call:
    """Close to singular."""
    return Call((1 / (1 + np.add.outer(np.arange(n), np.arange(n)).astype(dtype)),))


def _chained(n: int, scale: float) -> Call:
    """Pivots far from 1, whose product is not."""
    diagonal = [scale if k % 2 else 1 / scale for k in range(n)]
    return Call((np.diag(diagonal).astype(np.float32)[[*range(1, n), 0]],))


_UNKNOWN = np.array([[[1, np.nan], [0, 1]], [[np.nan, 1], [1, 1]], [[1, 2], [3, np.nan]]], "f4")

SPECS: tuple[OpSpec, ...] = (
    OpSpec(
        "Det",
        (1, 1),
        _infer,
        _reference,
        _error,
        _example,
        grow=_grow,
        edges=(
            *(
                partial(_permutation, *order)
                for order in ((1, 0), (1, 2, 0), (2, 1, 0), (3, 2, 0, 1))
            ),
            *(partial(_hilbert, n, dtype) for n, dtype in ((5, "f4"), (8, "f8"), (4, "f2"))),
            lambda: _chained(6, 1e20),
            lambda: Call((_UNKNOWN,), note="NaN"),
            lambda: Call((zeros(2, 3, 3),)),
            lambda: Call((zeros(0, 3, 3),)),
            lambda: Call((zeros(2, 0, 0),)),
            lambda: Call((np.full((1, 1), -3, "f4"),)),
        ),
        rejects=(
            Reject("not square", lambda: Call((zeros(2, 3),)), "square"),
            Reject("a vector", lambda: Call((zeros(3),)), "square"),
            Reject("integers", lambda: Call((np.ones((2, 2), "i4"),)), "dtype int32"),
        ),
        laws=(
            Law("three rows turned", _rows_turned, lambda call, y: y),
            Law("transposed", _transposed, lambda call, y: y),
        ),
        flops=lambda inputs, outputs, _: (
            2 * inputs[0].size * inputs[0].dims[-1] // 3 if inputs[0] else 0
        ),
    ),
)
