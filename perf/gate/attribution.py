"""Where a difference lies: device, host, submission, gaps, copies; which model, kernel and node.

From profiled runs, which alternate between the arms in every launch. A difference is the median
over launches of candidate less baseline, so that what slows both alike cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from perf.gate.records import BASE, CAND, Launch, Series

PARTS = {
    "device": "device_ns",
    "host": "host_ns",
    "submit": "submit_ns",
    "rest": "rest_ns",
    "gaps": "gaps_ns",
    "copies": "copies_ns",
}
"""Of a profiled run; the first four are its sum, the others lie in them."""

Profile = Mapping[str, Any]


@dataclass(frozen=True)
class Change:
    """Before and after, in ns of a run."""

    name: str
    base_ns: float
    delta_ns: float

    @property
    def cand_ns(self) -> float:
        """After."""
        return self.base_ns + self.delta_ns

    @property
    def share(self) -> float:
        """Of what there was before; inf for what is new."""
        return self.delta_ns / self.base_ns if self.base_ns else float("inf")


@dataclass(frozen=True)
class Where:
    """What a scenario's difference is made of; tables with the largest growth first.

    Attributes:
        total: of the profiled run. timed, enqueue: of the runs that were timed, which take another
            way through the host: latency, and until the last `run` returned.
        kernels, nodes: by "model: name" where there are several models.
    """

    total: Change
    timed: Change
    enqueue: Change
    parts: tuple[Change, ...]
    models: tuple[Change, ...]
    kernels: tuple[Change, ...]
    nodes: tuple[Change, ...]


def where(launches: Sequence[Launch], scenario: str) -> Where | None:
    """From the launches of the last stage that measured it; None where there are no profiles."""
    stage = max((x.stage for x in launches if scenario in x.series), default=0)
    series = [x.series[scenario] for x in launches if x.stage == stage and scenario in x.series]
    series = [one for one in series if one.profiles[BASE] and one.profiles[CAND]]
    if not series:
        return None
    models = list(series[0].profiles[CAND][0])
    return Where(
        total=_change(series, "total", lambda p: p["account"]["synced_ns"]),
        timed=_timed(series, "synced_ns"),
        enqueue=_timed(series, "enqueue_ns"),
        parts=tuple(_change(series, n, _part(k)) for n, k in PARTS.items()),
        models=_grown(_change(series, m, lambda p: p["account"]["synced_ns"], m) for m in models),
        kernels=_table(series, models, "kernels"),
        nodes=_table(series, models, "nodes"),
    )


def _timed(series: Sequence[Series], name: str) -> Change:
    pairs = [(one.median_ns(BASE, name), one.median_ns(CAND, name)) for one in series]
    return Change(name, median(b for b, _ in pairs), median(c - b for b, c in pairs))


def _part(key: str) -> Callable[[Profile], float]:
    return lambda profile: profile["account"][key]


def _change(
    series: Sequence[Series],
    name: str,
    value: Callable[[Profile], float],
    model: str | None = None,
) -> Change:
    """Of one model, or the sum over all."""

    def of(one: Series, arm: str) -> float:
        runs = [
            sum(value(p) for m, p in run.items() if model in (None, m)) for run in one.profiles[arm]
        ]
        return median(runs)

    pairs = [(of(one, BASE), of(one, CAND)) for one in series]
    return Change(name, median(b for b, _ in pairs), median(c - b for b, c in pairs))


def _table(series: Sequence[Series], models: Sequence[str], table: str) -> tuple[Change, ...]:
    found = []
    for model in models:
        names = dict.fromkeys(
            name
            for one in series
            for arm in (BASE, CAND)
            for run in one.profiles[arm]
            for name in run[model][table]
        )
        for name in names:
            label = f"{model}: {name}" if len(models) > 1 else name
            found.append(_change(series, label, _entry(table, name), model))
    return _grown(found)


def _entry(table: str, name: str) -> Callable[[Profile], float]:
    return lambda profile: profile[table].get(name, 0)


def _grown(changes: Any) -> tuple[Change, ...]:
    return tuple(sorted(changes, key=lambda change: -change.delta_ns))
