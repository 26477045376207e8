"""CumSum and CumProd: running sums and products along one axis.

Source: https://onnx.ai/onnx/operators/onnx__CumSum.html and onnx__CumProd.html.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from engine.errors import ShapeError
from engine.ir.types import FLOAT, FLOAT16, FLOATS, INT32, INT64, TensorType
from engine.ops.numerics import Error, Units, exact, finite, quadrature, sum_of_products
from engine.ops.operands import (
    Operands,
    check_dtype,
    example_on_payload,
    known_integers,
    normal_axis,
    tensor,
)
from engine.ops.spec import (
    HERE,
    Arrays,
    Attributes,
    Call,
    Choose,
    ErrorModel,
    Growth,
    Law,
    OpSpec,
    Reject,
)

Array = np.ndarray
DTYPES = FLOATS | {INT32, INT64}


def running(
    op: str, x: Array, axis: int, attributes: Attributes, dtype: np.dtype | None = None
) -> Array:
    """Totals of x[: i + 1] along the axis (x[:i] when exclusive), from the end when reverse."""
    turned = np.flip(x, axis) if attributes.get("reverse", 0) else x
    total = np.cumsum if op == "CumSum" else np.cumprod
    y = total(turned, axis=axis, dtype=dtype or x.dtype)
    if attributes.get("exclusive", 0):
        y = _shifted(y, axis, 0 if op == "CumSum" else 1)
    return np.flip(y, axis) if attributes.get("reverse", 0) else y


def _shifted(y: Array, axis: int, first: float) -> Array:
    """One further along the axis."""
    y = np.roll(y, 1, axis)
    y[(*[slice(None)] * (axis % y.ndim), slice(0, 1))] = first
    return y


def _infer(op: str, inputs: Operands) -> tuple[TensorType, ...]:
    x = tensor(op, inputs, 0, "x")
    axis = known_integers(op, inputs, 1, "axis")
    check_dtype(op, x.dtype, DTYPES, "x")
    if axis is None or len(axis) != 1:
        raise ShapeError(f"{op}: axis={axis}, expected one axis")
    normal_axis(op, axis[0], len(x.dims), x.dims)
    return (x,)


def _reference(op: str, inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    x, axis = inputs
    assert x is not None
    assert axis is not None
    with np.errstate(all="ignore"):
        return (running(op, x, int(axis.reshape(())), attributes),)


def _error_of_sums(inputs: Arrays, attributes: Attributes, units: Units) -> tuple[Error, ...]:
    """As many terms as the axis is long, accumulated in float at least."""
    x, axis = inputs
    assert x is not None
    (y,) = _reference("CumSum", inputs, attributes)
    if y.dtype not in FLOATS:
        return exact(y)
    wide = replace(units, compute=FLOAT) if units.compute == FLOAT16 else units
    (squares,) = _reference("CumSum", (x * x, axis), attributes)
    (sizes,) = _reference("CumSum", (abs(x), axis), attributes)
    assert axis is not None
    return (sum_of_products(y, squares, sizes, x.shape[int(axis.reshape(()))], wide),)


def _error_of_products(inputs: Arrays, attributes: Attributes, units: Units) -> tuple[Error, ...]:
    """e_k = |x_k| e_(k-1) + u |p_k| + floor for the k-th partial product p_k, e_1 = 0.

    In the compute format, float at least; the squares of the same terms add up for sigma. Storing
    rounds once more. There is no bound behind a partial product that may overflow, or that meets an
    infinity and may have vanished.
    """
    x, axis = inputs
    assert x is not None
    assert axis is not None
    (y,) = _reference("CumProd", inputs, attributes)
    if y.dtype not in FLOATS or not y.size:
        return exact(y)
    wide = replace(units, compute=FLOAT) if units.compute == FLOAT16 else units
    inside = wide.without_storage()
    along = int(axis.reshape(()))
    turned = np.moveaxis(np.flip(x, along) if attributes.get("reverse", 0) else x, along, 0)
    with np.errstate(all="ignore"):
        products = finite(np.cumprod(turned, axis=0))
        sigma, bound = np.zeros(turned.shape), np.zeros(turned.shape)
        for k in range(1, len(turned)):
            size, p = finite(turned[k]), products[k]
            grown = size * bound[k - 1] * (1 + 4 * inside.u_compute)
            bound[k] = grown + inside.u_compute * p + inside.floor
            bound[k] = np.where(
                np.isnan(bound[k]) | (p + bound[k] > inside.largest), np.inf, bound[k]
            )
            may_vanish = (products[k - 1] > 0) & (products[k - 1] <= bound[k - 1])
            lost = np.isinf(bound[k - 1]) | (may_vanish & np.isinf(turned[k]))
            bound[k] = np.where(lost, np.inf, bound[k])
            own = inside.u_compute * p / np.sqrt(3)
            sigma[k] = quadrature(size * sigma[k - 1], own, inside.floor)

        def placed(error: Array) -> Array:
            error = _shifted(error, 0, 0.0) if attributes.get("exclusive", 0) else error
            error = np.moveaxis(error, 0, along)
            return np.flip(error, along) if attributes.get("reverse", 0) else error

        a, us = finite(y), wide.u_storage
        sigma = quadrature(placed(sigma), us * a / np.sqrt(3), wide.floor)
        bound = placed(bound) * (1 + us) + us * a + wide.floor
    return (Error(np.minimum(np.nan_to_num(sigma, nan=np.inf), bound), bound),)


def _grow(choose: Choose, x: TensorType) -> Growth | None:
    rank = len(x.dims)
    if not rank or x.dtype not in DTYPES:
        return None
    flags = {k: 1 for k in ("exclusive", "reverse") if choose.integer(0, 1)}
    return Growth((HERE, np.array(choose.integer(-rank, rank - 1), np.int64)), flags)


def _from_the_end(call: Call) -> Call:
    x, axis = call.inputs
    assert x is not None
    assert axis is not None
    reverse = 1 - int(call.attributes.get("reverse", 0))
    flipped = np.flip(x, int(axis.reshape(()))).copy()
    return Call((flipped, axis), {**call.attributes, "reverse": reverse})


def _flipped(call: Call, y: Array) -> Array:
    return np.flip(y, int(np.asarray(call.inputs[1]).reshape(())))


def _spec(op: str, error: ErrorModel, **more: Any) -> OpSpec:
    return OpSpec(
        op,
        (2, 2),
        lambda inputs, _: _infer(op, inputs),
        lambda inputs, attributes: _reference(op, inputs, attributes),
        error,
        example_on_payload(_grow, (1, 4), 33, (FLOAT, INT64, INT32)),
        constant_inputs=frozenset({1}),
        edges=(
            lambda: Call((np.zeros((0, 3), np.float32), np.array(0))),
            lambda: Call((np.arange(3) + 2**60, np.array(-1)), {"exclusive": 1, "reverse": 1}),
            *(partial(_far, *flags) for flags in ((0, 0), (1, 0), (0, 1), (1, 1))),
        ),
        rejects=(
            Reject("axis", lambda: Call((np.zeros(3, "f4"), np.array(1))), "axis=1 is outside"),
            Reject("axes", lambda: Call((np.zeros(3, "f4"), np.array([0, 0]))), "one axis"),
            Reject("rank 0", lambda: Call((np.zeros((), "f4"), np.array(0))), "axis=0 is outside"),
            Reject("bool", lambda: Call((np.zeros(3, "?"), np.array(0))), "x of dtype bool"),
        ),
        laws=(Law("reversed input taken from the other end", _from_the_end, _flipped),),
        flops=lambda inputs, outputs, _: outputs[0].size,
        reads=("exclusive", "reverse"),
        **more,
    )


def _far(exclusive: int, reverse: int) -> Call:
    """Partial products overflow and come back, underflow and come back, and meet zero."""
    lines = [[1e30, 1e30, 1e-30, 0, 2], [1e-30, 1e-20, 1e30, 1e20, 3], [-1.5, 3, 0, -7, np.inf]]
    lines.append([1e-30, 1e-30, np.inf, 2, 3])
    flags = {"exclusive": exclusive, "reverse": reverse}
    return Call((np.array(lines, np.float32), np.array(-1)), flags)


SPECS: tuple[OpSpec, ...] = (
    _spec("CumSum", _error_of_sums, grow=_grow, is_exact=True),
    _spec("CumProd", _error_of_products),
)
