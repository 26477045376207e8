"""Plans: the executions of one session, by input shapes."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import TypeVar

import numpy as np

from engine import arguments, heap
from engine.cache import CacheFile
from engine.errors import ConfigError
from engine.execution.execution import Execution, closing_deadline_s
from engine.execution.pipelines import Pipelines
from engine.execution.staged import StagedExecution
from engine.execution.watch import Watch
from engine.info import ResizeReport
from engine.ir.graph import Graph
from engine.passes import (
    Inferences,
    Program,
    bind_passes,
    bind_shapes,
    bind_values,
    cut_stages,
    deciding_inputs,
    run_passes,
)
from engine.runtime import Runtime

Shapes = Mapping[str, arguments.AnyShape]
Values = Mapping[str, np.ndarray]
Named = TypeVar("Named")
logger = logging.getLogger("parallax.session")


class Plans:
    """Makes an execution for each set of shapes, and keeps the last `pipelines.plans_kept`.

    Attributes:
        deciding: names of the inputs whose values decide shapes, too.
    """

    def __init__(
        self,
        graph: Graph,
        pipelines: Pipelines,
        runtime: Runtime,
        cache: CacheFile | None,
    ) -> None:
        self.backends = pipelines.backends(runtime)
        self._program = cut_stages(graph)
        if self._program is not None:
            check_one_path(pipelines, self._program)
        self._graph = graph if self._program is None else self._program.entry.graph
        self._pipelines = pipelines
        self.deciding = deciding_inputs(self._graph)
        self._runtime, self._cache = runtime, cache
        self._made: OrderedDict[Hashable, Execution] = OrderedDict()
        self._inferences = Inferences()
        self._warned = False
        self.watch = Watch() if any(c.debug for c in pipelines.configs) else None

    def get(
        self, shapes: Shapes, values: Values, *, afresh: bool = False
    ) -> tuple[Execution, ResizeReport]:
        """The execution for some input shapes; those used least recently are closed.

        Args:
            values: of all deciding inputs.
            afresh: even when there is one already, which is then closed.

        Raises:
            InputError: the shapes contradict the model.
        """
        graph = bind_shapes(self._graph, shapes)
        bound = {v.name: v.known_type.dims for v in graph.inputs}
        decided = {n: values[n] for n in self.deciding}
        key = (
            *graph.lists_in.items(),
            *bound.items(),
            *((n, x.dtype.str, x.tobytes()) for n, x in decided.items()),
        )
        if key in self._made and not afresh:
            self._made.move_to_end(key)
            return self._made[key], ResizeReport(bound, reused=True)
        started = time.perf_counter()
        with heap.enough_for("making a session ready"):
            bind_values(graph, decided)
            execution, report = self._make(graph, bound, decided)
        logger.info(
            "ready for %s: %d operators, %d programs built, %.3g s",
            ", ".join(f"{name} {list(dims)}" for name, dims in bound.items()) or "no inputs",
            len(report.planned),
            report.programs_built,
            time.perf_counter() - started,
        )
        if (replaced := self._made.pop(key, None)) is not None:
            replaced.close()
        self._made[key] = execution
        while len(self._made) > self._pipelines.plans_kept:
            self._made.popitem(last=False)[1].close()
        return execution, report

    def _make(
        self, graph: Graph, shapes: Mapping[str, tuple[int, ...]], decided: Values
    ) -> tuple[Execution, ResizeReport]:
        backends = self.backends
        builds = self._builds()
        arenas = {b.memory: self._runtime.arena(b) for b in backends.values()}
        before = {memory: arena.nbytes for memory, arena in arenas.items()}
        if self._program is None:
            execution = self._execution(graph, Execution)
        else:
            staged = partial(StagedExecution, self._program, self._stage, decided)
            execution = self._execution(graph, staged)
        grown = {m: max(arena.nbytes - before[m], 0) for m, arena in arenas.items()}
        return execution, ResizeReport(
            shapes,
            reused=False,
            planned=tuple(node.title for node in execution.graph.nodes),
            programs_built=self._builds() - builds,
            reallocated_nbytes={
                n: execution.kept_nbytes(n) + grown.pop(b.memory, 0) for n, b in backends.items()
            },
        )

    def _stage(self, graph: Graph) -> Execution:
        """A later stage, of a graph that is bound."""
        with heap.enough_for(f"making {graph.name} ready"):
            return self._execution(graph, Execution)

    def _execution(self, graph: Graph, make: Callable[..., Execution]) -> Execution:
        pipelines = self._pipelines
        run_passes(graph, bind_passes(pipelines.protected, self._inferences))
        execution = make(
            graph,
            self.backends,
            keep=pipelines.keep,
            strict=pipelines.strict,
            order=pipelines.order(graph),
            shared=self._runtime.arena,
            cache=self._cache,
            watch=self.watch,
        )
        execution.graph.rest()
        self._warn_of_fallbacks(execution)
        return execution

    def _warn_of_fallbacks(self, execution: Execution) -> None:
        """Once for a session, in the log; `Session.info` has them all."""
        fallen = [p for p in execution.placements if p.reason]
        if fallen and not self._warned:
            self._warned = True
            logger.warning(
                "%d of %d operators run on a backup backend, such as %s (%s); info().fallbacks "
                "lists them, strict=True refuses them",
                len(fallen),
                len(execution.placements),
                fallen[0].node.title,
                fallen[0].reason,
            )

    def _builds(self) -> int:
        return sum({b.memory: b.builds for b in self.backends.values()}.values())

    def others(self, execution: Execution) -> list[Execution]:
        """The executions of other shapes that are held ready."""
        return [made for made in self._made.values() if made is not execution]

    def close(self) -> None:
        """Close all of them, within one CLOSE_TIMEOUT_S."""
        deadline_s = closing_deadline_s()
        while self._made:
            self._made.popitem()[1].close(deadline_s)
        self._graph, self._inferences = self._graph.interface(), Inferences()


def check_one_path(pipelines: Pipelines, program: Program) -> None:
    """Raise ConfigError for several paths of a model that is planned in stages."""
    if len(pipelines.configs) > 1:
        first = next(program.all_borders())
        raise ConfigError(
            f"{first.node.title} cannot be planned before a part of the model has run; several "
            "paths are not supported then: use one session for each"
        )


def find(kind: str, name: str, known: Mapping[str, Named], *, more: str = "") -> Named:
    """A value, or what else has the name of one.

    Args:
        more: where all names are listed.

    Raises:
        InputError: an unknown name, with near ones, or no name at all.
    """
    arguments.of_kind(kind, name, str, f"a name, such as {next(iter(known), 'x')!r}")
    if name in known:
        return known[name]
    raise arguments.unknown(f"{kind}: no tensor", name, known, more=more)
