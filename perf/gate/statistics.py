"""What a launch is worth: estimates over fresh processes, and the tests that decide.

A launch gives one number for each scenario, the median of its log ratios (`perf.gate.records`).
Rounds inside a process are not independent, so every limit here comes from the spread over
launches, with the t distribution of that many.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import Any

import numpy as np

from engine.errors import ConfigError

SD_MIN = 1e-6
"""Spread below which launches cannot agree: a clock that ticks in ns does not allow it."""
EXACT_MAX = 14
"""Launches up to which every pattern of signs is counted."""


@dataclass(frozen=True)
class Estimate:
    """A log ratio, candidate over baseline, from launches; 0 is no change.

    Attributes:
        theta: the mean over launches. error: its standard error. launches: two or more.
    """

    theta: float
    error: float
    launches: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """From one log ratio for each launch; ValueError for fewer than two."""
        if len(values) < 2:
            raise ValueError(f"{len(values)} launches: expected at least 2")
        spread = max(float(np.std(values, ddof=1)), SD_MIN)
        return cls(float(np.mean(values)), spread / math.sqrt(len(values)), len(values))

    @property
    def spread(self) -> float:
        """The standard deviation over launches."""
        return self.error * math.sqrt(self.launches)

    @property
    def change(self) -> float:
        """The slowdown as a share: 0.05 is +5 %."""
        return math.expm1(self.theta)

    def quantile(self, level: float) -> float:
        """Of t with this many launches."""
        from scipy import special

        return float(special.stdtrit(self.launches - 1, level))

    def interval(self, level: float) -> tuple[float, float]:
        """Two-sided, of the change as a share."""
        half = self.quantile(0.5 + level / 2) * self.error
        return math.expm1(self.theta - half), math.expm1(self.theta + half)

    def upper(self, level: float) -> float:
        """The one-sided upper limit of the log ratio."""
        return self.theta + self.quantile(level) * self.error

    def p_above(self, change: float) -> float:
        """One-sided p of "the slowdown is at most `change`" by t."""
        from scipy import special

        t = (self.theta - math.log1p(change)) / self.error
        return float(special.stdtr(self.launches - 1, -t))


def p_by_signs(values: Sequence[float], change: float) -> float:
    """The same p without a distribution: the share of sign patterns with as large a mean.

    Exact, over all 2^L patterns, up to `EXACT_MAX` launches; else NaN.
    """
    if len(values) > EXACT_MAX:
        return math.nan
    above = np.asarray(values, float) - math.log1p(change)
    signs = np.array(list(product((1.0, -1.0), repeat=len(above))))
    return float(np.mean(signs @ above >= above.sum() - 1e-12))


def holm(p_values: Mapping[str, float], alpha: float) -> set[str]:
    """The names whose hypotheses fall when all together may err with `alpha` (Holm 1979)."""
    rejected: set[str] = set()
    for i, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        if p > alpha / (len(p_values) - i):
            break
        rejected.add(name)
    return rejected


@dataclass(frozen=True)
class Rule:
    """How many launches, and at which levels.

    Attributes:
        margin: the slowdown that is allowed. detect: the one that OK must exclude.
        launches, confirming: of the first stage, doubled where it stays undecided, and of the
            second. alpha_suspect, alpha: their one-sided levels; `alpha` is that of a false alarm
            over all scenarios, at a change of `margin`.
    """

    margin: float = 0.02
    detect: float = 0.05
    launches: int = 6
    confirming: int = 10
    alpha_suspect: float = 0.05
    alpha: float = 0.01

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Rule:
        """The inverse of `dataclasses.asdict`; KeyError or ValueError for what is no rule."""
        rule = cls(**{field.name: data[field.name] for field in fields(cls)})
        levels = rule.alpha_suspect, rule.alpha
        is_rule = 0 <= rule.margin < rule.detect < math.inf and all(0 < a < 1 for a in levels)
        if not is_rule or min(rule.launches, rule.confirming) < 2:
            raise ValueError(f"rule: {dict(data)} is none")
        return rule

    def is_suspect(self, estimate: Estimate) -> bool:
        """Whether the first stage asks for the second."""
        return estimate.p_above(self.margin) < self.alpha_suspect

    def is_clear(self, estimate: Estimate) -> bool:
        """Whether a slowdown of `detect` is excluded."""
        return estimate.upper(1 - self.alpha_suspect) < math.log1p(self.detect)

    def power(self, change: float, spread: float) -> float:
        """The odds that both stages see a slowdown, where launches spread so (of the log ratio)."""
        from scipy import special

        odds = 1.0
        for launches, alpha in ((self.launches, self.alpha_suspect), (self.confirming, self.alpha)):
            shift = (math.log1p(change) - math.log1p(self.margin)) / spread * math.sqrt(launches)
            limit = special.stdtrit(launches - 1, 1 - alpha)
            odds *= 1 - float(special.nctdtr(launches - 1, shift, limit))
        return odds

    def smallest_detectable(self, spread: float, odds: float = 0.9) -> float:
        """The slowdown that is found with these odds; inf beyond a factor of 10."""
        from scipy import optimize

        most = 9.0

        def missing(change: float) -> float:
            power = self.power(change, max(spread, SD_MIN))
            return odds - (1.0 if math.isnan(power) else power)  # NaN far out, where it is 1

        if missing(most) > 0:
            return math.inf
        return float(optimize.brentq(missing, self.margin, most, xtol=1e-5))


def check_installed() -> None:
    """Raise ConfigError where scipy is missing: before hours of measuring, not after."""
    if importlib.util.find_spec("scipy") is None:
        raise ConfigError('the gate needs scipy: pip install "parallax-engine[gate]"')
