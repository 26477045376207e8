"""Findings: everything that a run of the gate knows, as a document that can be judged again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from perf.gate.attribution import Change, Where, where
from perf.gate.decision import NEW, Verdict, control_problems, need, verdicts, worst
from perf.gate.launches import Bench, Rehearsal, Tell, Work, launch
from perf.gate.records import ARMS, BASE, CAND, CONTROL, Launch
from perf.gate.statistics import Estimate, Rule

INTERVAL = 0.90
"""Of the intervals that are shown."""


@dataclass
class Findings:
    """A run of the gate, complete or interrupted.

    Attributes:
        scenarios: by name, the models that run one after the other. lacking: by model, why the
            baseline cannot run it; scenarios with such a model are NEW.
        arms: by name, how the user called it (`name`), its `device` and all that its rehearsal
            said. errors: by model, the relative L2 between the outputs of the arms.
        invalid: of the rehearsal.
    """

    rule: Rule
    seed: int
    scenarios: Mapping[str, tuple[str, ...]]
    lacking: Mapping[str, str]
    errors: Mapping[str, float]
    arms: Mapping[str, Mapping[str, Any]]
    invalid: tuple[str, ...] = ()
    launches: list[Launch] = field(default_factory=list)

    @classmethod
    def of(cls, rule: Rule, seed: int, work: Work, bench: Bench, rehearsal: Rehearsal) -> Findings:
        """Before the first launch."""
        arms = {
            name: {
                "name": bench.arms[name].build.name,
                "selected": bench.arms[name].device,
                **rehearsal.facts[name],
            }
            for name in ARMS
        }
        lacking, errors = rehearsal.lacking, rehearsal.errors
        return cls(rule, seed, work.scenarios, lacking, errors, arms, rehearsal.invalid)

    @property
    def compared(self) -> tuple[str, ...]:
        """The scenarios that both arms can run."""
        new = set(self.lacking)
        return tuple(s for s, models in self.scenarios.items() if not new & set(models))

    @property
    def is_same_build(self) -> bool:
        """Whether both arms are the same code on the same device: then it is an A/A run."""
        ours, theirs = self.arms[CAND], self.arms[BASE]
        keys = ("sources", "selected", "versions", "python")
        return bool(ours["sources"]) and all(ours[k] == theirs[k] for k in keys)

    @property
    def verdicts(self) -> list[Verdict]:
        """One for each scenario, in order."""
        if self.invalid:
            return [Verdict(s, "INVALID", self.invalid[0]) for s in self.scenarios]
        found = {v.scenario: v for v in verdicts(self.launches, self.compared, self.rule)}
        return [found.get(s) or self._new(s) for s in self.scenarios]

    def _new(self, scenario: str) -> Verdict:
        model = next(m for m in self.scenarios[scenario] if m in self.lacking)
        return Verdict(scenario, NEW, f"the baseline cannot run {model}: {self.lacking[model]}")

    @property
    def outcome(self) -> str:
        """The worst of the verdicts."""
        return worst(self.verdicts)

    def where(self, scenario: str) -> Where | None:
        """See `perf.gate.attribution.where`."""
        return where(self.launches, scenario)

    def effects(self, scenario: str, name: str = "effect") -> Estimate | None:
        """Over all launches: of `effect`, `cpu_effect` or `order_effect`; None for fewer than 2."""
        values = [getattr(x.series[scenario], name) for x in self.launches if scenario in x.series]
        return Estimate.of(values) if len(values) > 1 else None

    def to_json(self) -> dict[str, Any]:
        """What the document holds: the raw launches, and what was concluded from them."""
        found = self.verdicts
        return {
            "outcome": worst(found),
            "counts": {v.outcome: sum(w.outcome == v.outcome for w in found) for v in found},
            "rule": asdict(self.rule),
            "seed": self.seed,
            "arms": {name: dict(facts) for name, facts in self.arms.items()},
            "is_same_build": self.is_same_build,
            "scenarios": {name: list(models) for name, models in self.scenarios.items()},
            "lacking": dict(self.lacking),
            "errors": dict(self.errors),
            "invalid": list(self.invalid),
            "verdicts": [self._verdict(v) for v in found],
            "control": _share(self.effects(CONTROL)),
            "launches": [launch.to_json() for launch in self.launches],
        }

    def _verdict(self, v: Verdict) -> dict[str, Any]:
        shown = v.estimate
        times = medians(self.launches, v.scenario)
        return {
            "scenario": v.scenario,
            "outcome": v.outcome,
            "reason": v.reason,
            "change": None if shown is None else shown.change,
            "interval": None if shown is None else list(shown.interval(INTERVAL)),
            "launches": [0 if e is None else e.launches for e in (v.first, v.second)],
            "p": v.p,
            "p_signs": None if v.p_signs is None or math.isnan(v.p_signs) else v.p_signs,
            "detectable": v.detectable,
            "baseline_ns": times[BASE],
            "candidate_ns": times[CAND],
            "cpu_change": _share(self.effects(v.scenario, "cpu_effect")),
            "order_change": _share(self.effects(v.scenario, "order_effect")),
            "where": _where_json(self.where(v.scenario)),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Findings:
        """The inverse of `to_json`; KeyError, TypeError or ValueError for what it is not."""
        rule, numbers = Rule.from_json(data["rule"]), [x["number"] for x in data["launches"]]
        if len({*numbers}) < len(numbers):
            raise ValueError(f"launches are numbered {numbers}, expected each number once")
        return cls(
            rule=rule,
            seed=int(data["seed"]),
            scenarios={str(name): tuple(m) for name, m in data["scenarios"].items()},
            lacking=dict(data["lacking"]),
            errors={name: float(error) for name, error in data["errors"].items()},
            arms={name: dict(data["arms"][name]) for name in ARMS},
            invalid=tuple(data["invalid"]),
            launches=[Launch.from_json(one) for one in data["launches"]],
        )


def complete(found: Findings, bench: Bench, work: Work, tell: Tell = lambda *_: None) -> None:
    """Make launches until the verdicts stand; those made are kept when it is interrupted."""
    if found.invalid:
        return
    while (wanted := need(found.launches, found.compared, found.rule)) is not None:
        for i in range(wanted.launches):
            tell("confirming" if wanted.stage == 2 else "launches", i, wanted.launches)
            number = len(found.launches) + 1
            seed = found.seed * 1_000_003 + number
            only = work.only(wanted.scenarios)
            found.launches.append(launch(bench, only, wanted.stage, number, seed))
            if found.launches[-1].invalid:
                return
        if wanted.stage == 1 and control_problems(found.launches):
            return


def medians(launches: Sequence[Launch], scenario: str) -> dict[str, int | None]:
    """The median over launches of each arm's median latency; None before the first."""
    found: dict[str, int | None] = {}
    for arm in ARMS:
        times = sorted(x.series[scenario].median_ns(arm) for x in launches if scenario in x.series)
        found[arm] = times[len(times) // 2] if times else None
    return found


def _share(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.change


def _where_json(found: Where | None) -> dict[str, Any] | None:
    if found is None:
        return None

    def plain(change: Change) -> dict[str, Any]:
        return {
            "name": change.name,
            "baseline_ns": change.base_ns,
            "candidate_ns": change.cand_ns,
        }

    return {
        "total": plain(found.total),
        "timed": plain(found.timed),
        "enqueue": plain(found.enqueue),
        **{
            table: [plain(change) for change in getattr(found, table)]
            for table in ("parts", "models", "kernels", "nodes")
        },
    }
