"""Arrays in and out: what a user may give as an array, and tensors seen as arrays by others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from engine.arguments import AnyShape, shown
from engine.errors import InputError, ParallaxError
from engine.ir.types import (
    NARROW,
    NARROW_FLOATS,
    NARROW_INTEGERS,
    STRING,
    ListType,
    TensorType,
    dtype_name,
    element_name,
)


class SupportsDLPack(Protocol):
    """A tensor of another library that lends its memory."""

    def __dlpack__(self, **options: Any) -> Any: ...

    def __dlpack_device__(self) -> Any: ...


ArrayLike: TypeAlias = npt.ArrayLike | SupportsDLPack
"""What can be given as an array: see `array_of`."""

AnyArrayLike: TypeAlias = ArrayLike | Sequence[ArrayLike] | None
"""What can be given as a value of any type: see `value_of`."""

AnyArray: TypeAlias = np.ndarray | list[np.ndarray] | None
"""A tensor; those of a sequence; something optional that is not there."""

KINDS = "biufc"
"""Of dtypes that are numbers, as NumPy abbreviates them."""

TEXT_KINDS = "UTO"
"""Of dtypes that are strings, or may be."""

NARROWER = {"b": "b", "i": "biu", "u": "biu", "f": "biuf"}
"""Kinds of Python numbers that a dtype of a kind can stand for."""


# ---------------------------------------------------------------------- in
def array_of(where: str, value: Any, wanted: TensorType | None = None) -> np.ndarray:
    """What a user gave as an array, without a copy where it is one or lends its memory.

    Taken are NumPy arrays, what has `__array__` or `__dlpack__` (in host memory), and buffers
    (memoryview, array.array; bytes are uint8). Their dtype is their own. Python numbers, alone or
    in lists, have none and take the one that is wanted where it can hold them. Strings come as any
    of NumPy's dtypes for them, or in lists, and become arrays of `str`.

    Args:
        wanted: the dtype that is expected; its shape is only named in the error.

    Raises:
        InputError: neither numbers nor strings, or of another dtype.
    """
    array = value if type(value) is np.ndarray else _seen(where, value)
    if array.dtype.kind in TEXT_KINDS if wanted is None else wanted.dtype == STRING:
        return _as_strings(where, array, value, wanted)
    if array.dtype.kind not in KINDS and array.dtype not in NARROW:
        raise InputError(f"{where}: got {shown(value)}, expected an array of numbers")
    if wanted is None or array.dtype == wanted.dtype:
        return array
    if _has_no_dtype(value):
        return _as_numbers(where, array, wanted)
    home = "ml_dtypes" if wanted.dtype in NARROW else "np"
    name = "bool" if wanted.dtype == np.bool_ else f"{home}.{dtype_name(wanted.dtype)}"
    raise InputError(
        f"{where}: got {array.dtype}{list(array.shape)}, expected {wanted}; convert the array, as "
        f"in array.astype({name})"
    )


def value_of(where: str, value: Any, wanted: TensorType | ListType | None = None) -> AnyArray:
    """The same for what may be a sequence, which is a list, or optional, None if it is not there.

    Raises:
        InputError: what `array_of` refuses, or another kind of value than is wanted.
    """
    if not isinstance(wanted, ListType):
        return array_of(where, value, wanted)
    if value is None and wanted.is_optional:
        return None
    tensor = TensorType(wanted.dtype, ("...",) if wanted.shape is None else wanted.shape)
    if not wanted.is_sequence:
        return array_of(where, value, tensor)
    if not isinstance(value, (list, tuple)):
        raise InputError(
            f"{where}: got {shown(value)}, expected {wanted}: a list of arrays"
            + (", or None" if wanted.is_optional else "")
        )
    return [array_of(element_name(where, i), x, tensor) for i, x in enumerate(value)]


def shape_of(value: AnyArray) -> AnyShape:
    """Of an array, or of each in a list; None of None."""
    if isinstance(value, list):
        return tuple(x.shape for x in value)
    return None if value is None else value.shape


def mapped(change: Callable[[np.ndarray], np.ndarray], value: AnyArray) -> AnyArray:
    """Each array changed."""
    if isinstance(value, list):
        return [change(x) for x in value]
    return None if value is None else change(value)


def flattened(values: Mapping[str, AnyArray]) -> dict[str, np.ndarray]:
    """All arrays, those in lists under names of their own."""
    flat: dict[str, np.ndarray] = {}
    for name, value in values.items():
        if isinstance(value, list):
            flat.update((element_name(name, i), x) for i, x in enumerate(value))
        elif value is not None:
            flat[name] = value
    return flat


def _seen(where: str, value: Any) -> np.ndarray:
    if np.ma.isMaskedArray(value):
        raise InputError(f"{where}: masked arrays are not supported; fill it first")
    try:
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            array = np.from_dlpack(value)
        else:
            array = np.asarray(memoryview(value) if isinstance(value, bytes) else value)
    except ParallaxError:
        raise
    except Exception as error:
        raise InputError(f"{where}: {shown(value)} cannot be read as an array: {error}") from error
    return array


def _has_no_dtype(value: Any) -> bool:
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    return type(value) in (bool, int, float, list, tuple)


def _is_text(text: str) -> bool:
    """Whether UTF-8 has it: it has no half of a surrogate pair, as strings of Python may."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _as_strings(where: str, array: np.ndarray, value: Any, wanted: TensorType | None) -> np.ndarray:
    """An array of `str`; one without elements is of whatever is wanted."""
    if array.dtype.kind not in TEXT_KINDS and (array.size or not _has_no_dtype(value)):
        raise InputError(
            f"{where}: got {array.dtype}{list(array.shape)}, expected {wanted}: strings (str)"
        )
    strings: np.ndarray = array.astype(STRING, copy=False)
    texts = strings.ravel().tolist()
    if not {*map(type, texts)} <= {str}:
        expected = "an array of numbers or strings" if wanted is None else str(wanted)
        raise InputError(f"{where}: got {shown(value)}, expected {expected}")
    if not all(map(str.isascii, texts)) and not all(map(_is_text, texts)):
        place = [*map(_is_text, texts)].index(False)
        index = [int(i) for i in np.unravel_index(place, strings.shape)]
        raise InputError(f"{where}: the string at {index} has a lone surrogate, no text")
    return strings


def _as_numbers(where: str, array: np.ndarray, wanted: TensorType) -> np.ndarray:
    kind = "f" if wanted.dtype in NARROW_FLOATS else wanted.dtype.kind
    kind = "i" if wanted.dtype in NARROW_INTEGERS else kind
    kinds = NARROWER.get(kind, "") if array.size else KINDS
    if array.dtype.kind not in kinds:
        raise InputError(
            f"{where}: its numbers make {array.dtype}, expected {wanted}; give an array"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        converted = array.astype(wanted.dtype)
    if kind == "f":
        fits = np.isfinite(converted) == np.isfinite(array)
    else:
        fits = converted.astype(array.dtype) == array
    if not fits.all():
        raise InputError(f"{where}: its numbers do not fit into {wanted}; give an array")
    return converted


# ---------------------------------------------------------------------- out
class AsArray(ABC):
    """What can be read, for NumPy (`np.asarray`) and for DLPack (`torch.from_dlpack`)."""

    @abstractmethod
    def _host_array(self) -> np.ndarray:
        """The value in host memory; writeable only if nobody else holds it."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self._host_array()
        is_shared = not array.flags.writeable
        converts = dtype is not None and array.dtype != dtype
        if copy is False and (converts or not is_shared):
            raise InputError(f"{self!r}: its data cannot be given without a copy")
        if converts or (copy and is_shared):
            return array.astype(array.dtype if dtype is None else dtype)
        return array

    def __dlpack__(self, *, copy: bool | None = None, **options: Any) -> Any:
        array = self.__array__(copy=True if copy is None else copy)
        if array.dtype == STRING:
            raise InputError(f"{self!r}: there is no DLPack of strings")
        if array.dtype in NARROW:
            raise InputError(
                f"{self!r}: NumPy has no DLPack of {dtype_name(array.dtype)}; view its bits"
            )
        return array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return np.empty(0).__dlpack_device__()
