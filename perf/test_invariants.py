"""Every invariant catches its own breach: a table of mutants of one good record, and of times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from perf import invariants
from perf.invariants import CHECKS, MEANING, ROUNDS_NEEDED, is_refuted, violations
from perf.records import Event, Records, Request

pytestmark = pytest.mark.device_free

MS = 1_000_000
"""Far beyond the tolerance, which is 50 us for windows as short as these."""


def event(model: str, request: int, start: float, end: float, *, queued: float = 1.0) -> Event:
    """Of a command on one queue; times in ms after the start of the window."""
    stamps = (round(MS * t) for t in (queued, queued, start, end))
    return Event("queue", model, request, f"Conv {start}", "conv", *stamps)


def request(
    model: str, number: int, stamps: tuple[float, ...], events: tuple[Event, ...]
) -> Request:
    """A request whose due, start, enqueued, done and posted are `stamps`, in ms."""
    times = (round(MS * t) for t in stamps)
    return Request(model, number, *times, launched=len(events), events=events)


A = request("a", 0, (0, 0, 2, 20, 20), (event("a", 0, 2, 5), event("a", 0, 5, 9, queued=1.5)))
B = request("b", 1, (2, 2, 3, 20, 20), (event("b", 1, 9, 15, queued=2.5),))
GOOD = Records(0, 20 * MS, (A, B), earlier=(event("earlier", 0, -5, -1, queued=-6),))


def with_a(**changes: object) -> Records:
    return replace(GOOD, requests=(replace(A, **changes), B))


def with_first(**changes: object) -> Records:
    """Another first event of A."""
    return with_a(events=(replace(A.events[0], **changes), A.events[1]))


def shifted(records: Records, ns: int) -> Records:
    """All events on a clock that is `ns` away from the host's."""

    def moved(e: Event) -> Event:
        names = ("queued_ns", "submit_ns", "start_ns", "end_ns")
        return replace(e, **{name: getattr(e, name) + ns for name in names})

    requests = (replace(r, events=tuple(map(moved, r.events))) for r in records.requests)
    return replace(records, requests=tuple(requests))


MUTANTS: dict[str, tuple[str, Callable[[], Records]]] = {
    "enqueued after it was done": ("I1", lambda: with_a(enqueued_ns=21 * MS)),
    "begun before it was due": ("I1", lambda: with_a(due_ns=1 * MS)),
    "outputs taken before it was done": ("I1", lambda: with_a(posted_ns=19 * MS)),
    "ended before it started": ("I2", lambda: with_first(end_ns=1 * MS)),
    "started before it was submitted": ("I2", lambda: with_first(submit_ns=3 * MS)),
    "queued last": ("I2", lambda: with_first(queued_ns=6 * MS)),
    "an event was lost": ("I3", lambda: with_a(events=A.events[:1])),
    "an event too many": ("I3", lambda: with_a(launched=1)),
    "not ended when it was called done": ("I3", lambda: with_a(unfinished=1)),
    "an event of A is tagged B": ("I3", lambda: with_first(model="b")),
    "an event of another request": ("I3", lambda: with_first(request=1)),
    "one event in two requests": (
        "I3",
        lambda: replace(GOOD, requests=(A, replace(B, events=A.events, launched=2))),
    ),
    "the second starts before the first ended": ("I4", lambda: with_first(end_ns=7 * MS)),
    "the clock stopped before the device": ("I5", lambda: replace(GOOD, done_ns=14 * MS)),
    "an event before the start": ("I5", lambda: replace(GOOD, started_ns=4 * MS)),
    "the driver's clock is taken for another": ("I5", lambda: shifted(GOOD, -300 * MS)),
    "two at once on one queue": ("I5", lambda: with_first(start_ns=5 * MS, end_ns=9 * MS)),
    "a request is done before its work is": ("I7", lambda: with_a(done_ns=8 * MS)),
    "a request begins after its work": ("I7", lambda: with_a(start_ns=4 * MS, due_ns=4 * MS)),
    "the queue was not drained before": (
        "I16",
        lambda: replace(GOOD, earlier=(event("earlier", 0, -5, 3, queued=-6),)),
    ),
}


def test_a_good_record_breaks_nothing() -> None:
    assert violations(GOOD) == []


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_of_the_record_breaks_its_invariant(mutant: str) -> None:
    number, make = MUTANTS[mutant]
    assert any(s.startswith(f"{number}: ") for s in violations(make())), violations(make())


def test_models_make_the_whole_or_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """I6 is true of any intervals: what it guards is the arithmetic of the records."""
    monkeypatch.setattr(Records, "busy_of", lambda self, model: 1)
    assert any(s.startswith("I6: ") for s in violations(GOOD))


def test_every_invariant_of_records_has_a_mutant() -> None:
    assert {number for number, _ in MUTANTS.values()} | {"I6"} == set(CHECKS)
    assert set(CHECKS) < set(MEANING)


# ------------------------------------------------------------- times of different runs
N = ROUNDS_NEEDED
ONE, TWO, THREE, FOUR = ([ms * MS] * N for ms in (1, 2, 3, 4))
EIGHT = [8 * MS] * N

TIMES: dict[str, tuple[str, Callable[[], list[str]], Callable[[], list[str]]]] = {
    "the naive number in the place of the attributed": (
        "I8",
        lambda: invariants.local(ONE, ONE, "b"),
        lambda: invariants.local(ONE, FOUR, "b"),
    ),
    "a model of the chain was left out": (
        "I9",
        lambda: invariants.chained({"a": ONE, "b": THREE}, FOUR, EIGHT),
        lambda: invariants.chained({"a": ONE, "b": THREE}, TWO, EIGHT),
    ),
    "the barrier did not wait": (
        "I9",
        lambda: invariants.chained({"a": ONE}, THREE, FOUR),
        lambda: invariants.chained({"a": ONE}, FOUR, TWO),
    ),
    "the pipeline lost the host's work": (
        "I10",
        lambda: invariants.pipelined(TWO, THREE, FOUR, FOUR, 2),
        lambda: invariants.pipelined(FOUR, TWO, THREE, FOUR, 2),
    ),
    "the pipeline lost items": (
        "I10",
        lambda: invariants.pipelined(TWO, THREE, FOUR, FOUR, 2),
        lambda: invariants.pipelined(TWO, FOUR, THREE, FOUR, 2),
    ),
    "an item's clock starts too late": (
        "I10",
        lambda: invariants.pipelined(FOUR, FOUR, EIGHT, FOUR, 2),
        lambda: invariants.pipelined(FOUR, FOUR, EIGHT, TWO, 2),
    ),
    "the company did nothing": (
        "I11",
        lambda: invariants.in_company({"a": TWO}, {"a": THREE}, {"a": 0.5, "b": 0.5}),
        lambda: invariants.in_company({"a": THREE}, {"a": TWO}, {}),
    ),
    "work was counted for two models": (
        "I11",
        lambda: invariants.in_company({"a": TWO}, {"a": THREE}, {"a": 0.9, "b": 0.1}),
        lambda: invariants.in_company({"a": TWO}, {"a": THREE}, {"a": 0.9, "b": 0.9}),
    ),
    "steady runs compile": (
        "I12",
        lambda: invariants.built_while_steady(0, 0),
        lambda: invariants.built_while_steady(1, 0),
    ),
    "the cache grows while steady": (
        "I12",
        lambda: invariants.built_while_steady(0, 0),
        lambda: invariants.built_while_steady(0, 2),
    ),
    "the first inference was made before the clock": (
        "I12",
        lambda: invariants.warmed(4 * MS, TWO, ONE, caches=True),
        lambda: invariants.warmed(4 * MS, ONE, TWO, caches=True),
    ),
    "the caches were not empty": (
        "I12",
        lambda: invariants.warmed(4 * MS, TWO, ONE, caches=True),
        lambda: invariants.warmed(2 * MS, FOUR, ONE, caches=True),
    ),
    "a shape is compiled again": (
        "I13",
        lambda: invariants.revisited("1x4", 0),
        lambda: invariants.revisited("1x4", 3),
    ),
    "plans are never freed": (
        "I13",
        lambda: invariants.unchanged("memory", 100, 100),
        lambda: invariants.unchanged("memory", 100, 101),
    ),
    "outputs are remembered": (
        "I14",
        lambda: invariants.same_outputs("a", "1", ["1", "1"]),
        lambda: invariants.same_outputs("a", "1", ["1", "2"]),
    ),
    "profiling is slow": (
        "I15",
        lambda: invariants.approximate([100, 200], [105, 900]),
        lambda: invariants.approximate([100, 200], [120, 130]),
    ),
}


@pytest.mark.parametrize("mutant", TIMES)
def test_a_mutant_of_the_times_breaks_its_invariant_and_the_original_none(mutant: str) -> None:
    number, original, broken = TIMES[mutant]
    assert original() == []
    assert [s.partition(":")[0] for s in broken()] == [number]


def test_every_invariant_has_a_mutant() -> None:
    of_times = {number for number, _, _ in TIMES.values()}
    assert {number for number, _ in MUTANTS.values()} | {"I6"} | of_times == set(MEANING)


@pytest.mark.parametrize("rounds", range(N))
def test_one_round_that_fits_saves_a_claim(rounds: int) -> None:
    """A neighbour that is busy in some rounds refutes nothing; nor do too few of them."""
    less = [MS if i == rounds else 3 * MS for i in range(N)]
    assert is_refuted(THREE, TWO)
    assert not is_refuted(less, TWO)
    assert not is_refuted(THREE[: rounds or 1], TWO[: rounds or 1])
    assert not is_refuted([2 * MS + 40_000] * N, TWO), "within the tolerance"
