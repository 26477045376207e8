"""bind_values: inputs whose values decide shapes or axes become constants for a plan.

A Reshape's shape or a Slice's ends that are computed from small inputs of the graph alone are known
as soon as those are: then constant folding does the arithmetic, and planning goes on as for a model
that has the numbers inside.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engine.ir.constant import Constant
from engine.ir.graph import Graph, Node, Value
from engine.ir.types import STRING
from engine.passes.sources import Needs, needs

RANK_MAX = 1
"""Numbers and lists of numbers decide shapes; what has more axes is data, and so are strings."""


def deciding_inputs(graph: Graph, rank_max: int = RANK_MAX) -> tuple[str, ...]:
    """Names of the inputs whose values must be known before a run, in graph order.

    Args:
        rank_max: an input of more axes cannot decide.
    """
    found = {v for needed in find_needs(graph, rank_max).inputs.values() for v in needed}
    return tuple(v.name for v in graph.inputs if v in found)


def undecided_nodes(graph: Graph) -> set[Node]:
    """The nodes that wait for the values of deciding inputs, or for what a run computes."""
    found = find_needs(graph)
    return {*found.inputs, *found.during_run}


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


def find_needs(graph: Graph, rank_max: int = RANK_MAX) -> Needs:
    """What must be known before each node is planned."""

    def may_decide(value: Value) -> bool:
        type_ = value.type
        return type_ is not None and len(type_.shape) <= rank_max and type_.dtype != STRING

    return needs(graph, {v: frozenset((v,)) if may_decide(v) else None for v in graph.inputs})
