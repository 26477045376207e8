"""ScatterElements and ScatterND: a copy of the data with some elements replaced or combined.

Source: https://onnx.ai/onnx/operators/onnx__ScatterElements.html and onnx__ScatterND.html.
With reduction "none" an element named twice keeps one of its updates, which one is undefined.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from engine.errors import ShapeError, UnsupportedError
from engine.ir.types import (
    ALL_DTYPES,
    BOOL,
    FLOATS,
    INT64,
    NARROW,
    NUMERIC,
    STRING,
    TensorType,
    dtype_name,
)
from engine.ops.gather import check_elements, check_tuples, draw_indices, in_range, indices_of
from engine.ops.numerics import Error, Units, exact, finite
from engine.ops.operands import (
    Ints,
    Operands,
    example_on_payload,
    normal_axis,
    payload_of,
    tensor,
    zeros,
)
from engine.ops.spec import (
    HERE,
    Arrays,
    Attributes,
    Call,
    Choose,
    Growth,
    InferTypes,
    OpSpec,
    Reject,
)

Array = np.ndarray
REDUCTIONS = ("none", "add", "mul", "max", "min")
_UFUNCS = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}
Where = Callable[[Arrays, Attributes], tuple[Array, ...]]


def reduction_of(op: str, attributes: Attributes) -> str:
    """The reduction; raises ShapeError for an unknown one."""
    name = str(attributes.get("reduction", "none"))
    if name not in REDUCTIONS:
        raise ShapeError(f"{op}: reduction={name!r} is not one of {', '.join(REDUCTIONS)}")
    return name


def scatter_into(y: Array, where: tuple[Array, ...], updates: Array, reduction: str) -> None:
    """Combine the updates into y, one after the other in row-major order."""
    if reduction == "none":
        y[where] = updates
    else:
        _UFUNCS[reduction].at(y, where, updates)


def elements_where(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    """Index arrays of every update of a ScatterElements."""
    x, indices = inputs[0], inputs[1]
    assert x is not None
    assert indices is not None
    axis = int(attributes.get("axis", 0)) % x.ndim
    where = list(np.indices(indices.shape, sparse=True))
    where[axis] = in_range("ScatterElements", indices, x.shape[axis])
    return tuple(np.broadcast_arrays(*where))


def tuples_where(inputs: Arrays, _: Attributes) -> tuple[Array, ...]:
    """Index arrays of every updated slice of a ScatterND."""
    x, indices = inputs[0], inputs[1]
    assert x is not None
    assert indices is not None
    depth = indices.shape[-1]
    return tuple(in_range("ScatterND", indices[..., k], x.shape[k]) for k in range(depth))


def _infer_elements(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    op = "ScatterElements"
    x, indices = tensor(op, inputs, 0, dtypes=ALL_DTYPES | {STRING}), indices_of(op, inputs)
    axis = normal_axis(op, int(attributes.get("axis", 0)), len(x.dims), x.dims)
    check_elements(op, x.dims, indices.dims, axis)
    _check_updates(op, inputs, x, indices.dims, attributes)
    return (x,)


def _infer_nd(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    op = "ScatterND"
    x, indices = tensor(op, inputs, 0, dtypes=ALL_DTYPES | {STRING}), indices_of(op, inputs)
    depth = check_tuples(op, x.dims, indices.dims, 0)
    _check_updates(op, inputs, x, (*indices.dims[:-1], *x.dims[depth:]), attributes)
    return (x,)


def _check_updates(
    op: str, inputs: Operands, x: TensorType, shape: Ints, attributes: Attributes
) -> None:
    reduction = reduction_of(op, attributes)
    updates = tensor(op, inputs, 2, "updates")
    if updates != TensorType(x.dtype, shape):
        raise ShapeError(f"{op}: updates are {updates}, expected {TensorType(x.dtype, shape)}")
    if x.dtype in (BOOL, STRING) and reduction != "none":
        name = dtype_name(x.dtype)
        raise UnsupportedError(f"{op}: reduction={reduction!r} of dtype {name} is not supported")


def _combined(where_of: Where, inputs: Arrays, attributes: Attributes) -> Array:
    x, _, updates = inputs
    assert x is not None
    assert updates is not None
    y: Array = x.copy()
    with np.errstate(all="ignore"):
        where = where_of(inputs, attributes)
        scatter_into(y, where, updates, str(attributes.get("reduction", "none")))
    return y


def _error(
    where_of: Where, inputs: Arrays, attributes: Attributes, units: Units
) -> tuple[Error, ...]:
    """k updates combined one by one in place: every partial result is rounded and stored.

    |error| <= k (u_c + u_s) S, S the sum (or the product) of the absolute values; exact for the
    other reductions.
    """
    x, indices, updates = inputs
    y = _combined(where_of, inputs, attributes)
    reduction = str(attributes.get("reduction", "none"))
    if reduction not in ("add", "mul") or y.dtype not in FLOATS:
        return exact(y)
    assert x is not None
    assert updates is not None
    sizes = finite(_combined(where_of, (abs(x), indices, abs(updates)), attributes))
    ones = (np.zeros(x.shape), indices, np.ones(updates.shape))
    counts = _combined(where_of, ones, {**attributes, "reduction": "add"})
    unit = units.u_compute + units.u_storage
    sigma = np.sqrt(counts / 3) * unit * sizes + counts * units.floor
    return (Error(sigma, counts * unit * sizes * (1 + counts * unit) + 2 * counts * units.floor),)


def _flops(
    inputs: Sequence[TensorType | None], outputs: Sequence[TensorType], attributes: Attributes
) -> int:
    updates = inputs[2]
    return 0 if updates is None or attributes.get("reduction", "none") == "none" else updates.size


def _scatter(
    op: str, infer: InferTypes, where_of: Where, example: Callable[[Choose], Call], **more: Any
) -> OpSpec:
    return OpSpec(
        op,
        (3, 3),
        infer,
        lambda inputs, attributes: (_combined(where_of, inputs, attributes),),
        lambda inputs, attributes, units: _error(where_of, inputs, attributes, units),
        example,
        is_exact=True,
        flops=_flops,
        **more,
    )


def _reduction(choose: Choose, dtype: np.dtype) -> str:
    return choose.one_of(("none", "add", "max", "min")) if dtype in NUMERIC else "none"


def _distinct(choose: Choose, count: int, extent: int) -> Array:
    """`count` different indices in [0, extent), some written from the end."""
    start, step = choose.integer(0, extent - 1), choose.one_of((1, -1))
    drawn = (start + step * np.arange(count)) % extent
    return np.asarray(np.where(drawn % 2 == choose.integer(0, 1), drawn - extent, drawn))


def _grow_elements(choose: Choose, x: TensorType) -> Growth | None:
    if 0 in x.dims or not x.dims or x.dtype in NARROW:
        return None
    rank = len(x.dims)
    axis = choose.integer(0, rank - 1)
    reduction = _reduction(choose, x.dtype)
    shape = list(x.dims)
    shape[axis] = choose.integer(1, shape[axis])
    if reduction == "none":
        line = _distinct(choose, shape[axis], x.dims[axis])
        indices = np.broadcast_to(line.reshape(-1, *[1] * (rank - 1 - axis)), shape).astype(INT64)
    else:
        indices = draw_indices(choose, tuple(shape), x.dims[axis])
    updates = payload_of(choose, shape, x.dtype)
    return Growth((HERE, indices, updates), {"axis": axis, "reduction": reduction})


def _grow_nd(choose: Choose, x: TensorType) -> Growth | None:
    if 0 in x.dims or not x.dims or x.dtype in NARROW:
        return None
    depth = choose.integer(1, len(x.dims))
    reduction = _reduction(choose, x.dtype)
    size = int(np.prod(x.dims[:depth]))
    count = choose.integer(1, min(size, 9))
    flat = _distinct(choose, count, size) % size
    if reduction != "none":
        flat = draw_indices(choose, (count,), size, negative=False).astype(INT64)
    indices = np.stack(np.unravel_index(flat, x.dims[:depth]), -1).astype(INT64)
    updates = payload_of(choose, (count, *x.dims[depth:]), x.dtype)
    return Growth((HERE, indices, updates), {"reduction": reduction})


_twice = np.array([[0], [0], [-1]], np.int64)
_ones = np.ones((3, 2), np.float32)


def _one(**attributes: Any) -> Call:
    return Call((zeros(3), np.zeros(1, np.int64), zeros(1)), attributes)


SPECS: tuple[OpSpec, ...] = (
    _scatter(
        "ScatterElements",
        _infer_elements,
        elements_where,
        example_on_payload(_grow_elements, (1, 3)),
        grow=_grow_elements,
        edges=(
            lambda: Call((zeros(2, 3), np.zeros((0, 3), "i8"), zeros(0, 3))),
            lambda: Call((zeros(4, 1), _twice, _ones[:, :1].copy()), {"reduction": "add"}),
        ),
        rejects=(
            Reject(
                "updates",
                lambda: Call((zeros(2, 3), np.zeros((1, 3), "i8"), zeros(2, 3))),
                "updates are",
            ),
            Reject(
                "empty axis",
                lambda: Call((zeros(7, 0), np.zeros((7, 2), "i8"), zeros(7, 2)), {"axis": 1}),
                "0 elements",
            ),
            Reject("axis", partial(_one, axis=1), "axis=1 is outside"),
            Reject("reduction", partial(_one, reduction="sub"), "reduction='sub'"),
        ),
        reads=("axis", "reduction"),
    ),
    _scatter(
        "ScatterND",
        _infer_nd,
        tuples_where,
        example_on_payload(_grow_nd, (1, 3)),
        grow=_grow_nd,
        edges=(
            lambda: Call((zeros(2, 3), np.zeros((0, 1), "i8"), zeros(0, 3))),
            lambda: Call((zeros(4, 2), _twice, _ones), {"reduction": "add"}),
            lambda: Call((_ones, _twice, _ones * 3), {"reduction": "mul"}),
        ),
        rejects=(
            Reject("updates", lambda: Call((zeros(2, 3), _twice, _ones)), "updates are"),
            Reject(
                "empty axis",
                lambda: Call((zeros(0, 2), np.zeros((1, 1), "i8"), zeros(1, 2))),
                "0 elements",
            ),
            Reject(
                "reduction",
                lambda: Call((zeros(4, 2), _twice, _ones), {"reduction": "mean"}),
                "reduction='mean'",
            ),
        ),
        reads=("reduction",),
    ),
)
