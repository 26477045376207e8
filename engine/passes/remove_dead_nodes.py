"""remove_dead_nodes: what no graph output needs."""

from __future__ import annotations

from collections.abc import Collection

from engine.ir.graph import Graph
from engine.passes.base import Pass


def remove_dead_nodes(graph: Graph, keep: Collection[str] = ()) -> None:
    """Remove, from the end, nodes none of whose outputs is read, a graph output or in `keep`."""
    outputs = {id(v) for v in graph.outputs}
    for node in reversed(list(graph.nodes)):
        if not any(v.uses or id(v) in outputs or v.name in keep for v in node.outputs):
            graph.remove_node(node)


def pass_keeping(keep: Collection[str]) -> Pass:
    """The pass; values named in `keep` stay."""
    return Pass("remove_dead_nodes", lambda graph: remove_dead_nodes(graph, keep))
