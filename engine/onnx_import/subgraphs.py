"""The graphs inside nodes: what they read from outside, and under which names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from onnx import AttributeProto, GraphProto, NodeProto

from engine.errors import ModelError

CONTROL_FLOW = frozenset(("If", "Loop", "Scan"))
"""Operators whose subgraphs are read."""


def subgraphs_of(attributes: Mapping[str, AttributeProto]) -> Iterator[GraphProto]:
    """Of a node, in the order of its attributes."""
    for attribute in attributes.values():
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def names_inside(proto: GraphProto) -> set[str]:
    """Names that the graph itself gives to values."""
    made = {t.name for t in proto.initializer} | {i.name for i in proto.input}
    made.update(s.values.name for s in proto.sparse_initializer)
    return made.union(*(node.output for node in proto.node))


def names_outside(proto: GraphProto) -> list[str]:
    """What it reads of the graphs around it, subgraphs of its own included; each once."""
    read: dict[str, None] = {}
    for node in proto.node:
        read.update(dict.fromkeys(node.input))
        for graph in subgraphs_of({a.name: a for a in node.attribute}):
            read.update(dict.fromkeys(names_outside(graph)))
    read.update(dict.fromkeys(o.name for o in proto.output))
    made = names_inside(proto)
    return [name for name in read if name and name not in made]


def nodes_inside(proto: GraphProto) -> int:
    """How many nodes it has, subgraphs of its own included."""
    inner = (g for n in proto.node for g in subgraphs_of({a.name: a for a in n.attribute}))
    return len(proto.node) + sum(nodes_inside(graph) for graph in inner)


def renamed(
    proto: GraphProto,
    names: Mapping[str, str],
    fresh: Callable[[str], str],
    resolve: Callable[[NodeProto], None],
) -> GraphProto:
    """A copy for one call of the function that the graph is written in.

    Args:
        names: outside the graph, as the function has them -> as the call has them.
        fresh: makes a name for what the graph itself calls so.
        resolve: puts the call's attributes in place of references to them.

    Raises:
        ModelError: it reads what the function has not produced before.
    """
    for name in names_outside(proto):
        if name not in names:
            raise ModelError(f"the function's body reads '{name}' before it is produced")
    copy = GraphProto()
    copy.CopyFrom(proto)
    inside = {name: fresh(name) for name in sorted(names_inside(proto)) if name}
    here = {"": "", **names, **inside}
    for info in (*copy.input, *copy.output):
        info.name = here[info.name]
    for tensor in copy.initializer:
        tensor.name = here[tensor.name]
    del copy.value_info[:]
    for node in copy.node:
        resolve(node)
        node.input[:] = [here[name] for name in node.input]
        node.output[:] = [here[name] for name in node.output]
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                attribute.g.CopyFrom(renamed(attribute.g, here, fresh, resolve))
    return copy
