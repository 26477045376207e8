"""Faults of If, Loop and Scan, and of stages: what a run goes through when data decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.execution import stages
from engine.execution.execution import Execution
from engine.execution.stages import Stages
from engine.passes import inline_control_flow
from engine.passes.inline_control_flow import Inlining
from engine.runtime import Runtime
from properties.choose import SeededChoose
from properties.control_flow import check_control_flow, config_on, draw
from properties.fault import Bench, Fault, Hunt, attribute, several


def control_flow(first: int = 0, count: int = 60) -> Hunt:
    """Random models on the CPU backend."""

    def hunt(where: Bench) -> None:
        with Runtime() as runtime:
            for seed in range(first, first + count):
                where.step()
                check_control_flow(draw(SeededChoose(seed)), runtime, config_on("cpu"))

    return hunt


def _forwards(old: Any) -> Any:
    return lambda node, name, count: [False] * count


def _input_forwards(old: Any) -> Any:
    return lambda node, name, count: (
        [False] * count if name == "scan_input_directions" else old(node, name, count)
    )


def _outputs_along_the_first(old: Any) -> Any:
    return lambda node, name, ranks: (
        [0] * len(ranks) if name == "scan_output_axes" else old(node, name, ranks)
    )


def _counted_from_one(old: Any) -> Any:
    return lambda self, node, number, states: old(self, node, number + 1, states)


def _states_forgotten(old: Any) -> Any:
    """Each iteration but the first begins from what the one before the last gave."""

    def iterate(self: Inlining, node: Any, number: int, states: Sequence[Any]) -> Any:
        kept = self.__dict__.setdefault("_fault", {})
        began = kept.get(node, states)
        kept[node] = states
        return old(self, node, number, began)

    return iterate


def _other_branch(old: Any) -> Any:
    return lambda self, node, position, what, dtype: (
        not old(self, node, position, what, dtype)
        if node.op_type == "If"
        else old(self, node, position, what, dtype)
    )


def _other_branch_in_a_run(old: Any) -> Any:
    return lambda node, position, held, what, dtype: (
        not old(node, position, held, what, dtype)
        if node.op_type == "If"
        else old(node, position, held, what, dtype)
    )


def _stacked_backwards(old: Any) -> Any:
    def stacked(node: Any, column: Sequence[np.ndarray], axis: int, **options: bool) -> Any:
        return old(node, column, axis, **options)[::-1]

    return stacked


def _kept_by_shape_alone(old: Any) -> Any:
    """Plans of a stage are found again whatever the values that decide."""

    def planned(self: Stages[Execution], stage: Any, graph: Any, tensors: Any) -> Any:
        plans = self._plans.get(stage)
        shapes = tuple(v.known_type.dims for v in graph.inputs)
        seen = self.__dict__.setdefault("_fault", {})
        if plans and (found := seen.get((stage, shapes))) in plans.values():
            return found
        seen[stage, shapes] = found = old(self, stage, graph, tensors)
        return found

    return planned


CONTROL_FAULTS: tuple[Fault, ...] = tuple(
    Fault(name, "pass", plant, control_flow(first))
    for name, first, plant in (
        (
            "scan-forgets-its-output-directions",
            0,
            several(
                *(attribute(m, "directions_of", _forwards) for m in (inline_control_flow, stages))
            ),
        ),
        (
            "scan-in-the-plan-goes-forwards",
            0,
            attribute(inline_control_flow, "directions_of", _input_forwards),
        ),
        ("scan-in-a-run-goes-forwards", 45, attribute(stages, "directions_of", _input_forwards)),
        (
            "scan-stacks-along-the-first-axis",
            0,
            attribute(inline_control_flow, "axes_of", _outputs_along_the_first),
        ),
        ("loop-counts-from-one", 10, attribute(Inlining, "_iterate", _counted_from_one)),
        ("loop-is-a-state-behind", 10, attribute(Inlining, "_iterate", _states_forgotten)),
        ("if-takes-the-other-branch", 0, attribute(Inlining, "_known", _other_branch)),
        (
            "if-in-a-run-takes-the-other-branch",
            0,
            attribute(stages, "_number", _other_branch_in_a_run),
        ),
        ("loop-in-a-run-stacks-backwards", 0, attribute(stages, "_stacked", _stacked_backwards)),
        (
            "stages-are-kept-by-shape-alone",
            110,
            attribute(Stages, "_planned", _kept_by_shape_alone),
        ),
    )
)
