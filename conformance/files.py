"""The files that a command reads and writes: nothing of the user's is ever overwritten."""

from __future__ import annotations

import argparse
import os
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import psutil
import shtab

from engine.errors import ConfigError
from engine.files import write_atomically
from engine.ir.types import NARROW, STRING

LOOKED_AT_NBYTES = 256
"""How much of the two ends of a file is looked at to see what it is."""

MADE = b"<!-- made by parallax report -->"
"""The last line of our HTML pages."""
MARK = b"arrays of parallax"
"""The comment of our .npz archives, which lies at their end."""


@dataclass(frozen=True)
class Form:
    """What a command writes into a file, and how a file that was written before is known."""

    name: str
    is_ours: Callable[[bytes, bytes], bool]


REPORT = Form("a JSON report of parallax", lambda head, end: b'"schema": "parallax.' in head)
ARRAYS = Form("an .npz archive of parallax", lambda head, end: end.endswith(MARK))
KERNELS = Form("a kernel cache", lambda head, end: True)  # the cache looks at its file itself
TRACE = Form("a trace of parallax", lambda head, end: b'"form": "parallax trace' in head)
PAGE = Form("a report of parallax", lambda head, end: b"<!DOCTYPE html>" in head and MADE in end)
STATE = Form("the state of a fuzz run", lambda head, end: b'"form": "parallax fuzz' in head)

WRITTEN = {
    "output": ("--output", REPORT),
    "outputs": ("--outputs", ARRAYS),
    "cache": ("--cache", KERNELS),
    "resume": ("--resume", STATE),
    "trace_file": ("--trace", TRACE),
    "html": ("-o", PAGE),
}
"""The options that name a file to write, by the attribute of the parsed arguments."""

BUNDLES = ("bundle", "bundles")
"""The options that name what must not be there yet: a bundle, or a folder of them."""

READ = ("model", "models", "inputs", "expect", "known", "source", "documents")
"""The attributes that name files or folders to read."""


def add_file(
    parser: Any,
    option: str,
    metavar: str,
    help: str,
    *,
    several: bool = False,
    attribute: str | None = None,
) -> None:
    """An option that names a file, or several one after the other; a shell offers files for it.

    Args:
        attribute: of the parsed arguments, where it is not called as the option is.
    """
    action = parser.add_argument(
        option,
        action="append" if several else "store",
        metavar=metavar,
        help=help,
        dest=attribute,
    )
    action.complete = shtab.FILE


def check_files(args: argparse.Namespace, read: Iterable[str] = ()) -> None:
    """Raise ConfigError for a file that could not be written later, or must not be.

    A command writes over none of its inputs, no .onnx file, no file it writes already, and nothing
    that exists and was not written by a command like it.

    Args:
        read: inputs that none of the attributes in `READ` holds.
    """
    inputs = (*_read(args), *map(Path, read))
    taken = dict.fromkeys(inputs, "an input of this command")
    for attribute, (option, form) in WRITTEN.items():
        name = getattr(args, attribute, None)
        if name is None:
            continue
        refusal = _refusal(Path(name), form, taken)
        if refusal:
            raise ConfigError(f"{option} {name}: cannot write there: {refusal}")
        taken[Path(name)] = f"what {option} writes"
    for attribute in BUNDLES:
        name = getattr(args, attribute, None)
        clash = None if name is None else next((t for t in taken if _is_same(Path(name), t)), None)
        if clash is not None:
            raise ConfigError(f"--{attribute} {name}: cannot write there: it is {taken[clash]}")


def files_read(args: argparse.Namespace) -> list[Path]:
    """The regular files among what a command reads, as far as they are there."""
    return [path for path in dict.fromkeys(_read(args)) if os.path.isfile(path)]


def _read(args: argparse.Namespace) -> Iterator[Path]:
    for attribute in READ:
        given = getattr(args, attribute, None)
        for name in [given] if isinstance(given, str) else given or []:
            path = Path(name)
            inside = "*.npz" if attribute == "inputs" else "*.onnx"
            yield from path.glob(inside) if os.path.isdir(path) else [path]


def _refusal(path: Path, form: Form, taken: Mapping[Path, str]) -> str:
    """Why a file must not be written, or ""."""
    if str(path) in ("-", "."):
        return "the name of a file is expected; --json prints to standard output"
    if "\0" in str(path):
        return "a path cannot hold a NUL character"
    try:
        return _refusal_there(path, form, taken)
    except (OSError, RuntimeError) as error:  # the latter for links in a circle
        return getattr(error, "strerror", None) or str(error)


def _refusal_there(path: Path, form: Form, taken: Mapping[Path, str]) -> str:
    if path.is_dir():
        return "it is a folder"
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    for other, what in taken.items():
        if _is_same(path, other):
            return f"it is {what}; choose another file"
    if ".onnx" in (path.suffix.lower(), path.resolve().suffix.lower()):
        return f"the name is that of a model, and this would be {form.name}; choose another"
    return _refusal_of_existing(path, form) if path.exists() else _try(path)


def _is_same(path: Path, other: Path) -> bool:
    if path.exists() and other.exists():
        return path.samefile(other)
    return path.resolve() == other.resolve()


def _refusal_of_existing(path: Path, form: Form) -> str:
    if not path.is_file():
        return "it is not a regular file; choose another, or a name that is new"
    with path.open("r+b") as file:  # raises for what this user may not write
        head = file.read(LOOKED_AT_NBYTES)
        file.seek(-min(LOOKED_AT_NBYTES, path.stat().st_size), os.SEEK_END)
        end = file.read()
    if head and not form.is_ours(head, end):
        return f"it exists and is not {form.name}; choose another file, or remove it"
    return _try(path)


def _try(path: Path) -> str:
    with tempfile.TemporaryFile(dir=path.resolve().parent):
        return ""


# ---------------------------------------------------------------------- writing
def write(name: str, write: Callable[[BinaryIO], object]) -> None:
    """Write a regular file whole or not at all, following links and keeping permissions.

    Raises:
        ConfigError: it cannot be written; what was there is there still.
    """
    path = Path(name).resolve()
    try:
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666
        write_atomically(path, write, mode=mode)
    except OSError as error:
        raise ConfigError(f"cannot write {name}: {error.strerror or error}") from error


def write_arrays(name: str, arrays: Mapping[str, np.ndarray]) -> None:
    """An .npz file, see `put_arrays`; raises ConfigError."""
    kept = {key: fixed(name, key, array) for key, array in arrays.items()}
    write(name, lambda file: put_arrays(file, kept))


def put_arrays(file: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """An .npz archive; unlike `numpy.savez` it takes any name, such as "file".

    The format has no bfloat16 and the like: their arrays become bytes, as NumPy writes most of
    them, to be viewed as what they are: `array.view(ml_dtypes.bfloat16)`. Strings are `fixed`.
    """
    with zipfile.ZipFile(file, "w") as members:
        members.comment = MARK
        for key, array in arrays.items():
            with members.open(f"{key}.npy", "w", force_zip64=True) as member:
                array = np.asanyarray(array)
                if array.dtype in NARROW:
                    array = np.asarray(array, order="C").view(f"V{array.dtype.itemsize}")
                np.lib.format.write_array(member, array, allow_pickle=False)


def fixed(name: str, key: str, array: np.ndarray) -> np.ndarray:
    """Strings, each padded with NUL to the length of the longest; anything else as it is.

    Raises:
        ConfigError: strings that cannot be kept so.
    """
    array = np.asanyarray(array)
    if array.dtype != STRING:
        return array
    if any(text.endswith("\0") for text in array.flat):
        raise ConfigError(f"cannot write {name}: {key!r} has strings that end in NUL: lost there")
    nbytes = array.size * np.dtype("U1").itemsize * max(map(len, array.flat), default=0)
    if nbytes > psutil.virtual_memory().available:
        raise ConfigError(
            f"cannot write {name}: {key!r} would take {nbytes} bytes, all strings there being as "
            "long as the longest"
        )
    return array.astype(np.str_)
