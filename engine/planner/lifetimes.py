"""When each stored tensor is live: from the step that writes it to the last that reads it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from engine.ir.graph import Graph, Node, Value


@dataclass(frozen=True)
class Lifetime:
    """Steps are indices into `graph.nodes`, both ends included.

    Inputs are live from step -1 on, outputs and kept values until step `len(graph.nodes)`.
    """

    value: Value
    first: int
    last: int


def root_of(value: Value, aliases: Mapping[Value, Value]) -> Value:
    """The value whose memory `value` lies in."""
    while value in aliases:
        value = aliases[value]
    return value


def lifetimes(
    graph: Graph, aliases: Mapping[Value, Value], keep: Collection[Value]
) -> list[Lifetime]:
    """One Lifetime for each root that needs memory of its own (constants do not).

    Args:
        aliases: value -> the value whose memory it shares (views).
        keep: values that stay readable after the run; graph inputs and outputs always do.
    """
    end = len(graph.nodes)
    first: dict[Value, int] = {}
    last: dict[Value, int] = {}

    def touch(value: Value, step: int) -> None:
        root = root_of(value, aliases)
        if not root.is_constant:
            first.setdefault(root, step)
            last[root] = max(last.get(root, step), step)

    for value in graph.inputs:
        touch(value, -1)
        touch(value, end)
    for step, node in enumerate(graph.nodes):
        for value in (*_present(node), *node.outputs):
            touch(value, step)
    for value in (*graph.outputs, *keep):
        touch(value, end)
    return [Lifetime(value, first[value], last[value]) for value in first]


def _present(node: Node) -> list[Value]:
    return [v for v in node.inputs if v is not None]
