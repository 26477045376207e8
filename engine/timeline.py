"""Timeline: what the device did during one run, as intervals, and what must hold for them.

The invariants I2 to I5 are those of every OpenCL event record: the specification orders QUEUED,
SUBMIT, START and END (https://registry.khronos.org/OpenCL/specs/3.0-unified/html/OpenCL_API.html,
clGetEventProfilingInfo), and an in-order queue starts a command after the one before has ended.
Intervals of different queues may overlap, so busy time is the length of their union, never a sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

HOST, DEVICE = "host", "device"


@dataclass(frozen=True)
class Span:
    """One command of one run; stamps in ns of `clock` ("device": the driver's, "host": ours).

    On the host there is no queue: queued, submit and start are the same stamp.

    Attributes:
        called_ns, returned_ns: when the host called and came back from `enqueue`, in ns of its
            clock (`time.perf_counter_ns`), whatever `clock` is.
    """

    title: str
    kernel: str
    clock: str
    queued_ns: int
    submit_ns: int
    start_ns: int
    end_ns: int
    called_ns: int = 0
    returned_ns: int = 0

    @property
    def duration_ns(self) -> int:
        """START to END."""
        return self.end_ns - self.start_ns


def union_ns(intervals: Iterable[tuple[int, int]]) -> int:
    """Length of the union of [start, end] intervals; empty and reversed ones add nothing."""
    total, reach = 0, None
    for start, end in sorted(intervals):
        if reach is not None and start < reach:
            start = reach
        if end > start:
            total += end - start
            reach = end
    return total


@dataclass(frozen=True)
class Timeline:
    """The spans of one run between a drained start and a drained end.

    Attributes:
        synced_ns: the host's latency of this (profiled) run; enqueue_ns: until the last enqueue.
        launched: how many device commands were enqueued, counted apart from the events.
        unfinished: events that were not COMPLETE when the clock stopped.
        queues: in-order queues the device spans come from.
        started_ns: of the host's clock, where the run began.
    """

    spans: tuple[Span, ...]
    enqueue_ns: int
    synced_ns: int
    launched: int
    unfinished: int = 0
    queues: int = 1
    started_ns: int = 0

    def _of(self, clock: str) -> list[Span]:
        return [span for span in self.spans if span.clock == clock]

    @property
    def busy_ns(self) -> int:
        """Device busy: the union of [START, END]."""
        return union_ns((s.start_ns, s.end_ns) for s in self._of(DEVICE))

    @property
    def host_busy_ns(self) -> int:
        """The same of commands that computed or copied on the host."""
        return union_ns((s.start_ns, s.end_ns) for s in self._of(HOST))

    @property
    def sum_ns(self) -> int:
        """The sum of START to END; sum / busy is the concurrency."""
        return sum(s.duration_ns for s in self._of(DEVICE))

    @property
    def window_ns(self) -> int:
        """From the first START to the last END."""
        spans = self._of(DEVICE)
        if not spans:
            return 0
        return max(s.end_ns for s in spans) - min(s.start_ns for s in spans)

    @property
    def gaps_ns(self) -> int:
        """Idle time of the device inside the window."""
        return self.window_ns - self.busy_ns

    @property
    def outside_ns(self) -> int:
        """The rest of the latency: before the first START and after the last END.

        busy + gaps + outside = synced, so the parts of a latency always add up.
        """
        return self.synced_ns - self.window_ns

    def violations(self, epsilon_ns: int) -> list[str]:
        """One sentence for each broken invariant."""
        return [
            *_ordered_host(self),
            *_ordered_stamps(self._of(DEVICE)),
            *_one_event_each(self),
            *(_in_order(self._of(DEVICE), epsilon_ns) if self.queues == 1 else []),
            *_fits(self, epsilon_ns),
        ]


def _ordered_host(run: Timeline) -> list[str]:
    if 0 <= run.enqueue_ns <= run.synced_ns:
        return []
    return [f"I1: enqueue {run.enqueue_ns} ns is not within [0, synced {run.synced_ns} ns]"]


def _ordered_stamps(spans: Sequence[Span]) -> list[str]:
    return [
        f"I2: clock skew at {s.title} {s.kernel}: queued {s.queued_ns}, submit {s.submit_ns}, "
        f"start {s.start_ns}, end {s.end_ns} are not in this order"
        for s in spans
        if not s.queued_ns <= s.submit_ns <= s.start_ns <= s.end_ns or s.end_ns == 0
    ]


def _one_event_each(run: Timeline) -> list[str]:
    seen = sum(s.clock == DEVICE for s in run.spans)
    found = []
    if seen + run.unfinished != run.launched:
        found.append(f"I3: {run.launched} device commands gave {seen + run.unfinished} events")
    if run.unfinished:
        found.append(f"I3: {run.unfinished} commands had not ended when the clock stopped")
    return found


def _in_order(spans: Sequence[Span], epsilon_ns: int) -> list[str]:
    return [
        f"I4: {after.title} started {before.end_ns - after.start_ns} ns before "
        f"{before.title} had ended on an in-order queue"
        for before, after in pairwise(spans)
        if after.start_ns < before.end_ns - epsilon_ns
    ]


def _fits(run: Timeline, epsilon_ns: int) -> list[str]:
    limit = run.synced_ns + epsilon_ns
    found = []
    if run.window_ns > limit:
        found.append(
            f"I5: the device worked for {run.window_ns} ns, longer than synced {run.synced_ns} ns"
        )
    if run.sum_ns > run.queues * run.busy_ns + epsilon_ns:
        found.append(f"I5: sum {run.sum_ns} ns exceeds {run.queues} x busy {run.busy_ns} ns")
    return found
