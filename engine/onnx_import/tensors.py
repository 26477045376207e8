"""TensorProto to NumPy arrays: every size is checked against the data before anything is allocated.

Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (TensorProto, which field holds which
dtype) and docs/ExternalData.md. raw_data is little-endian, as is every host Parallax runs on.
Elements of 2 and 4 bits share bytes, the first in the lowest bits, in raw_data and in int32_data.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from onnx import TensorProto

from engine.errors import ModelError, UnsupportedError
from engine.ir.constant import REST_NBYTES_MIN, Constant
from engine.ir.types import (
    NARROW_INTEGERS,
    STRING,
    TensorType,
    bits_dtype,
    check_dims,
    element_bits,
)
from engine.onnx_import.read_file import Origin
from engine.onnx_import.weights_file import WeightsFile
from engine.onnx_import.wire import Extent
from engine.ops.cast import ELEMENT_TYPES as DTYPES

__all__ = ["DTYPES", "constant_of", "dtype_of"]

_TYPED_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")
_FIELD_OF: dict[int, str] = {
    TensorProto.FLOAT: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.INT64: "int64_data",
    TensorProto.UINT32: "uint64_data",
    TensorProto.UINT64: "uint64_data",
}
"""The typed field of each dtype; all others use int32_data."""


def dtype_of(element_type: int, owner: str) -> np.dtype:
    """The NumPy dtype of an ONNX element type; `owner` names who has it in the error."""
    try:
        return DTYPES[element_type]
    except KeyError:
        known = {v: k for k, v in TensorProto.DataType.items()}
        if element_type not in known or element_type == TensorProto.UNDEFINED:
            raise ModelError(f"{owner}: {element_type} is not an ONNX element type") from None
        raise UnsupportedError(
            f"{owner}: element type {known[element_type]} is not supported; supported: strings, "
            "booleans, and all kinds of numbers but complex ones"
        ) from None


def constant_of(
    tensor: TensorProto, owner: str, origin: Origin, extent: Extent | None = None
) -> Constant:
    """The tensor's read-only array; one that lies in a file is read when it is needed.

    Args:
        owner: names the tensor in errors, "initialiser 'w'".
        extent: of raw data that was left out of the tensor.

    Raises:
        ModelError: shape and data disagree, or external data is missing, too short or outside.
        UnsupportedError: an element type NumPy does not have.
    """
    shape = tuple(tensor.dims)
    count = check_dims(shape, owner)
    dtype = dtype_of(tensor.data_type, owner)
    if tensor.HasField("segment"):
        raise UnsupportedError(f"{owner}: segmented tensors are not supported")
    filled = [f for f in _TYPED_FIELDS if len(getattr(tensor, f))]
    filled += ["raw_data"] if tensor.HasField("raw_data") or extent is not None else []
    is_external = tensor.data_location == TensorProto.EXTERNAL
    is_text = dtype == STRING
    if len(filled) > 1 or (is_external and filled) or (len(tensor.string_data) and not is_text):
        filled += ["string_data"] if len(tensor.string_data) else []
        filled += ["external_data"] if is_external else []
        raise ModelError(
            f"{owner}: data is given more than once or misplaced ({', '.join(filled)})"
        )
    if is_text:
        return Constant(_strings(tensor, owner, count, [*filled, *["external data"] * is_external]))
    if is_external:
        return _external(tensor, owner, origin, TensorType(dtype, shape))
    if len(tensor.external_data):
        raise ModelError(f"{owner}: has external_data, but its data_location is not EXTERNAL")
    if extent is not None:
        assert origin.file is not None
        _check_nbytes(extent.nbytes, _file_nbytes(dtype, count), shape, dtype, owner)
        return _within_reach(origin.file, extent.offset, TensorType(dtype, shape))
    if filled == ["raw_data"]:
        raw = tensor.raw_data
        _check_nbytes(len(raw), _file_nbytes(dtype, count), shape, dtype, owner)
        stored = np.frombuffer(raw, _stored(dtype))
    else:
        stored = _typed_array(tensor, owner, dtype, count, filled)
    array = _decoded(stored, dtype, 0, count).reshape(shape)
    array.flags.writeable = False
    return Constant(array)


def _strings(tensor: TensorProto, owner: str, count: int, elsewhere: Sequence[str]) -> np.ndarray:
    """Text; `elsewhere` names fields that are filled and cannot hold it."""
    if elsewhere:
        raise ModelError(f"{owner}: strings belong in string_data, found {elsewhere[0]}")
    if len(tensor.string_data) != count:
        raise ModelError(
            f"{owner}: shape {tuple(tensor.dims)} needs {count} elements, but string_data has "
            f"{len(tensor.string_data)}: the file is truncated or damaged"
        )
    array = np.empty(count, STRING)
    array[:] = [text_of(data, owner) for data in tensor.string_data]
    array = array.reshape(tuple(tensor.dims))
    array.flags.writeable = False
    return array


def text_of(data: bytes, owner: str) -> str:
    """What bytes of a model say; raises ModelError where they are not UTF-8."""
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        raise ModelError(f"{owner} is not UTF-8 text") from None


def _within_reach(file: WeightsFile, offset_nbytes: int, type_: TensorType) -> Constant:
    dtype, bits = type_.dtype, element_bits(type_.dtype)

    def read(dims: tuple[int, ...], start: int) -> np.ndarray:
        count, (first, skipped) = math.prod(dims), divmod(start * bits, 8)
        length = _file_nbytes(dtype, skipped // bits + count)
        stored = file.read(_stored(dtype), (length,) if bits < 8 else dims, offset_nbytes + first)
        return _decoded(stored, dtype, skipped // bits, count).reshape(dims)

    return Constant(
        make=lambda: read(type_.dims, 0),
        type=type_,
        part=lambda start, stop: read((stop - start,), start),
    )


def _file_nbytes(dtype: np.dtype, count: int) -> int:
    return -(-count * element_bits(dtype) // 8)


def _stored(dtype: np.dtype) -> np.dtype:
    """What is read: bytes that stand for booleans, or hold small elements, or the bits of some."""
    if dtype == np.bool_ or element_bits(dtype) < 8:
        return np.dtype(np.uint8)
    return bits_dtype(dtype)


def _decoded(stored: np.ndarray, dtype: np.dtype, start: int, count: int) -> np.ndarray:
    """The elements, `count` from `start` on where they share bytes; any non-zero byte is True."""
    if dtype == np.bool_:
        return np.asarray(stored != 0)
    bits = element_bits(dtype)
    if bits < 8:
        spread = stored.reshape(-1, 1) >> np.arange(0, 8, bits, dtype=np.uint8)
        stored = (spread & 2**bits - 1).reshape(-1)[start : start + count]
    return stored.astype(dtype) if dtype in NARROW_INTEGERS else stored.view(dtype)


def _check_nbytes(have: int, want: int, shape: Sequence[int], dtype: np.dtype, owner: str) -> None:
    if have != want:
        raise ModelError(
            f"{owner}: shape {tuple(shape)} of {dtype.name} needs {want} bytes, but its data has "
            f"{have}: the file is truncated or damaged"
        )


def _typed_array(
    tensor: TensorProto, owner: str, dtype: np.dtype, count: int, filled: list[str]
) -> np.ndarray:
    field = _FIELD_OF.get(tensor.data_type, "int32_data")
    if filled and filled != [field]:
        raise ModelError(f"{owner}: {dtype.name} data belongs in {field}, found {filled[0]}")
    data = getattr(tensor, field)
    expected = _file_nbytes(dtype, count) if element_bits(dtype) < 8 else count
    if len(data) != expected:
        raise ModelError(
            f"{owner}: shape {tuple(tensor.dims)} needs {expected} elements, but {field} has "
            f"{len(data)}: the file is truncated or damaged"
        )
    if dtype in (np.float32, np.float64):
        return np.array(data, dtype)
    wide = np.array(data, np.uint64 if field == "uint64_data" else np.int64)
    narrow = np.dtype(np.uint16) if dtype == np.float16 else _stored(dtype)
    limits = np.iinfo(narrow)
    if wide.size and (wide.min() < limits.min or wide.max() > limits.max):
        raise ModelError(f"{owner}: {field} holds values outside the range of {dtype.name}")
    return wide.astype(narrow, copy=False)


def _external(tensor: TensorProto, owner: str, origin: Origin, type_: TensorType) -> Constant:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    path = _external_path(entries.get("location", ""), owner, origin.folder)
    offset = _external_number(entries.get("offset", "0"), "offset", owner)
    nbytes = _file_nbytes(type_.dtype, type_.size)
    length = _external_number(entries.get("length", str(nbytes)), "length", owner)
    _check_nbytes(length, nbytes, tensor.dims, type_.dtype, owner)
    try:
        file, stays = origin.open(path)
        if offset + length > file.nbytes:
            raise ModelError(
                f"{owner}: bytes {offset} to {offset + length} of '{path.name}' are needed, but "
                f"the file has {file.nbytes}: it is truncated, or belongs to another model"
            )
        if "checksum" in entries:
            _check_digest(path, entries["checksum"], owner)
        constant = _within_reach(file, offset, type_)
        return constant if stays and length >= REST_NBYTES_MIN else Constant(constant.array)
    except FileNotFoundError:
        raise ModelError(
            f"{owner}: its external data file '{path.name}' is missing from '{path.parent}': "
            "keep it beside the model"
        ) from None
    except OSError as error:
        raise ModelError(f"{owner}: '{path}' cannot be read: {error.strerror}") from None


def _check_digest(path: Path, expected: str, owner: str) -> None:
    """`expected` is the SHA-1 of the whole file, in hexadecimal."""
    state = path.stat()
    found = _sha1(path, state.st_size, state.st_mtime_ns)
    if found != expected.strip().lower():
        raise ModelError(
            f"{owner}: '{path.name}' has another checksum (SHA-1 {found}) than the model states "
            f"({expected}): it is damaged, or belongs to another model"
        )


@lru_cache(maxsize=16)
def _sha1(path: Path, nbytes: int, mtime_ns: int) -> str:
    """Read once for all tensors of a file, again when it changed."""
    with path.open("rb") as file:
        digest = hashlib.sha1(usedforsecurity=False)
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _external_path(location: str, owner: str, folder: Path | None) -> Path:
    """Inside the model's folder, symbolic links resolved."""
    if folder is None:
        raise ModelError(
            f"{owner}: its data is in the external file {location!r}, which a model given as "
            "bytes cannot have: pass the model's path"
        )
    relative = Path(location)
    escapes = relative.is_absolute() or ".." in relative.parts or "\\" in location
    if not location or "\0" in location or escapes:
        raise ModelError(
            f"{owner}: external data location {location!r} is refused: expected a path inside the "
            "model's folder"
        )
    try:
        path = (folder / relative).resolve()
        is_inside = path.is_relative_to(folder.resolve())
        is_file = path.is_file() or not path.exists()
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        shown = location if len(location) < 80 else f"{location[:60]}..."
        raise ModelError(
            f"{owner}: external data location {shown!r} cannot be followed: {reason}"
        ) from None
    if not is_inside:
        raise ModelError(
            f"{owner}: external data location {location!r} leads to '{path}', outside the model's "
            f"folder '{folder}': refused"
        )
    if not is_file:
        raise ModelError(f"{owner}: external data '{path}' is not a regular file")
    return path


def _external_number(text: str, key: str, owner: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ModelError(f"{owner}: external data {key}={text!r} is not a non-negative integer")
    return int(text)
