"""Running a random graph: node by node against references, and whole plans against one another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from conformance import nodes as node_checks
from conformance.judge import Verdict
from conformance.report import NodeCheck
from conformance.suspects import settle
from engine.backends.protocol import Backend
from engine.execution.blueprint import KEPT
from engine.execution.execution import Execution
from engine.ir import Graph
from engine.passes import bind_passes, load_passes, run_passes
from properties.devices import Target
from properties.evidence import Evidence
from properties.graphs import Feeds, Model, graph_text
from properties.memory import CANARY, GUARD_NBYTES, Violation, peek, poke
from properties.single import REFUSALS


def optimised(graph: Graph) -> Graph:
    """A copy after the passes that a session applies."""
    graph = graph.copy()
    run_passes(graph, (*load_passes(), *bind_passes()))
    return graph


class Run:
    """An Execution of a graph on a target, with canaries between its windows.

    Use as a context manager. Nodes that the target refuses run on the CPU backend, and are counted.
    """

    def __init__(self, graph: Graph, target: Target, cpu: Backend, *, keep: str = "") -> None:
        backends = {target.backend.name: target.backend, "cpu": cpu}
        self.graph = graph.copy()
        self.target = target
        self.execution = Execution(self.graph, backends, keep=keep or (), guard_nbytes=GUARD_NBYTES)
        for placement in self.execution.placements:
            if placement.reason:
                REFUSALS[placement.node.op_type, target.id, placement.reason] += 1
        self._guards = self._plant_canaries()

    def _plant_canaries(self) -> dict[str, np.ndarray]:
        """Per arena, which bytes belong to no window; they are set to CANARY."""
        guards: dict[str, np.ndarray] = {}
        for name, arena in self._arenas.items():
            free = np.ones(arena.nbytes, bool)
            for window in self.execution.plan.windows.values():
                if window.arena == name:
                    free[window.offset_nbytes : window.offset_nbytes + window.nbytes] = False
            raw = peek(self._backend(name), arena)
            raw[free] = CANARY
            poke(self._backend(name), arena, raw)
            guards[name] = free
        return guards

    @property
    def _arenas(self) -> dict[str, Any]:
        windows = self.execution.plan.windows.values()
        return {w.arena: self.execution.arena(w.arena) for w in windows}

    def _backend(self, arena: str) -> Backend:
        return self.execution.backends[arena.removesuffix(KEPT)]

    def __call__(self, feeds: Feeds) -> list[np.ndarray]:
        """Outputs in graph order; raises Violation when a canary died."""
        for value in self.graph.inputs:
            self.execution.write(value, feeds[value.name])
        self.execution.enqueue()
        self.execution.synchronize()
        outputs = [self.execution.read(v) for v in self.graph.outputs]
        for name, free in self._guards.items():
            raw = peek(self._backend(name), self._arenas[name])
            dead = np.flatnonzero((raw != CANARY) & free)
            if dead.size:
                raise Violation(
                    f"{self.target.id}: {dead.size} guard bytes of arena {name!r} were "
                    f"overwritten, the first at {int(dead[0])}\n{graph_text(self.graph)}"
                )
        return outputs

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.execution.close()


def check_nodes(
    model: Model,
    graph: Graph,
    target: Target,
    cpu: Backend,
    seen: Callable[[Run], None] | None = None,
) -> int:
    """Judge every node on the device's own inputs; returns how many were judged.

    Args:
        seen: told of the run when it is done, before anything is judged.

    Raises:
        Violation: with the graph and the node, when one is out of bounds, or suspicious
            and not cleared.
    """
    with Run(graph, target, cpu, keep="*") as run:
        run(model.feeds())
        if seen is not None:
            seen(run)
        checks = settle(node_checks.check_nodes(run.execution, target.backend), run.execution, 0)
        failed = [c for c in checks if c.verdict is Verdict.FAIL]
        if failed:
            error = Violation(_explain(target, model, run.graph, failed))
            error.evidence = Evidence(model.graph, model.feeds(), target.backend)
            raise error
        return len(checks)


def _explain(target: Target, model: Model, graph: Graph, failed: Sequence[NodeCheck]) -> str:
    lines = []
    for check in failed[:3]:
        j = check.judgement
        lines.append(
            f"{target.id}: {check.title} -> {check.output} {check.type}: {check.verdict.name} at "
            f"{j.index}: got {j.got!r}, expected {j.expected!r}, {j.bounds:.3g} x bound, "
            f"{j.sigmas:.3g} sigma ({j.failures} failures, {j.suspects} suspects of {j.count})"
        )
    return "\n".join([*lines, "as executed:", graph_text(graph), "as generated:", repr(model)])


def check_production(model: Model, graph: Graph, target: Target, cpu: Backend) -> None:
    """The plan that reuses memory gives the bits of the run that keeps everything, every time.

    Another inference runs in between, so stale bytes show.
    """
    with Run(graph, target, cpu, keep="*") as everything:
        expected = everything(model.feeds())
        other = everything(model.feeds(1))
    with Run(graph, target, cpu) as production:
        for feeds, outputs in ((0, expected), (1, other), (0, expected)):
            got = production(model.feeds(feeds))
            who = f"{target.id}: production plan, inference {feeds}"
            require_equal(who, model, production.graph, got, outputs)


def check_extra_outputs(model: Model, target: Target, cpu: Backend) -> None:
    """Making every tensor an output changes no output."""
    wide = model.graph.copy()
    kept = {v.name for v in wide.outputs}
    wide.outputs.extend([v for n in wide.nodes for v in n.outputs if v.name not in kept])
    with Run(model.graph, target, cpu) as narrow, Run(wide, target, cpu) as full:
        expected, got = narrow(model.feeds()), full(model.feeds())
    require_equal(f"{target.id}: extra outputs", model, model.graph, got[: len(expected)], expected)


def check_exact(model: Model, targets: Sequence[Target], cpu: Target) -> None:
    """On whole numbers every backend and precision, optimised or not, gives the same bits."""
    reference: list[np.ndarray] | None = None
    for target in (cpu, *targets):
        for graph in (model.graph, optimised(model.graph)):
            with Run(graph, target, cpu.backend) as run:
                outputs = run(model.feeds())
            reference = reference or outputs
            require_equal(f"{target.id} against cpu", model, run.graph, outputs, reference)


def require_equal(
    who: str,
    model: Model,
    graph: Graph,
    got: Sequence[np.ndarray],
    expected: Sequence[np.ndarray],
) -> None:
    """Equal values (NaN equal to NaN), or a Violation that shows the graph."""
    for value, a, b in zip(graph.outputs, got, expected, strict=True):
        same = (a == b) | ((a != a) & (b != b))
        if a.shape != b.shape or not same.all():
            at = tuple(int(i) for i in np.argwhere(~same)[0])
            raise Violation(
                f"{who}: output {value.name!r} differs in {int((~same).sum())} elements, at {at} "
                f"got {a[at]}, expected {b[at]}\nas executed:\n{graph_text(graph)}\n"
                f"as generated:\n{model!r}"
            )
