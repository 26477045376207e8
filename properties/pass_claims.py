"""Translation validation of the passes: small graphs, before and after.

The graph before and after is evaluated by float64 references alone; the difference is at most what
rounding the folded constants once costs, and none for integers. Then both graphs run: every node of
the optimised one is judged, and integers must be equal.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from conformance.judge import equal
from engine.backends.protocol import Backend
from engine.ir import Graph, Node
from engine.ir.types import FLOATS
from engine.ops.compose import reference_of, spec_of
from properties.devices import Target
from properties.graph_runs import Run, check_nodes, optimised, require_equal
from properties.graphs import Feeds, Model, graph_text
from properties.memory import Violation
from properties.pass_templates import CORES

SLOPE = {"Sqrt": 64.0}
"""The largest |dy/dx| of what may follow folded constants: 1/sqrt(1e-3) twice; others 1.5."""
ROUNDINGS = 4
"""Of folded constants: weights, bias, and what was folded into them before."""


def evaluate(graph: Graph, feeds: Feeds) -> tuple[dict[str, np.ndarray], float]:
    """Every value by float64 references, and the largest magnitude that any sum in them meets."""
    known: dict[str, np.ndarray] = {v.name: _wide(feeds[v.name]) for v in graph.inputs}
    largest = 0.0
    for node in graph.nodes:
        inputs = []
        for value in node.inputs:
            array = None if value is None else value.constant
            if value is not None and array is None:
                array = known[value.name]
            inputs.append(None if array is None else _wide(array))
        with np.errstate(all="ignore"):
            results = reference_of(node, inputs)
            known |= {v.name: array for v, array in zip(node.outputs, results, strict=False)}
            sizes = [*results, *_terms(node, inputs)]
        largest = max(largest, *map(_largest, sizes))
    return known, largest


def _largest(x: np.ndarray) -> float:
    """The largest magnitude that is finite."""
    wide = np.abs(x.astype(np.float64))
    return float(np.max(wide[np.isfinite(wide)], initial=0.0))


def _terms(node: Node, inputs: Sequence[np.ndarray | None]) -> Sequence[np.ndarray]:
    """Sums of absolute terms where terms may cancel: of cores, and of a BatchNormalization."""
    if node.op_type in CORES:
        core = [None if a is None else np.abs(a) for a in inputs[:3]]
        return spec_of(node.op_type).reference(core, node.attributes)
    if node.op_type == "BatchNormalization":
        x, scale, shift, mean, variance = (np.asarray(a) for a in inputs)
        positive = (np.abs(x), np.abs(scale), np.abs(shift), -np.abs(mean), variance)
        return spec_of(node.op_type).reference(positive, node.attributes)
    return ()


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if array.dtype in FLOATS else array


def check_template(model: Model, cpu: Backend, targets: Sequence[Target] = ()) -> None:
    """The passes keep what one template computes, and its optimised nodes run right."""
    feeds = model.feeds()
    expected, before = evaluate(model.graph, feeds)
    try:
        after = optimised(model.graph)
        got, largest = evaluate(after, feeds)
    except Exception as error:
        said = f"passes leave nothing that runs: {type(error).__name__}: {error}"
        raise Violation(f"{said}\n{graph_text(model.graph)}") from error
    slope = max((SLOPE.get(node.op_type, 1.5) for node in model.graph.nodes), default=1.5)
    for old, new in zip(model.graph.outputs, after.outputs, strict=True):
        limit = _limit(old.known_type.dtype, slope * max(before, largest))
        a, b = expected[old.name], got[new.name]
        with np.errstate(invalid="ignore"):
            distance = np.where(equal(a, b), 0.0, np.abs(a.astype(np.float64) - b))
        worst = float(np.max(distance, initial=0.0))
        if not worst <= limit or (limit == 0 and not np.array_equal(a, b)):
            raise Violation(
                f"passes change {old.name!r} by {worst:.3g}, expected at most {limit:.3g}\n"
                f"{graph_text(model.graph)}\nbecame\n{graph_text(after)}"
            )
    for target in targets:
        _run(model, after, target, cpu)


def _run(model: Model, after: Graph, target: Target, cpu: Backend) -> None:
    """Every node is right, and integers are what they were."""
    try:
        check_nodes(model, after, target, cpu)
    except Violation:
        raise
    except Exception as error:
        said = f"{target.id} cannot run what passes leave: {type(error).__name__}: {error}"
        raise Violation(
            f"{said}\n{graph_text(model.graph)}\nbecame\n{graph_text(after)}"
        ) from error
    if model.graph.outputs[0].known_type.dtype not in FLOATS:
        feeds = model.feeds()
        with Run(model.graph, target, cpu) as plain, Run(after, target, cpu) as folded:
            outputs, wanted = folded(feeds), plain(feeds)
        require_equal(f"{target.id}: after the passes", model, after, outputs, wanted)


def _limit(dtype: np.dtype, largest: float) -> float:
    """What rounding folded constants costs the result; nothing for integers."""
    return ROUNDINGS * float(np.finfo(dtype).eps) / 2 * largest if dtype in FLOATS else 0.0
