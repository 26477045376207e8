"""Reading operands in `infer_types`, and the OpSpec of operators that only move elements."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from engine.errors import ShapeError, UnsupportedError
from engine.ir.types import (
    BOOL,
    DOUBLE,
    FLOAT,
    FLOAT16,
    FLOATS,
    INT32,
    INT64,
    RANK_MAX,
    STRING,
    TENSOR_DTYPES,
    TensorType,
    dtype_name,
)
from engine.ops.numerics import Error, Units, exact
from engine.ops.spec import Arrays, Attributes, Call, Choose, Growth, Operand, OpSpec

Operands = Sequence[Operand | None]
Array = np.ndarray
Ints = tuple[int, ...]
INDEX_DTYPES = (INT64, INT32)
PAYLOADS = (FLOAT, INT64, BOOL, FLOAT16, DOUBLE, np.dtype(np.int8), INT32)
"""One dtype of every element size and kind."""


def check_dtype(
    op: str, dtype: np.dtype, dtypes: Collection[np.dtype], name: str = "input"
) -> None:
    """Raise UnsupportedError unless it is one of `dtypes`: ONNX may well allow more of them."""
    if dtype not in dtypes:
        names = ", ".join(sorted(dtype_name(d) for d in dtypes))
        raise UnsupportedError(
            f"{op}: {name} of dtype {dtype_name(dtype)} is not supported, only {names}"
        )


def tensor(
    op: str,
    inputs: Operands,
    index: int,
    name: str = "data",
    dtypes: Collection[np.dtype] = TENSOR_DTYPES,
) -> TensorType:
    """The type of a required input; raises ShapeError where it is missing, UnsupportedError."""
    given = inputs[index] if index < len(inputs) else None
    if given is None:
        raise ShapeError(f"{op}: input {index} ({name}) is missing")
    check_dtype(op, given.type.dtype, dtypes, name)
    return given.type


def known(op: str, inputs: Operands, index: int, name: str) -> Array | None:
    """The value of an input that must be known before a run; None where it is omitted.

    Raises:
        UnsupportedError: it is computed at run time.
    """
    given = inputs[index] if index < len(inputs) else None
    if given is None:
        return None
    if given.value is None:
        raise UnsupportedError(f"{op}: {name} is computed at run time, expected a constant")
    return given.value


def known_integers(
    op: str, inputs: Operands, index: int, name: str, most: int = 2 * RANK_MAX
) -> Ints | None:
    """The same as a tuple of integers; a scalar counts as one entry.

    Args:
        most: entries that make sense; by default two for each axis of any tensor.
    """
    value = known(op, inputs, index, name)
    if value is None:
        return None
    if value.size > most:
        raise ShapeError(f"{op}: {name} has {value.size} entries, expected at most {most}")
    check_dtype(op, value.dtype, INDEX_DTYPES, name)
    if value.ndim > 1:
        raise ShapeError(f"{op}: {name} has shape {value.shape}, expected rank 1")
    return integers(value)


def integers(value: Array | None) -> Ints:
    """An array as a tuple of Python integers; () for None."""
    return () if value is None else tuple(int(v) for v in np.asarray(value).ravel())


def input_at(inputs: Arrays, index: int) -> Array | None:
    """inputs[index], None beyond the end."""
    return inputs[index] if index < len(inputs) else None


def normal_axis(op: str, axis: int, rank: int, shape: Sequence[Any], name: str = "axis") -> int:
    """`axis` counted from the front; raises ShapeError outside [-rank, rank - 1]."""
    if not -rank <= axis < rank:
        raise ShapeError(
            f"{op}: {name}={axis} is outside [{-rank}, {rank - 1}] for an input of shape "
            f"{tuple(shape)}"
        )
    return axis % rank


def normal_axes(op: str, axes: Sequence[int], rank: int, shape: Sequence[Any]) -> Ints:
    """Distinct axes counted from the front."""
    normal = tuple(normal_axis(op, a, rank, shape, "axes") for a in axes)
    if len(set(normal)) != len(normal):
        raise ShapeError(f"{op}: axes={list(axes)} name an axis twice")
    return normal


def zeros(*shape: int) -> Array:
    """Zeros in float, for edge cases and refusals."""
    return np.zeros(shape, np.float32)


def vector(*values: int) -> Array:
    """Extents, axes or pads as ONNX passes them: int64, rank 1."""
    return np.array(values, np.int64)


def payload(choose: Choose, shape: Sequence[int], dtypes: Sequence[np.dtype] = PAYLOADS) -> Array:
    """Distinct elements of a drawn dtype; int64 ones beyond 2^53, where double has gaps."""
    dtype = choose.one_of(dtypes)
    return payload_of(choose, shape, dtype)


def payload_of(choose: Choose, shape: Sequence[int], dtype: np.dtype) -> Array:
    """The same at a given dtype."""
    if dtype in FLOATS:
        return choose.tensor(shape, dtype)
    count = int(np.prod(shape, dtype=np.int64))
    numbers: Array = np.arange(count, dtype=np.int64).reshape(tuple(shape))
    if dtype == BOOL:
        mixed: Array = (numbers * 7 % 3) == 0
        return mixed
    return (numbers + (2**53 + 1 if dtype == INT64 else 0)).astype(dtype)


def example_on_payload(
    grow: Callable[[Choose, TensorType], Growth | None],
    rank: tuple[int, int] = (0, 4),
    largest: int = 17,
    dtypes: Sequence[np.dtype] = PAYLOADS,
) -> Callable[[Choose], Call]:
    """An `example` that draws a payload tensor and hangs on it what `grow` draws."""

    def example(choose: Choose) -> Call:
        x = payload(choose, choose.shape(rank, largest), dtypes)
        growth = grow(choose, TensorType(x.dtype, x.shape))
        if growth is None:
            raise AssertionError(f"grow refused {x.dtype}{x.shape}, which its own example drew")
        constants = [item for item in growth.inputs[1:] if not isinstance(item, str)]
        return Call((x, *constants), growth.attributes)

    return example


def movement(
    op_type: str,
    arity: tuple[int, int],
    infer_types: Callable[[Operands, Attributes], tuple[TensorType, ...]],
    move: Callable[[Arrays, Attributes], tuple[Array, ...]],
    example: Callable[[Choose], Call],
    **more: Any,
) -> OpSpec:
    """The spec of an operator that moves elements: exact in every precision."""

    def reference(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
        moved: Sequence[Any] = move(inputs, attributes)  # indexing gives a single string as itself
        return tuple(np.array(y, STRING) if isinstance(y, str) else y for y in moved)

    def error_model(inputs: Arrays, attributes: Attributes, _: Units) -> tuple[Error, ...]:
        return exact(*reference(inputs, attributes))

    return OpSpec(
        op_type,
        arity,
        infer_types,
        reference,
        error_model,
        example,
        **{"is_exact": True, "moves": True, **more},
    )
