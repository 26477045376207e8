"""resolve_path: the part of an imported graph that a GraphPath names, as a Segment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from engine.arguments import unknown
from engine.config import GraphPath, PathMode
from engine.errors import ConfigError, InputError
from engine.ir.graph import Graph, Node, Value
from engine.passes.segment import (
    Segment,
    closure,
    constant_nodes,
    in_order,
    nodes_of,
    read_outside,
    values_by_name,
)


def resolve_path(graph: Graph, path: GraphPath) -> Segment:
    """The values at the borders of a path.

    Args:
        graph: as imported, before any pass: names are those of the ONNX file. An operator that
            was imported as several nodes, such as a function call, is known by its own name. One
            without a name is called `<op_type>_<first output>`.

    Raises:
        InputError: an unknown name.
        ConfigError: the path is empty, a listed tensor or operator has no part in it, or it
            needs a tensor that is not listed.
    """
    for field, names in (("inputs", path.inputs), ("outputs", path.outputs)):
        twice = next((n for i, n in enumerate(names) if n in names[:i]), None)
        if twice is not None:
            raise ConfigError(f"path.{field} lists {twice!r} twice")
    if path.mode is PathMode.TENSOR:
        return _between_tensors(graph, path)
    return _between_operators(graph, path)


# ----------------------------------------------------------------- tensors
def _between_tensors(graph: Graph, path: GraphPath) -> Segment:
    values = values_by_name(graph)
    for name in (*path.inputs, *path.outputs):
        if name not in values:
            raise _unknown_tensor(graph, name)
        if values[name].is_constant:
            raise ConfigError(f"path: tensor {name!r} is a constant of the model, leave it out")
    segment = Segment(tuple(path.inputs), tuple(path.outputs))
    for name in segment.outputs:
        if name in segment.inputs:
            raise ConfigError(f"path: tensor {name!r} is listed as input and as output")
        if values[name].producer is None:
            raise ConfigError(f"path: output {name!r} is an input of the model")
    nodes = nodes_of(segment, values)
    read = {v.name: v for v in read_outside(graph, nodes)}
    for name, value in read.items():
        if name not in segment.inputs:
            reader = next(n for n in value.uses if n in nodes)
            raise ConfigError(
                f"path {segment} needs tensor {name!r}, which {reader.title} reads: list it among "
                "the inputs, or tensors computed from it"
            )
    for name in segment.inputs:
        if name not in read:
            raise ConfigError(
                f"path {segment}: no output depends on input {name!r} this way, leave it out"
            )
    return segment


# ----------------------------------------------------------------- operators
def _between_operators(graph: Graph, path: GraphPath) -> Segment:
    sources = {name: _operator(graph, name) for name in path.inputs}
    sinks = {name: _operator(graph, name) for name in path.outputs}
    _check_order(sources, sinks, itself=not path.include_sink)
    nodes = _follow(sources, sinks, include_sink=path.include_sink)
    if not nodes:
        raise ConfigError(f"path {_listed(sources)} -> {_listed(sinks)} holds no operator")
    constants = constant_nodes(graph)
    inputs = [v for v in read_outside(graph, nodes) if v.producer not in constants]
    for value in inputs:
        if not nodes.isdisjoint(closure([value])):
            assert value.producer is not None
            raise ConfigError(
                f"path {_listed(sources)} -> {_listed(sinks)} reads {value.name!r}, which "
                f"{value.producer.title} computes behind a sink from the path's own results: "
                "choose sinks that cut every way"
            )
    outputs = in_order(graph, (v for n in nodes for v in _results(graph, n, nodes)))
    return Segment(tuple(v.name for v in inputs), tuple(v.name for v in outputs))


def _operator(graph: Graph, name: str) -> set[Node]:
    """The node of that name, with `name/...` that serve it alone; else all nodes `name/...`."""
    parts = {n for n in graph.nodes if n.name.startswith(f"{name}/")}
    named = next((n for n in graph.nodes if n.name == name), None)
    if named is None:
        if not parts:
            raise _unknown_operator(graph, name)
        return parts
    group = {named}
    for node in reversed(graph.nodes):
        readers = {r for out in node.outputs for r in out.uses}
        if node in parts and readers and readers <= group:
            group.add(node)
    return group


def _check_order(
    sources: Mapping[str, set[Node]], sinks: Mapping[str, set[Node]], *, itself: bool
) -> None:
    """Every source before every sink, every sink behind some source."""
    before_sources = {name: _ancestors(nodes) for name, nodes in sources.items()}
    for sink, nodes in sinks.items():
        behind = [s for s, ancestors in before_sources.items() if not nodes.isdisjoint(ancestors)]
        if behind:
            raise ConfigError(f"path: source {behind[0]!r} lies behind sink {sink!r}")
        if itself and sink in sources:
            raise ConfigError(
                f"path: operator {sink!r} is source and sink, and a sink is not computed unless "
                "include_sink is set"
            )


def _ancestors(nodes: set[Node]) -> set[Node]:
    return closure(v for n in nodes for v in n.inputs if v is not None) - nodes


def _follow(
    sources: Mapping[str, set[Node]], sinks: Mapping[str, set[Node]], *, include_sink: bool
) -> set[Node]:
    """What is met on the way from the sources, up to the sinks."""
    sink_of = {node: name for name, nodes in sinks.items() for node in nodes}
    path: set[Node] = set()
    reached: set[str] = set()
    pending = [node for nodes in sources.values() for node in nodes]
    while pending:
        node = pending.pop()
        if node in sink_of:
            reached.add(sink_of[node])
        elif node not in path:
            path.add(node)
            pending += [reader for out in node.outputs for reader in out.uses]
    for name in sinks:
        if name not in reached:
            raise ConfigError(
                f"path: sink {name!r} is not met on any way from {_listed(sources)}"
                f"{_in_the_way(name, sinks)}"
            )
    return path.union(*sinks.values()) if include_sink else path


def _in_the_way(name: str, sinks: Mapping[str, set[Node]]) -> str:
    ancestors = _ancestors(sinks[name])
    other = next((s for s, nodes in sinks.items() if not nodes.isdisjoint(ancestors)), None)
    return f": it lies behind sink {other!r}" if other is not None else ""


def _results(graph: Graph, node: Node, nodes: set[Node]) -> list[Value]:
    """The outputs of a node that others want; all of them where nobody reads any."""
    wanted = [v for v in node.outputs if v in graph.outputs or not nodes >= set(v.uses)]
    unread = not any(v.uses or v in graph.outputs for v in node.outputs)
    return list(node.outputs) if unread else wanted


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "the end"


# ----------------------------------------------------------------- unknown names
def _unknown_tensor(graph: Graph, name: str) -> InputError:
    node = next((n for n in graph.nodes if n.name == name), None)
    if node is not None:
        results = ", ".join(repr(v.name) for v in node.outputs)
        return InputError(f"path in mode tensor: {name!r} is an operator; it computes {results}")
    what, known = "path in mode tensor: no tensor", graph.listed_values()
    return unknown(what, name, known, more="Interpreter.tensors lists them")


def _unknown_operator(graph: Graph, name: str) -> InputError:
    value = values_by_name(graph).get(name)
    if value is None:
        what, known = "path in mode op: no operator", [n.name for n in graph.listed_nodes()]
        return unknown(what, name, known, more="Interpreter.operators lists them")
    if value.producer is None:
        kind = "a constant" if value.is_constant else "an input"
        return InputError(f"path in mode op: {name!r} is {kind} of the model, not an operator")
    return InputError(
        f"path in mode op: {name!r} is a tensor; operator {value.producer.name!r} computes it"
    )
