"""Segments: parts of a graph, named by the values at their borders."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from engine.errors import ConfigError
from engine.ir.graph import Graph, Node, Value
from engine.ir.types import ListType, TensorType
from engine.passes.evaluate import TYPE_ONLY


@dataclass(frozen=True)
class Segment:
    """The operators that compute the values `outputs` from the values `inputs`."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __str__(self) -> str:
        return f"{', '.join(self.inputs)} -> {', '.join(self.outputs)}"


def values_by_name(graph: Graph) -> dict[str, Value]:
    """Every value of the graph."""
    return {v.name: v for v in graph.values()}


def nodes_of(segment: Segment, values: dict[str, Value]) -> set[Node]:
    """The operators of a segment.

    Raises:
        ConfigError: an operator that the segment needs computes one of its inputs as well.
    """
    inputs = {values[name] for name in segment.inputs}
    nodes = closure((values[name] for name in segment.outputs), inputs)
    for value in inputs:
        if value.producer in nodes:
            raise ConfigError(
                f"path {segment}: input {value.name!r} is computed by {value.producer.title}, "
                "which the path needs for another of its results: leave this input out"
            )
    return nodes


def closure(outputs: Iterable[Value], stop: Collection[Value] = ()) -> set[Node]:
    """The nodes that compute `outputs`, back to `stop`, graph inputs and constants."""
    nodes: set[Node] = set()
    pending = [v for v in outputs if v not in stop]
    while pending:
        node = pending.pop().producer
        if node is not None and node not in nodes:
            nodes.add(node)
            pending += [v for v in node.inputs if v is not None and v not in stop]
    return nodes


def constant_nodes(graph: Graph) -> set[Node]:
    """The nodes that depend on constants only."""
    return _settled(graph, frozenset())


def shape_nodes(graph: Graph) -> set[Node]:
    """The nodes whose results follow from constants and from the shapes of other values."""
    return _settled(graph, TYPE_ONLY)


def _settled(graph: Graph, anyway: Collection[str]) -> set[Node]:
    nodes: set[Node] = set()
    for node in graph.nodes:
        known = (v is None or v.is_constant or v.producer in nodes for v in node.inputs)
        if node.op_type in anyway or all(known):
            nodes.add(node)
    return nodes


def read_outside(graph: Graph, nodes: Collection[Node]) -> list[Value]:
    """What nodes read that none of them computes, constants left out; in graph order."""
    read = (v for n in graph.nodes if n in nodes for v in n.inputs if v is not None)
    return in_order(graph, (v for v in read if not v.is_constant and v.producer not in nodes))


def in_order(graph: Graph, values: Iterable[Value]) -> list[Value]:
    """Without repetition: graph inputs, then graph outputs, then others as they are computed."""
    wanted = set(values)
    computed = (out for node in graph.nodes for out in node.outputs)
    order = dict.fromkeys((*graph.inputs, *graph.outputs, *computed))
    return [v for v in order if v in wanted]


def extract(
    graph: Graph,
    nodes: Collection[Node],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    types: Mapping[Value, TensorType | ListType | None],
) -> Graph:
    """These nodes, in the order they have, as a graph with these inputs and outputs."""
    new = Graph(graph.name)
    new.opset, new.internal = graph.opset, graph.internal
    twins = {v: new.add_input(v.name, types[v]) for v in inputs}

    def twin(value: Value | None) -> Value | None:
        if value is None:
            return None
        if value not in twins and value.contents is not None:
            twins[value] = new.add_constant(value.name, value.contents)
        return twins[value]

    for node in graph.nodes:
        if node in nodes:
            copy = new.add_node(
                node.op_type,
                [twin(v) for v in node.inputs],
                [(v.name, v.type) for v in node.outputs],
                node.attributes,
                name=node.name,
                body=node.body,
                subgraphs=node.subgraphs,
            )
            for value, new_value in zip(node.outputs, copy.outputs, strict=True):
                new_value.list_type = value.list_type
                twins[value] = new_value
    new.outputs = [v for v in map(twin, outputs) if v is not None]
    return new
