"""Stages: runs a program of stages and steps of the host, and keeps the plans of the stages."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from engine import heap
from engine.backends.cpu import COMPUTED
from engine.backends.cpu.memory import claim
from engine.config import PLANS_KEPT
from engine.errors import ShapeError
from engine.ir.graph import Graph, Node, Value
from engine.ir.types import BOOL, INT64, RANK_MAX, TensorType, type_of, zero_of
from engine.passes import HostStep, Program, Stage, bind_values, deciding_inputs, open_list
from engine.passes.evaluate import compute_now, naming
from engine.passes.inline_control_flow import goes_on_always
from engine.passes.scans import axes_of, directions_of

TYPES_KEPT = 256
"""For so many sets of types of inputs it is remembered which of them decide."""


class Part(Protocol):
    """What runs one stage: an Execution, or what evaluates it in another way."""

    @property
    def graph(self) -> Graph:
        """Bound; its inputs and outputs are named as in the program."""
        ...

    def write(self, value: Value, array: np.ndarray) -> None:
        """Fill an input."""
        ...

    def take(self, value: Value, slot: Any, backend: Any) -> None:
        """Fill an input with the `slot` of another part, which lies on its `backend_of`."""
        ...

    def slot(self, value: Value) -> Any:
        """Where a value lies."""
        ...

    def backend_of(self, value: Value) -> Any:
        """What it lies on."""
        ...

    def read(self, value: Value) -> np.ndarray:
        """A copy of a value; waits for it."""
        ...

    def close(self, deadline_s: float | None = None) -> None:
        """Free what it has."""
        ...


P = TypeVar("P", bound=Part)
Tensor = np.ndarray | tuple[P, Value]
"""What a tensor is between stages: an array of the host, or a tensor of a part."""
Held = Tensor[P] | list[Tensor[P]] | None
"""The same of any value: of a sequence a list, None of something optional that is not there."""
Enqueue = Callable[[P], Node | None]
"""Enqueues one part; gives the node at which the user stopped the run."""


class Stopped(Exception):
    """A callback ended the run after a node."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.node = node


class Stages(Generic[P]):
    """The plans of all stages of one program.

    Args:
        make: plans a stage that is bound.

    Attributes:
        used: parts of the run that goes on, or of the last one, in order of their first use.
        planned: how many plans were made so far.
    """

    def __init__(self, make: Callable[[Graph], P]) -> None:
        self._make = make
        self._plans: dict[Stage, OrderedDict[Hashable, P]] = {}
        self._deciding: dict[Hashable, tuple[str, ...]] = {}
        self.used: dict[P, None] = {}
        self.planned = 0

    def go_on(self, program: Program, held: dict[str, Held[P]], enqueue: Enqueue[P]) -> None:
        """Run what follows the entry; `held` has what is there by name, and grows."""
        for step in program.steps:
            if isinstance(step, Stage):
                held.update(outputs_of(self._run_stage(step, held, enqueue)))
            else:
                with heap.enough_for(step.node):
                    results = self._host(step, held, enqueue)
                names = [v.name for v in step.node.outputs]
                held.update(zip(names, results, strict=False))

    def close(self, deadline_s: float | None = None) -> None:
        """Close all plans."""
        self.used.clear()
        while self._plans:
            for execution in self._plans.popitem()[1].values():
                execution.close(deadline_s)

    # ------------------------------------------------------------------ stages
    def run_program(
        self, program: Program, given: Sequence[Held[P]], enqueue: Enqueue[P]
    ) -> list[Held[P]]:
        """The outputs of a subgraph.

        Its entry holds all that it is given: nothing is lost when a stage that made it runs again.
        """
        graph = program.graph
        held: dict[str, Held[P]] = dict(zip((v.name for v in graph.inputs), given, strict=True))
        entry = self._run_stage(program.entry, held, enqueue)
        held.update(inputs_of(entry, held))
        held.update(outputs_of(entry))
        self.go_on(program, held, enqueue)
        return [held[v.name] for v in graph.outputs]

    def _run_stage(self, stage: Stage, held: dict[str, Held[P]], enqueue: Enqueue[P]) -> P:
        graph, tensors = _bound(stage.graph, held)
        execution = self._planned(stage, graph, tensors)
        for value in execution.graph.inputs:
            given = tensors[value.name]
            if isinstance(given, np.ndarray) or given[1].is_constant:
                execution.write(value, array_of(given))
            else:
                source, there = given
                execution.take(value, source.slot(there), source.backend_of(there))
        plans = self._plans[stage]
        while len(plans) > PLANS_KEPT:
            lost = plans.popitem(last=False)[1]
            self.used.pop(lost, None)
            lost.close()
        self.used[execution] = None
        if (stopped := enqueue(execution)) is not None:
            raise Stopped(stopped)
        return execution

    def _planned(self, stage: Stage, graph: Graph, tensors: Mapping[str, Tensor[P]]) -> P:
        """A part for what a stage is given: a graph of its types, and its inputs by name."""
        types = (stage, *graph.lists_in.items(), *(v.known_type for v in graph.inputs))
        if types not in self._deciding:
            if len(self._deciding) >= TYPES_KEPT:
                self._deciding.clear()
            self._deciding[types] = deciding_inputs(graph, RANK_MAX)
        values = {name: array_of(tensors[name]) for name in self._deciding[types]}
        key = (types, *((a.dtype.str, a.tobytes()) for a in values.values()))
        plans = self._plans.setdefault(stage, OrderedDict())
        if key not in plans:
            bind_values(graph, values)
            plans[key] = self._make(graph)
            self.planned += 1
        plans.move_to_end(key)
        return plans[key]

    # ------------------------------------------------------------------ the host
    def _host(self, step: HostStep, held: dict[str, Held[P]], enqueue: Enqueue[P]) -> list[Held[P]]:
        node = step.node
        if not node.subgraphs:
            return list(computed(node, [_read(v, held) for v in node.inputs]))
        course = {"If": self._if, "Loop": self._loop, "Scan": self._scan}[node.op_type]
        return course(step, held, enqueue)

    def _if(self, step: HostStep, held: dict[str, Held[P]], enqueue: Enqueue[P]) -> list[Held[P]]:
        node = step.node
        branch = "then_branch" if _number(node, 0, held, "condition", BOOL) else "else_branch"
        return self.run_program(step.programs[branch], _captured(node, held), enqueue)

    def _loop(self, step: HostStep, held: dict[str, Held[P]], enqueue: Enqueue[P]) -> list[Held[P]]:
        node, count = step.node, step.node.states
        most = None if node.inputs[0] is None else _number(node, 0, held, "trip count", INT64)
        goes_on = node.inputs[1] is None or bool(_number(node, 1, held, "condition", BOOL))
        captured = _captured(node, held)
        states: list[Held[P]] = [_held(v, held) for v in node.inputs[2 : 2 + count]]

        def iterate(number: int) -> tuple[bool, list[Held[P]], list[np.ndarray]]:
            given: list[Held[P]] = [np.array(number), np.array(True), *states, *captured]
            condition, *found = self.run_program(step.programs["body"], given, enqueue)
            goes_on = bool(_one(node, array_of(condition), "condition", BOOL))
            return goes_on, found[:count], [array_of(x) for x in found[count:]]

        elements: list[list[np.ndarray]] = []
        held_nbytes, is_sure = 0, goes_on_always(node.subgraphs["body"])
        while goes_on and (most is None or len(elements) < most):
            goes_on, states, row = iterate(len(elements))
            elements.append(row)
            held_nbytes += _nbytes(row)
            left = most - len(elements) if is_sure and goes_on and most is not None else 0
            _claim(node, held_nbytes + left * _nbytes(row))
        if len(node.outputs) > count and not elements:
            types = node.declared_elements
            if types is None:  # a body changes nothing but what it returns
                types = tuple(map(type_of, iterate(0)[2]))
            return [*states, *(np.zeros((0, *t.dims), t.dtype) for t in types)]
        return [*states, *(_stacked(node, c, 0) for c in zip(*elements, strict=True))]

    def _scan(self, step: HostStep, held: dict[str, Held[P]], enqueue: Enqueue[P]) -> list[Held[P]]:
        node, count = step.node, step.node.states
        own = [_held(v, held) for v in node.inputs[: node.attributes["num_inputs"]]]
        states, scanned = own[:count], [array_of(x) for x in own[count:]]
        axes = axes_of(node, "scan_input_axes", [x.ndim for x in scanned])
        lengths = {x.shape[axis] for x, axis in zip(scanned, axes, strict=True)}
        if len(lengths) != 1:
            raise ShapeError(f"{node.title}: what it scans has the lengths {sorted(lengths)}")
        (length,) = lengths
        backwards = directions_of(node, "scan_input_directions", len(scanned))
        elements = []
        for k in range(max(length, 1)):
            slices: list[Held[P]] = [
                x.take(length - 1 - k if back else k, axis) if length else _nothing(x, axis)
                for x, axis, back in zip(scanned, axes, backwards, strict=True)
            ]
            given = [*states, *slices, *_captured(node, held)]
            found = self.run_program(step.programs["body"], given, enqueue)
            states = found[:count] if length else states
            elements.append([array_of(x) for x in found[count:]])
            _claim(node, length * _nbytes(elements[-1]))
        columns = list(zip(*elements, strict=True))
        ranks = [column[0].ndim + 1 for column in columns]
        axes = axes_of(node, "scan_output_axes", ranks)
        backwards = directions_of(node, "scan_output_directions", len(ranks))
        return [
            *states,
            *(
                _stacked(node, column[::-1] if back else column, axis, is_empty=not length)
                for column, axis, back in zip(columns, axes, backwards, strict=True)
            ),
        ]


def computed(node: Node, arrays: Sequence[np.ndarray | None]) -> Sequence[np.ndarray]:
    """The outputs of an operator from all that it reads; raises ShapeError for what it refuses."""
    with naming(node):
        if node.op_type not in COMPUTED:
            return compute_now(node, arrays)
        return COMPUTED[node.op_type](arrays, node.attributes)


def inputs_of(execution: P, given: Mapping[str, Held[P]] | None = None) -> dict[str, Held[P]]:
    """What a stage was given, as it holds it.

    Args:
        given: where tensors are that it does not hold, since it was planned for their values.
    """
    mine: dict[str, Tensor[P]] = {v.name: (execution, v) for v in execution.graph.inputs}
    found: dict[str, Held[P]] = dict(mine)
    for name, names in execution.graph.lists_in.items():
        others = (given or {}).get(name)
        others = others if isinstance(others, list) else [mine[n] for n in names or ()]
        if names is None:
            found[name] = None
        else:
            found[name] = [mine.get(n, x) for n, x in zip(names, others, strict=True)]
    return found


def outputs_of(execution: P) -> dict[str, Held[P]]:
    """What a stage gives to others."""
    tensors: dict[str, Tensor[P]] = {v.name: (execution, v) for v in execution.graph.outputs}
    found: dict[str, Held[P]] = dict(tensors)
    for name, names in execution.graph.lists_out.items():
        found[name] = None if names is None else [tensors[n] for n in names]
    return found


def array_of(held: Held[P]) -> np.ndarray:
    """On the host; waits."""
    if held is None or isinstance(held, list):
        raise ShapeError("a sequence or optional was given where a tensor is expected")
    return held if isinstance(held, np.ndarray) else held[0].read(held[1])


def _bound(graph: Graph, held: Mapping[str, Held[P]]) -> tuple[Graph, dict[str, Tensor[P]]]:
    """A copy for what the inputs of a stage hold, and the tensors of these by name."""
    bound = graph.copy()
    tensors: dict[str, Tensor[P]] = {}
    for value in list(bound.inputs):
        given = held[value.name]
        if given is None:
            open_list(bound, value, None)
        elif isinstance(given, list):
            open_list(bound, value, [_type_of(x) for x in given])
            tensors.update(zip(bound.lists_in[value.name] or (), given, strict=True))
        else:
            value.type, value.list_type = _type_of(given), None
            tensors[value.name] = given
    return bound, tensors


def _type_of(tensor: Tensor[P]) -> TensorType:
    return type_of(tensor) if isinstance(tensor, np.ndarray) else tensor[1].known_type


def _held(value: Value | None, held: dict[str, Held[P]]) -> Held[P]:
    assert value is not None, "the importer saw to it that it is not omitted"
    return held[value.name] if value.constant is None else value.constant


def _read(value: Value | None, held: dict[str, Held[P]]) -> np.ndarray | None:
    return None if value is None else array_of(_held(value, held))


def _captured(node: Node, held: dict[str, Held[P]]) -> list[Held[P]]:
    return [_held(v, held) for v in node.inputs[node.attributes["num_inputs"] :]]


def _number(node: Node, position: int, held: dict[str, Held[P]], what: str, dtype: np.dtype) -> int:
    return _one(node, array_of(_held(node.inputs[position], held)), what, dtype)


def _one(node: Node, array: np.ndarray, what: str, dtype: np.dtype) -> int:
    if array.size != 1 or array.dtype != dtype:
        raise ShapeError(
            f"{node.title}: its {what} is {type_of(array)}, expected one element of {dtype.name}"
        )
    return int(array.reshape(()))


def _claim(node: Node, nbytes: int) -> None:
    """Raise DeviceMemoryError where what is gathered cannot be stacked, before it is."""
    with naming(node):
        claim(nbytes)


def _nothing(x: np.ndarray, axis: int) -> np.ndarray:
    """A slice across an axis that has none."""
    return np.full((*x.shape[:axis], *x.shape[axis + 1 :]), zero_of(x.dtype))


def _nbytes(row: Sequence[np.ndarray]) -> int:
    return sum(x.nbytes for x in row)


def _stacked(
    node: Node, column: Sequence[np.ndarray], axis: int, *, is_empty: bool = False
) -> np.ndarray:
    shapes = {x.shape for x in column}
    if len(shapes) != 1:
        raise ShapeError(f"{node.title}: what it stacks has the shapes {sorted(shapes)}")
    stacked = np.stack(column, axis)
    return stacked.take([], axis) if is_empty else stacked
