"""Latency: the clock starts on drained queues and stops after a forced synchronisation.

`measure` is the only way to a number that Parallax calls latency. Per run, on one host clock:
drain every queue of the runtime, t0, `session.run()`, t_enqueued, drain every queue, t_done.
`synced` is t_done - t0; `enqueue` is t_enqueued - t0, and says nothing about the device.
A second, profiled pass (`perf.profiled`) says what the device did in that time.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from conformance.figures import milliseconds
from engine.execution.recorder import has_queue
from engine.runtime import Runtime
from engine.timeline import DEVICE, Timeline
from perf.foreign import Load, slowdown_max, undisturbed_ns
from perf.profiled import Profile, profile
from perf.quantiles import Summary, quantile_ns
from perf.subject import Subject, drain

PROFILED_RATIO_MAX = 1.10
"""Above it profiling disturbs what it observes (I15): the attribution is called approximate."""
WARMUP = 3
"""Untimed runs before the timed ones."""
BLOCKING_SHARE = 0.8
"""Enqueueing that takes this share of synced is not asynchronous in effect (trtexec's warning)."""


@dataclass(frozen=True)
class Latency:
    """Latencies of one session; every time is an integer number of ns of `time.perf_counter_ns`.

    Attributes:
        asynchronous: False on the CPU backend, where `run` returns when the work is done, so that
            enqueue and synced are the same thing.
        floor_ns: median cost of draining idle queues; included in every synced latency.
        invalid: a sentence for each broken invariant; such a measurement must not be believed.
        notes: what a reader of the numbers must know.
    """

    device: str
    asynchronous: bool
    enqueue_ns: tuple[int, ...]
    synced_ns: tuple[int, ...]
    floor_ns: int
    profile: Profile | None
    invalid: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def enqueue(self) -> Summary:
        """Quantiles of the time until `run` returned."""
        return Summary.of(self.enqueue_ns)

    @property
    def synced(self) -> Summary:
        """Quantiles of the latency."""
        return Summary.of(self.synced_ns)

    @property
    def contradictions(self) -> tuple[str, ...]:
        """A sentence for each pair of times that cannot both be true of one run."""
        return tuple(self._contradictions())

    def _contradictions(self) -> Iterator[str]:
        synced, profile = self.synced, self.profile
        if self.enqueue.p50_ns > synced.p50_ns:
            yield (
                f"enqueue {_ms(self.enqueue.p50_ns)} exceeds synced {_ms(synced.p50_ns)}, of which "
                "it is a part: the clock went wrong, believe neither"
            )
        if profile is None or not self.asynchronous:
            return
        if min(profile.busy_ns) > synced.p90_ns:
            yield (
                f"device busy {_ms(profile.median_ns('busy'))} exceeds synced "
                f"{_ms(synced.p50_ns)}: they are of different runs (profiled and timed), and in "
                "the profiled ones the machine was busier or profiling slowed it; trust synced"
            )

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and ints; summaries are included for readers."""
        return {
            **asdict(self),
            "summary": {"enqueue": asdict(self.enqueue), "synced": asdict(self.synced)},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Latency:
        """The inverse of `to_json`."""
        fields = {k: v for k, v in data.items() if k != "summary"}
        for name in ("enqueue_ns", "synced_ns", "invalid", "notes"):
            fields[name] = tuple(fields[name])
        fields["profile"] = Profile.from_json(fields["profile"]) if fields["profile"] else None
        return cls(**fields)


@contextmanager
def quiet_gc() -> Iterator[None]:
    """No garbage collection inside."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def epsilon_ns(synced_ns: int) -> int:
    """Tolerance of the invariants: 2 clock ticks, 1 % or 50 us, whichever is the largest."""
    tick_ns = int(time.get_clock_info("perf_counter").resolution * 1e9)
    return max(2 * tick_ns, synced_ns // 100, 50_000)


def timed_run(subject: Subject) -> tuple[int, int]:
    """One inference from drained queues to drained queues: (enqueue ns, synced ns)."""
    clock, run, runtime = time.perf_counter_ns, subject.run, subject.runtime
    drain(runtime)
    started = clock()
    run()
    enqueued = clock()
    drain(runtime)
    done = clock()
    return enqueued - started, done - started


def measure(
    subject: Subject,
    *,
    runs: int = 64,
    feeds: Mapping[str, Any] | None = None,
    warmup: int = WARMUP,
    profiled_runs: int = 5,
) -> Latency:
    """Time `runs` inferences of a session that has its shapes.

    Args:
        feeds: written once, before the clock; None times what the inputs hold.
        warmup: untimed runs first.
        profiled_runs: runs of the separate pass that harvests events; 0 leaves it out.
    """
    if runs < 1:
        raise ValueError(f"runs={runs}: expected at least 1")
    if feeds is not None:
        subject.run(feeds)
    with quiet_gc():
        for _ in range(warmup):
            timed_run(subject)
        floor_ns = _floor_ns(subject.runtime)
        pairs = [timed_run(subject) for _ in range(runs)]
        observed, loads = profile(subject, profiled_runs, drain) if profiled_runs else ([], [])
    enqueue_ns, synced_ns = (tuple(pair[i] for pair in pairs) for i in (0, 1))
    execution = subject.execution
    primary = next(iter(execution.backends.values()))
    asynchronous = any(has_queue(execution.backends, step) for step in execution.steps)
    return Latency(
        device=f"{primary.info.platform} / {primary.info.name}",
        asynchronous=asynchronous,
        enqueue_ns=enqueue_ns,
        synced_ns=synced_ns,
        floor_ns=floor_ns,
        profile=Profile.of(observed, loads) if observed else None,
        invalid=tuple(violations(pairs, observed, loads)),
        notes=tuple(_notes(enqueue_ns, synced_ns, asynchronous, observed)),
    )


def _floor_ns(runtime: Runtime) -> int:
    costs_ns = []
    for _ in range(11):
        before = time.perf_counter_ns()
        runtime.synchronize()
        costs_ns.append(time.perf_counter_ns() - before)
    return quantile_ns(costs_ns, 50)


def violations(
    pairs: Sequence[tuple[int, int]], observed: Sequence[Timeline], loads: Sequence[Load]
) -> list[str]:
    """One sentence for each invariant (I1 to I5) that the timed or the profiled runs break.

    Args:
        pairs: enqueue and synced of each timed run. loads: of each of the profiled runs.
    """
    found = [
        f"I1: run {i}: enqueue {enqueue} ns is not within [0, synced {synced} ns]"
        for i, (enqueue, synced) in enumerate(pairs)
        if not 0 <= enqueue <= synced
    ]
    for i, run in enumerate(observed):
        found += [f"profiled run {i}: {v}" for v in run.violations(epsilon_ns(run.synced_ns))]
    if observed:
        busy_ns = [run.busy_ns for run in observed]
        found += stopped_too_early([pair[1] for pair in pairs], busy_ns, loads)
    return found


def stopped_too_early(
    synced_ns: Sequence[int], busy_ns: Sequence[int], loads: Sequence[Load]
) -> list[str]:
    """I5 of two passes: the timed runs, and what the device did in profiled ones."""
    synced, busy = quantile_ns(synced_ns, 50), undisturbed_ns(busy_ns, loads)
    if synced + epsilon_ns(synced) >= busy // slowdown_max(loads):
        return []
    return [
        f"I5: synced p50 {synced} ns is far less than {busy} ns, for which the device was at work, "
        "waiting for other programs not counted: the clock stopped before the device was done"
    ]


def _ms(nanoseconds: int) -> str:
    return f"{milliseconds(nanoseconds)} ms"


def _notes(
    enqueue_ns: tuple[int, ...],
    synced_ns: tuple[int, ...],
    asynchronous: bool,
    observed: list[Timeline],
) -> Iterator[str]:
    if not asynchronous:
        yield "no queue: run() returns when the work is done, enqueue equals synced by nature"
    synced = quantile_ns(synced_ns, 50)
    if asynchronous and quantile_ns(enqueue_ns, 50) > BLOCKING_SHARE * synced:
        yield "enqueue takes most of synced: the host, not the device, bounds this session"
    if any(span.clock == DEVICE for run in observed for span in run.spans):
        ratio = quantile_ns([run.synced_ns for run in observed], 50) / max(synced, 1)
        if ratio > PROFILED_RATIO_MAX:
            yield f"profiling slowed the run by {ratio:.2f}x: device times are approximate"
