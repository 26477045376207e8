"""sources: which inputs of a graph a value is computed from, through subgraphs too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from engine.ir.graph import Graph, Node, Value
from engine.ops.compose import spec_of
from engine.ops.sequence import LAID_OUT
from engine.passes.evaluate import TYPE_ONLY

Sources = frozenset[Value] | None
"""The inputs that a value is computed from; None where something else has a part in it."""
NONE_NEEDED: frozenset[Value] = frozenset()


@dataclass(frozen=True)
class Needs:
    """What must be known before nodes are planned.

    Attributes:
        inputs: for each node that waits for values of graph inputs: those.
        sources: of every value but constants.
        during_run: for each node that waits for what is computed from data: positions of such
            inputs; none for an If, Loop or Scan with such a node inside.
    """

    inputs: dict[Node, frozenset[Value]]
    sources: dict[Value, Sources]
    during_run: dict[Node, list[int]]


def needs(graph: Graph, sources: Mapping[Value, Sources]) -> Needs:
    """Go through a graph in order.

    Args:
        sources: of the graph's inputs: itself, or None for one that cannot decide.
    """
    found = Needs({}, dict(sources), {})
    _follow(graph, found, {})
    return found


@dataclass(frozen=True)
class _Summary:
    """What a subgraph does with its inputs: where its outputs come from, which must be known."""

    outputs: list[Sources]
    needed: frozenset[Value]


def _follow(graph: Graph, found: Needs, known: dict[int, _Summary]) -> None:
    """Fill in `found`.

    Args:
        known: summaries of subgraphs, by id: each is gone through once.
    """
    for node in graph.nodes:
        read = [_read(v, found.sources) for v in node.inputs]
        if node.subgraphs:
            results, needed = _through(node, read, known)
            positions = [i for i in range(_counting(node)) if read[i] is None]
        else:
            positions = [i for i in _deciding(node) if i < len(read)]
            needed = [read[i] for i in positions]
            positions = [i for i in positions if read[i] is None]
            results = [_union(read) if _is_of_data(node) else NONE_NEEDED]
            results *= len(node.outputs)
        found.sources.update(zip(node.outputs, results, strict=False))
        if any(sources is None for sources in needed):
            found.during_run[node] = positions
        if all_ := frozenset[Value]().union(*(s for s in needed if s is not None)):
            found.inputs[node] = all_


def _deciding(node: Node) -> Iterable[int]:
    """Positions of the inputs whose values a node must know to be planned."""
    if node.op_type in LAID_OUT:
        return LAID_OUT[node.op_type].known
    return spec_of(node.op_type).constant_inputs


def _is_of_data(node: Node) -> bool:
    """Whether its result follows from more than types, and how many tensors there are."""
    laid_out = LAID_OUT.get(node.op_type)
    return node.op_type not in TYPE_ONLY and not (laid_out and laid_out.of_length)


def _counting(node: Node) -> int:
    """How many of its first inputs decide on the course of an If, Loop or Scan."""
    return {"If": 1, "Loop": 2, "Scan": 0}[node.op_type]


def _read(value: Value | None, sources: Mapping[Value, Sources]) -> Sources:
    return NONE_NEEDED if value is None or value.is_constant else sources.get(value)


def _through(
    node: Node, read: Sequence[Sources], known: dict[int, _Summary]
) -> tuple[list[Sources], list[Sources]]:
    """Sources of the outputs of an If, Loop or Scan, and of all that it must know."""
    bodies = {name: _summary(graph, known) for name, graph in node.subgraphs.items()}
    if node.op_type == "If":
        inside = {n: dict(zip(g.inputs, read[1:], strict=True)) for n, g in node.subgraphs.items()}
        branches = [[_outside(s, inside[n]) for s in bodies[n].outputs] for n in bodies]
        results = [_union((read[0], *both)) for both in zip(*branches, strict=True)]
        return results, [read[0], *(s for n in bodies for s in _each(bodies[n].needed, inside[n]))]
    body, graph = bodies["body"], node.subgraphs["body"]
    counting = list(read[: _counting(node)])
    given = [*(NONE_NEEDED for _ in counting), *read[len(counting) :]]
    env = dict(zip(graph.inputs, given, strict=True))
    states = graph.inputs[len(counting) :][: node.states]
    conditions = body.outputs[: 1 if counting else 0]
    results = body.outputs[len(conditions) :]
    while True:  # a state comes from its first value, and from whatever it is made of in the body
        new = {s: _union((env[s], _outside(r, env))) for s, r in zip(states, results, strict=False)}
        if all(env[s] == new[s] for s in new):
            break
        env.update(new)
    outside = [_union((*counting, _outside(r, env))) for r in results]
    needed = [_outside(s, env) for s in conditions]
    return outside, [*counting, *needed, *_each(body.needed, env)]


def _summary(graph: Graph, known: dict[int, _Summary]) -> _Summary:
    if id(graph) not in known:
        found = Needs({}, {v: frozenset((v,)) for v in graph.inputs}, {})
        _follow(graph, found, known)
        outputs = [_read(v, found.sources) for v in graph.outputs]
        known[id(graph)] = _Summary(outputs, frozenset[Value]().union(*found.inputs.values()))
    return known[id(graph)]


def _outside(sources: Sources, env: Mapping[Value, Sources]) -> Sources:
    """Sources among the inputs of a subgraph, as sources where it is used."""
    return None if sources is None else _union(env[v] for v in sources)


def _each(needed: frozenset[Value], env: Mapping[Value, Sources]) -> list[Sources]:
    return [env[v] for v in needed]


def _union(all_: Iterable[Sources]) -> Sources:
    result = NONE_NEEDED
    for sources in all_:
        if sources is None:
            return None
        result |= sources
    return result
