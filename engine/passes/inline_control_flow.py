"""inline_control_flow: If, Loop and Scan whose course is known before the run become plain nodes.

The branch that an If takes, and the body of a Loop or Scan as often as it runs, are put in place of
the node. So the whole graph stays one plan, which is enqueued without a look at what it computes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from engine.errors import ShapeError, UnsupportedError
from engine.ir.graph import Attributes, Graph, Node, Value
from engine.ir.types import BOOL, INT64, TensorType, zero_of
from engine.passes.base import Pass
from engine.passes.expansion import NODES_MAX, Expansion
from engine.passes.fold_constants import fold_constants
from engine.passes.scans import axes_of, directions_of


def inline_known_branches(graph: Graph, keep: Collection[str] = ()) -> None:
    """Each If of a constant condition becomes the branch that it takes, and is folded.

    Args:
        keep: as for `fold_constants`.
    """
    found = []

    def settle(node: Node) -> None:
        if node.op_type == "If" and _of(node.inputs[0]).is_constant:
            found.append(node)
            inlining.expand(node)

    inlining = Inlining(Expansion(graph, settle))
    for node in graph.nodes:
        settle(node)
    if found:
        fold_constants(graph, keep)


def pass_keeping(keep: Collection[str]) -> Pass:
    """The pass; constants named in `keep` stay."""
    return Pass("inline_known_branches", lambda graph: inline_known_branches(graph, keep))


def goes_on_always(body: Graph) -> bool:
    """Whether a Loop that goes on after its first iteration does so after each.

    That is so where the condition that it computes depends on nothing but itself.
    """
    open_, met = [body.outputs[0]], {body.inputs[1]}
    while open_:
        value = open_.pop()
        if value in met or value.is_constant:
            continue
        met.add(value)
        if value.producer is None:
            return False
        open_ += [v for v in value.producer.inputs if v is not None]
    return True


@dataclass(frozen=True)
class _Iteration:
    """What a body gave: its states, and the elements of what is stacked."""

    states: list[Value]
    elements: list[Value]
    goes_on: bool = True


class Inlining:
    """The courses that are put into one graph."""

    def __init__(self, expansion: Expansion) -> None:
        self._expansion, self._graph = expansion, expansion.graph
        self._copied: dict[tuple[Node, Value], Value] = {}

    def expand(self, node: Node) -> None:
        """Put its course in place of an If, Loop or Scan; all it reads is typed, but for an If's.

        Raises:
            UnsupportedError: its course is not known before the run, or too long.
            ShapeError: inputs that no such node can have.
        """
        course = {"If": self._if, "Loop": self._loop, "Scan": self._scan}[node.op_type]
        self._expansion.pass_on(node, course(node)[: len(node.outputs)])

    # ------------------------------------------------------------------ the operators
    def _if(self, node: Node) -> list[Value]:
        branch = "then_branch" if self._known(node, 0, "condition", BOOL) else "else_branch"
        return self._put(node, branch, _captured(node))

    def _loop(self, node: Node) -> list[Value]:
        trips, condition, *states = node.inputs[: node.attributes["num_inputs"]]
        most = None if trips is None else self._known(node, 0, "trip count", INT64)
        goes_on = condition is None or bool(self._known(node, 1, "condition", BOOL))
        made: list[_Iteration] = []
        now = [_of(v) for v in states]
        while goes_on and (most is None or len(made) < most):
            made.append(self._iterate(node, len(made), now))
            now, goes_on = made[-1].states, made[-1].goes_on
            if len(made) == 1 and goes_on and goes_on_always(node.subgraphs["body"]):
                left = NODES_MAX if most is None else most - 1
                self._expansion.foresee(node, left * (1 + len(node.subgraphs["body"].nodes)))
        if not made and len(node.outputs) == len(now):
            return now
        elements = [i.elements for i in made]
        if elements:
            return now + self._stacked(node, elements, [0] * len(elements[0]))
        types = node.declared_elements
        if types is None:
            types = tuple(v.known_type for v in self._iterate(node, 0, now).elements)
        return now + [self._nothing(node, type_, 0) for type_ in types]

    def _iterate(self, node: Node, number: int, states: Sequence[Value]) -> _Iteration:
        given = [self._constant(node, np.int64(number)), self._constant(node, np.bool_(True))]
        condition, *rest = self._put(node, "body", [*given, *states, *_captured(node)], number)
        count = len(states)
        return _Iteration(
            rest[:count], rest[count:], bool(_flag(node, condition, "condition", BOOL))
        )

    def _scan(self, node: Node) -> list[Value]:
        own = [_of(v) for v in node.inputs[: node.attributes["num_inputs"]]]
        count = node.states
        now, scanned = own[:count], own[count:]
        axes = axes_of(node, "scan_input_axes", [len(v.known_type.dims) for v in scanned])
        lengths = {v.known_type.dims[a] for v, a in zip(scanned, axes, strict=True)}
        if len(lengths) != 1:
            raise ShapeError(f"{node.title}: what it scans has the lengths {sorted(lengths)}")
        (length,) = lengths
        backwards = directions_of(node, "scan_input_directions", len(scanned))
        elements: list[list[Value]] = []
        for k in range(max(length, 1)):
            places = [length - 1 - k if back else k for back in backwards]
            slices = [
                self._slice(node, v, a, p) for v, a, p in zip(scanned, axes, places, strict=True)
            ]
            found = self._put(node, "body", [*now, *slices, *_captured(node)], k)
            now = found[:count] if length else now
            elements.append(found[count:])
        ranks = [len(v.known_type.dims) + 1 for v in elements[0]]
        backwards = directions_of(node, "scan_output_directions", len(ranks))
        ordered = [
            list(reversed(column)) if back else list(column)
            for column, back in zip(zip(*elements, strict=True), backwards, strict=True)
        ]
        rows = [list(row) for row in zip(*ordered, strict=True)] or elements
        out_axes = axes_of(node, "scan_output_axes", ranks)
        return now + self._stacked(node, rows, out_axes, is_empty=not length)

    # ------------------------------------------------------------------ their parts
    def _known(self, node: Node, position: int, what: str, dtype: np.dtype) -> int:
        return _flag(node, _of(node.inputs[position]), what, dtype)

    def _put(
        self, node: Node, name: str, arguments: Sequence[Value], number: int | None = None
    ) -> list[Value]:
        """A copy of a subgraph before the node; gives what stands for the subgraph's outputs."""
        body = node.subgraphs[name]
        self._expansion.spend(node, 1 + len(body.nodes))
        prefix = node.name if number is None else f"{node.name}/{number}"
        twins = dict(zip(body.inputs, arguments, strict=True))

        def twin(value: Value) -> Value:
            if value in twins:
                return twins[value]
            assert value.contents is not None, f"{value} is not of {node.title}"
            key = node, value
            if key not in self._copied:
                constant = self._graph.add_constant(f"{node.name}/{value.name}", value.contents)
                self._copied[key] = constant
            return self._copied[key]

        for part in body.nodes:
            names = [self._graph.unique(f"{prefix}/{v.name}") for v in part.outputs]
            self._graph.internal.update(names)
            copy = self._graph.add_node(
                part.op_type,
                [None if v is None else twin(v) for v in part.inputs],
                names,
                part.attributes,
                name=f"{prefix}/{part.name}",
                before=node,
                subgraphs=part.subgraphs,
                origin=part.origin or node.origin,
            )
            twins.update(zip(part.outputs, copy.outputs, strict=True))
            self._expansion.settle(copy)
        return [twin(v) for v in body.outputs]

    def _constant(self, node: Node, number: np.generic) -> Value:
        return self._expansion.constant(node, number)

    def _emit(
        self, node: Node, op_type: str, inputs: Sequence[Value], attributes: Attributes
    ) -> Value:
        return self._expansion.emit(node, op_type, inputs, attributes)[0]

    def _slice(self, node: Node, value: Value, axis: int, place: int) -> Value:
        """One element along an axis, which is left out; zeros where there is none."""
        type_ = value.known_type
        if not type_.dims[axis]:
            dims = (*type_.dims[:axis], *type_.dims[axis + 1 :])
            nothing = np.full(dims, zero_of(type_.dtype))
            return self._graph.add_constant(f"{node.name}/nothing", nothing)
        at = self._constant(node, np.int64(place))
        return self._emit(node, "Gather", [value, at], {"axis": axis})

    def _nothing(self, node: Node, type_: TensorType, axis: int) -> Value:
        """A stack of no elements."""
        dims = (*type_.dims[:axis], 0, *type_.dims[axis:])
        return self._graph.add_constant(f"{node.name}/nothing", np.zeros(dims, type_.dtype))

    def _stacked(
        self,
        node: Node,
        rows: Sequence[Sequence[Value]],
        axes: Sequence[int],
        *,
        is_empty: bool = False,
    ) -> list[Value]:
        """For each column of the rows its values along a new axis; none where it `is_empty`."""
        results = []
        for column, axis in zip(zip(*rows, strict=True), axes, strict=True):
            if is_empty:
                results.append(self._nothing(node, column[0].known_type, axis))
                continue
            at = self._graph.add_constant(f"{node.name}/axis", np.array([axis], np.int64))
            parts = [self._emit(node, "Unsqueeze", [v, at], {}) for v in column]
            results.append(self._emit(node, "Concat", parts, {"axis": axis}))
        return results


def _of(value: Value | None) -> Value:
    assert value is not None, "the importer saw to it that it is not omitted"
    return value


def _captured(node: Node) -> list[Value]:
    """What its subgraphs read from outside."""
    return [_of(v) for v in node.inputs[node.attributes["num_inputs"] :]]


def _flag(node: Node, value: Value, what: str, dtype: np.dtype) -> int:
    """A number on which the course depends."""
    array = value.constant
    if array is None:
        raise UnsupportedError(
            f"{node.title}: its {what} '{value.name}' is computed from data during the run; "
            "supported: what follows from constants, shapes and inputs of one element or one axis"
        )
    if array.size != 1 or array.dtype != dtype:
        raise ShapeError(
            f"{node.title}: its {what} is {value.known_type}, expected one element of {dtype.name}"
        )
    return int(array.reshape(()))
