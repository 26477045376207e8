"""Reading and writing by index: Gather, GatherElements, GatherND, OneHot, Trilu.

Source: https://onnx.ai/onnx/operators/. Indices are int32 or int64 in [-extent, extent - 1]. The
reference raises InputError for others; kernels on a device clamp them (never out of bounds).
"""

from __future__ import annotations

import math

import numpy as np

from engine.errors import InputError, ShapeError
from engine.ir.types import INT64, INTEGERS, STRING, TENSOR_DTYPES, TensorType, dtype_name
from engine.ops.operands import (
    INDEX_DTYPES,
    Ints,
    Operands,
    check_dtype,
    example_on_payload,
    input_at,
    known_integers,
    movement,
    normal_axis,
    payload,
    tensor,
    vector,
    zeros,
)
from engine.ops.spec import HERE, Arrays, Attributes, Call, Choose, Growth, Law, OpSpec, Reject

Array = np.ndarray


def indices_of(op: str, inputs: Operands, index: int = 1) -> TensorType:
    """The type of the indices; raises ShapeError unless int32 or int64."""
    given = tensor(op, inputs, index, "indices")
    if given.dtype not in INDEX_DTYPES:
        raise ShapeError(f"{op}: indices are {dtype_name(given.dtype)}, expected int32 or int64")
    return given


def in_range(op: str, indices: Array, extent: int) -> Array:
    """Indices counted from the front; raises InputError for one outside."""
    wide = np.asarray(indices, np.int64)
    wrong = (wide < -extent) | (wide >= extent)
    if wrong.any():
        at = tuple(int(k) for k in np.argwhere(wrong)[0])
        raise InputError(
            f"{op}: index {wide[at]} at {at} of its indices is outside [{-extent}, {extent - 1}]"
        )
    return np.asarray(np.where(wide < 0, wide + extent, wide))


def draw_indices(choose: Choose, shape: Ints, extent: int, negative: bool = True) -> Array:
    """Indices into an axis of `extent` > 0, repeated ones among them."""
    dtype = choose.one_of(INDEX_DTYPES)
    low = -extent if negative else 0
    drawn = choose.tensor(shape, np.dtype(np.int64), low, extent - 1)
    indices: Array = np.clip(drawn, low, extent - 1).astype(dtype)
    return indices


# --------------------------------------------------------------------------- Gather
def check_indexed(op: str, extents: Ints, indices: Ints) -> None:
    """Refuse indices into axes without elements: a kernel has nothing to clamp them to.

    Args:
        extents: of the axes that are indexed.
    """
    if 0 in extents and math.prod(indices) > 0:
        raise ShapeError(
            f"{op}: indices of shape {indices} index an axis of 0 elements, in which none exists"
        )


def _infer_gather(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    x, indices = tensor("Gather", inputs, 0), indices_of("Gather", inputs)
    axis = normal_axis("Gather", int(attributes.get("axis", 0)), len(x.dims), x.dims)
    check_indexed("Gather", (x.dims[axis],), indices.dims)
    return (TensorType(x.dtype, (*x.dims[:axis], *indices.dims, *x.dims[axis + 1 :])),)


def _gather(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    x, indices = inputs
    assert x is not None
    assert indices is not None
    axis = int(attributes.get("axis", 0))
    return (np.take(x, in_range("Gather", indices, x.shape[axis]), axis),)


def _grow_gather(choose: Choose, x: TensorType) -> Growth | None:
    axes = [i for i, e in enumerate(x.dims) if e > 0]
    if not axes:
        return None
    axis = choose.one_of(axes)
    shape = choose.one_of(((x.dims[axis],), (), (1,), (3,), (2, 2)))
    return Growth((HERE, draw_indices(choose, shape, x.dims[axis])), {"axis": axis})


# --------------------------------------------------------------------------- GatherElements
def _infer_gather_elements(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    op = "GatherElements"
    x, indices = tensor(op, inputs, 0), indices_of(op, inputs)
    axis = normal_axis(op, int(attributes.get("axis", 0)), len(x.dims), x.dims)
    check_elements(op, x.dims, indices.dims, axis)
    return (TensorType(x.dtype, indices.dims),)


def check_elements(op: str, x: Ints, indices: Ints, axis: int) -> None:
    """Indices of an ...Elements operator: same rank, no larger than the data off the axis."""
    fits = len(x) == len(indices) and all(
        i <= e for k, (e, i) in enumerate(zip(x, indices, strict=True)) if k != axis
    )
    if not fits:
        raise ShapeError(f"{op}: indices have shape {indices}, too large for {x} off axis {axis}")
    check_indexed(op, (x[axis],), indices)


def _gather_elements(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    x, indices = inputs
    assert x is not None
    assert indices is not None
    axis = int(attributes.get("axis", 0)) % x.ndim
    where = list(np.indices(indices.shape, sparse=True))
    where[axis] = in_range("GatherElements", indices, x.shape[axis])
    return (x[tuple(where)],)


def _grow_gather_elements(choose: Choose, x: TensorType) -> Growth | None:
    axes = [i for i, e in enumerate(x.dims) if e > 0]
    if not axes:
        return None
    axis = choose.one_of(axes)
    shape = list(x.dims)
    shape[axis] = choose.one_of((shape[axis], 1, 3, 9))
    off = choose.integer(0, len(shape) - 1)
    if off != axis and shape[off] > 1 and choose.integer(0, 1):
        shape[off] -= 1
    indices = draw_indices(choose, tuple(shape), x.dims[axis])
    return Growth((HERE, indices), {"axis": choose.one_of((axis, axis - len(shape)))})


# --------------------------------------------------------------------------- GatherND
def check_tuples(op: str, x: Ints, indices: Ints, batch: int) -> int:
    """The length of the index tuples of a ...ND operator."""
    depth = indices[-1] if indices else 0
    if (
        not x
        or not indices
        or not 0 <= batch < min(len(x), len(indices))
        or x[:batch] != indices[:batch]
        or not 1 <= depth <= len(x) - batch
    ):
        raise ShapeError(
            f"{op}: indices of shape {indices} do not index data of shape {x}, batch_dims={batch}"
        )
    check_indexed(op, x[batch : batch + depth], indices)
    return depth


def _infer_gather_nd(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    x, indices = tensor("GatherND", inputs, 0), indices_of("GatherND", inputs)
    batch = int(attributes.get("batch_dims", 0))
    depth = check_tuples("GatherND", x.dims, indices.dims, batch)
    return (TensorType(x.dtype, (*indices.dims[:-1], *x.dims[batch + depth :])),)


def _gather_nd(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    x, indices = inputs
    assert x is not None
    assert indices is not None
    batch = int(attributes.get("batch_dims", 0))
    depth = check_tuples("GatherND", x.shape, indices.shape, batch)
    where = list(np.indices(indices.shape[:-1], sparse=True))[:batch]
    for k in range(depth):
        where.append(in_range("GatherND", indices[..., k], x.shape[batch + k]))
    return (x[tuple(where)],)


def _grow_gather_nd(choose: Choose, x: TensorType) -> Growth | None:
    rank = len(x.dims)
    if not rank or 0 in x.dims:
        return None
    batch = choose.integer(0, min(1, rank - 1))
    depth = choose.integer(1, rank - batch)
    count = choose.one_of(((3,), (1,), (2, 5), (17,)))
    parts = [
        draw_indices(choose, (*x.dims[:batch], *count, 1), x.dims[batch + k]).astype(INT64)
        for k in range(depth)
    ]
    return Growth((HERE, np.concatenate(parts, -1)), {"batch_dims": batch} if batch else {})


# --------------------------------------------------------------------------- OneHot
def _infer_one_hot(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    op = "OneHot"
    indices, values = tensor(op, inputs, 0, "indices"), tensor(op, inputs, 2, "values")
    check_dtype(op, indices.dtype, INTEGERS, "indices")
    depth = known_integers(op, inputs, 1, "depth")
    if depth is None or len(depth) != 1 or depth[0] < 1 or values.dims != (2,):
        raise ShapeError(f"{op}: depth={depth}, values {values}; expected depth >= 1, two values")
    rank = len(indices.dims) + 1
    axis = normal_axis(op, int(attributes.get("axis", -1)), rank, indices.dims)
    return (TensorType(values.dtype, (*indices.dims[:axis], depth[0], *indices.dims[axis:])),)


def _one_hot(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    """Indices outside [-depth, depth - 1] give a row of "off"."""
    indices, depth, values = inputs
    assert indices is not None
    assert depth is not None
    assert values is not None
    count = int(depth.reshape(()))
    wide = np.where(indices >= count, count, indices).astype(np.int64)  # uint64 may be 2**64 - 1
    axis = int(attributes.get("axis", -1)) % (indices.ndim + 1)
    wide = np.expand_dims(np.where(wide < 0, wide + count, wide), axis)
    classes = np.arange(count).reshape(-1, *[1] * (indices.ndim - axis))
    return (np.where(wide == classes, values[1], values[0]),)


def _example_one_hot(choose: Choose) -> Call:
    shape = choose.shape((0, 3), 9)
    depth = choose.one_of((1, 2, 7, 33))
    indices = draw_indices(choose, shape, depth + 1)
    values = payload(choose, (2,))
    axis = choose.integer(-len(shape) - 1, len(shape))
    return Call((indices, np.array(depth, np.int64), values), {"axis": axis})


def _grow_one_hot(choose: Choose, x: TensorType) -> Growth | None:
    if x.dtype not in INDEX_DTYPES or x.size > 4096:
        return None
    return Growth((HERE, np.array([5], np.int64), np.array([0, 1], np.float32)), {"axis": -1})


# --------------------------------------------------------------------------- Trilu
def _infer_trilu(inputs: Operands, _: Attributes) -> tuple[TensorType, ...]:
    x = tensor("Trilu", inputs, 0, dtypes=TENSOR_DTYPES - {STRING})
    if len(x.dims) < 2:
        raise ShapeError(f"Trilu: shape {x.dims} has rank {len(x.dims)}, expected at least 2")
    k = known_integers("Trilu", inputs, 1, "k")
    if k is not None and len(k) != 1:
        raise ShapeError(f"Trilu: k={list(k)}, expected one diagonal")
    return (x,)


def diagonal(k: Array | None, shape: Ints) -> int:
    """The diagonal that a Trilu begins at; one outside the matrix is as good as its nearest."""
    rows, columns = shape[-2:]
    return 0 if k is None else max(-rows - 1, min(columns + 1, int(k.reshape(()))))


def _trilu(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    x, k = inputs[0], input_at(inputs, 1)
    assert x is not None
    keep = np.triu if int(attributes.get("upper", 1)) else np.tril
    return (keep(x, diagonal(k, x.shape)),)


def _grow_trilu(choose: Choose, x: TensorType) -> Growth | None:
    if len(x.dims) < 2 or x.dtype == STRING:
        return None
    k = np.array(choose.integer(-3, 3), np.int64)
    return Growth(choose.one_of(((HERE,), (HERE, k))), {"upper": choose.integer(0, 1)})


def _flipped(call: Call) -> Call | None:
    """Data reversed along the axis, indices counted from the other end."""
    x, indices = call.inputs
    assert x is not None
    assert indices is not None
    axis = int(call.attributes.get("axis", 0))
    return Call((np.flip(x, axis).copy(), -1 - indices), call.attributes)


_from_the_end = Law("reversed data, indices from the other end", _flipped, lambda c, y: y)

SPECS: tuple[OpSpec, ...] = (
    movement(
        "Gather",
        (2, 2),
        _infer_gather,
        _gather,
        example_on_payload(_grow_gather, (1, 4)),
        grow=_grow_gather,
        edges=(
            lambda: Call((np.arange(5, dtype="i8") + 2**53, np.array(-5))),
            lambda: Call((zeros(2, 3), np.zeros((0, 2), "i4")), {"axis": 1}),
            lambda: Call((zeros(0, 3), vector(-1, 2)), {"axis": 1}),
        ),
        rejects=(
            Reject("float indices", lambda: Call((zeros(3), zeros(1))), "indices are float32"),
            Reject("rank 0", lambda: Call((zeros(), vector(0))), "axis=0 is outside"),
            Reject("empty axis", lambda: Call((zeros(0, 2), vector(0))), "0 elements"),
        ),
        laws=(_from_the_end,),
        reads=("axis",),
    ),
    movement(
        "GatherElements",
        (2, 2),
        _infer_gather_elements,
        _gather_elements,
        example_on_payload(_grow_gather_elements, (1, 4)),
        grow=_grow_gather_elements,
        edges=(lambda: Call((zeros(2, 3), np.zeros((0, 3), "i8")), {"axis": 0}),),
        rejects=(
            Reject("rank", lambda: Call((zeros(2, 3), vector(0))), "too large"),
            Reject("empty axis", lambda: Call((zeros(0), vector(0))), "0 elements"),
            Reject(
                "extent",
                lambda: Call((zeros(2, 3), np.zeros((3, 3), "i8")), {"axis": 1}),
                "too large",
            ),
        ),
        laws=(_from_the_end,),
        reads=("axis",),
    ),
    movement(
        "GatherND",
        (2, 2),
        _infer_gather_nd,
        _gather_nd,
        example_on_payload(_grow_gather_nd, (1, 4)),
        grow=_grow_gather_nd,
        edges=(lambda: Call((zeros(2, 3), np.zeros((0, 2), "i8"))),),
        rejects=(
            Reject("depth", lambda: Call((zeros(2, 3), np.zeros((1, 3), "i8"))), "do not index"),
            Reject("empty", lambda: Call((zeros(2, 0), np.zeros((1, 2), "i8"))), "0 elements"),
            Reject(
                "batches",
                lambda: Call((zeros(3), np.zeros((1, 1), "i8")), {"batch_dims": -1}),
                "batch_dims=-1",
            ),
        ),
        reads=("batch_dims",),
    ),
    movement(
        "OneHot",
        (3, 3),
        _infer_one_hot,
        _one_hot,
        _example_one_hot,
        grow=_grow_one_hot,
        constant_inputs=frozenset({1}),
        edges=(lambda: Call((vector(-4, 3, 0, 2), np.array(3), np.array([2, 5], "f4"))),),
        rejects=(Reject("depth", lambda: Call((vector(0), np.array(0), zeros(2))), "depth >= 1"),),
        reads=("axis",),
    ),
    movement(
        "Trilu",
        (1, 2),
        _infer_trilu,
        _trilu,
        example_on_payload(_grow_trilu, (2, 4)),
        grow=_grow_trilu,
        constant_inputs=frozenset({1}),
        edges=(lambda: Call((zeros(0, 3),)), lambda: Call((np.ones((3, 3), "f4"), vector(9)))),
        rejects=(Reject("rank 1", lambda: Call((zeros(3),)), "at least 2"),),
        reads=("upper",),
    ),
)
