"""The measuring code itself: intervals, quantiles, invariants on fabricated events, mutants."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import perf.latency
from engine.timeline import DEVICE, HOST, Span, Timeline, union_ns
from perf.foreign import Load, Moment
from perf.latency import Latency, epsilon_ns, measure, violations
from perf.machine import Neighbours
from perf.profiled import Profile
from perf.quantiles import RUNS_NEEDED, Summary, quantile_ns
from perf.stopwatch import Stopwatch


def span(start: int, end: int, *, clock: str = DEVICE, queued: int = 0) -> Span:
    return Span("Relu 'r'", "relu", clock, queued, queued, start, end)


GOOD = Timeline((span(100, 300), span(320, 400)), enqueue_ns=50, synced_ns=500, launched=2)


@pytest.mark.parametrize(
    ("intervals", "length"),
    [
        ([], 0),
        ([(5, 5)], 0),
        ([(0, 10), (20, 30)], 20),
        ([(0, 10), (10, 30)], 30),
        ([(0, 10), (5, 15)], 15),
        ([(0, 100), (10, 20), (90, 110)], 110),
        ([(20, 30), (0, 25)], 30),
        ([(10, 0), (2, 3)], 1),
    ],
)
def test_the_union_counts_every_instant_once(intervals: list[tuple[int, int]], length: int) -> None:
    assert union_ns(intervals) == length


def test_the_union_agrees_with_counting_instants_on_random_intervals() -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        starts = rng.integers(0, 60, rng.integers(0, 8))
        intervals = [(int(s), int(s + rng.integers(0, 20))) for s in starts]
        instants = {t for start, end in intervals for t in range(start, end)}
        assert union_ns(intervals) == len(instants)


def test_a_quantile_is_a_measured_value_at_the_nearest_rank() -> None:
    samples = list(range(1, 101))
    assert [quantile_ns(samples, p) for p in (50, 90, 99)] == [50, 90, 99]
    assert quantile_ns([7], 99) == 7
    assert quantile_ns([1, 100], 50) == 1
    with pytest.raises(ValueError, match="no samples"):
        quantile_ns([], 50)


@pytest.mark.parametrize("percent", RUNS_NEEDED)
def test_a_percentile_is_remarked_on_exactly_below_its_number_of_runs(percent: int) -> None:
    if percent == 95:
        return
    needed = RUNS_NEEDED[percent]
    below, enough = (Summary.of([1] * n).remarks for n in (needed - 1, needed))
    assert any(f"p{percent}:" in remark for remark in below)
    assert not any(f"p{percent}:" in remark for remark in enough)
    assert Summary.of([5, 3, 4]).min_ns == 3
    assert Summary.of([1] * 661).p99_ns is None
    assert Summary.of([1] * 662).p99_ns == 1


def test_the_parts_of_a_latency_add_up() -> None:
    assert (GOOD.busy_ns, GOOD.gaps_ns, GOOD.outside_ns, GOOD.sum_ns) == (280, 20, 200, 280)
    assert GOOD.busy_ns + GOOD.gaps_ns + GOOD.outside_ns == GOOD.synced_ns
    assert GOOD.violations(0) == []


def test_host_work_is_not_device_busy() -> None:
    mixed = replace(GOOD, spans=(*GOOD.spans, span(0, 90, clock=HOST)))
    assert (mixed.busy_ns, mixed.host_busy_ns) == (280, 90)
    assert mixed.violations(0) == []


@pytest.mark.parametrize(
    ("run", "invariant"),
    [
        (replace(GOOD, enqueue_ns=501), "I1"),
        (replace(GOOD, spans=(span(100, 90), span(320, 400))), "I2"),
        (replace(GOOD, spans=(span(100, 300, queued=101), span(320, 400))), "I2"),
        (replace(GOOD, spans=(span(0, 0), span(320, 400))), "I2"),
        (replace(GOOD, spans=GOOD.spans[:1]), "I3"),
        (replace(GOOD, launched=1), "I3"),
        (replace(GOOD, spans=GOOD.spans[:1], unfinished=1), "I3"),
        (replace(GOOD, spans=(span(100, 300), span(299, 400))), "I4"),
        (replace(GOOD, spans=tuple(reversed(GOOD.spans))), "I4"),
        (replace(GOOD, spans=(span(100, 300), span(320, 700))), "I5"),
    ],
)
def test_a_broken_invariant_is_named(run: Timeline, invariant: str) -> None:
    assert any(v.startswith(invariant) for v in run.violations(0)), run.violations(0)


def test_overlap_is_legal_on_two_queues_but_not_beyond_their_number() -> None:
    two = replace(GOOD, spans=(span(100, 300), span(100, 300)), queues=2)
    assert two.violations(0) == []
    three = replace(two, spans=(*two.spans, span(100, 300)), launched=3)
    assert any(v.startswith("I5: sum") for v in three.violations(0))


QUIET = Load(worked_ns=100_000_000, waited_ns=0, stolen_share=0.0, processors=2)


def test_a_latency_far_below_device_busy_is_invalid() -> None:
    busy = 50_000_000
    observed = [Timeline((span(0, busy),), 1, busy + 10, 1)]
    assert violations([(1, busy)], observed, [QUIET]) == []
    short = violations([(1, busy * 2 // 5)], observed, [QUIET])
    assert any("before the device was done" in v for v in short), "a factor of 2.5"


@pytest.mark.parametrize(
    ("load", "undisturbed_ms"),
    [
        (QUIET, 50),
        (replace(QUIET, worked_ns=0), 50),
        (replace(QUIET, worked_ns=0, waited_ns=30_000_000), 20),
        (replace(QUIET, worked_ns=90_000_000, waited_ns=30_000_000), 45),
        (replace(QUIET, worked_ns=0, waited_ns=90_000_000), 0),
        (replace(QUIET, stolen_share=0.5), 25),
        (replace(QUIET, waited_ns=None), 50),
    ],
)
def test_busy_is_believed_as_far_as_waiting_and_work_explain_it(
    load: Load, undisturbed_ms: int
) -> None:
    assert load.undisturbed_ns(50_000_000) == undisturbed_ms * 1_000_000


def test_a_busy_neighbour_of_the_profiled_pass_makes_no_latency_invalid() -> None:
    """Twelve threads waited for 20 ms each, of which a quarter stretched a device work of 20 ms."""
    busy = 80_000_000
    load = Load(worked_ns=40_000_000, waited_ns=240_000_000, stolen_share=0.0, processors=2)
    observed = [Timeline((span(0, busy),), 1, busy + 10, 1)]
    assert violations([(1, 20_000_000)], observed, [load]) == []
    assert violations([(1, 20_000_000)], observed, [replace(load, waited_ns=0)])
    assert violations([(1, 2_000_000)], observed, [load]), "the work itself takes no less"
    assert violations([(1, 21_000_000)], observed, [replace(load, waited_ns=None)]) == []


def test_waiting_for_a_processor_is_counted_and_is_not_work() -> None:
    """Three threads on one processor: what they do not work of the time they wait."""
    here = os.sched_getaffinity(0)
    burn = "while True: pass"
    os.sched_setaffinity(0, {min(here)})
    rivals = [subprocess.Popen([sys.executable, "-c", burn]) for _ in range(2)]
    try:
        before = Moment.now()
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass
        load = Load.between(before, Moment.now())
    finally:
        os.sched_setaffinity(0, here)
        for rival in rivals:
            rival.kill()
            rival.wait()
    assert load.waited_ns is not None
    assert load.waited_ns > 10_000_000
    assert load.undisturbed_ns(load.waited_ns + 50_000_000) < 80_000_000


def test_the_tolerance_is_one_percent_but_at_least_fifty_microseconds() -> None:
    assert epsilon_ns(0) == 50_000
    assert epsilon_ns(100_000_000) == 1_000_000


def test_exclusive_sections_add_up_to_the_whole() -> None:
    watch = Stopwatch()
    with watch.section("outer"), watch.section("inner"):
        total = sum(range(200_000))
    assert total
    assert watch.sections_ns["inner"] > watch.sections_ns["outer"] >= 0


class FakeLaunch:
    """A command of a fake device, 10 ns on a clock that all launches share; `lost`: no event."""

    now_ns = 0
    name = "kernel"

    def __init__(self, *, lost: bool = False, status: int = 0) -> None:
        self.lost, self.status = lost, status

    def enqueue(self) -> SimpleNamespace | None:
        at = FakeLaunch.now_ns = FakeLaunch.now_ns + 10
        stamps = SimpleNamespace(queued=at, submit=at, start=at, end=at + 10)
        event = SimpleNamespace(command_execution_status=self.status, profile=stamps)
        return None if self.lost else event


class EmptyCommand:
    """Stands for the backend's command over no elements."""

    def enqueue(self) -> None:
        return None


class FakeSession:
    """A session on a device whose work takes `work_ns` of a fake clock after it was enqueued."""

    def __init__(self, work_ns: int) -> None:
        self.work_ns, self.now_ns, self.pending_ns = work_ns, 0, 0
        self.runtime = self
        self.execution = self
        self.backends = {"opencl": self}
        self.steps: list[SimpleNamespace] = []
        self.info = self
        self.platform = self.name = self.memory = "fake"

    def give(self, *commands: object) -> None:
        node = SimpleNamespace(op_type="Relu", title="Relu 'r'")
        for command in commands:
            self.steps.append(SimpleNamespace(node=node, backend="opencl", command=command))

    def profiling(self) -> AbstractContextManager[None]:
        return nullcontext()

    def run(self, feeds: object = None) -> None:
        self.now_ns += 1_000
        self.pending_ns += self.work_ns

    def synchronize(self) -> None:
        self.now_ns += self.pending_ns
        self.pending_ns = 0


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeSession:
    session = FakeSession(work_ns=70_000)
    monkeypatch.setattr(time, "perf_counter_ns", lambda: session.now_ns)
    return session


def test_synced_is_the_work_and_enqueue_is_not(fake: FakeSession) -> None:
    fake.run()  # somebody else's work before the clock starts
    latency = measure(fake, runs=3, warmup=0, profiled_runs=0)  # type: ignore[arg-type]
    assert latency.enqueue_ns == (1_000,) * 3
    assert latency.synced_ns == (71_000,) * 3


def test_without_the_final_drain_the_number_is_wrong(
    fake: FakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(perf.latency, "drain", lambda runtime: None)
    latency = measure(fake, runs=3, warmup=0, profiled_runs=0)  # type: ignore[arg-type]
    assert latency.synced_ns == (1_000,) * 3


def test_a_latency_survives_json(fake: FakeSession) -> None:
    latency = measure(fake, runs=3, profiled_runs=0)  # type: ignore[arg-type]
    assert Latency.from_json(json.loads(json.dumps(latency.to_json()))) == latency


def fabricated(
    enqueue_ms: list[float],
    synced_ms: list[float],
    busy_ms: list[float],
    *,
    asynchronous: bool = True,
) -> Latency:
    """A latency of these times, which nobody measured."""
    enqueue, synced, busy = (
        tuple(round(1e6 * t) for t in times) for times in (enqueue_ms, synced_ms, busy_ms)
    )
    nothing = (0,) * len(busy)
    profile = Profile(nothing, busy, busy, busy, nothing, nothing, busy, ())
    return Latency("fake", asynchronous, enqueue, synced, 0, profile, (), ("a note",))


CONSISTENT = fabricated([1, 1, 1], [25.1, 25.5, 30], [24, 24.5, 25])


@pytest.mark.parametrize(
    ("latency", "words"),
    [
        (CONSISTENT, []),
        (fabricated([1, 1, 1], [25.1, 25.5, 30], [29, 31, 32]), []),
        (
            fabricated([1, 1, 1], [25.1, 25.5, 30], [40, 41.8, 44]),
            ["device busy 41.8 ms exceeds synced 25.5 ms", "trust synced"],
        ),
        (
            fabricated([26, 26, 26], [25.1, 25.5, 30], [1]),
            ["enqueue 26.0 ms exceeds synced 25.5 ms", "believe neither"],
        ),
        (fabricated([1], [25.5], [41.8], asynchronous=False), []),
    ],
)
def test_times_that_contradict_each_other_beyond_their_spread_are_marked(
    latency: Latency, words: list[str]
) -> None:
    assert len(latency.contradictions) == (1 if words else 0)
    assert all(word in latency.contradictions[0] for word in words)


def test_every_part_of_a_composite_command_is_harvested_and_empty_ones_need_no_event(
    fake: FakeSession,
) -> None:
    inner = SimpleNamespace(parts=(FakeLaunch(), FakeLaunch()))
    fake.give(FakeLaunch(), SimpleNamespace(parts=(FakeLaunch(), inner)), EmptyCommand())
    latency = measure(fake, runs=3, profiled_runs=2)  # type: ignore[arg-type]
    assert latency.invalid == ()
    assert latency.profile is not None
    assert [s.clock for s in latency.profile.spans] == [DEVICE] * 4 + [HOST]
    assert latency.profile.busy_ns == (40, 40)


@pytest.mark.parametrize(
    ("launch", "reason"),
    [
        (FakeLaunch(lost=True), "2 device commands gave 1 events"),
        (FakeLaunch(status=1), "1 commands had not ended when the clock stopped"),
    ],
)
def test_a_command_without_a_finished_event_is_reported(
    fake: FakeSession, launch: FakeLaunch, reason: str
) -> None:
    fake.give(FakeLaunch(), launch)
    latency = measure(fake, runs=3, profiled_runs=1)  # type: ignore[arg-type]
    assert any(reason in sentence for sentence in latency.invalid)


def test_the_work_of_children_is_not_foreign() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    neighbours = Neighbours()
    before = neighbours.read()
    child = subprocess.Popen(
        [sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        alive = neighbours.read()
        child.communicate(b"\n")
    ended = neighbours.read()
    assert alive[2] - before[2] >= 0.25
    assert ended[2] - before[2] >= 0.25
    assert 0.0 <= neighbours.foreign_share() <= 1.0
