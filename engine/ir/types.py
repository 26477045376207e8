"""TensorType: the logical type of a value, ONNX dtype and shape; no arrays, no device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, cast

import ml_dtypes
import numpy as np

from engine.errors import ShapeError

RANK_MAX = 32
"""Axes of a tensor: NumPy broadcasts no more, and windows over a tensor have twice as many."""
ELEMENTS_MAX = 2**40
"""Elements of a tensor."""

Dim: TypeAlias = int | str
"""A dimension: a known extent, or the name of one that `Graph.bind` fills in."""

FLOAT16: np.dtype = np.dtype(np.float16)
FLOAT: np.dtype = np.dtype(np.float32)
DOUBLE: np.dtype = np.dtype(np.float64)
INT32: np.dtype = np.dtype(np.int32)
INT64: np.dtype = np.dtype(np.int64)
BOOL: np.dtype = np.dtype(np.bool_)
FLOATS: frozenset[np.dtype] = frozenset({FLOAT16, FLOAT, DOUBLE})
INTEGERS: frozenset[np.dtype] = frozenset(
    np.dtype(t)
    for t in (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)
)
NUMERIC = FLOATS | INTEGERS
ALL_DTYPES = NUMERIC | {BOOL}
"""Dtypes that operators compute with, here and there."""

BFLOAT16: np.dtype = np.dtype(ml_dtypes.bfloat16)
FLOATS8: frozenset[np.dtype] = frozenset(
    np.dtype(t)
    for t in (
        *(ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e4m3fnuz),
        *(ml_dtypes.float8_e5m2, ml_dtypes.float8_e5m2fnuz),
    )
)
FLOAT8E8M0: np.dtype = np.dtype(ml_dtypes.float8_e8m0fnu)
FLOAT4E2M1: np.dtype = np.dtype(ml_dtypes.float4_e2m1fn)
NARROW_FLOATS = FLOATS8 | {BFLOAT16, FLOAT8E8M0, FLOAT4E2M1}
NARROW_INTEGERS: frozenset[np.dtype] = frozenset(
    np.dtype(t) for t in (ml_dtypes.int4, ml_dtypes.uint4, ml_dtypes.int2, ml_dtypes.uint2)
)
NARROW = NARROW_FLOATS | NARROW_INTEGERS
"""Dtypes that tensors are kept in and nothing is computed in: operators move them, Cast converts.

Their arrays have a whole byte or two for each element, as those of ml_dtypes have.
"""
STRING: np.dtype = np.dtype(object)
"""Dtype of arrays of `str`, as onnx and onnxruntime have them; they lie in host memory only."""
TENSOR_DTYPES = ALL_DTYPES | NARROW | {STRING}
"""Dtypes that a tensor may have."""


def dtype_name(dtype: np.dtype) -> str:
    """What users are told: NumPy's name, and `string`."""
    return "string" if dtype == STRING else str(dtype.name)


def zero_of(dtype: np.dtype) -> np.ndarray:
    """A scalar of what ONNX fills in where nothing is: 0, False, or the empty string."""
    return np.array("" if dtype == STRING else 0, dtype)


def element_bits(dtype: np.dtype) -> int:
    """Bits of an element in a file, where those of 2 and 4 bits share a byte."""
    if dtype in NARROW_INTEGERS:
        return int(ml_dtypes.iinfo(dtype).bits)
    return 4 if dtype == FLOAT4E2M1 else 8 * dtype.itemsize


def bits_dtype(dtype: np.dtype) -> np.dtype:
    """Of a narrow dtype the unsigned integer that lies in memory; others as they are."""
    return np.dtype(f"u{dtype.itemsize}") if dtype in NARROW else dtype


def bits_of(array: np.ndarray) -> np.ndarray:
    """An array as it lies in memory, see `bits_dtype`."""
    return array.view(bits_dtype(array.dtype))


@dataclass(frozen=True)
class TensorType:
    """Logical dtype and shape, as ONNX has them. Precision and layout never change it.

    Attributes:
        is_static: every dimension is a known integer.
    """

    dtype: np.dtype
    shape: tuple[Dim, ...]
    is_static: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_static", set(map(type, self.shape)) <= {int})

    @property
    def dims(self) -> tuple[int, ...]:
        """The shape as integers; raises ValueError while a dimension is symbolic."""
        if not self.is_static:
            raise ValueError(f"{self} still has symbolic dimensions")
        return cast("tuple[int, ...]", self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.dims)

    @property
    def nbytes(self) -> int:
        """Bytes at the logical dtype; of strings those of the references to them."""
        return self.size * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{dtype_name(self.dtype)}[{','.join(str(d) for d in self.shape)}]"


@dataclass(frozen=True)
class ListType:
    """Of a value that is no tensor: a sequence of tensors, or what may be there or not.

    Attributes:
        dtype: of the tensors. shape: as it is declared, for each of them; None: not even the rank
            is.
        is_sequence, is_optional: one of them at least; both: a sequence that may be there or not.
    """

    dtype: np.dtype
    shape: tuple[Dim, ...] | None
    is_sequence: bool = True
    is_optional: bool = False

    @property
    def is_static(self) -> bool:
        """False: how many tensors there are, and of which shapes, is open."""
        return False

    def __str__(self) -> str:
        dims = "" if self.shape is None else f"[{','.join(str(d) for d in self.shape)}]"
        text = f"{dtype_name(self.dtype)}{dims}"
        text = f"sequence({text})" if self.is_sequence else text
        return f"optional({text})" if self.is_optional else text


def element_name(name: str, index: int) -> str:
    """What a plan calls one of the tensors of a sequence."""
    return f"{name}[{index}]"


def type_of(array: np.ndarray) -> TensorType:
    """The TensorType of a NumPy array."""
    return TensorType(array.dtype, tuple(int(d) for d in array.shape))


def check_dims(dims: Sequence[int], owner: str) -> int:
    """The number of elements; raises ShapeError for a shape that no tensor can have.

    Axes without elements do not excuse others: (0, 2**62) is as absurd as (1, 2**62).

    Args:
        owner: whose shape it is, in the error.
    """
    if len(dims) > RANK_MAX:
        raise ShapeError(
            f"{owner}: a shape of {len(dims)} axes, beginning {tuple(dims[:4])}; tensors have at "
            f"most {RANK_MAX}"
        )
    if min(dims, default=0) < 0:
        raise ShapeError(f"{owner}: shape {tuple(dims)} has a negative dimension")
    if math.prod(filter(None, dims)) > ELEMENTS_MAX:
        empty = ", its empty axes left out," if 0 in dims else ""
        raise ShapeError(
            f"{owner}: shape {tuple(dims)}{empty} has {math.prod(filter(None, dims))} elements, "
            f"more than the {ELEMENTS_MAX} that any tensor may have"
        )
    return math.prod(dims)
