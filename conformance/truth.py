"""A whole graph in float64: every node by its reference, on the outputs of the ones before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from conformance.judge import float64_inputs
from engine.errors import InputError
from engine.ir.graph import Graph, Value
from engine.ir.types import FLOAT
from engine.ops.compose import error_of, reference_of
from engine.ops.numerics import Error, Units

FLOAT_UNITS = Units(FLOAT, FLOAT)


def float64_run(
    graph: Graph, feeds: Mapping[str, np.ndarray], noise: np.random.Generator | None = None
) -> dict[str, np.ndarray]:
    """Outputs by name; floating-point ones stay float64.

    Args:
        graph: bound to the shapes of `feeds` (that of a session's execution, for example).

        noise: adds to every element of every node's output a normal error of its own float32
            sigma, so that the outputs show what honest rounding may become at the end.

    Raises:
        InputError: an input is missing.
    """
    values: dict[Value, np.ndarray] = {}
    for value in graph.inputs:
        if value.name not in feeds:
            raise InputError(f"missing input {value.name!r}")
        values[value] = _wide(feeds[value.name])
    readers = Counter(v for n in graph.nodes for v in n.inputs if v is not None)
    for node in graph.nodes:
        arrays = [None if v is None else _value(v, values) for v in node.inputs]
        with np.errstate(all="ignore"):
            results = reference_of(node, arrays)
            if noise is not None:
                errors = error_of(node, arrays, FLOAT_UNITS)
                results = tuple(_noisy(y, e, noise) for y, e in zip(results, errors, strict=False))
        # optional outputs that the model leaves out have references all the same
        values.update(zip(node.outputs, map(np.asarray, results), strict=False))
        for value in filter(None, node.inputs):
            readers[value] -= 1
            if not readers[value] and value not in graph.outputs:
                values.pop(value, None)
    return {v.name: _value(v, values) for v in graph.outputs}


def _noisy(y: np.ndarray, error: Error, noise: np.random.Generator) -> np.ndarray:
    if y.dtype != np.float64:
        return y
    sigma = np.where(np.isfinite(error.sigma), error.sigma, 0.0)
    return np.asarray(y + sigma * noise.standard_normal(y.shape))


def _value(value: Value, values: Mapping[Value, np.ndarray]) -> np.ndarray:
    return values[value] if value.constant is None else _wide(value.constant)


def _wide(array: np.ndarray) -> np.ndarray:
    (wide,) = float64_inputs([array])
    assert wide is not None
    return wide
