"""Re-checks every invariant of a Graph from scratch; run after import and after each pass."""

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
        _verify_outputs(node, known)
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
    read: dict[Value, list[int]] = {}
    for position, value in enumerate(node.inputs):
        if value is not None:
            read.setdefault(value, []).append(position)
    for value, positions in read.items():
        if value.contents is None and value not in known:
            raise GraphError(f"{node.title} reads {value.name!r} before it is produced")
        noted = value.uses.get(node, [])
        if noted != positions and sorted(noted) != positions:
            raise _wrong_uses(value)
    return sum(map(len, read.values()))


def _verify_outputs(node: Node, known: set[Value]) -> None:
    for out in node.outputs:
        if out.producer is not node:
            raise GraphError(f"{node.title} lists {out.name!r}, whose producer is {out.producer}")
        if out in known:
            raise GraphError(f"{node.title} produces {out.name!r} a second time")
        known.add(out)


def _unread(graph: Graph, values: Sequence[Value]) -> GraphError:
    """Where all inputs are noted, the use lists have more: nodes that do not read, or are gone."""
    nodes = set(graph.nodes)
    return _wrong_uses(
        next(v for v in values if any(n not in nodes or v not in n.inputs for n in v.uses))
    )


def _wrong_uses(value: Value) -> GraphError:
    return GraphError(f"the use list of {value.name!r} does not match what the nodes read")
