"""Hostile inputs for a model: one class of values for each input, seeded and inside what it takes.

A class is about values, not shapes: floating-point ones get magnitudes and repetitions at which
kernels and storage differ, integers stay within the valid range of their use (`index_range`, else
0 and 1, as in a mask). The example of a seed is always the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from conformance.inputs import HasGraph, index_range, input_types
from engine.arguments import AnyShape
from engine.ir.graph import Graph
from engine.ir.types import (
    BFLOAT16,
    BOOL,
    FLOAT8E8M0,
    FLOATS,
    NARROW_FLOATS,
    NARROW_INTEGERS,
    STRING,
    TensorType,
    element_bits,
)
from engine.ops.strings import WORDS, array_of

Dims = tuple[int, ...]
Make = Callable[[np.random.Generator, Dims, Any], np.ndarray]
"""Values of a shape in float64, for a dtype of which `ml_dtypes.finfo` is given."""

SMALLEST_HALF, TINY, LARGE, LARGEST = -26, -10, 8, 15
"""Exponents of two: below the smallest subnormal half, and of what half still holds."""
EVERY = 16
"""One hard value in so many: the width of the kernels' vectors."""


def _signs(rng: np.random.Generator, shape: Dims) -> np.ndarray:
    return np.where(rng.random(shape) < 0.5, -1.0, 1.0)


def _between(low: float, high: float) -> Make:
    """Magnitudes evenly in the exponent, of both signs, within what the dtype holds."""

    def make(rng: np.random.Generator, shape: Dims, info: Any) -> np.ndarray:
        most = np.log2(float(info.max)) - 1
        exponents = rng.uniform(min(low, most), min(high, most), shape)
        return _signs(rng, shape) * np.exp2(exponents)

    return make


def _subnormal(rng: np.random.Generator, shape: Dims, info: Any) -> np.ndarray:
    smallest, normal = float(info.smallest_subnormal), float(info.smallest_normal)
    exponents = rng.uniform(np.log2(smallest), np.log2(normal), shape)
    return _signs(rng, shape) * np.exp2(exponents)


def _ties(rng: np.random.Generator, shape: Dims, info: Any) -> np.ndarray:
    """Halves, among them equal maxima, and numbers in the middle between two whole ones."""
    return rng.integers(-4, 4, shape, endpoint=True) / 2


def _not_finite(rng: np.random.Generator, shape: Dims, info: Any) -> np.ndarray:
    values = rng.standard_normal(shape)
    hard = np.where(rng.random(shape) < 1 / EVERY, rng.integers(0, 2, shape, endpoint=True), -1)
    return np.select([hard == 0, hard == 1, hard == 2], [np.inf, -np.inf, np.nan], values)


FLOAT_CLASSES: dict[str, Make] = {
    "zeros": lambda rng, shape, info: 0.0 * _signs(rng, shape),
    "whole": lambda rng, shape, info: np.rint(rng.uniform(-8, 8, shape)),
    "ties": _ties,
    "repeated": lambda rng, shape, info: np.full(shape, rng.standard_normal()),
    "tiny": _between(SMALLEST_HALF, TINY),
    "subnormal": _subnormal,
    "large": _between(LARGE, LARGEST),
    "mixed": _between(SMALLEST_HALF, LARGEST),
}
CLASSES = tuple(FLOAT_CLASSES)
"""Simplest first."""
NOT_FINITE = "not finite"
"""The class that has to be asked for: infinities and NaN among ordinary numbers."""


def classes(*, not_finite: bool = False) -> tuple[str, ...]:
    """The names of all classes."""
    return (*CLASSES, NOT_FINITE) if not_finite else CLASSES


def values_of(name: str, type_: TensorType, seed: int, rows: int | None = None) -> np.ndarray:
    """The tensor of a class and a seed.

    Args:
        name: one of `classes(not_finite=True)`.
        type_: with a concrete shape. rows: of the table that integers index, if they do.
    """
    rng = np.random.default_rng(seed)
    shape, dtype = type_.dims, type_.dtype
    if dtype == STRING:
        words = {"zeros": [""], "repeated": WORDS[:1], "ties": WORDS[:2]}.get(name, WORDS)
        picked = rng.integers(0, len(words), int(np.prod(shape, dtype=np.int64)))
        return array_of((words[i] for i in picked), shape)
    if dtype in FLOATS | NARROW_FLOATS | {BFLOAT16}:
        return _floats(name, dtype, shape, rng)
    if dtype in NARROW_INTEGERS:
        return _below(name, rng, shape, 2 ** element_bits(dtype)).astype(dtype)
    end = 2 if dtype == BOOL else min(rows or 2, int(np.iinfo(dtype).max) + 1)
    return _below(name, rng, shape, end).astype(dtype)


def _floats(name: str, dtype: np.dtype, shape: Dims, rng: np.random.Generator) -> np.ndarray:
    info = ml_dtypes.finfo(dtype)
    make = _not_finite if name == NOT_FINITE else FLOAT_CLASSES[name]
    with np.errstate(all="ignore"):
        values = make(rng, shape, info)
        if dtype == FLOAT8E8M0:  # powers of two alone
            values = np.abs(values)
        if name != NOT_FINITE:
            values = np.clip(values, float(info.min), float(info.max))
        return np.asarray(values).astype(dtype)


def _below(name: str, rng: np.random.Generator, shape: Dims, end: int) -> np.ndarray:
    """Whole numbers 0..end-1: all the first or the last, two in turn, one, or any."""
    if name == "zeros":
        return np.zeros(shape, np.int64)
    if name == "large":
        return np.full(shape, end - 1)
    if name == "repeated":
        return np.full(shape, rng.integers(0, end))
    if name == "ties":
        return rng.choice(rng.integers(0, end, 2), shape)
    return rng.integers(0, end, shape)


@dataclass(frozen=True)
class Drawn:
    """The inputs of a seed, and of which class each is."""

    feeds: dict[str, np.ndarray]
    classes: dict[str, str]

    def __str__(self) -> str:
        return ", ".join(f"{name} {class_}" for name, class_ in self.classes.items())


def drawn_inputs(
    model: Graph | HasGraph,
    shapes: Mapping[str, AnyShape] | None = None,
    seed: int = 0,
    *,
    not_finite: bool = False,
) -> Drawn:
    """Hostile arrays for every input: successive seeds give every input every class in turn.

    Args:
        shapes: by input name; `default_shapes` fills in those left out.
        not_finite: infinities and NaN, too.

    Raises:
        InputError: as `random_inputs`.
    """
    graph = model if isinstance(model, Graph) else model.graph
    types = input_types(graph, shapes)
    names = classes(not_finite=not_finite)
    turn = 1 + seed // len(names)  # inputs meet in other classes in the next round
    picked = {name: names[(seed + k * turn) % len(names)] for k, name in enumerate(types)}
    rows = {v.name: index_range(v) for v in graph.inputs}
    feeds = {
        name: values_of(picked[name], type_, seed * len(types) + k, rows[name])
        for k, (name, type_) in enumerate(types.items())
    }
    return Drawn(feeds, picked)
