"""`--inputs X.npz`: the arrays that a user gives a model, checked against what it takes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from conformance.files import add_file
from conformance.inputs import AnyFeeds, check_types, members, tensor_types
from engine.arrays import AnyArray
from engine.errors import ConfigError, InputError
from engine.interpreter import Interpreter
from engine.ir.types import ListType, TensorType
from parallax.arrays_file import ArraysFile


def add_inputs(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """`--inputs X.npz`; without it a command draws random inputs.

    Args:
        several: whether it can be repeated, or name a folder of such files.
    """
    help_ = "arrays by input name (default: seeded random ones)"
    if several:
        help_ = (
            "arrays by input name (default: seeded random ones); repeatable, or a folder of such "
            "files: each is verified, and the worst of every node kept"
        )
    add_file(parser, "--inputs", "X.npz", help_, several=several)


def inputs_files(given: Sequence[str]) -> list[str]:
    """The files, and the .npz files of the folders, sorted; raises InputError for an empty one."""
    found: list[str] = []
    for name in given:
        if os.path.isdir(name):
            inside = sorted(str(path) for path in Path(name).glob("*.npz"))
            if not inside:
                raise InputError(f"--inputs {name}: the folder holds no .npz file")
            found += inside
        else:
            found.append(name)
    return list(dict.fromkeys(found))


def check_exclusive(args: argparse.Namespace) -> None:
    """Raise ConfigError for `--inputs` beside what is said of random ones."""
    if args.inputs is not None and args.shape:
        raise ConfigError("--shape and --inputs exclude each other: the arrays have their shapes")
    if args.inputs is not None and args.seed:
        raise ConfigError("--seed and --inputs exclude each other: nothing is drawn at random")


def inputs_of(interpreter: Interpreter, file: str) -> AnyFeeds:
    """Every input of a model from an .npz file; raises InputError for what does not fit."""
    with ArraysFile("--inputs", file) as arrays:
        return fitting(arrays, interpreter.inputs)


def outputs_of(interpreter: Interpreter, file: str) -> AnyFeeds:
    """Some outputs of a model from the file of `--expect`; raises InputError."""
    types = {value.name: value.list_type or value.type for value in interpreter.graph.outputs}
    with ArraysFile("--expect", file) as arrays:
        return fitting(arrays, types, complete=False)


def fitting(
    arrays: ArraysFile, types: Mapping[str, TensorType | ListType | None], *, complete: bool = True
) -> AnyFeeds:
    """The arrays, after their names, dtypes and shapes were found to be those of a model.

    Those of a sequence are `name[0]`, `name[1]`.

    Args:
        types: by name; None is not known before the model runs.
        complete: whether there must be an array for each of them.
    """
    known = {n: arrays.types.get(n) if t is None else t for n, t in types.items()}
    expected = tensor_types({n: t for n, t in known.items() if t is not None}, arrays.types)
    arrays.take_as_kept({n: t.dtype for n, t in expected.items()})
    lists = {n: t for n, t in known.items() if isinstance(t, ListType)}
    sequences = {n: t for n, t in lists.items() if t.is_sequence}
    check_types(arrays.where, arrays.types, expected, sequences=sequences, complete=complete)
    flat = arrays.read(arrays.types)
    parts = {n: members(n, t, flat) for n, t in lists.items()}
    inside = {member for names in parts.values() for member in names or ()}
    found: dict[str, AnyArray] = {n: x for n, x in flat.items() if n not in inside}
    for name, names in parts.items():
        if names or complete:
            tensors = None if names is None else [flat[n] for n in names]
            found[name] = tensors if name in sequences or tensors is None else tensors[0]
    return found
