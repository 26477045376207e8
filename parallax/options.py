"""What several sub-commands take from the command line."""

from __future__ import annotations

import argparse
import os
import shutil
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import shtab
from rich_argparse import RawDescriptionRichHelpFormatter

from conformance.bundles.worker import SECONDS
from conformance.document import add_document
from conformance.inputs import kept_as
from conformance.shapes import Shapes
from engine.arguments import unknown
from engine.errors import ConfigError, InputError, ModelError
from engine.interpreter import Interpreter
from engine.ir.types import ListType
from properties.hostile.schedule import seconds_of

DEVICE_HELP = (
    "cpu (NumPy); pocl, intel, nvidia, amd, rusticl, gpu, or any other part of an OpenCL "
    "platform's or device's name that only one has; or the numbers platform.device"
)


class HelpFormatter(RawDescriptionRichHelpFormatter):
    """In colour on a terminal, at its width; headings as argparse writes them."""

    group_name_formatter = str
    help_markup = text_markup = False  # [extra] is text


def fitted(text: str) -> str:
    """Paragraphs and, line by line, lists, for the width of the terminal."""
    width = max(40, min(100, shutil.get_terminal_size().columns - 2))
    parts = []
    for part in text.split("\n\n"):
        lines = part.splitlines()
        is_list = any(line.startswith("  ") for line in lines)
        indent = "      " if is_list else ""
        parts += [
            "\n".join(
                textwrap.fill(line, width, subsequent_indent=indent, break_on_hyphens=False)
                for line in (lines if is_list else [" ".join(lines)])
            )
        ]
    return "\n\n".join(parts)


def add_command(
    subparsers: Any,
    name: str,
    run: Callable[[argparse.Namespace], int],
    *,
    help: str,
    description: str | None,
    epilog: str,
) -> argparse.ArgumentParser:
    """A sub-command with the options that every one has."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=help,
        description=fitted(description or ""),
        epilog=fitted(epilog),
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(func=run)
    group = parser.add_argument_group("what is printed")
    add_document(group, name)
    group.add_argument(
        "-q", "--quiet", action="store_true", help="results only: no progress, no notes"
    )
    group.add_argument(
        "-v", "--verbose", action="count", default=0, help="say what is done (-vv: in detail)"
    )
    group.add_argument("--debug", action="store_true", help="show tracebacks of errors")
    return parser


def add_models(parser: argparse.ArgumentParser, *, several: bool, optional: bool = False) -> None:
    """The model, or models and folders, that a command is about; `optional`: there may be none."""
    if several:
        what, nargs = ".onnx files or folders", "*" if optional else "+"
        action = parser.add_argument("models", nargs=nargs, metavar="MODEL|FOLDER", help=what)
    else:
        action = parser.add_argument("model", metavar="MODEL", help="an .onnx file")
    action.complete = shtab.FILE  # type: ignore[attr-defined]


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
        "become 1 on the first axis, 64 for the sides of an image, else 16, or the nearest that "
        "the model accepts)",
    )


def add_timeout(parser: argparse.ArgumentParser) -> None:
    """`--timeout TIME`, after which a try of a case hangs."""
    parser.add_argument(
        "--timeout",
        type=seconds_of,
        metavar="TIME",
        default=SECONDS,
        help="a try that takes longer hangs, which is a failure (2m)",
    )


def add_bundle(parser: argparse.ArgumentParser, help: str) -> None:
    """`--bundle PATH`, a folder that is made, or a .zip."""
    action = parser.add_argument("--bundle", metavar="PATH", help=help)
    action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]


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
    """Raise InputError for a `--shape` of no input, with near matches, or of a sequence."""
    for name in shapes:
        if name not in interpreter.inputs:
            raise unknown("--shape: no input", name, interpreter.inputs)
        type_ = interpreter.inputs[name]
        if isinstance(type_, ListType) and type_.is_sequence:
            raise InputError(f"--shape: input {kept_as(name, type_)}; give it with --inputs")


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
        if not name:
            raise ModelError("the name of a model or folder is empty; . is the working directory")
        try:
            found += _models_at(Path(name))
        except OSError as error:
            raise ModelError(f"{name}: {error.strerror}") from None
    return list(dict.fromkeys(found))


def short_names(files: Sequence[Path]) -> list[str]:
    """The names of the files, with as much of their folders as tells them apart."""
    if len({path.name for path in files}) == len(files):
        return [path.name for path in files]
    folder = os.path.commonpath([path.parent for path in files])
    return [os.path.relpath(path, folder) for path in files]


def _models_at(path: Path) -> list[Path]:
    if path.is_dir():
        names = (n for n in os.listdir(path) if n.endswith(".onnx"))
        inside = sorted(file for n in names if (file := path / n).is_file())
        if not inside:
            raise ModelError(f"{path}: the folder holds no .onnx file")
        return inside
    if path.is_file():
        return [path]
    raise ModelError(f"{path}: {_why_none(path)}")


def _why_none(path: Path) -> str:
    """Why there is neither a file nor a folder; only what is absent is called so."""
    try:
        path.stat()
    except FileNotFoundError:
        return "no such file or folder"
    except (OSError, RuntimeError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return "neither a file nor a folder"


def check_seed(seed: int) -> None:
    """Raise ConfigError for a negative seed."""
    if seed < 0:
        raise ConfigError(f"--seed {seed}: expected 0 or more")
