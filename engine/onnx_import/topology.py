"""Names and order: which value is produced where, before any value exists."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

from onnx import GraphProto

from engine.errors import GraphError
from engine.onnx_import.raw_node import RawNode


def sorted_nodes(nodes: Sequence[RawNode], known: Collection[str]) -> list[RawNode]:
    """The nodes in topological order, the file's own where it is one.

    Raises:
        GraphError: a value that nothing produces, or a cycle; named with its reader.
    """
    producer = {name: node for node in nodes for name in node.outputs if name}
    ready, done, begun = set(known), [], set[int]()
    for root in nodes:
        stack = [(root, iter(root.reads))] if id(root) not in begun else []
        begun.add(id(root))
        while stack:
            node, inputs = stack[-1]
            missing = next((n for n in inputs if n and n not in ready), None)
            if missing is None:
                stack.pop()
                done.append(node)
                ready.update(node.outputs)
            elif missing not in producer:
                raise GraphError(
                    f"{node.title} reads '{missing}', which nothing produces"
                    f"{near(missing, [*known, *producer])}"
                )
            elif id(producer[missing]) in begun:
                raise GraphError(f"{node.title} reads '{missing}' in a cycle of nodes")
            else:
                begun.add(id(producer[missing]))
                stack.append((producer[missing], iter(producer[missing].reads)))
    return done


def graph_names(proto: GraphProto) -> set[str]:
    """Every value name that occurs in the main graph."""
    names = {t.name for t in proto.initializer} | {i.name for i in proto.input}
    return names.union(*((*n.input, *n.output) for n in proto.node)) if proto.node else names


def near(name: str, known: Collection[str]) -> str:
    """A hint at the most similar known name, or nothing."""
    close = difflib.get_close_matches(name, list(known)[:5000], 1)
    return f" (did you mean '{close[0]}'?)" if close else ""
