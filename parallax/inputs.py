"""`--inputs X.npz`: the arrays that a user gives a model, checked against what it takes."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from conformance.files import add_file
from conformance.inputs import Feeds, check_types
from engine.errors import ConfigError
from engine.interpreter import Interpreter
from engine.ir.types import TensorType
from parallax.arrays_file import ArraysFile


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
    with ArraysFile("--inputs", file) as arrays:
        return fitting(arrays, interpreter.inputs)


def outputs_of(interpreter: Interpreter, file: str) -> Feeds:
    """Some outputs of a model from the file of `--expect`; raises InputError."""
    types = {value.name: value.type for value in interpreter.graph.outputs}
    with ArraysFile("--expect", file) as arrays:
        return fitting(arrays, types, complete=False)


def fitting(
    arrays: ArraysFile, types: Mapping[str, TensorType | None], *, complete: bool = True
) -> Feeds:
    """The arrays, after their names, dtypes and shapes were found to be those of a model.

    Args:
        types: by name; None is not known before the model runs.
        complete: whether there must be an array for each of them.
    """
    known = {n: arrays.types.get(n, t) if t is None else t for n, t in types.items()}
    arrays.take_as_kept({n: t.dtype for n, t in known.items() if t is not None})
    check_types(
        arrays.where,
        arrays.types,
        {n: t for n, t in known.items() if t is not None},
        complete=complete,
    )
    return arrays.read(arrays.types)
