"""StagedExecution: a run with borders at which the host reads what the next part is planned for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from engine.backends.protocol import Backend, Slot
from engine.execution.execution import Execution, Listener, Observer, Step
from engine.execution.stages import Enqueue, Held, Stages, Stopped, inputs_of, outputs_of
from engine.ir.graph import Graph, Node, Value
from engine.ir.types import element_name
from engine.passes import Program
from engine.passes.cut_stages import Border, is_of_host


class StagedExecution(Execution):
    """The execution of the first stage, which goes on with the others when it is enqueued.

    Later stages are planned when the shapes of what they read, and the values that decide, are
    there; plans are kept, so that a run like the last one plans nothing.

    Args:
        program: whose entry `graph` is, bound. make: plans a later stage that is bound, for the
            same backends. decided: values of the inputs that were bound to values.
        arguments, options: as `Execution` has them.
    """

    def __init__(
        self,
        program: Program,
        make: Callable[[Graph], Execution],
        decided: Mapping[str, np.ndarray],
        graph: Graph,
        *arguments: Any,
        **options: Any,
    ) -> None:
        self.program, self.stages = program, Stages(make)
        self._decided = dict(decided)
        self._read_by_host = {v.name for v in program.graph.inputs if _is_for_host(v)}
        self._as_given: dict[str, np.ndarray] = {}
        self._results: dict[str, tuple[Execution, Value]] = {}
        self._lists_out: dict[str, tuple[str, ...] | None] = {}
        super().__init__(graph, *arguments, **options)

    @property
    def parts(self) -> list[Execution]:
        """This one, and those that the last run went on with."""
        return [self, *self.stages.used]

    @property
    def borders(self) -> Sequence[Border]:
        """Between the stages, those of subgraphs too."""
        return tuple(self.program.all_borders())

    @property
    def stages_planned(self) -> int:
        """How many plans of later stages were made so far."""
        return self.stages.planned

    @property
    def results(self) -> dict[str, tuple[Execution, Value]]:
        """Of the last run; empty before it."""
        return self._results

    @property
    def lists_out(self) -> Mapping[str, tuple[str, ...] | None]:
        """Of the last run; empty before it."""
        return self._lists_out

    def write(self, value: Value, array: np.ndarray) -> None:
        """Fill a graph input; what only the host reads is not rounded to how the device stores."""
        super().write(value, array)
        if value.name in self._read_by_host:
            self._as_given[value.name] = array.copy()

    def take(self, value: Value, slot: Slot, backend: Backend) -> None:
        """Fill a graph input from another slot."""
        super().take(value, slot, backend)
        self._as_given.pop(value.name, None)

    def attach(self, value: Value, memory: Any) -> None:
        """Let a graph input lie in the user's own memory."""
        super().attach(value, memory)
        self._as_given.pop(value.name, None)

    def enqueue(self, listener: Listener | None = None) -> None:
        """Run all stages; returns when the last is enqueued."""

        def enqueue(part: Execution) -> None:
            Execution.enqueue(part, listener)

        self._run_all(enqueue)

    def enqueue_by(self, submit: Callable[[Step], Any]) -> None:
        """The same through `submit(step)`; see `Execution`."""
        self._run_all(lambda part: Execution.enqueue_by(part, submit))

    def enqueue_observed(self, before: Observer, after: Observer, *, sync: bool) -> Node | None:
        """The same node by node; see `Execution`."""
        try:
            self._run_all(lambda p: Execution.enqueue_observed(p, before, after, sync=sync))
        except Stopped as stopped:
            return stopped.node
        return None

    def _run_all(self, enqueue: Enqueue[Execution]) -> None:
        self.stages.used.clear()
        self._results, self._lists_out = {}, {}
        if (stopped := enqueue(self)) is not None:
            raise Stopped(stopped)
        self.complete = False
        held: dict[str, Held[Execution]] = dict(self._decided)
        held.update(inputs_of(self))
        held.update(self._as_given)
        held.update(outputs_of(self))
        self.stages.go_on(self.program, held, enqueue)
        for out in self.program.graph.outputs:
            there = held[out.name]
            if isinstance(there, tuple):
                self._results[out.name] = there
            else:
                self._note_list(out.name, there)
        self.complete = True

    def _note_list(self, name: str, there: Held[Execution]) -> None:
        """An output that is no tensor."""
        self._lists_out[name] = None
        if isinstance(there, list):
            names = tuple(element_name(name, i) for i in range(len(there)))
            self._lists_out[name] = names
            for element, tensor in zip(names, there, strict=True):
                assert isinstance(tensor, tuple), "a stage computes it"
                self._results[element] = tensor

    def warm_up(self) -> None:
        """The first stage on zeros: what the others would make of them is left to chance."""
        self._warm_up(lambda: Execution.enqueue(self))

    def limit_runs(self) -> None:
        """Wait while too many runs are in flight on a device."""
        for part in self.parts:
            Execution.limit_runs(part)

    def forget(self) -> None:
        """Inputs count as not written, outputs as not computed."""
        super().forget()
        self._results, self._lists_out = {}, {}
        self._as_given.clear()

    def close(self, deadline_s: float | None = None) -> None:
        """Close the plans of all stages; harmless the second time."""
        super().close(deadline_s)
        self.stages.close(deadline_s)
        self._results = {}


def _is_for_host(value: Value) -> bool:
    """Whether nothing but nodes of the host reads an input."""
    return bool(value.uses) and all(is_of_host(node) and not node.subgraphs for node in value.uses)
