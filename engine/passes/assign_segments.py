"""assign_segments: which segment each node of a cut and optimised graph belongs to."""

from __future__ import annotations

from collections.abc import Sequence

from engine.errors import GraphError
from engine.ir.graph import Graph, Node
from engine.passes.segment import Segment, closure, constant_nodes, values_by_name


def assign_segments(graph: Graph, segments: Sequence[Segment]) -> dict[Node, int]:
    """Index of the segment of every node, in graph order.

    A node that only a saved value needs goes with what it reads; one that depends on constants
    alone goes with the first segment that needs it.

    Args:
        graph: what `cut` gave for the same segments, bound and optimised while the names at the
            borders of segments were kept.

    Raises:
        GraphError: a border was lost, or an optimisation reached across one.
    """
    values = values_by_name(graph)
    shared = constant_nodes(graph)
    owner: dict[Node, int] = {}
    for index, segment in enumerate(segments):
        lost = [name for name in segment.outputs if name not in values]
        if lost:
            raise GraphError(f"path {index} ({segment}): its result {lost[0]!r} was optimised away")
        inputs = {values[name] for name in segment.inputs if name in values}
        for node in closure((values[name] for name in segment.outputs), inputs):
            other = owner.setdefault(node, index)
            if other != index and node not in shared:
                raise GraphError(f"{node.title} is in path {other} and in path {index}")
    for node in graph.nodes:
        if node not in owner:
            producers = (v.producer for v in node.inputs if v is not None)
            owner[node] = max((owner[p] for p in producers if p is not None), default=0)
    return {node: owner[node] for node in graph.nodes}
