"""Shapes and sequences made of them: Shape, Size, ConstantOfShape, Range.

Source: https://onnx.ai/onnx/operators/. They normally fold away before a run.
"""

from __future__ import annotations

import math

import numpy as np

from engine.errors import ShapeError
from engine.ir.types import (
    ALL_DTYPES,
    ELEMENTS_MAX,
    FLOAT,
    FLOATS,
    INT64,
    INTEGERS,
    NARROW_FLOATS,
    TensorType,
    check_dims,
)
from engine.ops.numerics import Error, Units, exact, finite, magnified
from engine.ops.operands import (
    Ints,
    Operands,
    integers,
    known,
    known_integers,
    movement,
    payload,
    tensor,
    zeros,
)
from engine.ops.spec import HERE, Arrays, Attributes, Call, Choose, Growth, OpSpec, Reject

Array = np.ndarray


def shape_part(shape: Ints, attributes: Attributes) -> Ints:
    """The extents from `start` to `end` that a Shape returns."""
    end = attributes.get("end")
    return shape[slice(int(attributes.get("start", 0)), None if end is None else int(end))]


def _infer_shape(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    part = shape_part(tensor("Shape", inputs, 0).dims, attributes)
    return (TensorType(INT64, (len(part),)),)


def _shape(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    return (np.array(shape_part(np.shape(inputs[0]), attributes), np.int64),)


def _infer_size(inputs: Operands, _: Attributes) -> tuple[TensorType, ...]:
    tensor("Size", inputs, 0)
    return (TensorType(INT64, ()),)


def _size(inputs: Arrays, _: Attributes) -> tuple[Array, ...]:
    return (np.array(np.size(inputs[0]), np.int64),)


def constant_value(attributes: Attributes) -> Array:
    """The one element of a ConstantOfShape; float 0 by default."""
    value = np.asarray(attributes.get("value", np.zeros(1, np.float32)))
    if value.size != 1:
        raise ShapeError(f"ConstantOfShape: value has {value.size} elements, expected 1")
    return value.reshape(())


def _infer_constant(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    shape = known_integers("ConstantOfShape", inputs, 0, "shape")
    if shape is None or min(shape, default=0) < 0:
        raise ShapeError(f"ConstantOfShape: shape={shape}, expected extents of at least 0")
    return (TensorType(constant_value(attributes).dtype, shape),)


def _constant(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    value = constant_value(attributes)
    wide = np.dtype(np.float64) if value.dtype in FLOATS | NARROW_FLOATS else value.dtype
    return (np.full(integers(inputs[0]), value, wide),)


def range_count(start: Array, limit: Array, delta: Array) -> int:
    """Elements of a Range; a delta of the wrong sign gives none.

    Raises:
        ShapeError: more than any tensor may have.
    """
    if delta.dtype in INTEGERS:
        count = -((int(start) - int(limit)) // int(delta))
    else:
        steps = (float(limit) - float(start)) / float(delta)
        count = math.ceil(max(0.0, min(steps, 2.0 * ELEMENTS_MAX)))
    return check_dims((max(0, count),), "Range")


def _infer_range(inputs: Operands, _: Attributes) -> tuple[TensorType, ...]:
    first = tensor("Range", inputs, 0, "start", ALL_DTYPES)
    values = [known("Range", inputs, i, n) for i, n in enumerate(("start", "limit", "delta"))]
    if any(v is None or v.size != 1 or v.dtype != first.dtype for v in values):
        raise ShapeError("Range: start, limit and delta must be scalars of one dtype")
    start, limit, delta = (np.asarray(v).reshape(()) for v in values)
    with np.errstate(all="ignore"):
        count = (limit - start) / delta if delta.dtype in FLOATS else delta
    if delta == 0 or not all(np.isfinite(v) for v in (start, limit, delta, count)):
        raise ShapeError(
            f"Range: start={start}, limit={limit}, delta={delta}; expected a step != 0"
        )
    return (TensorType(first.dtype, (range_count(start, limit, delta),)),)


def _range(inputs: Arrays, _: Attributes) -> tuple[Array, ...]:
    start, limit, delta = (np.asarray(v).reshape(()) for v in inputs)
    return (start + np.arange(range_count(start, limit, delta)).astype(delta.dtype) * delta,)


def _range_error(inputs: Arrays, _: Attributes, units: Units) -> tuple[Error, ...]:
    """Product and sum are rounded, once each."""
    (y,) = _range(inputs, _)
    if y.dtype != np.float64:
        return exact(y)
    steps = np.arange(y.size) * np.asarray(inputs[2]).reshape(())
    return (magnified(y, finite(steps) + finite(y), units),)


def _grow_shape(choose: Choose, x: TensorType) -> Growth:
    rank = len(x.dims)
    attributes = {"start": choose.integer(-rank - 1, rank)} if choose.integer(0, 1) else {}
    if choose.integer(0, 1):
        attributes["end"] = choose.integer(-rank - 1, rank + 1)
    return Growth((HERE,), attributes)


def _example_shape(choose: Choose) -> Call:
    x = payload(choose, choose.shape((0, 4), 9))
    return Call((x,), _grow_shape(choose, TensorType(x.dtype, x.shape)).attributes)


def _example_constant(choose: Choose) -> Call:
    value = choose.one_of((np.array([1.5], "f4"), np.array([-(2**60) - 1]), np.array([True])))
    shape = np.array(choose.shape((0, 3), 17), np.int64)
    return Call((shape,), {"value": value} if choose.integer(0, 1) else {})


def _example_range(choose: Choose) -> Call:
    dtype = choose.one_of((INT64, np.dtype(np.int32), FLOAT))
    start, step = choose.integer(-20, 20), choose.one_of((1, 2, -1, -3))
    limit = start + step * choose.integer(0, 40)
    return Call(tuple(np.array(v, dtype) for v in (start, limit, step)))


SPECS: tuple[OpSpec, ...] = (
    movement(
        "Shape",
        (1, 1),
        _infer_shape,
        _shape,
        _example_shape,
        grow=_grow_shape,
        edges=(lambda: Call((zeros(),)), lambda: Call((zeros(2, 0),), {"start": -1})),
        reads=("end", "start"),
    ),
    movement(
        "Size",
        (1, 1),
        _infer_size,
        _size,
        lambda choose: Call((payload(choose, choose.shape((0, 4), 9)),)),
        grow=lambda choose, x: Growth((HERE,)),
        edges=(lambda: Call((zeros(2, 0),)),),
    ),
    movement(
        "ConstantOfShape",
        (1, 1),
        _infer_constant,
        _constant,
        _example_constant,
        constant_inputs=frozenset({0}),
        edges=(lambda: Call((np.zeros(0, INT64),)), lambda: Call((np.array([0, 3]),))),
        rejects=(Reject("negative", lambda: Call((np.array([-1]),)), "at least 0"),),
        reads=("value",),
    ),
    OpSpec(
        "Range",
        (3, 3),
        _infer_range,
        _range,
        _range_error,
        _example_range,
        is_exact=True,
        constant_inputs=frozenset({0, 1, 2}),
        edges=(lambda: Call((np.array(3), np.array(1), np.array(1))),),
        rejects=(
            Reject("step 0", lambda: Call((np.array(3), np.array(1), np.array(0))), "step != 0"),
        ),
        ignores=("stash_type",),  # how precise a sum is kept
    ),
)
