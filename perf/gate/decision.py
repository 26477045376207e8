"""The verdict: two stages, and a pure function of the launches, so that any can be replayed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perf.gate.records import CONTROL, Launch
from perf.gate.statistics import Estimate, Rule, holm, p_by_signs

OK, REGRESSION, INCONCLUSIVE = "OK", "REGRESSION", "INCONCLUSIVE"
NEW, INVALID = "NEW", "INVALID"
CONTROL_MAX = 0.015
"""The change of the control that is still none: it is the same work in both arms."""
ORDER_MAX = 0.03
"""What it may make of a difference which arm begins a quad."""
SURE = 0.995
"""The one-sided level at which either limit counts as passed."""


@dataclass(frozen=True)
class Need:
    """Launches that are still to be made: so many, of these scenarios."""

    stage: int
    launches: int
    scenarios: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """What is said of a scenario.

    Attributes:
        reason: one sentence. first, second: the estimates of the stages; None where there is none.
        p, p_signs: of the second stage, by t and by signs. detectable: the slowdown that would be
            found with odds of 0.9 on this machine, as a share.
    """

    scenario: str
    outcome: str
    reason: str
    first: Estimate | None = None
    second: Estimate | None = None
    p: float | None = None
    p_signs: float | None = None
    detectable: float | None = None

    @property
    def estimate(self) -> Estimate | None:
        """The one to report: the first stage is biased upward where it asked for the second."""
        return self.second or self.first


def effects(launches: Sequence[Launch], scenario: str, stage: int) -> list[float]:
    """A log ratio for each launch of a stage that measured the scenario."""
    chosen = (x for x in launches if x.stage == stage and scenario in x.series)
    return [x.series[scenario].effect for x in chosen]


def need(launches: Sequence[Launch], scenarios: Sequence[str], rule: Rule) -> Need | None:
    """What comes next; None where the verdicts stand."""
    if not scenarios or any(x.invalid for x in launches):
        return None
    made = {s: len(effects(launches, s, 1)) for s in scenarios}
    if min(made.values()) < rule.launches:
        return Need(1, rule.launches - min(made.values()), tuple(scenarios))
    states = {s: Estimate.of(effects(launches, s, 1)) for s in scenarios}
    waiting = [
        s for s in scenarios if _is_undecided(states[s], rule) and made[s] < 2 * rule.launches
    ]
    if waiting:
        return Need(1, 2 * rule.launches - min(made[s] for s in waiting), tuple(waiting))
    suspects = tuple(s for s in scenarios if rule.is_suspect(states[s]))
    missing = rule.confirming - min((len(effects(launches, s, 2)) for s in suspects), default=0)
    return Need(2, missing, suspects) if suspects and missing > 0 else None


def _is_undecided(estimate: Estimate, rule: Rule) -> bool:
    return not rule.is_suspect(estimate) and not rule.is_clear(estimate)


def verdicts(launches: Sequence[Launch], scenarios: Sequence[str], rule: Rule) -> list[Verdict]:
    """One for each scenario, in order."""
    problems = [sentence for x in launches for sentence in x.invalid] or control_problems(launches)
    if problems:
        return [Verdict(s, INVALID, problems[0]) for s in scenarios]
    second = {s: values for s in scenarios if (values := effects(launches, s, 2))}
    p_values = {s: Estimate.of(v).p_above(rule.margin) for s, v in second.items() if len(v) > 1}
    confirmed = holm(p_values, rule.alpha)
    return [_verdict(launches, s, rule, p_values, s in confirmed) for s in scenarios]


def _verdict(
    launches: Sequence[Launch],
    scenario: str,
    rule: Rule,
    p_values: Mapping[str, float],
    is_confirmed: bool,
) -> Verdict:
    values = {stage: effects(launches, scenario, stage) for stage in (1, 2)}
    if len(values[1]) < rule.launches:
        return Verdict(scenario, INCONCLUSIVE, "it was stopped before its launches were made")
    first = Estimate.of(values[1])
    second = Estimate.of(values[2]) if scenario in p_values else None
    shown = second or first
    outcome, reason = _outcome(first, second, rule, is_confirmed)
    problem = order_problem(launches, scenario)
    if problem:
        outcome, reason = INVALID, problem
    return Verdict(
        scenario=scenario,
        outcome=outcome,
        reason=reason,
        first=first,
        second=second,
        p=p_values.get(scenario),
        p_signs=p_by_signs(values[2], rule.margin) if second else None,
        detectable=rule.smallest_detectable(shown.spread),
    )


def _outcome(
    first: Estimate, second: Estimate | None, rule: Rule, is_confirmed: bool
) -> tuple[str, str]:
    margin, detect = f"{rule.margin:.0%}", f"{rule.detect:.0%}"
    if second is not None:
        if second.launches < rule.confirming:
            return INCONCLUSIVE, "it was stopped before a suspicion was confirmed or refuted"
        if is_confirmed:
            return REGRESSION, f"more than {margin} slower, confirmed on fresh launches"
        if rule.is_clear(second):
            return OK, f"a suspicion was not confirmed; a slowdown of {detect} is excluded"
        return INCONCLUSIVE, f"a suspicion was not confirmed; {detect} is not excluded either"
    if rule.is_suspect(first):
        return INCONCLUSIVE, "it was stopped before a suspicion was confirmed or refuted"
    if rule.is_clear(first):
        return OK, f"a slowdown of {detect} is excluded"
    return INCONCLUSIVE, f"launches spread too much to exclude a slowdown of {detect}"


def control_problems(launches: Sequence[Launch]) -> list[str]:
    """A sentence where the control is not the same in both arms."""
    values = [x.series[CONTROL].effect for x in launches if CONTROL in x.series]
    if not _exceeds(values, CONTROL_MAX):
        return []
    change = Estimate.of(values).change
    return [
        f"the control, the same work in both arms, takes {change:+.1%} in the candidate: something "
        "favours one arm, and no difference between them can be believed; measure again"
    ]


def order_problem(launches: Sequence[Launch], scenario: str) -> str:
    """A sentence where it makes a difference which arm begins."""
    values = [x.series[scenario].order_effect for x in launches if scenario in x.series]
    if not _exceeds(values, ORDER_MAX):
        return ""
    change = Estimate.of(values).change
    return f"which arm begins makes a difference of {change:+.1%}: one disturbs the other"


def _exceeds(values: Sequence[float], limit: float) -> bool:
    """Whether a log ratio is surely further from 0 than a limit."""
    if len(values) < 2:
        return False
    found = Estimate.of(values)
    return abs(found.theta) - math.log1p(limit) > found.quantile(SURE) * found.error


def worst(found: Sequence[Verdict]) -> str:
    """The outcome that decides the exit code."""
    order = (INVALID, REGRESSION, INCONCLUSIVE, NEW, OK)
    return min((v.outcome for v in found), key=order.index)
