"""Which backend runs which node, and the Copy nodes where a tensor crosses a border."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from engine import heap
from engine.errors import UnsupportedError
from engine.ir.graph import Graph, Node, Value

WhyNot = Callable[[Node], str | None]


@dataclass(frozen=True)
class Placement:
    """Where a node runs, and why not on the primary backend ("" when it does)."""

    node: Node
    backend: str
    reason: str = ""


def place(
    graph: Graph,
    backends: Mapping[str, WhyNot],
    *,
    strict: bool = False,
    order: Callable[[Node], Sequence[str]] | None = None,
) -> list[Placement]:
    """Give every node to the first backend that supports it.

    Args:
        order: which backends a node may run on, best first; None: all, in mapping order.

    Raises:
        UnsupportedError: no backend supports a node; or, when `strict`, the first does not.
    """
    names = list(backends)
    placements = []
    for node in graph.nodes:
        reasons: list[str] = []
        allowed = names if order is None else order(node)
        for name in allowed[:1] if strict else allowed:
            with heap.enough_for(node):
                reason = backends[name](node)
            if reason is None:
                placements.append(Placement(node, name, reasons[0] if reasons else ""))
                break
            reasons.append(f"{name}: {reason}")
        else:
            hint = " (strict: no fallback allowed)" if strict else ""
            raise UnsupportedError(f"{node.place} cannot run{hint}: {'; '.join(reasons)}")
    return placements


def insert_copies(
    graph: Graph,
    where: dict[Node, str],
    primary: str,
    rank: Callable[[Value, Node], int] = lambda source, reader: 0,
) -> dict[Value, str]:
    """Insert a Copy node wherever a value is read on another backend than the one it lies on.

    Each value is copied once per backend. `where` gains the Copy nodes (on the reading backend).

    Args:
        rank: of a graph input and a node that reads it: the input lies where the node with the
            highest rank reads it, and of equal ones, the first.

    Returns:
        The backend that each non-constant value lies on; an input that nobody reads on `primary`.
    """
    home: dict[Value, str] = {}
    for source in graph.inputs:
        reader = max(source.uses, key=partial(rank, source), default=None)
        home[source] = primary if reader is None else where[reader]
    copies: dict[tuple[Value, str], Value] = {}
    for node in list(graph.nodes):
        here = where[node]
        for out in node.outputs:
            home[out] = here
        inputs = list(node.inputs)
        for i, value in enumerate(node.inputs):
            if value is None or value.is_constant or home[value] == here:
                continue
            if (value, here) not in copies:
                copy = graph.add_node(
                    "Copy",
                    [value],
                    [(graph.unique(f"{value.name}@{here}"), value.known_type)],
                    before=node,
                )
                where[copy] = here
                copies[value, here] = copy.outputs[0]
                home[copy.outputs[0]] = here
            inputs[i] = copies[value, here]
        if tuple(inputs) != node.inputs:
            graph.set_inputs(node, inputs)
    return home
