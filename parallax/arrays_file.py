"""ArraysFile: an .npz archive that is looked at before any of its data is read.

What it says of itself (members, dtypes, shapes, sizes) is checked against the file, the memory that
is free and what is asked for; data is read last, only of arrays that are wanted, never pickled.

Sources: numpy/lib/format.py (the .npy header), APPNOTE.TXT of the .zip format.
"""

from __future__ import annotations

import lzma
import math
import os
import stat
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import IO, BinaryIO

import numpy as np
import psutil

from conformance.inputs import Feeds
from engine.errors import InputError
from engine.ir.types import NARROW, STRING, TensorType

DAMAGE = (
    *(OSError, EOFError, MemoryError, ValueError, TypeError, RuntimeError, ArithmeticError),
    *(LookupError, SyntaxError, struct.error, tokenize.TokenError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
"""What zipfile, its decompressors and NumPy raise for bytes that are not what they seem."""
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
ENCRYPTED = 1
"""A bit of the flags of a member."""


@dataclass(frozen=True)
class Member:
    """One array in the archive, by what its header says."""

    info: zipfile.ZipInfo
    type: TensorType


class ArraysFile:
    """An open archive; use as a context manager.

    Attributes:
        where: begins every message: the option and the name of the file.
        types: dtype and shape of every array, by name.

    Raises:
        InputError: not a regular file, not an archive of arrays, damaged, or of a form that is not
            read.
    """

    def __init__(self, option: str, name: str) -> None:
        self.where = f"{option} {name}"
        if not name:
            raise InputError(f"{option} '': expected the path of an .npz file of arrays by name")
        try:
            self._file = _regular_file(name)
        except (OSError, ValueError) as error:
            raise InputError(f"{self.where}: {_reason(error)}") from error
        try:
            self._archive = self._opened()
            self._members = dict(map(self._member, self._archive.infolist()))
            if len(self._members) < len(self._archive.infolist()):
                raise InputError(f"{self.where}: two arrays have the same name")
        except BaseException:
            self._file.close()
            raise
        self.types = {name: member.type for name, member in self._members.items()}

    def _opened(self) -> zipfile.ZipFile:
        try:
            if not zipfile.is_zipfile(self._file):
                raise InputError(f"{self.where}: expected an .npz file with arrays by name")
            return zipfile.ZipFile(self._file)
        except DAMAGE as error:
            raise InputError(f"{self.where}: {_reason(error)}") from error

    def _member(self, info: zipfile.ZipInfo) -> tuple[str, Member]:
        """Name and header of an array."""
        key = info.filename.removesuffix(".npy")
        if key == info.filename:
            raise InputError(f"{self.where}: {info.filename!r} is not an array (.npy)")
        if info.flag_bits & ENCRYPTED:
            raise InputError(f"{self.where}: {key!r} is encrypted, which is not supported")
        if info.compress_type not in METHODS:
            method = f"compression method {info.compress_type}"
            raise InputError(f"{self.where}: {key!r} has {method}, which is not supported")
        try:
            with self._archive.open(info) as stream:
                type_, nbytes = _header(stream)
        except DAMAGE as error:
            raise InputError(f"{self.where}: {key!r}: {_reason(error)}") from error
        if nbytes != info.file_size:
            raise InputError(
                f"{self.where}: {key!r} is {type_}, which with its header takes {nbytes} bytes, "
                f"but has {info.file_size}: the file is damaged"
            )
        return key, Member(info, type_)

    def take_as_kept(self, dtypes: Mapping[str, np.dtype]) -> None:
        """Take arrays of bytes for what NumPy writes as such: those of bfloat16 and the like."""
        for name, dtype in dtypes.items():
            member = self._members.get(name)
            kept = np.dtype(f"V{dtype.itemsize}")
            if dtype in NARROW and member is not None and member.type.dtype == kept:
                type_ = TensorType(dtype, member.type.shape)
                self._members[name] = replace(member, type=type_)
                self.types[name] = type_

    def read(self, names: Iterable[str]) -> Feeds:
        """The arrays of these names; raises InputError for damage, or more than memory holds."""
        return {name: self._read(name, self._members[name]) for name in names}

    def _read(self, name: str, member: Member) -> np.ndarray:
        is_text, free = member.type.dtype == STRING, psutil.virtual_memory().available
        needed = member.info.file_size if is_text else member.type.nbytes
        if needed > free:
            raise InputError(
                f"{self.where}: {name!r} is {member.type}: it needs {needed} bytes, {free} are free"
            )
        try:
            with self._archive.open(member.info) as stream:
                array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
                stream.read(1)  # the end, where the checksum is compared
            if is_text:
                return array.astype(STRING)
        except DAMAGE as error:
            raise InputError(f"{self.where}: {name!r}: {_reason(error)}") from error
        if member.type.dtype in NARROW:
            return np.ascontiguousarray(array).reshape(array.shape).view(member.type.dtype)
        return array.view(np.uint8) != 0 if array.dtype == np.bool_ else array

    def __enter__(self) -> ArraysFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._file.close()


def _regular_file(name: str) -> BinaryIO:
    """The file, open; a pipe is not waited for."""
    descriptor = os.open(name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("not a regular file: an archive is read from its end")
    return os.fdopen(descriptor, "rb")


def _header(stream: IO[bytes]) -> tuple[TensorType, int]:
    """What an array is, and its bytes with the header; raises ValueError and others of DAMAGE."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_2_0
    if version == (1, 0):
        read = np.lib.format.read_array_header_1_0
    elif version not in ((2, 0), (3, 0)):  # 3.0 differs in names of fields, which are refused
        raise ValueError(f"its header is of version {version[0]}.{version[1]}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers that Python 2 wrote
        shape, _, dtype = read(stream)
    if dtype.hasobject or dtype.fields or dtype.subdtype:
        raise ValueError(f"elements of {dtype} are not supported")
    if not all(type(extent) is int and extent >= 0 for extent in shape):
        raise ValueError(f"its shape is {shape}, expected whole numbers")
    nbytes = math.prod(shape) * dtype.itemsize
    return TensorType(STRING if dtype.kind == "U" else dtype, shape), stream.tell() + nbytes


def _reason(error: BaseException) -> str:
    """What is wrong, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    said = error.args[0] if isinstance(error, tokenize.TokenError) else error
    lines = str(said).splitlines() or [type(error).__name__]
    return f"cannot be read: {lines[0]}"
