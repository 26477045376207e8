"""TopK: the k first elements along one axis, in order, and where they stand.

Source: https://onnx.ai/onnx/operators/onnx__TopK.html: of equal elements the one with the lower
index comes first. NaN is larger than any number, as for NumPy's sort. Both outputs are exact on any
device, because device and reference read the same elements.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from engine.errors import ShapeError, UnsupportedError
from engine.ir.types import DOUBLE, FLOAT, FLOAT16, INT32, INT64, NUMERIC, TensorType
from engine.ops.numerics import exact
from engine.ops.operands import check_dtype
from engine.ops.reduce import normal_axis
from engine.ops.spec import Arrays, Attributes, Call, Choose, Operand, OpSpec, Reject

Array = np.ndarray


def count_of(k: Array) -> int:
    """k: one number, in a vector since opset 10."""
    if k.size != 1 or k.ndim > 1:
        raise ShapeError(f"TopK: k has shape {k.shape}, expected one number")
    return int(k.reshape(-1)[0])


def _infer(inputs: Sequence[Operand | None], a: Attributes) -> tuple[TensorType, ...]:
    x, k = inputs
    if x is None or k is None:
        raise ShapeError("TopK: data and k are needed")
    check_dtype("TopK: data", x.type.dtype, NUMERIC)
    check_dtype("TopK: k", k.type.dtype, frozenset({INT64}))
    if k.value is None:
        raise UnsupportedError("TopK: k is computed at run time, expected a constant")
    shape = x.type.dims
    axis = normal_axis("TopK", int(a.get("axis", -1)), len(shape))
    count = count_of(k.value)
    if not shape or not 0 <= count <= shape[axis]:
        raise ShapeError(f"TopK: k={count} of axis {axis} of shape {shape}")
    kept = (*shape[:axis], count, *shape[axis + 1 :])
    return TensorType(x.type.dtype, kept), TensorType(INT64, kept)


def _places(line: Array, k: int, largest: bool) -> list[int]:
    """By Python's sort, which is stable."""
    values: list[Any] = line.tolist()

    def key(j: int) -> tuple[bool, Any]:
        v = values[j]
        if isinstance(v, float) and math.isnan(v):
            return not largest, 0
        return largest, -v if largest else v

    return sorted(range(len(values)), key=key)[:k]


def _reference(inputs: Arrays, a: Attributes) -> tuple[Array, ...]:
    x, k = np.asarray(inputs[0]), count_of(np.asarray(inputs[1]))
    axis = normal_axis("TopK", int(a.get("axis", -1)), x.ndim)
    lines = np.moveaxis(x, axis, -1)
    places = np.zeros((*lines.shape[:-1], k), np.int64)
    for line in np.ndindex(lines.shape[:-1]):
        places[line] = _places(lines[line], k, bool(a.get("largest", 1)))
    indices = np.moveaxis(places, -1, axis)
    return np.take_along_axis(x, indices, axis), indices


def _example(choose: Choose) -> Call:
    dtype = choose.one_of((FLOAT, INT64, INT32, FLOAT16, DOUBLE))
    x = choose.tensor(choose.shape((1, 4)), dtype)
    axis = choose.integer(-x.ndim, x.ndim - 1)
    k = choose.one_of((1, x.shape[axis], min(3, x.shape[axis]), 0))
    attributes = {"axis": axis, "largest": choose.integer(0, 1)}
    return Call((x, np.array([k], np.int64)), attributes)


def _hard(axis: int, largest: int) -> Call:
    """NaN, infinities, zeros of both signs and ties."""
    row = np.array([1, np.nan, 3, -np.inf, 0.0, -0.0, np.nan, 3, np.inf, 1], np.float32)
    x = np.stack([np.roll(row, i) for i in range(17)])
    return Call((x, np.array([7], np.int64)), {"axis": axis, "largest": largest}, "hard numbers")


def _integers_at_the_limits(largest: int) -> Call:
    x = np.array([-(2**63), 2**63 - 1, 2**53 + 1, 2**53, -(2**63), 0], np.int64)
    return Call((x, np.array([6], np.int64)), {"largest": largest})


def _refused(x: Array, k: Array, **attributes: int) -> Call:
    return Call((x, k), attributes)


TOP_K = OpSpec(
    "TopK",
    (2, 2),
    _infer,
    _reference,
    lambda inputs, attributes, units: exact(*_reference(inputs, attributes)),
    _example,
    constant_inputs=frozenset({1}),
    all_outputs=True,
    is_exact=True,
    edges=(
        *(partial(_hard, axis, largest) for axis in (0, 1) for largest in (0, 1)),
        *(partial(_integers_at_the_limits, largest) for largest in (0, 1)),
        partial(_refused, np.zeros((3, 0), "f4"), np.array([0]), axis=1),
        partial(_refused, np.zeros((0, 3), "f4"), np.array([2]), axis=1),
    ),
    rejects=(
        Reject("k too large", partial(_refused, np.ones((2, 3), "f4"), np.array([4])), "k=4"),
        Reject("k negative", partial(_refused, np.ones((2, 3), "f4"), np.array([-1])), "k=-1"),
        Reject("several k", partial(_refused, np.ones((2, 3), "f4"), np.array([1, 2])), "one num"),
        Reject(
            "axis out of range",
            partial(_refused, np.ones((2, 3), "f4"), np.array([1]), axis=2),
            "axis=2 is outside",
        ),
    ),
    flops=lambda inputs, outputs, _: inputs[0].size if inputs[0] else 0,
    reads=("axis", "largest"),
    ignores=("sorted",),
)

SPECS: tuple[OpSpec, ...] = (TOP_K,)
