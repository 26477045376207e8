"""The profiled pass: run the commands of a session one by one and harvest their events."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engine.execution.recorder import Recorder, profiling
from engine.runtime import Runtime
from engine.timeline import Span, Timeline
from perf.foreign import Load, Moment
from perf.quantiles import quantile_ns
from perf.subject import Subject


@dataclass(frozen=True)
class Profile:
    """The profiled runs, one entry of each tuple per run, and the spans of the median run.

    busy + gaps + outside = synced: device at work, device idle between its commands, and the host
    before the first START and after the last END.

    Attributes:
        loads: what else the machine did during each of them.
    """

    enqueue_ns: tuple[int, ...]
    synced_ns: tuple[int, ...]
    busy_ns: tuple[int, ...]
    host_busy_ns: tuple[int, ...]
    gaps_ns: tuple[int, ...]
    outside_ns: tuple[int, ...]
    sum_ns: tuple[int, ...]
    spans: tuple[Span, ...]
    loads: tuple[Load, ...] = ()

    @classmethod
    def of(cls, runs: Sequence[Timeline], loads: Sequence[Load] = ()) -> Profile:
        """Collect the runs."""
        middle = sorted(runs, key=lambda run: run.synced_ns)[(len(runs) - 1) // 2]
        names = [name for name in cls.__dataclass_fields__ if name.endswith("_ns")]
        columns = {name: tuple(getattr(run, name) for run in runs) for name in names}
        return cls(**columns, spans=middle.spans, loads=tuple(loads))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Profile:
        """The inverse of `dataclasses.asdict`."""
        fields = {k: tuple(v) for k, v in data.items()}
        fields["spans"] = tuple(Span(**span) for span in data["spans"])
        fields["loads"] = tuple(Load(**load) for load in data["loads"])
        return cls(**fields)

    def median_ns(self, name: str) -> int:
        """p50 of `busy`, `gaps`, `outside`, `synced`... over the profiled runs."""
        return quantile_ns(getattr(self, f"{name}_ns"), 50)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def profile(
    subject: Subject, runs: int, drain: Callable[[Runtime], None]
) -> tuple[list[Timeline], list[Load]]:
    """Run `runs` times on queues that record event times, after one run that is not kept.

    Returns:
        What the device did in each run, and what the machine did besides.
    """
    timelines, loads = [], []
    with profiling(subject.execution.backends.values()):
        for _ in range(runs + 1):
            before = Moment.now()
            timelines.append(_traced(subject, drain))
            loads.append(Load.between(before, Moment.now()))
    return timelines[1:], loads[1:]


def _traced(subject: Subject, drain: Callable[[Runtime], None]) -> Timeline:
    clock, steps = time.perf_counter_ns, subject.execution.steps
    recorder = Recorder(subject.execution.backends)
    drain(subject.runtime)
    started = clock()
    for step in steps:
        recorder(step)
    enqueued = clock()
    drain(subject.runtime)
    done = clock()
    unfinished = recorder.unfinished
    subject.runtime.synchronize()
    return recorder.timeline(
        started_ns=started, enqueued_ns=enqueued, done_ns=done, unfinished=unfinished
    )
