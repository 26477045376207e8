"""Re-checks every invariant of a Graph from scratch; run after import and after passes."""

from __future__ import annotations

from collections.abc import Sequence

from engine.errors import GraphError
from engine.ir.graph import Graph, Node, Value


def verify(graph: Graph) -> None:
    """Raise GraphError at the first broken invariant.

    Checked: unique value names; nodes in topological order (hence no cycle); every read value is
    a graph input, a constant or produced by a node of this graph; producer and uses agree with
    what nodes say; constants match their types; graph outputs exist; kept values are constants.
    """
    values = graph.values()
    if len({value.name for value in values}) != len(values):
        raise _twice(graph, values)
    for value in values:
        contents = value.contents
        if contents is not None and value.type is not contents.type:
            _verify_type(value)
    for value in graph.kept:
        if not value.is_constant:
            raise GraphError(f"kept value {value.name!r} is no constant")
    known = set(graph.inputs)
    for value in known:
        if value.producer is not None or value.is_constant:
            raise GraphError(f"graph input {value.name!r} is also produced inside the graph")
    edges = 0
    for node in graph.nodes:
        edges += _verify_inputs(node, known)
        for out in node.outputs:
            if out.producer is not node or out in known:
                raise _wrong_producer(node, out)
            known.add(out)
    for value in graph.outputs:
        if not value.is_constant and value not in known:
            raise GraphError(f"graph output {value.name!r} is never produced")
    if sum(len(positions) for v in values for positions in v.uses.values()) != edges:
        raise _unread(graph, values)


def _twice(graph: Graph, values: Sequence[Value]) -> GraphError:
    names = [value.name for value in values]
    twice = next(name for name in names if names.count(name) > 1)
    return GraphError(f"graph {graph.name!r}: two values are named {twice!r}")


def _verify_type(value: Value) -> None:
    if value.contents is not None and value.type != value.contents.type:
        raise GraphError(
            f"constant {value.name!r} holds {value.contents.type} but is typed {value.type}"
        )


def _verify_inputs(node: Node, known: set[Value]) -> int:
    """How many inputs a node has; all are known, and their use lists have it."""
    inputs, noted = node.inputs, 0
    for value in dict.fromkeys(inputs):
        if value is None:
            continue
        if value.contents is None and value not in known:
            raise GraphError(f"{node.title} reads {value.name!r} before it is produced")
        positions = value.uses.get(node, [])
        for position in positions if len(positions) < 2 else set(positions):
            if inputs[position] is not value:
                raise _wrong_uses(value)
            noted += 1
    if noted != len(inputs) - inputs.count(None):
        raise _unnoted(node)
    return noted


def _wrong_producer(node: Node, out: Value) -> GraphError:
    if out.producer is not node:
        return GraphError(f"{node.title} lists {out.name!r}, whose producer is {out.producer}")
    return GraphError(f"{node.title} produces {out.name!r} a second time")


def _unnoted(node: Node) -> GraphError:
    """Where all that is noted is right, the use list of some value lacks a position."""
    pairs = enumerate(node.inputs)
    return _wrong_uses(next(v for i, v in pairs if v is not None and i not in v.uses.get(node, ())))


def _unread(graph: Graph, values: Sequence[Value]) -> GraphError:
    """Where all inputs are noted, the use lists have more than that."""
    nodes = set(graph.nodes)

    def is_right(value: Value, node: Node, noted: Sequence[int]) -> bool:
        read = [i for i, v in enumerate(node.inputs) if v is value] if node in nodes else []
        return bool(read) and sorted(noted) == read

    return _wrong_uses(
        next(v for v in values if not all(is_right(v, n, p) for n, p in v.uses.items()))
    )


def _wrong_uses(value: Value) -> GraphError:
    return GraphError(f"the use list of {value.name!r} does not match what the nodes read")
