"""`--inputs X.npz`: the arrays that a user gives a model, checked against what it takes."""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Mapping

import numpy as np

from conformance.inputs import Feeds
from engine.errors import ConfigError, InputError
from engine.interpreter import Interpreter
from engine.ir.types import TensorType
from engine.plans import find
from parallax.options import add_file


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """`--inputs X.npz`; without it a command draws random inputs."""
    add_file(parser, "--inputs", "X.npz", "arrays by input name (default: seeded random ones)")


def check_exclusive(args: argparse.Namespace) -> None:
    """Raise ConfigError for `--inputs` beside `--shape`: arrays have their shapes."""
    if args.inputs is not None and args.shape:
        raise ConfigError("--shape and --inputs exclude each other: the arrays have their shapes")


def inputs_of(interpreter: Interpreter, file: str) -> Feeds:
    """Every input of a model from an .npz file; raises InputError for what does not fit."""
    arrays = read_inputs(file)
    check_inputs(f"--inputs {file}", arrays, interpreter.inputs)
    return arrays


def read_inputs(name: str) -> Feeds:
    """The arrays of an .npz file; raises InputError for anything else."""
    try:
        archive = np.load(name, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InputError(f"--inputs {name}: expected an .npz file with arrays by name")
        with archive:
            return {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"--inputs {name}: {reason}") from error


def check_inputs(
    where: str, arrays: Mapping[str, np.ndarray], inputs: Mapping[str, TensorType]
) -> None:
    """Raise InputError unless there is one array for each input, of its dtype and shape.

    Args:
        where: begins the message.
    """
    for name in arrays:
        find(where, name, inputs)
    for name, type_ in inputs.items():
        if name not in arrays:
            raise InputError(f"{where}: no array named {name!r}, which the model needs: {type_}")
        array = arrays[name]
        if array.dtype != type_.dtype or not _fits(array.shape, type_):
            given = TensorType(array.dtype, array.shape)
            raise InputError(f"{where}: {name!r} is {given}, expected {type_}")


def _fits(shape: tuple[int, ...], type_: TensorType) -> bool:
    return len(shape) == len(type_.shape) and all(
        isinstance(dim, str) or extent == dim
        for extent, dim in zip(shape, type_.shape, strict=True)
    )
