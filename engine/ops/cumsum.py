"""CumSum: running sums along one axis.

Source: https://onnx.ai/onnx/operators/onnx__CumSum.html.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.errors import ShapeError
from engine.ir.types import FLOAT, FLOAT16, FLOATS, INT32, INT64, TensorType
from engine.ops.numerics import Error, Units, exact, sum_of_products
from engine.ops.operands import (
    Operands,
    check_dtype,
    example_on_payload,
    known_integers,
    normal_axis,
    tensor,
)
from engine.ops.spec import HERE, Arrays, Attributes, Call, Choose, Growth, Law, OpSpec, Reject

Array = np.ndarray
DTYPES = FLOATS | {INT32, INT64}


def running_sum(
    x: Array, axis: int, attributes: Attributes, dtype: np.dtype | None = None
) -> Array:
    """Sums of x[: i + 1] along the axis (x[:i] when exclusive), from the end when reverse."""
    turned = np.flip(x, axis) if attributes.get("reverse", 0) else x
    y = np.cumsum(turned, axis=axis, dtype=dtype or x.dtype)
    if attributes.get("exclusive", 0):
        y = np.roll(y, 1, axis)
        y[(*[slice(None)] * (axis % x.ndim), slice(0, 1))] = 0
    return np.flip(y, axis) if attributes.get("reverse", 0) else y


def _infer(inputs: Operands, _: Attributes) -> tuple[TensorType, ...]:
    x = tensor("CumSum", inputs, 0, "x")
    axis = known_integers("CumSum", inputs, 1, "axis")
    check_dtype("CumSum", x.dtype, DTYPES, "x")
    if axis is None or len(axis) != 1:
        raise ShapeError(f"CumSum: axis={axis}, expected one axis")
    normal_axis("CumSum", axis[0], len(x.dims), x.dims)
    return (x,)


def _reference(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    x, axis = inputs
    assert x is not None
    assert axis is not None
    with np.errstate(all="ignore"):
        return (running_sum(x, int(axis.reshape(())), attributes),)


def _error(inputs: Arrays, attributes: Attributes, units: Units) -> tuple[Error, ...]:
    """As many terms as the axis is long, accumulated in float at least."""
    x, axis = inputs
    assert x is not None
    (y,) = _reference(inputs, attributes)
    if y.dtype not in FLOATS:
        return exact(y)
    wide = replace(units, compute=FLOAT) if units.compute == FLOAT16 else units
    (squares,) = _reference((x * x, axis), attributes)
    (sizes,) = _reference((abs(x), axis), attributes)
    assert axis is not None
    return (sum_of_products(y, squares, sizes, x.shape[int(axis.reshape(()))], wide),)


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


SPECS: tuple[OpSpec, ...] = (
    OpSpec(
        "CumSum",
        (2, 2),
        _infer,
        _reference,
        _error,
        example_on_payload(_grow, (1, 4), 33, (FLOAT, INT64, INT32)),
        grow=_grow,
        constant_inputs=frozenset({1}),
        is_exact=True,
        edges=(
            lambda: Call((np.zeros((0, 3), np.float32), np.array(0))),
            lambda: Call((np.arange(3) + 2**60, np.array(-1)), {"exclusive": 1, "reverse": 1}),
        ),
        rejects=(
            Reject("axis", lambda: Call((np.zeros(3, "f4"), np.array(1))), "axis=1 is outside"),
            Reject("bool", lambda: Call((np.zeros(3, "?"), np.array(0))), "x of dtype bool"),
        ),
        laws=(Law("reversed input summed from the other end", _from_the_end, _flipped),),
        flops=lambda inputs, outputs, _: outputs[0].size,
        reads=("exclusive", "reverse"),
    ),
)
