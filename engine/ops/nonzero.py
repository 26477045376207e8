"""NonZero and Unique: which elements there are; how many come out depends on their values.

Source: https://onnx.ai/onnx/operators/. So what they read must be known when a plan is made, or the
host computes them between two stages.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from engine.ir.types import FLOAT, INT64, STRING, TENSOR_DTYPES, TensorType
from engine.ops.operands import Operands, known, movement, normal_axis, payload, tensor, zeros
from engine.ops.spec import Arrays, Attributes, Call, Choose, OpSpec, Reject

Array = np.ndarray


def _infer_nonzero(inputs: Operands, _: Attributes) -> tuple[TensorType, ...]:
    type_ = tensor("NonZero", inputs, 0, dtypes=TENSOR_DTYPES - {STRING})
    x = np.asarray(known("NonZero", inputs, 0, "X"))
    return (TensorType(INT64, (len(type_.dims), int(np.count_nonzero(x)))),)


def _nonzero(inputs: Arrays, _: Attributes) -> tuple[Array, ...]:
    x = np.asarray(inputs[0])
    places = [place for place in np.ndindex(x.shape) if x[place] != 0]
    return (np.array(places, np.int64).reshape(len(places), x.ndim).T,)


def _rows(op: str, x: Array, attributes: Attributes) -> tuple[list[tuple[object, ...]], int | None]:
    """What is told apart: the parts along the axis, each as a tuple, or the elements."""
    axis = attributes.get("axis")
    if axis is None:
        return [(element,) for element in x.ravel().tolist()], None
    place = normal_axis(op, int(axis), x.ndim, x.shape)
    parts = np.moveaxis(x, place, 0)
    flat = parts.reshape(len(parts), math.prod(parts.shape[1:]))
    return [tuple(part.tolist()) for part in flat], place


def _unique(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    x = np.asarray(inputs[0])
    rows, axis = _rows("Unique", x, attributes)
    first: dict[tuple[object, ...], int] = {}
    for i, row in enumerate(rows):
        first.setdefault(row, i)
    distinct = sorted(first) if attributes.get("sorted", 1) else list(first)
    number = {row: k for k, row in enumerate(distinct)}
    indices = np.array([first[row] for row in distinct], np.int64)
    inverse = np.array([number[row] for row in rows], np.int64)
    counts = np.array([rows.count(row) for row in distinct], np.int64)
    y = x.ravel()[indices] if axis is None else x.take(indices, axis)
    return y, indices, inverse, counts


def _infer_unique(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    type_, value = tensor("Unique", inputs, 0), known("Unique", inputs, 0, "X")
    x = np.asarray(value)
    rows, axis = _rows("Unique", x, attributes)
    count = len(set(rows))
    dims = (count,) if axis is None else (*x.shape[:axis], count, *x.shape[axis + 1 :])
    vector = TensorType(INT64, (count,))
    return TensorType(type_.dtype, dims), vector, TensorType(INT64, (len(rows),)), vector


def _few(choose: Choose) -> Array:
    """Few different numbers, zero among them."""
    x = payload(choose, choose.shape((0, 3), 9))
    return x if x.dtype == bool else (np.abs(x) % 3).astype(x.dtype)


def _example_unique(choose: Choose) -> Call:
    x = choose.tensor(choose.shape((1, 3), 5), choose.one_of((FLOAT, INT64)), 0, 2).round()
    attributes: dict[str, int] = {"sorted": choose.integer(0, 1)}
    if choose.integer(0, 1):
        attributes["axis"] = choose.integer(-x.ndim, x.ndim - 1)
    return Call((x,), attributes)


def _call(*values: float, **attributes: int) -> Call:
    return Call((np.array(values, np.float32),), attributes)


SPECS: tuple[OpSpec, ...] = (
    movement(
        "NonZero",
        (1, 1),
        _infer_nonzero,
        _nonzero,
        lambda choose: Call((_few(choose),)),
        constant_inputs=frozenset({0}),
        edges=(
            lambda: Call((np.zeros((2, 0), np.float32),)),
            lambda: Call((np.array(3.0, np.float32),)),
            lambda: Call((np.array([[np.nan, -0.0], [np.inf, 1e-45]], np.float32),)),
        ),
    ),
    movement(
        "Unique",
        (1, 1),
        _infer_unique,
        _unique,
        _example_unique,
        constant_inputs=frozenset({0}),
        edges=(
            partial(_call),
            partial(_call, 2, 1, 1, 2, 3),
            partial(_call, 2, 1, 2, sorted=0),
            lambda: Call((np.array([["b", "a", "b"], ["c", "a", "c"]], object),), {"axis": -1}),
        ),
        rejects=(
            Reject("axis out of range", partial(_call, 1, 2, axis=1), "axis=1 is outside"),
            Reject("axis before the first", partial(_call, 1, 2, axis=-2), "axis=-2 is outside"),
            Reject("rank 0", lambda: Call((zeros(),), {"axis": 0}), "axis=0 is outside"),
        ),
        reads=("axis", "sorted"),
    ),
)
