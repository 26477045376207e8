"""`--inputs X.npz`: the arrays that a user gives a model, checked against what it takes."""

from __future__ import annotations

import argparse
import zipfile

import numpy as np

from conformance.files import add_file
from conformance.inputs import Feeds, check_arrays
from engine.errors import ConfigError, InputError
from engine.interpreter import Interpreter


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """`--inputs X.npz`; without it a command draws random inputs."""
    add_file(parser, "--inputs", "X.npz", "arrays by input name (default: seeded random ones)")


def check_exclusive(args: argparse.Namespace) -> None:
    """Raise ConfigError for `--inputs` beside what is said of random ones."""
    if args.inputs is not None and args.shape:
        raise ConfigError("--shape and --inputs exclude each other: the arrays have their shapes")
    if args.inputs is not None and args.seed:
        raise ConfigError("--seed and --inputs exclude each other: nothing is drawn at random")


def inputs_of(interpreter: Interpreter, file: str) -> Feeds:
    """Every input of a model from an .npz file; raises InputError for what does not fit."""
    arrays = read_arrays("--inputs", file)
    check_arrays(f"--inputs {file}", arrays, interpreter.inputs)
    return arrays


def read_arrays(option: str, name: str) -> Feeds:
    """The arrays of the .npz file of an option; raises InputError for anything else."""
    try:
        with open(name, "rb") as file:
            if not zipfile.is_zipfile(file):
                raise InputError(f"{option} {name}: expected an .npz file with arrays by name")
        with np.load(name, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"{option} {name}: {reason}") from error
