"""Scenarios on real devices: models that share one runtime, and mutants of what measures them.

Each scenario is a benchmark of one round and one iteration, whose timer drains the shared runtime:
pytest-benchmark stores what it took, `extra_info` what it found. Devices: as in `test_latency`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

import perf.records
from engine.runtime import Runtime
from engine.session import Session
from fixtures.models.corpus import by_name
from perf.candidates import Candidate
from perf.device_clock import OWN, DeviceClock
from perf.hand_built import schedule
from perf.invariants import violations
from perf.records import Records, Tape
from perf.scenarios import SCENARIOS, Model, Outcome, Tenancy, cold, open_tenancy, play
from perf.scenarios import contention as contention_module
from perf.scenarios.tenants import recorded

DEVICES = os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",")
OPENCL_DEVICES = [device for device in DEVICES if device != "cpu"]
HEAVY, LIGHT = "tiny_resnet", "tiny_mlp_opset7"
ROUNDS = 11
"""Enough for a median and for every comparison of rounds."""
FEWER = {"sizes": 3, "pipeline": 7}
"""Of scenarios whose rounds are long: enough for their invariants."""

RUNTIME = Runtime()
"""Shared by the models of this module, on every device."""


def synced_timer() -> float:
    """Seconds, after every queue of the shared runtime is idle."""
    RUNTIME.synchronize()
    return time.perf_counter()


@pytest.fixture(scope="module")
def tenancies() -> Iterator[dict[str, Tenancy]]:
    """A heavy and a light model on each device."""
    models = [Model(by_name(n).path, n, by_name(n).feeds(seed=0)) for n in (HEAVY, LIGHT)]
    with ExitStack() as stack:
        stack.callback(RUNTIME.close)
        yield {
            device: stack.enter_context(
                open_tenancy(models, schedule(device), Candidate(device), RUNTIME)
            )
            for device in DEVICES
        }


@pytest.mark.benchmark(timer=synced_timer)
@pytest.mark.parametrize("name", [s.name for s in SCENARIOS.values() if s.here])
@pytest.mark.parametrize("device", DEVICES)
def test_a_scenario_breaks_no_invariant(
    benchmark: Any, tenancies: dict[str, Tenancy], device: str, name: str
) -> None:
    assert benchmark.enabled, "latency cannot be tested with --benchmark-disable or under xdist"
    scenario, tenancy = SCENARIOS[name], tenancies[device]
    outcome = benchmark.pedantic(
        scenario.play, (tenancy, FEWER.get(name, ROUNDS)), rounds=1, iterations=1
    )
    found = outcome.to_json()
    benchmark.extra_info["figures"] = found["figures"]
    assert outcome.invalid == ()
    assert all(times for times in outcome.times.values())
    for tenant in tenancy.tenants:
        assert any(tenant.name in key for key in outcome.times)
    expected = {number for number in scenario.invariants if number in ("I7", "I16")}
    assert (outcome.records is not None) == bool(expected)


def figure(outcome: Outcome, name: str) -> float:
    (value,) = (f.value for f in outcome.figures if f.name == name)
    assert value is not None
    return value


@pytest.mark.parametrize("device", OPENCL_DEVICES)
def test_the_naive_clock_blames_the_last_model_and_events_do_not(
    tenancies: dict[str, Tenancy], device: str
) -> None:
    outcome = SCENARIOS["chain"].play(tenancies[device], ROUNDS)
    naive, own = (figure(outcome, f"{LIGHT}: {how} share") for how in ("naive", "attributed"))
    assert own < 0.2
    assert naive > 2 * own


def test_percentiles_are_given_only_with_enough_samples() -> None:
    few, enough = Outcome("x", {"t": (5,) * 63}), Outcome("x", {"t": (5,) * 64})
    assert few.to_json()["times"]["t"]["p90_ns"] is None
    assert few.to_json()["times"]["t"]["p50_ns"] == 5
    assert enough.to_json()["times"]["t"]["p90_ns"] == 5
    invalid = replace(enough, invalid=("I1: no",)).to_json()["times"]["t"]
    assert list(invalid) == ["ns"]


@pytest.mark.parametrize("device", DEVICES)
def test_the_most_memory_is_found_in_a_pass_that_nobody_times(
    tenancies: dict[str, Tenancy], device: str
) -> None:
    tenancy = tenancies[device]
    held = tenancy.runtime.live().nbytes
    calls: list[int] = []
    sizes = SCENARIOS["sizes"]

    def counted(tenancy: Tenancy, rounds: int) -> Outcome:
        calls.append(rounds)
        return sizes.play(tenancy, rounds)

    outcome = play(replace(sizes, play=counted), tenancy, 3)
    assert calls == [3, 1]
    assert all(f.value is None for f in outcome.figures), "three rounds make no median"
    assert outcome.memory.device_nbytes is not None
    assert outcome.memory.device_nbytes > held, "larger inputs need more than what is held"
    assert outcome.memory.host_nbytes is None or outcome.memory.host_nbytes > held


# ------------------------------------------------------------------------- the clock
@pytest.mark.parametrize("device", OPENCL_DEVICES)
def test_the_clock_of_a_processors_driver_is_one_of_the_system(
    tenancies: dict[str, Tenancy], device: str
) -> None:
    ((window,),) = recorded(tenancies[device], [tenancies[device].tenants], 1)
    ((_, clock),) = window.records.clocks
    assert clock.name != OWN
    assert 0 <= clock.uncertainty_ns < 1_000_000
    platform = tenancies[device].runtime.backends[0].device.platform
    if "Portable" in platform:
        assert clock.name == "CLOCK_MONOTONIC_RAW"


# ------------------------------------------------------------------------- mutants, live
def window_of(tenancy: Tenancy) -> Records:
    ((window,),) = recorded(tenancy, [tenancy.tenants], 1)
    return window.records


def numbers(records: Records) -> set[str]:
    return {sentence.partition(":")[0] for sentence in violations(records)}


@pytest.mark.parametrize("device", OPENCL_DEVICES)
def test_without_the_last_drain_the_record_is_invalid(
    tenancies: dict[str, Tenancy], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, calls = perf.records.drain, iter(range(10**6))
    monkeypatch.setattr(perf.records, "drain", lambda runtime: next(calls) % 2 or honest(runtime))
    broken: set[str] = set()
    for _ in range(5):
        broken |= numbers(window_of(tenancies[device]))
    assert "I3" in broken


@pytest.mark.parametrize("device", OPENCL_DEVICES)
def test_without_the_first_drain_the_planted_work_is_seen(
    tenancies: dict[str, Tenancy], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, calls = perf.records.drain, iter(range(10**6))
    monkeypatch.setattr(
        perf.records, "drain", lambda runtime: None if next(calls) % 2 == 0 else honest(runtime)
    )
    monkeypatch.setattr(Tape, "plant", _plant_thrice)
    broken: set[str] = set()
    for _ in range(5):
        broken |= numbers(window_of(tenancies[device]))
    assert "I16" in broken


def _plant_thrice(self: Tape, sessions: Any) -> None:
    """As much that some of it still runs when the window begins."""
    self._planted += [
        perf.records.Begun("earlier", i, session)
        for i, session in enumerate([*sessions, *sessions] * 3)
    ]
    for begun in self._planted:
        begun.enqueue()


@pytest.mark.parametrize("device", OPENCL_DEVICES)
def test_another_clock_than_the_drivers_makes_the_record_invalid(
    tenancies: dict[str, Tenancy], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = DeviceClock("CLOCK_MONOTONIC_RAW", time.perf_counter_ns() // 2, 0)
    monkeypatch.setattr(DeviceClock, "of", lambda spans: wrong)
    assert {"I5", "I7"} <= numbers(window_of(tenancies[device]))


@pytest.mark.parametrize("device", OPENCL_DEVICES)
def test_events_booked_to_the_wrong_model_make_the_record_invalid(
    tenancies: dict[str, Tenancy], device: str
) -> None:
    records = window_of(tenancies[device])
    first, second = records.requests
    swapped = (replace(first, events=second.events), replace(second, events=first.events))
    assert "I3" in numbers(replace(records, requests=swapped))
    assert numbers(records) == set()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["contention", "soak", "pipeline"])
def test_remembered_outputs_make_a_scenario_invalid(
    tenancies: dict[str, Tenancy], device: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that computes nothing after its first inputs is the fastest of all."""
    tenancy = tenancies[device]
    honest, fed = Session.run, set()

    def forgetful(self: Session, feeds: Any = None, **options: Any) -> None:
        again = feeds if id(self) not in fed else None
        fed.add(id(self))
        honest(self, again, **options)

    monkeypatch.setattr(Session, "run", forgetful)
    monkeypatch.setattr(contention_module, "TURNS", 1)
    monkeypatch.setattr(contention_module, "LEAST", 1)
    monkeypatch.setattr(contention_module, "WARMUP", 1)
    broken: set[str] = set()
    for _ in range(4):
        outcome = SCENARIOS[name].play(tenancy, 1)
        broken |= {sentence.partition(":")[0] for sentence in outcome.invalid}
    assert "I14" in broken


def test_a_cold_start_is_taken_apart_in_fresh_processes(
    tenancies: dict[str, Tenancy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cold, "WARM", 1)
    tenancy = replace(tenancies["cpu"], tenants=tenancies["cpu"].tenants[1:])
    outcome = SCENARIOS["cold"].play(tenancy, ROUNDS)
    assert outcome.invalid == ()
    stages = ("from the file to a session", "first", "second", "steady")
    expected = [f"{LIGHT}, {kind}: {stage}" for kind in ("cold", "warm") for stage in stages]
    assert list(outcome.times) == expected
    assert len(outcome.times[f"{LIGHT}, warm: steady"]) == ROUNDS
    assert any("second cold start" in note for note in outcome.notes)
