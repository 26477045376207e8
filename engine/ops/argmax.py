"""ArgMax and ArgMin: the position of an extreme along one axis.

Source: https://onnx.ai/onnx/operators/onnx__ArgMax.html. A NaN is more extreme than any number, as
in NumPy. Indices are exact on any device, because device and reference read the same elements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from engine.errors import ShapeError
from engine.ir.types import DOUBLE, FLOAT, FLOAT16, INT32, INT64, NUMERIC, TensorType, dtype_name
from engine.ops.numerics import exact
from engine.ops.reduce import normal_axis, reduced_shape
from engine.ops.spec import Arrays, Attributes, Call, Choose, Operand, OpSpec, Reject

Array = np.ndarray


def position(x: Array, axis: int, function: Callable[..., Array], last: bool) -> Array:
    """Index of the first (or last) extreme along `axis`, kept as extent 1."""
    if not last:
        return np.expand_dims(function(x, axis=axis), axis).astype(np.int64)
    flipped = function(np.flip(x, axis), axis=axis)
    return np.expand_dims(x.shape[axis] - 1 - flipped, axis).astype(np.int64)


def _nan_in_lanes(axis: int, last: int) -> Call:
    """One, two or no NaN, in rows and columns longer than a vector."""
    x = np.arange(40 * 37, dtype=np.float32).reshape(40, 37) % 23
    i = np.arange(36)
    x[i, i] = x[i[::2], 36 - i[::2] // 2] = np.nan
    return Call((x,), {"axis": axis, "select_last_index": last}, "NaN in lanes")


def arg_extreme(op_type: str, function: Callable[..., Array]) -> OpSpec:
    """The spec of an index of an extreme."""

    def infer_types(inputs: Sequence[Operand | None], a: Attributes) -> tuple[TensorType, ...]:
        x = inputs[0]
        if x is None or x.type.dtype not in NUMERIC:
            what = "missing" if x is None else dtype_name(x.type.dtype)
            raise ShapeError(f"{op_type}: input is {what}, expected a number type")
        shape = x.type.dims
        axis = normal_axis(op_type, int(a.get("axis", 0)), len(shape))
        if shape and shape[axis] == 0:
            raise ShapeError(f"{op_type}: axis={axis} of shape {shape} is empty")
        kept = reduced_shape(shape, (axis,), bool(a.get("keepdims", 1)))
        return (TensorType(INT64, kept),)

    def reference(inputs: Arrays, a: Attributes) -> tuple[Array, ...]:
        x = np.asarray(inputs[0])
        axis = normal_axis(op_type, int(a.get("axis", 0)), x.ndim)
        last = bool(a.get("select_last_index", 0))
        y = position(np.atleast_1d(x), axis, function, last)
        return (y.reshape(reduced_shape(x.shape, (axis,), bool(a.get("keepdims", 1)))),)

    def example(choose: Choose) -> Call:
        dtype = choose.one_of((FLOAT, INT64, INT32, FLOAT16, DOUBLE))
        x = choose.tensor(choose.shape((1, 4)), dtype)
        attributes = {"axis": choose.integer(-x.ndim, x.ndim - 1)}
        attributes |= {"keepdims": 0} if choose.integer(0, 1) else {}
        attributes |= {"select_last_index": 1} if choose.integer(0, 1) else {}
        return Call((x,), attributes)

    table = np.array([[1, np.nan, 3, np.nan], [-np.inf] * 4, [0.0, -0.0, 0.0, -0.0]], np.float32)
    return OpSpec(
        op_type,
        (1, 1),
        infer_types,
        reference,
        lambda inputs, attributes, units: exact(*reference(inputs, attributes)),
        example,
        is_exact=True,
        reads=("axis", "keepdims", "select_last_index"),
        edges=(
            lambda: Call((table,), {"axis": 1}, "NaN and ties"),
            lambda: Call((table,), {"axis": 1, "select_last_index": 1}, "NaN and ties, last"),
            *(partial(_nan_in_lanes, axis, last) for axis in (0, 1) for last in (0, 1)),
            lambda: Call((np.zeros((0, 3), "f4"),), {"axis": 1}, "no rows"),
            lambda: Call((np.array(2.5, "f4"),), {}, "rank 0"),
        ),
        rejects=(
            Reject(
                "axis out of range",
                lambda: Call((np.zeros((2, 3), "f4"),), {"axis": -3}),
                "axis=-3 is outside [-2, 1]",
            ),
            Reject("empty axis", lambda: Call((np.zeros((2, 0), "f4"),), {"axis": 1}), "is empty"),
        ),
        flops=lambda inputs, outputs, _: inputs[0].size if inputs[0] else 0,
    )


SPECS: tuple[OpSpec, ...] = (arg_extreme("ArgMax", np.argmax), arg_extreme("ArgMin", np.argmin))
