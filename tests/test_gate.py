"""The gate on simulated arms: verdicts, what is refused, and mutants of the gate itself."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perf.gate import agent, checks, decision, findings, launches, records
from perf.gate.decision import INCONCLUSIVE, INVALID, NEW, OK, REGRESSION
from perf.gate.findings import Findings, complete
from perf.gate.launches import Bench, Work, rehearse
from perf.gate.records import BASE, CAND
from perf.gate.statistics import Estimate, Rule, holm, p_by_signs
from perf.launch import WorkerError
from tests.gate_simulation import DEVICE, Behaviour, Machine, Simulation, slower

pytestmark = pytest.mark.device_free

MODELS = ("a.onnx", "b.onnx")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With three sets of inputs."""
    path = tmp_path_factory.mktemp("gate")
    for i in range(3):
        agent.save_arrays(str(path / f"feeds-{i}"), {"x": np.array([float(i + 1)])})
    return path


class Quiet:
    """A machine without neighbours, found out at no cost."""

    def foreign_share(self) -> float:
        return 0.0


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing real is measured, and the same inputs are read once."""
    monkeypatch.setattr(launches, "Neighbours", Quiet)
    monkeypatch.setattr(agent, "load_arrays", READ)


READ = functools.cache(agent.load_arrays)


def gate(
    folder: Path,
    behaviours: Mapping[str, Behaviour] | None = None,
    machine: Machine | None = None,
    *,
    models: tuple[str, ...] = MODELS[:1],
    rule: Rule = Rule(),  # noqa: B008 (frozen)
    quads: int = 6,
) -> Findings:
    """A whole gate of simulated arms."""
    simulation = Simulation(machine or Machine(), behaviours or {})
    scenarios = {name: (name,) for name in models}
    if len(models) > 1:
        scenarios["all in a row"] = models
    feeds = {name: [folder / f"feeds-{i}" for i in range(3)] for name in models}
    work = Work(scenarios, {name: Path(name) for name in models}, feeds, quads, folder)
    bench = Bench(simulation.arms, simulation.start, {BASE: {}, CAND: {}}, simulation.machine.clock)
    found = Findings.of(rule, 0, work, bench, rehearse(bench, work))
    complete(found, bench, work)
    return found


# ------------------------------------------------------------------------------- verdicts
@pytest.mark.parametrize("seed", range(10))
def test_equal_arms_are_never_a_regression(folder: Path, seed: int) -> None:
    """Ten A/A decisions on machines with all that is wrong with real ones."""
    draw = random.Random(seed)
    bursts = [draw.choice((1.0, 1.0, 1.4)) for _ in range(64)]
    machine = Machine(
        seed=seed,
        launch_spread=draw.choice((0.004, 0.01, 0.02)),
        noise=draw.choice((0.02, 0.09, 0.18)),
        drift=draw.uniform(-1e-3, 1e-3),
        burden=lambda arm, launch: bursts[launch],
    )
    assert gate(folder, machine=machine).outcome in (OK, INCONCLUSIVE)


@pytest.mark.parametrize("total", [0.10, 0.25])
@pytest.mark.parametrize("seed", range(3))
def test_a_slower_kernel_is_found_and_named(folder: Path, total: float, seed: int) -> None:
    machine = Machine(seed=seed, launch_spread=0.01, noise=0.06)
    found = gate(folder, slower("b.onnx", "matmul", total), machine, models=MODELS)
    outcomes = {v.scenario: v.outcome for v in found.verdicts}
    assert outcomes == {"a.onnx": OK, "b.onnx": REGRESSION, "all in a row": REGRESSION}
    (own,) = (v for v in found.verdicts if v.scenario == "b.onnx")
    assert own.estimate.change == pytest.approx(total, abs=0.03)
    alone, row = found.where("b.onnx"), found.where("all in a row")
    assert alone.kernels[0].name == "matmul"
    assert alone.nodes[0].name == "Node 'matmul'"
    assert row.models[0].name == "b.onnx"
    assert row.kernels[0].name == "b.onnx: matmul"
    assert abs(row.models[1].share) < 0.05


def test_a_slower_host_is_found_and_told_from_the_device(folder: Path) -> None:
    found = gate(folder, {CAND: Behaviour(host_slow=4.0)})
    assert found.outcome == REGRESSION
    where = found.where("a.onnx")
    parts = {part.name: part.delta_ns for part in where.parts}
    assert parts["submit"] > 0.7 * where.total.delta_ns
    assert abs(parts["device"]) < 0.3 * where.total.delta_ns
    assert where.enqueue.share == pytest.approx(3.0, rel=0.1)


def test_a_faster_candidate_and_one_within_the_margin_pass(folder: Path) -> None:
    assert gate(folder, slower("a.onnx", "matmul", -0.1)).outcome == OK
    assert gate(folder, slower("a.onnx", "matmul", 0.012)).outcome == OK


def test_what_was_slow_once_is_not_confirmed(folder: Path) -> None:
    slow = dataclasses.replace(slower("a.onnx", "matmul", 0.2)[CAND], slow_in=lambda n: n <= 6)
    (verdict,) = gate(folder, {CAND: slow}).verdicts
    assert verdict.outcome == OK
    assert "not confirmed" in verdict.reason


def test_a_wild_machine_is_inconclusive_and_says_what_it_could_have_found(folder: Path) -> None:
    found = gate(folder, machine=Machine(seed=3, launch_spread=0.15, noise=0.3))
    (verdict,) = found.verdicts
    assert verdict.outcome == INCONCLUSIVE
    assert verdict.detectable > 0.2
    assert verdict.first.launches == 2 * Rule().launches


@pytest.mark.parametrize(
    ("burdened", "outcome"),
    [
        (lambda arm, launch: True, OK),
        (lambda arm, launch: launch == 3, OK),
        (lambda arm, launch: arm == CAND, INVALID),
        (lambda arm, launch: arm == BASE, INVALID),
    ],
    ids=["all the time", "in one launch", "beside the candidate", "beside the baseline"],
)
def test_a_busy_neighbour_is_no_regression(
    folder: Path, burdened: Callable[[str, int], bool], outcome: str
) -> None:
    machine = Machine(burden=lambda arm, launch: 1.3 if burdened(arm, launch) else 1.0)
    found = gate(folder, machine=machine)
    assert found.outcome == outcome
    if outcome == INVALID:
        assert "the control" in found.verdicts[0].reason


def test_a_drift_of_the_machine_cancels(folder: Path) -> None:
    found = gate(folder, machine=Machine(drift=1e-3, noise=0.001, launch_spread=0.001))
    assert abs(found.verdicts[0].estimate.change) < 0.003


def test_a_model_that_the_baseline_cannot_run_is_new(folder: Path) -> None:
    refused = {"load": WorkerError("no kernel for Frobnicate", "UnsupportedError")}
    found = gate(folder, {BASE: Behaviour(fails=refused)})
    assert found.compared == ()
    assert [v.outcome for v in found.verdicts] == [NEW]
    assert "Frobnicate" in found.verdicts[0].reason


def test_a_baseline_that_dies_is_an_error(folder: Path) -> None:
    died = {"load": WorkerError("the measuring process ended with -11: ")}
    with pytest.raises(WorkerError, match="-11"):
        gate(folder, {BASE: Behaviour(fails=died)})


def test_findings_are_judged_alike_after_a_round_trip(folder: Path) -> None:
    found = gate(folder, slower("a.onnx", "conv2d", 0.2))
    data = json.loads(json.dumps(found.to_json()))
    again = Findings.from_json(data)
    assert again.verdicts == found.verdicts
    assert again.to_json() == found.to_json()
    assert data["counts"] == {REGRESSION: 1}


# ------------------------------------------------------------------------------- odds
def test_holm_lets_fewer_pass_than_every_test_alone() -> None:
    assert holm({"a": 0.004, "b": 0.006, "c": 0.2}, 0.01) == set()
    assert holm({"a": 0.003, "b": 0.006, "c": 0.2}, 0.01) == {"a"}
    assert holm({"a": 0.003, "b": 0.004, "c": 0.009}, 0.01) == {"a", "b", "c"}
    assert holm({}, 0.01) == set()


def test_the_p_of_signs_counts_patterns() -> None:
    assert p_by_signs([0.1, 0.2, 0.3], 0.0) == 1 / 8
    assert p_by_signs([-0.1, 0.2, 0.3], 0.0) == 2 / 8
    assert math.isnan(p_by_signs([0.1] * 15, 0.0))


def test_the_p_of_t_errs_as_often_as_it_says() -> None:
    """At the margin itself, over 2000 draws."""
    draw = np.random.default_rng(5)
    values = math.log1p(0.02) + 0.03 * draw.standard_normal((2000, 6))
    alarms = np.mean([Estimate.of(v).p_above(0.02) < 0.05 for v in values])
    assert 0.035 < alarms < 0.065


def judged(rule: Rule, draw: Any, spread: float, change: float) -> bool:
    """Whether both stages see a change, by draws of the launches' effects."""
    stages = [math.log1p(change) + spread * draw.standard_normal(n) for n in (6, 10)]
    first, second = (Estimate.of(values) for values in stages)
    return rule.is_suspect(first) and second.p_above(rule.margin) < rule.alpha


def test_power_is_what_the_rule_says_it_is() -> None:
    rule, draw = Rule(), np.random.default_rng(6)
    detectable = rule.smallest_detectable(0.02)
    assert rule.power(detectable, 0.02) == pytest.approx(0.9, abs=1e-3)
    found = np.mean([judged(rule, draw, 0.02, detectable) for _ in range(1000)])
    assert found == pytest.approx(0.9, abs=0.035)
    quiet, loud = (rule.smallest_detectable(s) for s in (0.005, 0.05))
    assert rule.margin < quiet < detectable < loud
    assert math.isinf(rule.smallest_detectable(50.0))


def test_alarms_are_rarer_than_promised() -> None:
    """Two-stage decisions of no change and of a change that is just allowed, 4000 each."""
    rule, draw = Rule(), np.random.default_rng(7)
    assert not any(judged(rule, draw, 0.03, 0.0) for _ in range(1000))
    allowed = [judged(rule, draw, 0.03, rule.margin) for _ in range(1000)]
    assert np.mean(allowed) < rule.alpha


RECORDED = (
    *(-0.0856, 0.14087, -0.16164, 0.2726, -0.14051, -0.15448, 0.09947, 0.1173, 0.04832),
    *(-0.00351, 0.09231, 0.00009, 0.06521, -0.62086, -0.01771),
)
"""A/A launches of tiny_resnet and tiny_transformer on PoCL, of two cores of which other programs
used nine tenths."""


@pytest.mark.parametrize("change", [0.0, 0.02])
def test_recorded_launches_with_signs_drawn_anew_raise_no_alarm(change: float) -> None:
    """Under equal arms every sign is as likely: exact nulls with the tails of real noise."""
    rule, draw = Rule(), np.random.default_rng(8)
    alarms = 0
    for _ in range(500):
        drawn = draw.choice(RECORDED, 16) * draw.choice((-1, 1), 16) + math.log1p(change)
        first, second = Estimate.of(drawn[:6]), Estimate.of(drawn[6:])
        alarms += rule.is_suspect(first) and second.p_above(rule.margin) < rule.alpha
    assert alarms <= 1  # 0.25 are expected at the margin


def test_an_estimate_of_one_launch_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        Estimate.of([0.1])


# ------------------------------------------------------------------------------- liars
def changed(**values: Any) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    """What puts other values into the answers that have such keys."""
    return lambda do, reply: reply | {k: v for k, v in values.items() if k in reply}


def shortened(do: str, reply: dict[str, Any]) -> dict[str, Any]:
    """Fewer times than were asked for."""
    return reply | {"synced_ns": reply["synced_ns"][1:]} if do == "slot" else reply


def frozen(do: str, reply: dict[str, Any]) -> dict[str, Any]:
    """Times of a clock that stands still."""
    zeros = [0] * len(reply.get("synced_ns", ()))
    return reply | {"synced_ns": zeros, "enqueue_ns": zeros} if do == "slot" else reply


def of_process_time(do: str, reply: dict[str, Any]) -> dict[str, Any]:
    """Stamps of another clock."""
    return reply | {"started_ns": 5, "ended_ns": 10**7} if do == "slot" else reply


def swollen(do: str, reply: dict[str, Any]) -> dict[str, Any]:
    """Times that do not fit into their slot."""
    return reply | {"synced_ns": [n * 9 for n in reply["synced_ns"]]} if do == "slot" else reply


def mixed_up(do: str, reply: dict[str, Any]) -> dict[str, Any]:
    """Profiles whose parts are not those of their latency: another model's events."""
    if do != "profile":
        return reply
    models = {
        m: {**p, "account": {**p["account"], "device_ns": 2 * p["account"]["device_ns"]}}
        for m, p in reply["models"].items()
    }
    return {"models": models}


LIARS: dict[str, tuple[Behaviour, str]] = {
    "the last finish is dropped": (Behaviour(drained_share=0.0), "drained"),
    "the last finish returns early": (Behaviour(drained_share=0.6), "drained"),
    "one of two queues is drained": (Behaviour(queues=2, drained_queues=1), "drained"),
    "outputs are remembered": (Behaviour(remembers=True), "outputs"),
    "outputs are wrong": (Behaviour(wrong=0.1), "outputs of the arms differ"),
    "a stale build": (Behaviour(reply=changed(sources="old")), "stale build"),
    "the other arm's packages": (Behaviour(reply=changed(imported="/x/engine")), "imported"),
    "another device": (Behaviour(device="Make / other"), f"not on {DEVICE}"),
    "another driver": (Behaviour(driver="2.0"), "driver"),
    "another precision": (Behaviour(precision="normal"), "effective precision"),
    "other versions": (Behaviour(reply=changed(versions={"numpy": "1"})), "versions"),
    "another Python": (Behaviour(reply=changed(python="2")), "python"),
    "fewer cores": (Behaviour(reply=changed(cores=[0])), "cores"),
    "other thread counts": (Behaviour(reply=changed(variables={"N": "1"})), "variables"),
    "another machine": (Behaviour(reply=changed(machine=["there", "x", 2])), "machine"),
    "an old process": (Behaviour(reply=changed(pid=7)), "not fresh"),
    "times are missing": (Behaviour(reply=shortened), "times of"),
    "a clock that stands": (Behaviour(reply=frozen), "I1"),
    "another clock": (Behaviour(reply=of_process_time), "clock is not the host's"),
    "times that do not fit": (Behaviour(reply=swollen), "took less"),
    "events of another model": (Behaviour(reply=mixed_up), "I7"),
}
"""What an arm does, and the word by which the gate says that it noticed."""


@pytest.mark.parametrize("arm", [BASE, CAND])
@pytest.mark.parametrize("lie", LIARS)
def test_an_arm_that_lies_is_invalid(folder: Path, lie: str, arm: str) -> None:
    behaviour, word = LIARS[lie]
    found = gate(folder, {arm: behaviour}, quads=2)
    assert found.outcome == INVALID
    sentences = [*found.invalid, *(s for x in found.launches for s in x.invalid)]
    assert any(word in sentence for sentence in sentences), sentences
    assert len(found.launches) <= 1  # nothing more is measured


# ------------------------------------------------------------------------------- mutants
def one_by_one(m: pytest.MonkeyPatch) -> None:
    """B C B C: a drift of the machine is the candidate's."""
    order = (BASE, CAND, BASE, CAND)
    m.setattr(launches, "ORDERS", (order, order))


def of_rounds(m: pytest.MonkeyPatch) -> None:
    """One launch of as many quads: tight, and wrong."""

    def effects(found: list[records.Launch], scenario: str, stage: int) -> list[float]:
        chosen = [x.series[scenario] for x in found if x.stage == stage and scenario in x.series]
        return [quad.effect() for one in chosen[:1] for quad in one.quads] * len(chosen)

    m.setattr(decision, "effects", effects)


def first_stage_again(m: pytest.MonkeyPatch) -> None:
    """What aroused the suspicion confirms it."""
    plain = decision.effects

    def effects(found: list[records.Launch], scenario: str, stage: int) -> list[float]:
        values = plain(found, scenario, 1)
        return values if stage == 1 else values * 2

    m.setattr(decision, "effects", effects)


def patch(target: object, name: str, value: Any) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda m: m.setattr(target, name, value)


def silent(*_: object, **__: object) -> tuple[()]:
    return ()


def _effect(quad: records.Quad, name: str, plain: Any = records.Quad.effect) -> float:
    return plain(quad, name)


def _half(quad: records.Quad, name: str) -> float:
    ends = (quad.slots[0], quad.slots[1])
    times = {slot.arm: math.log(getattr(slot, name)) for slot in ends}
    return times[CAND] - times[BASE]


def _reversed(where: Any) -> Any:
    return dataclasses.replace(where, kernels=where.kernels[::-1])


def seesaw() -> dict[str, Behaviour]:
    """Whoever begins a quad takes longer; the control, which is short, does not."""
    turns: list[int] = []

    def reply(do: str, found: dict[str, Any]) -> dict[str, Any]:
        if do != "slot" or found["synced_ns"][0] < 6_000_000:
            return found
        turns.append(0)
        factor = 1.0 if len(turns) % 4 == 1 else 0.8
        shorter = {k: [int(n * factor) for n in found[k]] for k in ("synced_ns", "enqueue_ns")}
        return found | shorter

    return {arm: Behaviour(reply=reply) for arm in (BASE, CAND)}


def is_named(found: Findings) -> bool:
    return found.where("a.onnx").kernels[0].name == "matmul"


def once() -> dict[str, Behaviour]:
    slow = slower("a.onnx", "matmul", 0.1)[CAND]
    return {CAND: dataclasses.replace(slow, slow_in=lambda n: n <= 6)}


def lying(lie: str) -> Callable[[Path], bool]:
    return lambda f: gate(f, {CAND: LIARS[lie][0]}, quads=2).outcome == INVALID


def beside_the_candidate(arm: str, launch: int) -> float:
    return 1.3 if arm == CAND else 1.0


CLAIMS: dict[str, Callable[[Path], bool]] = {
    "a regression": lambda f: gate(f, slower("a.onnx", "matmul", 0.1)).outcome == REGRESSION,
    "a name": lambda f: is_named(gate(f, slower("a.onnx", "matmul", 0.1))),
    "a slower host": lambda f: gate(f, {CAND: Behaviour(host_slow=4.0)}).outcome == REGRESSION,
    "a faster one": lambda f: gate(f, slower("a.onnx", "matmul", -0.1)).outcome == OK,
    "within the margin": lambda f: (
        gate(
            f, slower("a.onnx", "matmul", 0.015), Machine(noise=0.002, launch_spread=0.001)
        ).outcome
        == OK
    ),
    "a slower kernel hidden by launches": lambda f: (
        gate(f, slower("a.onnx", "matmul", 0.2), Machine(launch_spread=0.03)).outcome == REGRESSION
    ),
    "not confirmed": lambda f: gate(f, once()).outcome == OK,
    "a drift": lambda f: (
        gate(f, machine=Machine(drift=3e-3, noise=0.001, launch_spread=0.001)).outcome == OK
    ),
    "a lucky process": lambda f: (
        gate(f, machine=Machine(seed=12, launch_spread=0.06, noise=0.002)).outcome != REGRESSION
    ),
    "a wild machine": lambda f: (
        gate(f, machine=Machine(seed=3, launch_spread=0.15, noise=0.3)).outcome == INCONCLUSIVE
    ),
    "a neighbour": lambda f: (
        gate(f, machine=Machine(burden=beside_the_candidate)).outcome == INVALID
    ),
    "an order": lambda f: gate(f, seesaw()).outcome == INVALID,
    **{lie: lying(lie) for lie in LIARS},
}
"""What holds of the gate as it is, and what a mutant must break."""


@pytest.mark.parametrize("claim", [name for name in CLAIMS if name not in LIARS])
def test_a_claim_holds(folder: Path, claim: str) -> None:
    assert CLAIMS[claim](folder)


MUTANTS = {
    "the arms are swapped": patch(records.Quad, "effect", lambda q, n="synced_ns": -_effect(q, n)),
    "slower and faster are one": patch(
        records.Quad, "effect", lambda q, n="synced_ns": abs(_effect(q, n))
    ),
    "half of a quad is left out": patch(
        records.Quad, "effect", lambda q, n="synced_ns": _half(q, n)
    ),
    "enqueueing is called latency": patch(
        records.Series,
        "effect",
        property(lambda s: float(np.median([_effect(q, "enqueue_ns") for q in s.quads]))),
    ),
    "the arms take turns without balance": one_by_one,
    "rounds are taken for launches": of_rounds,
    "the suspicion confirms itself": first_stage_again,
    "there is no margin": patch(
        Estimate, "p_above", lambda e, _, plain=Estimate.p_above: plain(e, 0.0)
    ),
    "a margin of ten times": patch(
        Estimate, "p_above", lambda e, c, plain=Estimate.p_above: plain(e, 10 * c)
    ),
    "everything is suspected and confirmed": patch(Estimate, "p_above", lambda e, c: 0.0),
    "nothing is ever confirmed": patch(decision, "holm", lambda p, alpha: set()),
    "everything is confirmed": patch(decision, "holm", lambda p, alpha: set(p)),
    "undecided is clear": patch(Rule, "is_clear", lambda rule, e: True),
    "the control is not looked at": patch(decision, "control_problems", lambda found: []),
    "the order is not looked at": patch(decision, "order_problem", lambda found, s: ""),
    "identity is not checked": patch(checks, "identity", silent),
    "freshness is not checked": patch(checks, "freshness", silent),
    "placement is not checked": patch(checks, "placement", silent),
    "slots are not checked": patch(checks, "slot", silent),
    "leftovers are not checked": patch(checks, "leftovers", silent),
    "profiles are not checked": patch(checks, "profiles", silent),
    "outputs are not compared": patch(launches, "relative_l2", lambda a, b: 0.0),
    "kernels are not sorted by growth": patch(
        Findings, "where", lambda f, s, plain=Findings.where: _reversed(plain(f, s))
    ),
    "what is invalid is a pass": patch(findings, "worst", lambda found: OK),
}


"""What is done to the gate; `CAUGHT_BY` has the claim that no longer holds then."""

CAUGHT_BY = {
    "the arms are swapped": "a faster one",
    "slower and faster are one": "a faster one",
    "half of a quad is left out": "a drift",
    "enqueueing is called latency": "a regression",
    "the arms take turns without balance": "an order",
    "rounds are taken for launches": "a lucky process",
    "the suspicion confirms itself": "not confirmed",
    "there is no margin": "within the margin",
    "a margin of ten times": "a regression",
    "everything is suspected and confirmed": "a faster one",
    "nothing is ever confirmed": "a regression",
    "everything is confirmed": "not confirmed",
    "undecided is clear": "a wild machine",
    "the control is not looked at": "a neighbour",
    "the order is not looked at": "an order",
    "identity is not checked": "a stale build",
    "freshness is not checked": "an old process",
    "placement is not checked": "another device",
    "slots are not checked": "another clock",
    "leftovers are not checked": "the last finish returns early",
    "profiles are not checked": "events of another model",
    "outputs are not compared": "outputs are wrong",
    "kernels are not sorted by growth": "a name",
    "what is invalid is a pass": "a neighbour",
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_of_the_gate_is_caught(
    folder: Path, monkeypatch: pytest.MonkeyPatch, mutant: str
) -> None:
    MUTANTS[mutant](monkeypatch)
    assert not CLAIMS[CAUGHT_BY[mutant]](folder), f"nothing notices that {mutant}"
