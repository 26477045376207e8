"""Softmax and LogSoftmax over one axis.

Source: https://onnx.ai/onnx/operators/onnx__Softmax.html (since opset 13: one axis, -1 by default).
Kernels subtract the maximum m first. As in all reductions no kernel computes in half
(`reduce.accumulated`). A row of -inf alone gives NaN, as the formula does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.errors import ShapeError
from engine.ir.types import DOUBLE, FLOAT, FLOAT16, FLOATS, TensorType, dtype_name
from engine.ops.numerics import Error, Units, finite, magnified
from engine.ops.reduce import accumulated, exp_sum_error, finite_maximum, normal_axis
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
)

Array = np.ndarray


def _axis(op_type: str, attributes: Attributes, rank: int) -> int:
    return normal_axis(op_type, int(attributes.get("axis", -1)), rank)


def _softmax(x: Array, axis: int) -> Array:
    e = np.exp(x - np.max(x, axis=axis, keepdims=True, initial=-np.inf))
    y: Array = e / np.sum(e, axis=axis, keepdims=True)
    return y


def _log_softmax(x: Array, axis: int) -> Array:
    shifted = x - np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    y: Array = shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))
    return y


def _softmax_error(x: Array, axis: int, y: Array, units: Units) -> Error:
    """Relative, per element: |x - m| u (the difference), exp's row, the sum's, division's row."""
    distance = np.where(np.isfinite(x), finite_maximum(x, (axis,)) - x, 0.0)
    total = exp_sum_error(x, (axis,), units)
    own = np.minimum(distance, 1e9) + 2 * units.ulps("exp")
    divide, uc, us = 2 * units.ulps("divide"), units.u_compute, units.u_storage
    a, floor = finite(y), units.floor
    variance = (uc**2 * (own**2 + divide**2) + us**2) / 3 + total.sigma**2
    bound = (uc * (own + divide) + total.bound) * (1 + 1e-3) + us
    return Error(np.hypot(a * np.sqrt(variance), floor), a * bound + 4 * floor)


def _log_softmax_error(x: Array, axis: int, y: Array, units: Units) -> Error:
    """(x - m) - log s: both roundings, log's row on log s, the relative error of s."""
    distance = np.where(np.isfinite(x), finite_maximum(x, (axis,)) - x, 0.0)
    total = exp_sum_error(x, (axis,), units)
    log = 2 * units.ulps("log") * abs(finite(y) - distance)
    own = magnified(y, distance + log + finite(y), units)
    return Error(np.hypot(own.sigma, total.sigma), own.bound + total.bound * (1 + 1e-3))


def _draw_rows(choose: Choose) -> Array:
    """Ordinary scores, scores of +-1000, masked ones, and ties on an offset."""
    shape = choose.shape((1, 4))
    kind = choose.one_of(("scores", "far", "masked", "lowest", "offset"))
    dtype = choose.one_of((FLOAT, FLOAT, DOUBLE, FLOAT16))
    limit = 1000.0 if kind == "far" else 4.0
    x = choose.tensor(shape, dtype, -limit, limit)
    if kind in ("masked", "lowest"):
        mask = choose.tensor(shape, FLOAT, -1.0, 1.0) > 0
        mask[..., 0] = False
        lowest = -np.inf if kind == "masked" else np.finfo(dtype).min
        x = np.where(mask, np.array(lowest, dtype), x).astype(dtype)
    return x + np.array(1000, dtype) if kind == "offset" else x


def _rotate() -> Law:
    """Rotating the elements along the axis rotates the result."""

    def roll(call: Call, array: Array) -> Array:
        return np.roll(array, 1, int(call.attributes.get("axis", -1)))

    def transform(call: Call) -> Call | None:
        x = call.inputs[0]
        if x is None or not x.ndim:
            return None
        return Call((roll(call, x),), call.attributes)

    return Law("permutation of the axis", transform, roll)


def _shift() -> Law:
    """Adding one number to every score changes nothing (whole scores, so that it is exact)."""

    def transform(call: Call) -> Call | None:
        x = call.inputs[0]
        if x is None or not np.all((x == np.rint(x)) & (abs(x) <= 1000)):
            return None
        return Call((x + np.array(16, x.dtype),), call.attributes)

    return Law("shift of all scores", transform, lambda call, y: y)


def _draw_axis(choose: Choose, rank: int) -> dict[str, int]:
    return {} if choose.integer(0, 1) == 0 else {"axis": choose.integer(-rank, rank - 1)}


@dataclass(frozen=True)
class Scores:
    """y = function(x, axis), with `error(x, axis, y, units)`; a scalar counts as one score."""

    op_type: str
    function: Callable[[Array, int], Array]
    error: Callable[[Array, int, Array, Units], Error]

    def infer_types(
        self, inputs: Sequence[Operand | None], attributes: Attributes
    ) -> tuple[TensorType, ...]:
        """The type of x."""
        x = inputs[0]
        if x is None or x.type.dtype not in FLOATS:
            what = "missing" if x is None else dtype_name(x.type.dtype)
            raise ShapeError(
                f"{self.op_type}: input is {what}, expected float16, float32 or float64"
            )
        _axis(self.op_type, attributes, len(x.type.shape))
        return (x.type,)

    def reference(self, inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
        """`function` along the axis."""
        x = np.asarray(inputs[0])
        with np.errstate(all="ignore"):
            y = self.function(np.atleast_1d(x), _axis(self.op_type, attributes, x.ndim))
        return (y.reshape(x.shape),)

    def error_model(
        self, inputs: Arrays, attributes: Attributes, units: Units
    ) -> tuple[Error, ...]:
        """`error`, no arithmetic in half."""
        x = np.asarray(inputs[0])
        row, axis = np.atleast_1d(x), _axis(self.op_type, attributes, x.ndim)
        with np.errstate(all="ignore"):
            worst = self.error(row, axis, self.function(row, axis), accumulated(units))
        return (Error(worst.sigma.reshape(x.shape), worst.bound.reshape(x.shape)),)


def _example(choose: Choose) -> Call:
    x = _draw_rows(choose)
    return Call((x,), _draw_axis(choose, x.ndim))


def _grow(choose: Choose, x: TensorType) -> Growth | None:
    if x.dtype not in FLOATS or not x.shape:
        return None
    return Growth((HERE,), _draw_axis(choose, len(x.shape)))


_hard = np.array([[0, -np.inf, 1], [np.nan, 1, 2], [np.inf, 1, 2], [-np.inf] * 3], np.float32)
EDGES: tuple[Callable[[], Call], ...] = (
    lambda: Call((_hard,), note="infinities and NaN"),
    lambda: Call((np.array([-104.0, 0, 1e30, -3.4e38], "f4"),), note="far apart"),
    lambda: Call((np.zeros((0, 3), "f4"),), note="no rows"),
    lambda: Call((np.zeros((2, 0, 3), "f4"),), {"axis": 1}, "no elements"),
    lambda: Call((np.zeros((2, 1000), "f4"),), note="equal scores"),
)
REJECTS = (
    Reject(
        "axis out of range",
        lambda: Call((np.zeros((2, 3), "f4"),), {"axis": 2}),
        "axis=2 is outside [-2, 1]",
    ),
    Reject("integers", lambda: Call((np.zeros((2, 3), "i8"),)), "input is int64"),
)


def spec_of(scores: Scores) -> OpSpec:
    """The operator of a formula along one axis."""
    return OpSpec(
        scores.op_type,
        (1, 1),
        scores.infer_types,
        scores.reference,
        scores.error_model,
        _example,
        grow=_grow,
        reads=("axis",),
        edges=EDGES,
        rejects=REJECTS,
        laws=(_rotate(), _shift()),
        flops=lambda inputs, outputs, _: 4 * outputs[0].size,
    )


SPECS: tuple[OpSpec, ...] = (
    spec_of(Scores("Softmax", _softmax, _softmax_error)),
    spec_of(Scores("LogSoftmax", _log_softmax, _log_softmax_error)),
)
