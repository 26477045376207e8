"""What a model is verified with: its arrays, its shapes, and other arrays for other seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from conformance.inputs import AnyFeeds, check_arrays, random_inputs, shuffled, tensor_types
from conformance.shapes import Shapes, default_shapes
from engine import arguments
from engine.arrays import AnyArrayLike, flattened, shape_of, value_of
from engine.interpreter import Interpreter, read_model
from engine.ir.types import type_of
from engine.passes import deciding_inputs

Draw = Callable[[int], AnyFeeds]
"""Inputs for a seed."""


def load(model: str | Path | bytes | Interpreter) -> Interpreter:
    """An Interpreter of whatever names a model."""
    return model if isinstance(model, Interpreter) else read_model("verify", model)


def given_arrays(
    interpreter: Interpreter, inputs: Mapping[str, AnyArrayLike] | Draw | None, seed: int
) -> AnyFeeds:
    """The arrays that the caller gave, which fit the model; raises InputError."""
    if inputs is None:
        return {}
    arrays = arguments.feeds("inputs", inputs(seed) if callable(inputs) else inputs)
    types = interpreter.inputs
    feeds = {n: value_of(f"inputs: {n!r}", array, types.get(n)) for n, array in arrays.items()}
    flat = flattened(feeds)
    check_arrays("inputs", flat, tensor_types(types, {n: type_of(x) for n, x in flat.items()}))
    return feeds


def concrete_shapes(
    interpreter: Interpreter, shapes: Mapping[str, arguments.AnyShape] | None, given: AnyFeeds
) -> tuple[Shapes, tuple[str, ...]]:
    """Concrete shapes of all inputs, and the names of those that this harness chose."""
    known = arguments.shapes("shapes", shapes)
    known |= {k: shape_of(a) for k, a in given.items()}
    free = [n for n, t in interpreter.inputs.items() if not t.is_static and n not in known]
    return default_shapes(interpreter.graph, known), tuple(free)


def drawer(
    interpreter: Interpreter,
    shapes: Shapes,
    inputs: Mapping[str, AnyArrayLike] | Draw | None,
    given: AnyFeeds,
    first: int,
) -> Draw:
    """Inputs for a seed; arrays that were given are shuffled for other seeds than the first."""
    if inputs is None:
        return lambda seed: random_inputs(interpreter, shapes, seed)
    if callable(inputs):
        return lambda seed: given if seed == first else inputs(seed)
    fixed = {n: given[n] for n in deciding_inputs(interpreter.graph)}
    return lambda seed: given if seed == first else {**shuffled(given, seed), **fixed}
