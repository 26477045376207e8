"""bind_values: inputs whose values decide shapes or axes become constants for a plan.

A Reshape's shape or a Slice's ends that are computed from small inputs of the graph alone are known
as soon as those are: then constant folding does the arithmetic, and planning goes on as for a model
that has the numbers inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from engine.ir.constant import Constant
from engine.ir.graph import Graph, Node, Value
from engine.ops.compose import spec_of
from engine.passes.evaluate import TYPE_ONLY

RANK_MAX = 1
"""Numbers and lists of numbers decide shapes; what has more axes is data."""


def deciding_inputs(graph: Graph) -> tuple[str, ...]:
    """Names of the inputs whose values must be known before a run, in graph order."""
    found = {value for needed in _needs(graph).values() for value in needed}
    return tuple(v.name for v in graph.inputs if v in found)


def undecided_nodes(graph: Graph) -> set[Node]:
    """The nodes that wait for the values of deciding inputs."""
    return set(_needs(graph))


def bind_values(graph: Graph, values: Mapping[str, np.ndarray]) -> dict[str, Value]:
    """Deciding inputs of a bound graph become constants, which are returned; the graph is changed.

    Args:
        values: by input name; of the dtypes and shapes that the inputs have.
    """
    bound = {v.name: v for v in graph.inputs if v.name in values}
    for name, value in bound.items():
        value.contents = Constant(values[name])
    graph.inputs = [v for v in graph.inputs if v.name not in bound]
    return bound


def _needs(graph: Graph) -> dict[Node, set[Value]]:
    """For each node that reads values which must be known: the inputs that decide them."""
    sources: dict[Value, set[Value] | None] = {}
    inputs = set(graph.inputs)
    found: dict[Node, set[Value]] = {}
    for node in graph.nodes:
        for position in spec_of(node.op_type).constant_inputs:
            value = node.inputs[position] if position < len(node.inputs) else None
            if value is not None:
                needed = _sources(value, inputs, sources)
                if needed:
                    found.setdefault(node, set()).update(needed)
    return found


def _sources(
    value: Value, inputs: set[Value], known: dict[Value, set[Value] | None]
) -> set[Value] | None:
    """The deciding inputs that a value is computed from; None where other data has a part in it."""
    stack = [value]
    while stack:
        here = stack[-1]
        if here not in known:
            open_ = [v for v in _read(here) if v not in known]
            if open_:
                stack += open_
                continue
            known[here] = _combined(here, inputs, known)
        stack.pop()
    return known[value]


def _combined(
    value: Value, inputs: set[Value], known: Mapping[Value, set[Value] | None]
) -> set[Value] | None:
    if value in inputs:
        decides = value.type is not None and len(value.type.shape) <= RANK_MAX
        return {value} if decides else None
    result: set[Value] = set()
    for needed in (known[v] for v in _read(value)):
        if needed is None:
            return None
        result |= needed
    return result


def _read(value: Value) -> Iterator[Value]:
    """What its producer computes it from."""
    node = value.producer
    if node is not None and not value.is_constant and node.op_type not in TYPE_ONLY:
        yield from (v for v in node.inputs if v is not None)
