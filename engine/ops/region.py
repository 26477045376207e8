"""Parts of tensors put together or taken apart: Concat, Split, Slice.

Source: https://onnx.ai/onnx/operators/ (Concat-13, Split-18, Slice-13).
"""

from __future__ import annotations

import numpy as np

from engine.errors import ShapeError
from engine.ir.types import TensorType
from engine.ops.operands import (
    Ints,
    Operands,
    example_on_payload,
    input_at,
    integers,
    known_integers,
    movement,
    normal_axes,
    normal_axis,
    payload,
    payload_of,
    tensor,
    vector,
    zeros,
)
from engine.ops.spec import (
    HERE,
    PEER,
    Arrays,
    Attributes,
    Call,
    Choose,
    Growth,
    Law,
    OpSpec,
    Reject,
)

Array = np.ndarray
FAR = 2**63 - 1
PARTS_MAX = 1 << 16
"""Inputs of a Concat, and outputs of a Split."""


# --------------------------------------------------------------------------- Concat
def _infer_concat(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    first = tensor("Concat", inputs, 0)
    shape = list(first.dims)
    if "axis" not in attributes:
        raise ShapeError("Concat: the attribute axis is missing")
    axis = normal_axis("Concat", int(attributes["axis"]), len(shape), shape)
    for i in range(1, len(inputs)):
        other = tensor("Concat", inputs, i)
        fits = [*other.dims[:axis], shape[axis], *other.dims[axis + 1 :]] == shape
        if other.dtype != first.dtype or len(other.dims) != len(shape) or not fits:
            raise ShapeError(f"Concat: input {i} is {other}, input 0 is {first}, axis={axis}")
        shape[axis] += other.dims[axis]
    return (TensorType(first.dtype, tuple(shape)),)


def _concat(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    return (np.concatenate([np.asarray(x) for x in inputs], axis=int(attributes["axis"])),)


def _grow_concat(choose: Choose, x: TensorType) -> Growth | None:
    rank = len(x.dims)
    if not rank:
        return None
    axis = choose.integer(0, rank - 1)
    constant = payload_of(
        choose, (*x.dims[:axis], choose.one_of((1, 3)), *x.dims[axis + 1 :]), x.dtype
    )
    items: tuple[Array | str, ...] = choose.one_of(
        ((HERE, PEER), (HERE, HERE), (constant, HERE), (PEER, HERE, constant))
    )
    return Growth(items, {"axis": choose.one_of((axis, axis - rank))})


def _example_concat(choose: Choose) -> Call:
    shape = choose.shape((1, 4), 17)
    first = payload(choose, shape)
    axis = choose.integer(0, len(shape) - 1)
    more = [
        payload_of(
            choose,
            (*shape[:axis], choose.one_of((1, 0, 2, 16, 33)), *shape[axis + 1 :]),
            first.dtype,
        )
        for _ in range(choose.integer(0, 3))
    ]
    return Call((first, *more), {"axis": axis})


def _reversed_concat(call: Call) -> Call:
    return Call(call.inputs[::-1], call.attributes)


def _reversed_parts(call: Call, y: Array) -> Array:
    axis = int(call.attributes["axis"])
    ends = np.cumsum([np.asarray(x).shape[axis] for x in call.inputs])[:-1]
    return np.concatenate(np.split(y, ends, axis)[::-1], axis)


# --------------------------------------------------------------------------- Split
def split_sizes(shape: Ints, sizes: Ints | None, attributes: Attributes) -> tuple[int, Ints]:
    """(axis, extent of every output) of a Split."""
    axis = normal_axis("Split", int(attributes.get("axis", 0)), len(shape), shape)
    extent = shape[axis]
    if sizes is None:
        count = int(attributes.get("num_outputs") or 0)
        if count < 1:
            raise ShapeError("Split: neither input 1 (split) nor num_outputs >= 1 is given")
        if count > PARTS_MAX:
            raise ShapeError(f"Split: num_outputs={count}, expected at most {PARTS_MAX}")
        step = -(-extent // count)
        sizes = tuple(max(0, min(step, extent - i * step)) for i in range(count))
    if min(sizes, default=0) < 0 or sum(sizes) != extent:
        raise ShapeError(f"Split: split={list(sizes)} does not add up to {extent}, axis={axis}")
    return axis, sizes


def _infer_split(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    x = tensor("Split", inputs, 0)
    given = known_integers("Split", inputs, 1, "split", most=PARTS_MAX)
    axis, sizes = split_sizes(x.dims, given, attributes)
    return tuple(TensorType(x.dtype, (*x.dims[:axis], s, *x.dims[axis + 1 :])) for s in sizes)


def _split(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    x, given = inputs[0], input_at(inputs, 1)
    assert x is not None
    axis, sizes = split_sizes(x.shape, None if given is None else integers(given), attributes)
    return tuple(np.split(x, np.cumsum(sizes)[:-1], axis))


def _grow_split(choose: Choose, x: TensorType) -> Growth | None:
    rank = len(x.dims)
    if not rank:
        return None
    axis = choose.integer(0, rank - 1)
    extent = x.dims[axis]
    if choose.integer(0, 1):
        return Growth((HERE,), {"axis": axis - rank, "num_outputs": min(2, max(extent, 1))})
    first = choose.integer(0, extent)
    sizes = choose.one_of(((first, extent - first), (first, 0, extent - first)))
    return Growth((HERE, np.array(sizes, np.int64)), {"axis": axis})


# --------------------------------------------------------------------------- Slice
def slice_ranges(
    shape: Ints, starts: Ints, ends: Ints, axes: Ints | None, steps: Ints | None
) -> tuple[range, ...]:
    """For every axis the indices that a Slice takes.

    Unlike in Python, a start before the first element is the first one in steps backward too.
    """
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise ShapeError(
            f"Slice: starts={list(starts)}, ends={list(ends)}, axes={list(axes)}, "
            f"steps={list(steps)}; expected equal lengths and steps other than 0"
        )
    ranges = [range(n) for n in shape]
    normal = normal_axes("Slice", axes, len(shape), shape)
    for axis, start, end, step in zip(normal, starts, ends, steps, strict=True):
        first = 0 if start < -shape[axis] else start
        ranges[axis] = range(shape[axis])[slice(first, end, step)]
    return tuple(ranges)


def _infer_slice(inputs: Operands, _: Attributes) -> tuple[TensorType, ...]:
    x = tensor("Slice", inputs, 0)
    names = ("starts", "ends", "axes", "steps")
    starts, ends, axes, steps = (
        known_integers("Slice", inputs, i + 1, n) for i, n in enumerate(names)
    )
    if starts is None or ends is None:
        raise ShapeError("Slice: inputs 1 (starts) and 2 (ends) are required")
    ranges = slice_ranges(x.dims, starts, ends, axes, steps)
    return (TensorType(x.dtype, tuple(len(r) for r in ranges)),)


def _slice(inputs: Arrays, _: Attributes) -> tuple[Array, ...]:
    x = inputs[0]
    assert x is not None
    axes, steps = input_at(inputs, 3), input_at(inputs, 4)
    ranges = slice_ranges(
        x.shape,
        integers(inputs[1]),
        integers(inputs[2]),
        None if axes is None else integers(axes),
        None if steps is None else integers(steps),
    )
    for axis, taken in enumerate(ranges):
        x = np.take(x, np.array(taken, np.int64), axis)
    return (x,)


def _grow_slice(choose: Choose, x: TensorType) -> Growth:
    rank = len(x.dims)
    if not rank:
        return Growth((HERE, *(np.zeros(0, np.int64),) * 2))
    axis = choose.integer(0, rank - 1)
    n = x.dims[axis]
    step = choose.one_of((1, 2, -1, -2, 3))
    start = choose.one_of((0, 1, -1, n // 2, -FAR))
    end = choose.one_of((FAR, n, -1, n - 1))
    if step < 0:
        start, end = choose.one_of((FAR, -1, n - 1)), choose.one_of((-FAR, 0, -n))
    if len(range(n)[slice(start, end, step)]) == 0:
        start, end, step = 0, FAR, 1
    items = (start, end, choose.one_of((axis, axis - rank)), step)
    return Growth((HERE, *(np.array([v], np.int64) for v in items)))


SPECS: tuple[OpSpec, ...] = (
    movement(
        "Concat",
        (1, PARTS_MAX),
        _infer_concat,
        _concat,
        _example_concat,
        grow=_grow_concat,
        edges=(
            lambda: Call((zeros(0, 3), zeros(2, 3)), {"axis": 0}),
            lambda: Call((zeros(2, 0), zeros(2, 0)), {"axis": -1}),
        ),
        rejects=(
            Reject("extents", lambda: Call((zeros(2, 3), zeros(3, 3)), {"axis": 1}), "input 1 is"),
            Reject("axis", lambda: Call((zeros(2, 3),), {"axis": 2}), "axis=2 is outside"),
            Reject("rank 0", lambda: Call((zeros(),), {"axis": 0}), "axis=0 is outside"),
        ),
        laws=(Law("inputs in reverse order", _reversed_concat, _reversed_parts),),
        reads=("axis",),
    ),
    movement(
        "Split",
        (1, 2),
        _infer_split,
        _split,
        example_on_payload(_grow_split, (1, 4)),
        grow=_grow_split,
        constant_inputs=frozenset({1}),
        all_outputs=True,
        edges=(
            lambda: Call((zeros(7, 2),), {"num_outputs": 3}),
            lambda: Call((zeros(0, 2), vector(0, 0))),
        ),
        rejects=(
            Reject("sum", lambda: Call((zeros(5), vector(2, 2))), "does not add up to 5"),
            Reject("no sizes", lambda: Call((zeros(5),)), "neither"),
        ),
        reads=("axis", "num_outputs"),
    ),
    movement(
        "Slice",
        (3, 5),
        _infer_slice,
        _slice,
        example_on_payload(_grow_slice, (0, 4)),
        grow=_grow_slice,
        constant_inputs=frozenset({1, 2, 3, 4}),
        edges=(
            lambda: Call(
                (np.arange(7, dtype="i8"), vector(FAR), vector(-FAR - 1), None, vector(-3))
            ),
            lambda: Call((zeros(5), vector(3), vector(1))),
            lambda: Call((zeros(2, 3), vector(-5, 1), vector(FAR, 2), vector(-1, 0), vector(2, 1))),
        ),
        rejects=(
            Reject(
                "zero step",
                lambda: Call((zeros(5), vector(0), vector(5), vector(0), vector(0))),
                "steps other than 0",
            ),
            Reject(
                "axis",
                lambda: Call((zeros(5), vector(0), vector(5), vector(1))),
                "axes=1 is outside",
            ),
        ),
    ),
)
