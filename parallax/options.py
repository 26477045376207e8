"""What several sub-commands take from the command line, and where their output goes."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from rich.console import Console

from conformance.inputs import Shapes, default_shapes
from engine.errors import ConfigError, InputError, ModelError
from engine.interpreter import Interpreter

WIDTH = 100
"""Columns of a table; also where the output is no terminal."""

DEVICE_HELP = "cpu, a unique part of an OpenCL device's or platform's name, or platform.device"


def console() -> Console:
    """Standard output, in colour and at the terminal's width where it is one, else 100 columns."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=WIDTH)


def default_precision(device: str | None) -> str:
    """Normal; high on the CPU backend, which computes in float32 whatever is asked."""
    return "high" if device is not None and device.strip().lower() == "cpu" else "normal"


def add_shape(parser: argparse.ArgumentParser) -> None:
    """`--shape NAME=DIMS`, repeatable."""
    parser.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="NAME=DIMS",
        help="shape of an input, as in image=1,3,224,224 (repeatable; free dimensions left out "
        "become 1 on the first axis, 64 for the sides of an image, else 16)",
    )


def parse_shapes(texts: Sequence[str]) -> Shapes:
    """`name=1,3,224,224` each; a name ends at the last `=`, a scalar has no dimensions.

    Raises:
        InputError: not of that form, a negative dimension, or a name given twice.
    """
    shapes: Shapes = {}
    for text in texts:
        name, equals, dims = text.rpartition("=")
        try:
            shape = tuple(int(d) for d in dims.split(",") if d.strip())
        except ValueError:
            shape, equals = (), ""
        if not equals or not name:
            raise InputError(f"--shape {text!r}: expected NAME=DIMS, as in image=1,3,224,224")
        if any(d < 0 for d in shape):
            raise InputError(f"--shape {text!r}: a dimension is negative")
        if name in shapes:
            raise InputError(f"--shape {text!r}: the shape of {name!r} was given before")
        shapes[name] = shape
    return shapes


def check_names(interpreter: Interpreter, shapes: Shapes) -> None:
    """Raise InputError for a `--shape` of no input, with near matches."""
    for name in shapes:
        if name not in interpreter.inputs:
            near = difflib.get_close_matches(name, interpreter.inputs, 3)
            hint = f"did you mean {', '.join(map(repr, near))}?" if near else None
            listed = f"there are {list(interpreter.inputs)[:20]}"
            raise InputError(f"--shape: no input named {name!r}; {hint or listed}")


def complete_shapes(interpreter: Interpreter, given: Shapes) -> tuple[Shapes, list[str]]:
    """A shape for every input, and the names of those of which dimensions were chosen here."""
    free = [n for n, t in interpreter.inputs.items() if not t.is_static and n not in given]
    return {**default_shapes(interpreter.graph), **given}, free


def model_file(given: str, command: str) -> Path:
    """The one model of a command that takes one; raises ModelError."""
    paths = model_files([given])
    if len(paths) != 1:
        raise ModelError(f"{given}: {command} takes one model; the folder holds {len(paths)}")
    return paths[0]


def model_files(given: Sequence[str]) -> list[Path]:
    """The files, and the .onnx files of the folders, sorted; raises ModelError for neither."""
    found: list[Path] = []
    for name in given:
        path = Path(name)
        if path.is_dir():
            inside = sorted(path.glob("*.onnx"))
            if not inside:
                raise ModelError(f"{path}: the folder holds no .onnx file")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise ModelError(f"{path}: no such file or folder")
    return list(dict.fromkeys(found))


def check_seed(seed: int) -> None:
    """Raise ConfigError for a negative seed."""
    if seed < 0:
        raise ConfigError(f"--seed {seed}: expected 0 or more")


def check_writable(target: str | None) -> None:
    """Raise ConfigError where a result could not be written later; `-` and None are fine."""
    if target is None or target == "-":
        return
    path = Path(target)
    if path.is_dir():
        raise ConfigError(f"cannot write {target}: it is a folder")
    if not path.parent.is_dir():
        raise ConfigError(f"cannot write {target}: there is no folder {path.parent}")
    part = _part(path)
    try:
        part.touch()
        part.unlink()
    except OSError as error:
        raise ConfigError(f"cannot write {target}: {error.strerror}") from error


def write_atomically(target: str, write: Callable[[BinaryIO], object]) -> None:
    """Write a file next to the target, then put it in its place; ConfigError when it fails."""
    path = Path(target)
    part = _part(path)
    try:
        with part.open("wb") as file:
            write(file)
        part.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def write_arrays(target: str, arrays: Mapping[str, np.ndarray]) -> None:
    """An .npz file; unlike `numpy.savez` it takes any name, such as "file"."""

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)

    write_atomically(target, write)


def write_json(target: str, data: Any) -> None:
    """Strict JSON to a file, or to standard output for `-`."""
    text = json.dumps(data, indent=1, allow_nan=False) + "\n"
    if target == "-":
        sys.stdout.write(text)
    else:
        write_atomically(target, lambda file: file.write(text.encode()))


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")
