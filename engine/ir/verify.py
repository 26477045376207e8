"""Re-checks every invariant of a Graph from scratch; run after import and after each pass."""

from __future__ import annotations

from engine.errors import GraphError
from engine.ir.graph import Graph, Node, Value


def verify(graph: Graph) -> None:
    """Raise GraphError at the first broken invariant.

    Checked: unique value names; nodes in topological order (hence no cycle); every read value is
    a graph input, a constant or produced by a node of this graph; producer and uses agree with
    what nodes say; constants match their types; graph outputs exist; kept values are constants.
    """
    known: set[int] = set()
    names: dict[str, Value] = {}
    for value in graph.values():
        other = names.setdefault(value.name, value)
        if other is not value:
            raise GraphError(f"graph {graph.name!r}: two values are named {value.name!r}")
        _verify_constant(value)
    for value in graph.kept:
        if not value.is_constant:
            raise GraphError(f"kept value {value.name!r} is no constant")
    for value in graph.inputs:
        if value.producer is not None or value.is_constant:
            raise GraphError(f"graph input {value.name!r} is also produced inside the graph")
        known.add(id(value))
    for node in graph.nodes:
        _verify_node(node, known)
        known.update(id(out) for out in node.outputs)
    for value in graph.outputs:
        if not value.is_constant and id(value) not in known:
            raise GraphError(f"graph output {value.name!r} is never produced")
    _verify_uses(graph)


def _verify_constant(value: Value) -> None:
    if value.contents is not None and value.type != value.contents.type:
        raise GraphError(
            f"constant {value.name!r} holds {value.contents.type} but is typed {value.type}"
        )


def _verify_node(node: Node, known: set[int]) -> None:
    for value in node.inputs:
        if value is not None and not value.is_constant and id(value) not in known:
            raise GraphError(f"{node.title} reads {value.name!r} before it is produced")
    for out in node.outputs:
        if out.producer is not node:
            raise GraphError(f"{node.title} lists {out.name!r}, whose producer is {out.producer}")
        if id(out) in known:
            raise GraphError(f"{node.title} produces {out.name!r} a second time")


def _verify_uses(graph: Graph) -> None:
    """Every input of a node is one recorded use, and nothing else is recorded."""
    nodes, edges, uses = set(graph.nodes), 0, 0
    for node in graph.nodes:
        read = [v for v in node.inputs if v is not None]
        edges += len(read)
        for value in read:
            if node not in value.uses:
                raise _wrong_uses(value)
    for value in graph.values():
        for node, positions in value.uses.items():
            inputs = node.inputs
            if node not in nodes or any(inputs[p] is not value for p in positions):
                raise _wrong_uses(value)
            uses += len(positions)
            if len(positions) > 1 and len(set(positions)) != len(positions):
                raise _wrong_uses(value)
    if uses != edges:
        raise GraphError(f"nodes read {edges} inputs, the use lists have {uses}")


def _wrong_uses(value: Value) -> GraphError:
    return GraphError(f"the use list of {value.name!r} does not match what the nodes read")
