"""Quantiles of latencies, and how many runs each one needs before it may be stated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

RUNS_NEEDED = {50: 11, 90: 64, 95: 130, 99: 662}
"""Fewest runs for a percentile at 99 % confidence, tolerance 0: the early-stopping rule of MLPerf's
loadgen (https://github.com/mlcommons/inference/blob/master/loadgen/early_stopping.cc)."""


def quantile_ns(samples_ns: Sequence[int], percent: int) -> int:
    """The smallest sample that at least `percent` % of the samples do not exceed (nearest rank).

    A measured value is returned, never one interpolated between two; ValueError without samples.
    """
    if not samples_ns:
        raise ValueError("no samples: a quantile of nothing")
    ordered = sorted(samples_ns)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def is_stateable(percent: int, n: int) -> bool:
    """Whether `n` runs are enough to state this percentile."""
    return n >= RUNS_NEEDED[percent]


@dataclass(frozen=True)
class Summary:
    """What is said about `n` latencies; p99 is None below 662 runs."""

    n: int
    min_ns: int
    p50_ns: int
    p90_ns: int
    p99_ns: int | None
    remarks: tuple[str, ...]

    @classmethod
    def of(cls, samples_ns: Sequence[int]) -> Summary:
        """Summarise; a percentile that n is too small for is remarked on, p99 left out."""
        n = len(samples_ns)
        small = [p for p in (50, 90, 99) if not is_stateable(p, n)]
        return cls(
            n,
            min(samples_ns, default=0),
            quantile_ns(samples_ns, 50),
            quantile_ns(samples_ns, 90),
            None if 99 in small else quantile_ns(samples_ns, 99),
            tuple(f"too few runs to be sure of p{p}: {n} < {RUNS_NEEDED[p]}" for p in small),
        )
