"""Reductions over axes: sums, products, extremes, norms, and the positions of extremes.

Sources: https://onnx.ai/onnx/operators/ (ReduceSum and its siblings, ArgMax); sums by
`numerics.sum_of_products`. Kernels sum in any fixed order. *No kernel accumulates in half*: at LOW
the arithmetic of these operators is float (`accumulated`), as sixty-six terms of 1,000 would
already overflow; storage stays half. NaN wins every extreme, as in NumPy. Integers wrap, and a mean
of them is their wrapped sum, divided towards zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from engine.errors import ShapeError
from engine.ir.types import (
    BOOL,
    DOUBLE,
    FLOAT,
    FLOAT16,
    FLOATS,
    INT32,
    INT64,
    INTEGERS,
    TensorType,
)
from engine.ops.numerics import (
    Error,
    Units,
    exact,
    finite,
    magnified,
    quadrature,
    sum_of_products,
    where_sums_fit,
)
from engine.ops.operands import check_dtype, known_integers
from engine.ops.spec import (
    HERE,
    Arrays,
    Attributes,
    Call,
    Choose,
    Growth,
    Operand,
    OpSpec,
    Reject,
    domain_of,
)

Array = np.ndarray
Axes = tuple[int, ...]
AXES_INPUT = 1
SUMMED: frozenset[np.dtype] = FLOATS | {np.dtype(t) for t in ("i4", "i8", "u4", "u8")}
"""What ONNX lets reductions add up: no 8-bit and 16-bit integers."""
ORDERED: frozenset[np.dtype] = SUMMED | {np.dtype(t) for t in ("i1", "u1")} | {BOOL}
"""What ReduceMax and ReduceMin take."""


def accumulated(units: Units) -> Units:
    """The units of a kernel that computes in float where the precision would say half."""
    return replace(units, compute=FLOAT) if units.compute == FLOAT16 else units


def normal_axis(op_type: str, axis: int, rank: int) -> int:
    """The axis in [0, rank); raises ShapeError. A scalar accepts axis 0 and -1."""
    limit = max(rank, 1)
    if not -limit <= axis < limit:
        raise ShapeError(
            f"{op_type}: axis={axis} is outside [{-limit}, {limit - 1}] for an input of rank {rank}"
        )
    return axis % limit


def reduced_axes(op_type: str, rank: int, axes: Array | None, attributes: Attributes) -> Axes:
    """The axes to reduce, ascending: all of them where none are named (unless noop is set)."""
    if axes is None or axes.size == 0:
        return () if attributes.get("noop_with_empty_axes", 0) else tuple(range(rank))
    named = [normal_axis(op_type, int(a), rank) for a in axes.reshape(-1)]
    if len(set(named)) != len(named):
        raise ShapeError(f"{op_type}: axes {axes.tolist()} name one axis twice")
    return tuple(sorted(a for a in named if a < rank))


def axes_of(op_type: str, inputs: Arrays, attributes: Attributes) -> Axes:
    """`reduced_axes` from the arrays of a call."""
    x = inputs[0]
    assert x is not None
    return reduced_axes(op_type, x.ndim, inputs[1] if len(inputs) > 1 else None, attributes)


def reduced_shape(shape: Sequence[int], axes: Axes, keepdims: bool) -> tuple[int, ...]:
    """Extents 1 on the reduced axes, or none at all."""
    if keepdims:
        return tuple(1 if a in axes else d for a, d in enumerate(shape))
    return tuple(d for a, d in enumerate(shape) if a not in axes)


# ------------------------------------------------------------------------- formulas, over axes
def _mean(x: Array, axes: Axes) -> Array:
    total, n = _sum(x, axes), _count(x, axes)
    if x.dtype.kind == "f":
        mean: Array = total / n
        return mean
    if n == 0:
        return np.zeros_like(total)
    down = total // n  # towards zero, and without a detour through double
    whole: Array = (down + ((total % n != 0) & (total < 0))).astype(x.dtype)
    return whole


def _extreme(function: np.ufunc, worst: float) -> Callable[[Array, Axes], Array]:
    def reduce(x: Array, axes: Axes) -> Array:
        if x.dtype == BOOL:
            initial: Any = worst > 0
        elif x.dtype.kind == "f":
            initial = worst
        else:
            initial = np.iinfo(x.dtype).max if worst > 0 else np.iinfo(x.dtype).min
        y: Array = function.reduce(x, axis=axes, keepdims=True, initial=initial)
        return y

    return reduce


def _log_sum_exp(x: Array, axes: Axes) -> Array:
    largest = np.max(x, axis=axes, keepdims=True, initial=-np.inf)
    shift = np.where(np.isfinite(largest), largest, 0.0)
    y: Array = shift + np.log(np.sum(np.exp(x - shift), axis=axes, keepdims=True))
    return y


def _sum(x: Array, axes: Axes) -> Array:
    total: Array = np.sum(x, axis=axes, dtype=x.dtype, keepdims=True)
    return total


def _count(x: Array, axes: Axes) -> int:
    return int(np.prod([x.shape[a] for a in axes], dtype=np.int64))


# ------------------------------------------------------------------------- errors, over axes
ErrorOver = Callable[[Array, Axes, Array, Units], Error]


def _sum_error(x: Array, axes: Axes, y: Array, units: Units) -> Error:
    """n terms: numerics.sum_of_products."""
    return sum_of_products(y, _sum(x * x, axes), _sum(abs(x), axes), _count(x, axes), units)


def _mean_error(x: Array, axes: Axes, y: Array, units: Units) -> Error:
    """The sum's error over n, and the division: one more rounded quantity in sum_of_products."""
    n = max(_count(x, axes), 1)
    t = x / n
    error = sum_of_products(y, _sum(t * t, axes), _sum(abs(t), axes), n, units)
    error = _plus(error, 2 * units.ulps("divide") * units.u_compute * finite(y))
    return where_sums_fit(error, _sum(abs(x), axes), n, units)


def _squares_error(x: Array, axes: Axes, y: Array, units: Units) -> Error:
    """The n products are rounded too (the 2Q of sum_of_products counts them)."""
    return sum_of_products(y, _sum(x**4, axes), _sum(x * x, axes), _count(x, axes) + 1, units)


def _l2_error(x: Array, axes: Axes, y: Array, units: Units) -> Error:
    """Half the relative error of the sum of squares, and sqrt's ULP row.

    Squares below the subnormal floor vanish: then the result is off by the root of what is lost.
    """
    inner = _squares_error(x, axes, y * y, units.without_storage())
    slope = 0.5 / np.where(y == 0, np.inf, y)
    lost = np.sqrt((_count(x, axes) + 1) * units.without_storage().floor)
    error = _through(inner, slope, y, units, 2 * units.ulps("sqrt"))
    error = _plus(error, np.full(y.shape, lost))
    return where_sums_fit(error, y * y, _count(x, axes), units)


def _log_sum_error(x: Array, axes: Axes, y: Array, units: Units) -> Error:
    """log(s): the error of s over |s|, and log's ULP row."""
    total = _sum(x, axes)
    inner = _sum_error(x, axes, total, units.without_storage())
    slope = 1 / np.where(total == 0, np.inf, abs(total))
    error = _through(inner, slope, y, units, 2 * units.ulps("log"))
    return where_sums_fit(error, _sum(abs(x), axes), _count(x, axes), units)


def _log_sum_exp_error(x: Array, axes: Axes, y: Array, units: Units) -> Error:
    """m + log(s), s = sum exp(x - m): exp_error over s, log's row on log s, and the last sum."""
    shift = finite_maximum(x, axes)
    total = _sum(np.exp(x - shift), axes)
    relative = exp_sum_error(x, axes, units)
    log = 2 * units.ulps("log") * abs(np.log(np.where(total > 0, total, 1.0)))
    last = magnified(y, log + finite(y), units)
    return Error(np.hypot(last.sigma, relative.sigma), last.bound + relative.bound)


def finite_maximum(x: Array, axes: Axes) -> Array:
    """The largest element over `axes` (kept as extents 1), 0 where that is not finite."""
    largest = np.max(x, axis=axes, keepdims=True, initial=-np.inf)
    return np.where(np.isfinite(largest), largest, 0.0)


def exp_sum_error(x: Array, axes: Axes, units: Units) -> Error:
    """*Relative* error of s = sum exp(x - m), m the maximum.

    x - m is rounded (|x - m| u_c relative in exp), exp has its ULP row, and the sum of n terms
    p_i = exp(x_i - m)/s, which add up to 1, is sum_of_products'.
    """
    shift = finite_maximum(x, axes)
    distance = np.where(np.isfinite(x), shift - x, 0.0)
    e = np.where(np.isfinite(x), np.exp(x - shift), 0.0)
    total = _sum(e, axes)
    p = e / np.where(total > 0, total, 1.0)
    per_term = p * (distance + 2 * units.ulps("exp"))
    one, uc = np.ones(total.shape), units.u_compute
    order = sum_of_products(one, _sum(p * p, axes), one, _count(x, axes), units.without_storage())
    sigma = np.sqrt(order.sigma**2 + uc**2 / 3 * _sum(per_term**2, axes))
    return Error(sigma, order.bound + uc * _sum(per_term, axes) * (1 + 8 * uc))


def _product_error(x: Array, axes: Axes, y: Array, units: Units) -> Error:
    """n - 1 products: (1 + u)^(n-1) - 1, and what partial products lose.

    In some order all factors above 1 come first, or all below. Where the former overflow and the
    result does not, nothing is promised; where the latter underflow, the rest magnifies the loss.
    """
    n = max(_count(x, axes) - 1, 0)
    uc, us = units.u_compute, units.u_storage
    a, size, inside = finite(y), finite(x), units.without_storage()
    with np.errstate(over="ignore", under="ignore"):
        large = np.prod(np.maximum(size, 1), axis=axes, keepdims=True)
        small = np.prod(np.where(size > 0, np.minimum(size, 1), 1), axis=axes, keepdims=True)
    lost = np.where(small < np.finfo(units.compute).smallest_normal, n * inside.floor * large, 0)
    sigma = quadrature(a * np.sqrt((n * uc * uc + us * us) / 3), units.floor, lost)
    bound = a * (np.expm1(n * np.log1p(uc)) + us) * (1 + us) + (1 + n) * units.floor + lost
    overflows = (large * (1 + 2 * n * uc) > inside.largest) & (a <= inside.largest)
    return Error(sigma, np.where(overflows, np.inf, bound))


def _plus(error: Error, worst: Array) -> Error:
    return Error(np.hypot(error.sigma, worst / np.sqrt(3)), error.bound + worst * (1 + 1e-6))


def _through(inner: Error, slope: Array, y: Array, units: Units, ulps: float) -> Error:
    """f(s): |df/ds| times the error of s, and f's own rounding."""
    slope = np.where(np.isfinite(y) & np.isfinite(slope), slope, 0.0)
    own = magnified(y, ulps * finite(y), units)
    return Error(np.hypot(slope * inner.sigma, own.sigma), 1.01 * slope * inner.bound + own.bound)


def _exact_error(x: Array, axes: Axes, y: Array, units: Units) -> Error:
    return exact(y)[0]


# ------------------------------------------------------------------------- specs
def _draw_axes(choose: Choose, rank: int) -> Array | None:
    """Any subset of axes, negative ones among them; None, or empty, for all."""
    kind = choose.one_of(("last", "any", "all", "empty"))
    if kind == "all" or rank == 0:
        return None
    if kind == "last":
        return np.array([-1], np.int64)
    picked = [a - rank * choose.integer(0, 1) for a in range(rank) if choose.integer(0, 1)]
    return np.array([] if kind == "empty" else picked, np.int64)


@dataclass(frozen=True)
class Reduction:
    """y = function(x, axes), extents 1 kept; `error` for float results.

    Attributes:
        domain: range of the examples.
        largest: greatest extent of the examples.
        is_exact: with small-integer inputs the result is exact in every precision.
    """

    op_type: str
    function: Callable[[Array, Axes], Array]
    error: ErrorOver = _exact_error
    _: KW_ONLY
    dtypes: frozenset[np.dtype] = SUMMED
    domain: tuple[float, float] = (-4.0, 4.0)
    largest: int = 33
    is_exact: bool = False

    def infer_types(
        self, inputs: Sequence[Operand | None], attributes: Attributes
    ) -> tuple[TensorType, ...]:
        """The reduced shape; axes must be known before a run."""
        op_type = self.op_type
        x, axes = (*inputs, None)[:2]
        if x is None:
            raise ShapeError(f"{op_type}: the input is missing")
        check_dtype(op_type, x.type.dtype, self.dtypes)
        known_integers(op_type, inputs, 1, "axes")
        shape = x.type.dims
        over = reduced_axes(op_type, len(shape), axes.value if axes else None, attributes)
        keep = bool(attributes.get("keepdims", 1))
        return (TensorType(x.type.dtype, reduced_shape(shape, over, keep)),)

    def evaluate(
        self, inputs: Arrays, attributes: Attributes
    ) -> tuple[Array, Axes, Array, tuple[int, ...]]:
        """(x, axes, y with extents 1 kept, the shape of the result)."""
        x = inputs[0]
        assert x is not None
        axes = axes_of(self.op_type, inputs, attributes)
        shape = reduced_shape(x.shape, axes, bool(attributes.get("keepdims", 1)))
        return x, axes, np.asarray(self.function(x, axes)), shape

    def reference(self, inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
        """`function`, reshaped."""
        with np.errstate(all="ignore"):
            _, _, y, shape = self.evaluate(inputs, attributes)
        return (y.reshape(shape),)

    def error_model(
        self, inputs: Arrays, attributes: Attributes, units: Units
    ) -> tuple[Error, ...]:
        """`error` of a float result; no error of integers and booleans."""
        with np.errstate(all="ignore"):
            x, axes, y, shape = self.evaluate(inputs, attributes)
            if y.dtype != np.float64:
                return exact(y.reshape(shape))
            worst = self.error(x, axes, y, accumulated(units))
        return (Error(worst.sigma.reshape(shape), worst.bound.reshape(shape)),)

    def example(self, choose: Choose) -> Call:
        """Any rank, dtype and subset of axes."""
        first = [d for d in (FLOAT, INT64, DOUBLE, INT32, FLOAT16) if d in self.dtypes]
        dtype = choose.one_of([*first, *sorted((self.dtypes & INTEGERS) - {*first}, key=str)])
        domain = domain_of(choose, dtype, *self.domain)
        x = choose.tensor(choose.shape((0, 4), self.largest), dtype, *domain)
        keep = {"keepdims": choose.integer(0, 1)} if choose.integer(0, 1) else {}
        noop = {"noop_with_empty_axes": 1} if choose.integer(0, 4) == 0 else {}
        axes = _draw_axes(choose, x.ndim)
        return Call((x,) if axes is None else (x, axes), {**keep, **noop})

    def grow(self, choose: Choose, x: TensorType) -> Growth | None:
        """One axis, where values of the graph lie in the domain."""
        if x.dtype not in self.dtypes or not x.shape or self.domain[0] > -1 or self.largest < 33:
            return None
        axis = choose.integer(-1, len(x.shape) - 2)
        return Growth((HERE, np.array([axis], np.int64)), {"keepdims": 1})


_hard = np.array([[np.nan, 1.0, -np.inf], [np.inf, 2.0, 3.0], [-0.0, 0.0, 6e4]], np.float32)


def _nan_in_lanes(axis: int, dtype: np.dtype) -> Call:
    """NaN and infinities at every place of rows and columns longer than a vector."""
    x = np.arange(40 * 37).reshape(40, 37) % 23 - 11.0
    x[np.arange(37), np.arange(37)] = np.nan
    x[3, 20:], x[38, ::2], x[39, 5] = -np.inf, np.inf, -np.inf
    return Call((x.astype(dtype), np.array([axis])), note="NaN in lanes")


EDGES: tuple[Callable[[], Call], ...] = (
    lambda: Call((_hard, np.array([1])), note="NaN and infinities"),
    *(partial(_nan_in_lanes, axis, dtype) for axis in (0, 1) for dtype in (FLOAT, FLOAT16)),
    lambda: Call((np.zeros((2, 0, 3), "f4"), np.array([1])), note="no terms"),
    lambda: Call((np.zeros((0, 3), "f4"), np.array([1])), note="no rows"),
    lambda: Call((np.array(2.5, "f4"),), note="rank 0"),
    lambda: Call((np.array([[3e38, 3e38, 1], [2e38, 1, 3e38]], "f4"), np.array([1])), note="huge"),
    lambda: Call((_hard, np.array([], "i8")), {"noop_with_empty_axes": 1}, "no axes"),
)
REJECTS = (
    Reject(
        "axis out of range",
        lambda: Call((np.zeros((2, 3), "f4"), np.array([2]))),
        r"axis=2 is outside [-2, 1]",
    ),
    Reject("axis twice", lambda: Call((np.zeros((2, 3), "f4"), np.array([1, -1]))), "twice"),
)


def spec_of(reduction: Reduction) -> OpSpec:
    """The operator of a formula over axes."""
    return OpSpec(
        reduction.op_type,
        (1, 2),
        reduction.infer_types,
        reduction.reference,
        reduction.error_model,
        reduction.example,
        grow=reduction.grow,
        constant_inputs=frozenset({AXES_INPUT}),
        is_exact=reduction.is_exact,
        reads=("keepdims", "noop_with_empty_axes"),
        edges=EDGES,
        rejects=REJECTS,
        flops=lambda inputs, outputs, _: inputs[0].size if inputs[0] else 0,
    )


_offset: Any = {"domain": (-1000.0, 1000.0)}
_positive: Any = {"domain": (0.0, 16.0), "dtypes": FLOATS}
REDUCTIONS = (
    Reduction("ReduceSum", _sum, _sum_error, is_exact=True),
    Reduction("ReduceMean", _mean, _mean_error, **_offset),
    Reduction("ReduceMax", _extreme(np.maximum, -np.inf), dtypes=ORDERED, is_exact=True),
    Reduction("ReduceMin", _extreme(np.minimum, np.inf), dtypes=ORDERED, is_exact=True),
    Reduction(
        "ReduceProd",
        lambda x, axes: np.prod(x, axis=axes, dtype=x.dtype, keepdims=True),
        _product_error,
        domain=(-1.25, 1.25),
        largest=5,
    ),
    Reduction("ReduceL1", lambda x, axes: _sum(abs(x), axes), _sum_error, is_exact=True),
    Reduction("ReduceL2", lambda x, axes: np.sqrt(_sum(x * x, axes)), _l2_error, dtypes=FLOATS),
    Reduction("ReduceSumSquare", lambda x, axes: _sum(x * x, axes), _squares_error, is_exact=True),
    Reduction("ReduceLogSum", lambda x, axes: np.log(_sum(x, axes)), _log_sum_error, **_positive),
    Reduction("ReduceLogSumExp", _log_sum_exp, _log_sum_exp_error, dtypes=FLOATS, **_offset),
)
SPECS: tuple[OpSpec, ...] = tuple(map(spec_of, REDUCTIONS))
