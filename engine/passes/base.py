"""Pass and run_passes: requires -> apply -> ensures, and verify."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from engine import heap
from engine.errors import GraphError
from engine.ir.graph import Attributes, BodyOp, Graph, Node, Value
from engine.ir.verify import verify

VERIFY_EACH = False
"""Verify after each pass, which names the one that broke the graph; all tests do."""


def nothing(graph: Graph) -> None:
    """No condition."""


@dataclass(frozen=True)
class Pass:
    """One change of a graph, in place.

    Attributes:
        requires, ensures: raise GraphError when the condition before or after does not hold.
    """

    name: str
    apply: Callable[[Graph], None]
    requires: Callable[[Graph], None] = nothing
    ensures: Callable[[Graph], None] = nothing


def run_passes(graph: Graph, passes: Iterable[Pass]) -> None:
    """Apply each pass in place, and verify the graph that they leave.

    Raises:
        GraphError: a pass met an unfulfilled condition; names it. They broke an invariant.
        ShapeError: from shape inference.
    """
    done: list[str] = []
    for step in passes:
        name = f"pass {step.name}"
        _check(f"{name}: requires", step.requires, graph)
        with heap.enough_for(name):
            step.apply(graph)
        done.append(step.name)
        if VERIFY_EACH:
            _check(f"{name}: broke the graph", verify, graph)
        _check(f"{name}: did not ensure", step.ensures, graph)
    if not VERIFY_EACH:
        _check(f"one of the passes {', '.join(done)} broke the graph", verify, graph)


def _check(what: str, condition: Callable[[Graph], None], graph: Graph) -> None:
    try:
        condition(graph)
    except GraphError as error:
        raise GraphError(f"{what}: {error}") from None


def require_types(graph: Graph) -> None:
    """Every value must have a static type."""
    for value in graph.values():
        if value.type is None or not value.type.is_static:
            raise GraphError(f"value '{value.name}' has type {value.type}, expected a static one")


def only_reader(graph: Graph, value: Value, keep: frozenset[str] = frozenset()) -> Node | None:
    """The node that alone reads `value`, once; None where anything else needs it."""
    if len(value.uses) != 1 or value in graph.outputs or value.name in keep:
        return None
    ((reader, positions),) = value.uses.items()
    return reader if len(positions) == 1 else None


def replace_node(
    graph: Graph,
    old: Node,
    op_type: str,
    inputs: Sequence[Value | None],
    attributes: Attributes,
    *,
    name: str,
    body: tuple[BodyOp, ...] = (),
) -> Node:
    """Put a node where single-output `old` is, under the same output name and type."""
    out = old.outputs[0]
    node = graph.add_node(
        op_type,
        inputs,
        [(graph.unique(out.name), out.type)],
        attributes,
        name=name,
        before=old,
        body=body,
        origin=old.origin,
    )
    supersede(graph, out, node.outputs[0])
    graph.remove_node(old)
    return node


def supersede(graph: Graph, old: Value, new: Value) -> None:
    """`new` is read wherever `old` was, and takes its name."""
    name = old.name
    graph.replace_uses(old, new)
    if new.name != name:
        old.name, new.name = new.name, old.name
