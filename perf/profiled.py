"""The profiled pass: run the commands of a session one by one and harvest their events.

Each launch of a composite command (`parts`) is enqueued by itself, so that every event is seen.
Stamps are read at once, as integers: events hold driver memory, and profiles must outlive them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from engine.backends.protocol import Command
from engine.execution.execution import Execution, HostCopy, Step
from engine.runtime import Runtime
from perf.quantiles import quantile_ns
from perf.subject import Subject
from perf.timeline import DEVICE, HOST, Span, Timeline


@dataclass(frozen=True)
class Profile:
    """The profiled runs, one entry of each tuple per run, and the spans of the median run.

    busy + gaps + outside = synced: device at work, device idle between its commands, and the host
    before the first START and after the last END.
    """

    enqueue_ns: tuple[int, ...]
    synced_ns: tuple[int, ...]
    busy_ns: tuple[int, ...]
    host_busy_ns: tuple[int, ...]
    gaps_ns: tuple[int, ...]
    outside_ns: tuple[int, ...]
    sum_ns: tuple[int, ...]
    spans: tuple[Span, ...]

    @classmethod
    def of(cls, runs: list[Timeline]) -> Profile:
        """Collect the runs."""
        middle = sorted(runs, key=lambda run: run.synced_ns)[(len(runs) - 1) // 2]
        names = [name for name in cls.__dataclass_fields__ if name != "spans"]
        columns = {name: tuple(getattr(run, name) for run in runs) for name in names}
        return cls(**columns, spans=middle.spans)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Profile:
        """The inverse of `dataclasses.asdict`."""
        fields = {k: tuple(v) for k, v in data.items()}
        fields["spans"] = tuple(Span(**span) for span in data["spans"])
        return cls(**fields)

    def median_ns(self, name: str) -> int:
        """p50 of `busy`, `gaps`, `outside`, `synced`... over the profiled runs."""
        return quantile_ns(getattr(self, f"{name}_ns"), 50)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class _Launch:
    """One command to enqueue; `gives_event`: a queue must answer for it."""

    title: str
    kernel: str
    command: Command
    gives_event: bool


def has_queue(execution: Execution, step: Step) -> bool:
    """Whether the step is submitted to a queue, rather than done when `enqueue` returns."""
    on_queue = hasattr(execution.backends[step.backend], "profiling")
    return on_queue and not isinstance(step.command, HostCopy)


def _leaves(command: Command) -> Iterator[Command]:
    parts = getattr(command, "parts", None)
    if parts is None:
        yield command
        return
    for part in parts:
        yield from _leaves(part)


def _launches(execution: Execution) -> list[_Launch]:
    found = []
    for step in execution.steps:
        queued = has_queue(execution, step)
        for leaf in _leaves(step.command):
            name = getattr(leaf, "name", type(leaf).__name__)
            event = queued and type(leaf).__name__ != "EmptyCommand"
            found.append(_Launch(step.node.title, name, leaf, event))
    return found


def profile(subject: Subject, runs: int, drain: Callable[[Runtime], None]) -> list[Timeline]:
    """Run `runs` times on queues that record event times, after one run that is not kept."""
    execution = subject.execution
    launches = _launches(execution)
    with ExitStack() as stack:
        for backend in execution.backends.values():
            if hasattr(backend, "profiling"):
                stack.enter_context(backend.profiling())
        timelines = [_traced(launches, subject.runtime, drain) for _ in range(runs + 1)]
    return timelines[1:]


def _traced(
    launches: list[_Launch], runtime: Runtime, drain: Callable[[Runtime], None]
) -> Timeline:
    clock = time.perf_counter_ns
    records: list[tuple[_Launch, int, int, Any]] = []
    drain(runtime)
    started = clock()
    for launch in launches:
        before = clock()
        event = launch.command.enqueue()
        records.append((launch, before, clock(), event))
    enqueued = clock()
    drain(runtime)
    done = clock()
    unfinished = sum(event is not None and not _is_complete(event) for *_, event in records)
    runtime.synchronize()
    spans = [span for record in records if (span := _span(*record)) is not None]
    return Timeline(
        spans=tuple(spans),
        enqueue_ns=enqueued - started,
        synced_ns=done - started,
        launched=sum(launch.gives_event for launch in launches),
        unfinished=unfinished,
    )


def _is_complete(event: Any) -> bool:
    return int(event.command_execution_status) == 0  # CL_COMPLETE


def _span(launch: _Launch, before_ns: int, after_ns: int, event: Any) -> Span | None:
    """None for a device command without a finished event: the invariants report it."""
    if event is not None:
        if not _is_complete(event):
            return None
        p = event.profile
        stamps = (int(p.queued), int(p.submit), int(p.start), int(p.end))
        return Span(launch.title, launch.kernel, DEVICE, *stamps)
    if launch.gives_event:
        return None
    return Span(launch.title, launch.kernel, HOST, before_ns, before_ns, before_ns, after_ns)
