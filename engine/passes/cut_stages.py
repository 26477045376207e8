"""cut_stages: a graph as parts that can each be planned, with steps of the host between them.

A part can be planned when what it reads is known: what decides shapes, and how often a loop runs,
must not be computed in it from data. Where it is, the graph is cut: what is before is a stage of
its own, the host reads what it computed, and the next stage is planned for that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from engine.ir.graph import Graph, Node, Value
from engine.ir.value_list import ValueList
from engine.ops.compose import spec_of
from engine.ops.sequence import LAID_OUT
from engine.passes.bind_values import find_needs
from engine.passes.segment import extract
from engine.passes.sources import Needs, Sources, needs


@dataclass(frozen=True)
class Stage:
    """A graph to plan and run; its inputs and outputs are values of the program, by name."""

    graph: Graph


@dataclass(frozen=True)
class HostStep:
    """A node that the host computes, or that it decides on: If, Loop, Scan.

    Attributes:
        programs: of its subgraphs.
    """

    node: Node
    programs: Mapping[str, Program]


@dataclass(frozen=True)
class Border:
    """Why there is a border: a node, and what it reads that must be known."""

    node: Node
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Program:
    """Stages and steps of the host, in order; each output is one of a stage, or a constant.

    Attributes:
        graph: what was cut.
    """

    graph: Graph
    entry: Stage
    steps: tuple[Stage | HostStep, ...]
    borders: tuple[Border, ...]

    def all_borders(self) -> Iterator[Border]:
        """Those in subgraphs, too."""
        yield from self.borders
        for step in self.steps:
            if isinstance(step, HostStep):
                for program in step.programs.values():
                    yield from program.all_borders()


def cut_stages(graph: Graph) -> Program | None:
    """The stages of a model's graph; None where it is all one."""
    if not find_needs(graph).during_run:
        return None
    copy = graph.copy()
    _own_outputs(copy)
    return _Cutting(copy, find_needs(copy)).program()


def _program(graph: Graph, known: Sequence[bool]) -> Program:
    """The stages of a subgraph, one at least.

    Args:
        known: which of its inputs are known before the run.
    """
    copy = graph.copy()
    _own_outputs(copy)
    sources: dict[Value, Sources] = {
        v: frozenset((v,)) if is_known else None
        for v, is_known in zip(copy.inputs, known, strict=True)
    }
    return _Cutting(copy, needs(copy, sources)).program()


def _own_outputs(graph: Graph) -> None:
    """Each output is what an ordinary node computes, listed once; or a constant."""
    outputs = []
    for value in graph.outputs:
        if not value.is_constant:
            copy = graph.add_node("Identity", [value], [graph.unique(value.name)]).outputs[0]
            copy.list_type = value.list_type
            value.name, copy.name = copy.name, value.name
            value = copy
        outputs.append(value)
    graph.outputs = ValueList(outputs)


class _Cutting:
    """Levels: how many stages lie before a value is there."""

    def __init__(self, graph: Graph, found: Needs) -> None:
        self._graph, self._found = graph, found
        self._level: dict[Value, int] = dict.fromkeys(graph.inputs, 0)
        self._nodes: defaultdict[int, list[Node]] = defaultdict(list)
        self._host: defaultdict[int, list[Node]] = defaultdict(list)
        self._borders: list[Border] = []

    def program(self) -> Program:
        """Cut."""
        for node in self._graph.nodes:
            self._place(node)
        last = max((*self._nodes, *self._host, 0))
        stages = [Stage(self._stage(level)) for level in range(last + 1)]
        steps: list[Stage | HostStep] = []
        for level in range(last + 1):
            steps += [stages[level]] if level else []
            steps += [self._host_step(node) for node in self._host[level]]
        return Program(self._graph, stages[0], tuple(steps), tuple(self._borders))

    def _place(self, node: Node) -> None:
        level = max((self._level_of(v) for v in node.inputs), default=0)
        waits = node in self._found.during_run
        if waits:
            at = [node.inputs[i] for i in self._found.during_run[node]]
            read = tuple(v for v in at if v is not None)
            self._borders.append(Border(node, read))
            if not is_of_host(node):
                level = max(level, *(self._level_of(v) + 1 for v in read))
        if waits and is_of_host(node):
            self._host[level].append(node)
            level += 1
        else:
            self._nodes[level].append(node)
        self._level.update(dict.fromkeys(node.outputs, level))

    def _level_of(self, value: Value | None) -> int:
        return 0 if value is None or value.is_constant else self._level[value]

    def _stage(self, level: int) -> Graph:
        nodes = set(self._nodes[level])
        read = {
            v for n in self._nodes[level] for v in n.inputs if v is not None and not v.is_constant
        }
        made = [v for n in self._nodes[level] for v in n.outputs]
        outside = [v for v in self._in_order() if v in read and v.producer not in nodes]
        inputs = list(self._graph.inputs) if not level else outside
        outputs = [
            v for v in made if v in self._graph.outputs or any(r not in nodes for r in v.uses)
        ]
        if not level:
            outputs += [v for v in self._graph.outputs if v.is_constant]
        graph = extract(
            self._graph, nodes, inputs, outputs, {v: v.list_type or v.type for v in inputs}
        )
        graph.name = f"{self._graph.name}, stage {level}"
        return graph

    def _in_order(self) -> Iterator[Value]:
        yield from self._graph.inputs
        for node in self._graph.nodes:
            yield from node.outputs

    def _host_step(self, node: Node) -> HostStep:
        if not node.subgraphs:
            return HostStep(node, {})
        own = node.attributes["num_inputs"]
        given = {"If": [], "Loop": [True, True, *[False] * (own - 2)], "Scan": [False] * own}
        captured = [
            v is None or v.is_constant or self._found.sources[v] is not None
            for v in node.inputs[own:]
        ]
        known = [*given[node.op_type], *captured]
        return HostStep(node, {name: _program(g, known) for name, g in node.subgraphs.items()})


def is_of_host(node: Node) -> bool:
    """Whether the host computes a node, rather than reads what another one needs to be planned."""
    if node.subgraphs or node.op_type in LAID_OUT:
        return bool(node.subgraphs)
    return spec_of(node.op_type).constant_inputs >= {*range(len(node.inputs))}
