"""Recorder: submits the commands of a run launch by launch, and notes when what was done.

Each launch of a composite command (`parts`) is enqueued by itself, so that every event is seen.
Stamps are read once, as integers: events hold driver memory, and records must outlive them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

from engine.backends.protocol import Command
from engine.execution.execution import HostCopy, Step
from engine.timeline import DEVICE, HOST, Span, Timeline


def has_queue(backends: Mapping[str, Any], step: Step) -> bool:
    """Whether the step is submitted to a queue, rather than done when `enqueue` returns."""
    on_queue = hasattr(backends[step.backend], "profiling")
    return on_queue and not isinstance(step.command, HostCopy)


def profiling(backends: Iterable[Any]) -> AbstractContextManager[Any]:
    """Inside, what is enqueued goes to queues that record event times, one for each memory."""
    stack = ExitStack()
    with_queue = {b.memory: b for b in backends if hasattr(b, "profiling")}
    try:
        for backend in with_queue.values():
            stack.enter_context(backend.profiling())
    except BaseException:
        stack.close()
        raise
    return stack


@dataclass(frozen=True)
class Record:
    """One launch that was enqueued; `gives_event`: a queue must answer for it."""

    step: Step
    kernel: str
    gives_event: bool
    called_ns: int
    returned_ns: int
    event: Any

    @property
    def is_complete(self) -> bool:
        """Whether its event says so."""
        return int(self.event.command_execution_status) == 0  # CL_COMPLETE

    @property
    def span(self) -> Span | None:
        """None for a device command without a finished event: the invariants report it."""
        called, returned = self.called_ns, self.returned_ns
        title = self.step.node.title
        if self.event is not None:
            if not self.is_complete:
                return None
            p = self.event.profile
            stamps = (int(p.queued), int(p.submit), int(p.start), int(p.end))
            return Span(title, self.kernel, DEVICE, *stamps, called, returned)
        if self.gives_event:
            return None
        return Span(title, self.kernel, HOST, called, called, called, returned, called, returned)


class Recorder:
    """Called with a step, it submits it and keeps a record of every launch.

    Args:
        backends: by name, those of the execution that the steps are of.

    Attributes:
        steps: those that were submitted, in order. records: their launches.
    """

    def __init__(self, backends: Mapping[str, Any]) -> None:
        self._backends = backends
        self.steps: list[Step] = []
        self.records: list[Record] = []

    def __call__(self, step: Step) -> Any:
        """Submit; returns the last event."""
        queued, event = has_queue(self._backends, step), None
        self.steps.append(step)
        for leaf in _leaves(step.command):
            name = getattr(leaf, "name", type(leaf).__name__)
            gives_event = queued and type(leaf).__name__ != "EmptyCommand"
            called = time.perf_counter_ns()
            event = leaf.enqueue()
            returned = time.perf_counter_ns()
            self.records.append(Record(step, name, gives_event, called, returned, event))
        return event

    @property
    def unfinished(self) -> int:
        """How many events are not complete."""
        return sum(r.event is not None and not r.is_complete for r in self.records)

    def timeline(
        self, *, started_ns: int, enqueued_ns: int, done_ns: int, unfinished: int
    ) -> Timeline:
        """The run between two stamps of the host's clock, once its events are complete.

        Args:
            unfinished: how many events were not complete at `done_ns`.
        """
        spans = (record.span for record in self.records)
        return Timeline(
            spans=tuple(span for span in spans if span is not None),
            enqueue_ns=enqueued_ns - started_ns,
            synced_ns=done_ns - started_ns,
            launched=sum(record.gives_event for record in self.records),
            unfinished=unfinished,
            started_ns=started_ns,
        )


def _leaves(command: Command) -> Iterator[Command]:
    parts = getattr(command, "parts", None)
    if parts is None:
        yield command
        return
    for part in parts:
        yield from _leaves(part)
