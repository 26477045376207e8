"""Inputs for a model when the user gives none: seeded values of the shapes of `shapes.py`."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Collection, Iterator, Mapping
from itertools import count, takewhile
from typing import Protocol

import numpy as np
import psutil

from conformance.shapes import Shapes, check_no_lists, default_shapes, open_lists
from engine import arguments
from engine.arguments import AnyShape
from engine.arrays import AnyArray, mapped
from engine.errors import InputError
from engine.ir.graph import Graph, Value
from engine.ir.types import (
    BOOL,
    FLOAT8E8M0,
    FLOATS,
    NARROW_FLOATS,
    NARROW_INTEGERS,
    STRING,
    ListType,
    TensorType,
    element_bits,
    element_name,
    type_of,
)
from engine.ops.strings import WORDS, array_of
from engine.passes import deciding_inputs

__all__ = ["Feeds", "Shapes", "default_shapes", "index_range", "random_inputs", "shuffled"]

Feeds = dict[str, np.ndarray]
AnyFeeds = Mapping[str, AnyArray]
"""The same with lists for sequences, and None."""

TRANSPARENT = frozenset(
    {
        *("Cast", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Identity", "Transpose"),
        *("Slice", "Expand", "Tile", "Split", "Copy", "Reorder", "Clip"),
    }
)
"""Operators that hand on the integers they read, so that an index keeps its range."""

ELEMENT = re.compile(r"(.*)\[(?:0|[1-9][0-9]*)\]", re.DOTALL)
"""What `element_name` gives."""


class HasGraph(Protocol):
    """An Interpreter, as far as this module is concerned."""

    @property
    def graph(self) -> Graph:
        """Of the whole model."""
        ...


def random_inputs(
    model: Graph | HasGraph, shapes: Mapping[str, AnyShape] | None = None, seed: int = 0
) -> Feeds:
    """Seeded arrays for every input, the same for the same model, shapes and seed.

    Floating-point: standard normal, or its size where there are no signs. Integers that index a
    table (Gather, also through casts and views): 0..rows-1. Other integers and booleans: 0 or 1, as
    in a mask; those of 2 and 4 bits, which are weights: all that they hold. Strings: words.

    Args:
        shapes: by input name; `default_shapes` fills in those left out.

    Raises:
        InputError: an unknown name, no shapes that the model accepts, more memory than there is, a
            sequence or optional, or an input whose value decides shapes: which values are sensible
            is not known here.
    """
    graph = model if isinstance(model, Graph) else model.graph
    types = input_types(graph, shapes)
    inputs = {v.name: v for v in graph.inputs}
    return {name: _draw(inputs[name], type_.dims, seed) for name, type_ in types.items()}


def input_types(graph: Graph, shapes: Mapping[str, AnyShape] | None) -> dict[str, TensorType]:
    """What arrays that are drawn for the inputs must be.

    Raises:
        InputError: see `random_inputs`.
    """
    inputs = {v.name: v for v in graph.inputs}
    for name in shapes or ():
        if name not in inputs:
            raise arguments.unknown("no input", name, inputs)
    if deciding := deciding_inputs(graph):
        names = ", ".join(map(repr, deciding))
        raise InputError(
            f"the value of input {names} decides shapes, and cannot be drawn at random: give all "
            "inputs, on the command line with --inputs"
        )
    check_no_lists(open_lists(graph, {}))
    chosen = default_shapes(graph, shapes)
    types = {n: TensorType(v.known_type.dtype, _dims(chosen[n])) for n, v in inputs.items()}
    _check_memory(types)
    return types


def _dims(shape: AnyShape) -> tuple[int, ...]:
    return arguments.shape("the shape of an input", shape)


def shuffled(feeds: Mapping[str, AnyArray], seed: int) -> AnyFeeds:
    """The same values in a seeded order: other inputs that are as valid as the given ones."""
    rng = np.random.default_rng(seed)

    def shuffle(array: np.ndarray) -> np.ndarray:
        return rng.permutation(array.flatten()).reshape(array.shape)

    return {name: mapped(shuffle, value) for name, value in feeds.items()}


def members(name: str, type_: ListType, given: Collection[str]) -> list[str] | None:
    """Names of the arrays that an archive has of a sequence or optional; None: it is not there.

    Those of a sequence are `name[0]`, `name[1]`; without them it is empty.
    """
    if not type_.is_sequence:
        return [name] if name in given else None
    found = list(takewhile(given.__contains__, (element_name(name, i) for i in count())))
    return found or ([] if not type_.is_optional else None)


def kept_as(name: str, type_: ListType) -> str:
    """What a sequence is, and how an archive holds it, in words."""
    first, second = (element_name(name, i) for i in range(2))
    return f"{name!r} is {type_}, whose tensors an .npz file holds as {first!r}, {second!r}"


def tensor_types(
    types: Mapping[str, TensorType | ListType], given: Mapping[str, TensorType]
) -> dict[str, TensorType]:
    """What is expected of each array, where some are given for sequences."""
    found: dict[str, TensorType] = {}
    for name, type_ in types.items():
        if isinstance(type_, TensorType):
            found[name] = type_
        else:
            for member in members(name, type_, given) or ():
                declared = given[member].shape if type_.shape is None else type_.shape
                found[member] = TensorType(type_.dtype, declared)
    return found


def check_arrays(
    where: str,
    arrays: Mapping[str, np.ndarray],
    types: Mapping[str, TensorType],
    *,
    complete: bool = True,
) -> None:
    """`check_types` of arrays."""
    check_types(where, {n: type_of(a) for n, a in arrays.items()}, types, complete=complete)


def check_types(
    where: str,
    given: Mapping[str, TensorType],
    types: Mapping[str, TensorType],
    *,
    sequences: Mapping[str, ListType] | None = None,
    complete: bool = True,
) -> None:
    """Raise one InputError for all that does not fit: names, dtypes, shapes.

    Args:
        where: begins the message.
        given: of the arrays. types: what is expected.
        sequences: whose tensors are among them.
        complete: whether there must be an array for each of the types.
    """
    wrong = list(_misfits(given, types, sequences or {}, complete))
    if len(wrong) == 1:
        raise InputError(f"{where}: {wrong[0]}")
    if wrong:
        listed = "".join(f"\n  {sentence}" for sentence in wrong)
        raise InputError(f"{where}: {len(wrong)} arrays do not fit the model:{listed}")


def _misfits(
    given: Mapping[str, TensorType],
    types: Mapping[str, TensorType],
    sequences: Mapping[str, ListType],
    complete: bool,
) -> Iterator[str]:
    strange = (name for name in given if name not in types)
    yield from (_why_strange(name, types, sequences) for name in strange)
    for name, type_ in types.items():
        if name in given:
            if given[name].dtype != type_.dtype or not _fits(given[name], type_):
                yield f"{name!r} is {given[name]}, expected {type_}"
        elif complete:
            yield f"no array named {name!r}, which the model needs: {type_}"


def _why_strange(
    name: str, types: Mapping[str, TensorType], sequences: Mapping[str, ListType]
) -> str:
    """What is wrong with an array of a name that is not expected."""
    if name in sequences:
        return kept_as(name, sequences[name])
    element = ELEMENT.fullmatch(name)
    if element is not None and element[1] in sequences:
        missing = next(n for i in count() if (n := element_name(element[1], i)) not in types)
        return f"no array named {missing!r}, which {name!r} comes after"
    return str(arguments.unknown("no tensor", name, types))


def _fits(given: TensorType, type_: TensorType) -> bool:
    return len(given.shape) == len(type_.shape) and all(
        isinstance(dim, str) or extent == dim
        for extent, dim in zip(given.shape, type_.shape, strict=True)
    )


def _check_memory(types: Mapping[str, TensorType]) -> None:
    free = psutil.virtual_memory().available
    for name, type_ in types.items():
        if any(d < 0 for d in type_.dims):
            raise InputError(f"input {name!r}: {type_} has a negative dimension")
        if type_.nbytes > free:
            raise InputError(f"input {name!r}: {type_} needs {type_.nbytes} bytes, {free} are free")


def _draw(value: Value, shape: tuple[int, ...], seed: int) -> np.ndarray:
    dtype = value.known_type.dtype
    rng = np.random.default_rng([zlib.crc32(value.name.encode()), seed])
    if dtype == STRING:
        return array_of((WORDS[i] for i in rng.integers(0, len(WORDS), math.prod(shape))), shape)
    if dtype in FLOATS:
        return np.asarray(rng.standard_normal(shape, dtype=np.float32)).astype(dtype)
    if dtype in NARROW_FLOATS:
        normal = np.asarray(rng.standard_normal(shape, dtype=np.float32))
        return (np.abs(normal) if dtype == FLOAT8E8M0 else normal).astype(dtype)
    if dtype in NARROW_INTEGERS:
        return np.asarray(rng.integers(0, 2 ** element_bits(dtype), size=shape)).astype(dtype)
    if dtype == BOOL:
        return np.asarray(rng.integers(0, 2, size=shape)).astype(np.bool_)
    end = min(index_range(value) or 2, np.iinfo(dtype).max + 1)
    return np.asarray(rng.integers(0, end, size=shape)).astype(dtype)


def index_range(value: Value) -> int | None:
    """The fewest rows of a table that `value` indexes, or None where it indexes none."""
    found: list[int] = []
    seen: set[int] = set()
    frontier = [value]
    while frontier:
        here = frontier.pop()
        if id(here) in seen:
            continue
        seen.add(id(here))
        for node in here.uses:
            indexes = len(node.inputs) > 1 and node.inputs[1] is here
            if node.op_type in ("Gather", "GatherElements") and indexes:
                found += _rows(node.inputs[0], int(node.attributes.get("axis", 0)))
            elif node.op_type in TRANSPARENT and node.inputs[0] is here:
                frontier += node.outputs
    return min(found, default=None)


def _rows(table: Value | None, axis: int) -> list[int]:
    if table is None or table.type is None or not table.type.shape:
        return []
    if not -len(table.type.shape) <= axis < len(table.type.shape):
        return []  # type inference refuses the node, with a sentence
    rows = table.type.shape[axis]
    return [rows] if isinstance(rows, int) and rows > 0 else []
