"""Serial chain: models one after the other on one runtime, without waiting, and with barriers.

A clock around each call blames whoever waits, the last one, for the work of all (`naive`); events
say whose work it was (`attributed`). Every model runs on its own inputs: on one in-order queue the
order is the same as if each took the outputs of the one before.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from perf.invariants import approximate, chained, is_refuted, local, violations
from perf.latency import quiet_gc, stopped_too_early
from perf.quantiles import quantile_ns
from perf.scenarios.enqueue import PROFILED_MAX
from perf.scenarios.outcome import MS, SHARE, TIMES, Figure, Outcome, distinct
from perf.scenarios.tenants import Tenancy, Window, chain, recorded, synced

HEAVIER = 4
"""How often the first model runs where its work is made heavier, to see whom that is booked to."""


def play(tenancy: Tenancy, rounds: int) -> Outcome:
    """Naive and attributed times side by side; and both again behind a heavier first model."""
    tenants, names = tenancy.tenants, [tenant.name for tenant in tenancy.tenants]
    heavy = [tenants[0]] * (HEAVIER - 1) + list(tenants)
    naive: dict[str, list[int]] = {name: [] for name in names}
    last_heavy, whole = [], []
    with quiet_gc():
        for _ in range(rounds):
            stamps = chain(tenancy.runtime, tenants)
            for name, taken in zip(names, _naive(stamps), strict=True):
                naive[name].append(taken)
            whole.append(stamps[-1])
            last_heavy.append(_naive(chain(tenancy.runtime, heavy))[-1])
        windows = recorded(tenancy, [tenants, heavy], min(rounds, PROFILED_MAX))
    light = [pair[0] for pair in windows]
    attributed = {name: [w.records.busy_of(name) for w in light] for name in names}
    last = names[-1]
    behind_heavy = [pair[1].records.busy_of(last) for pair in windows]
    invalid = [s for pair in windows for window in pair for s in violations(window.records)]
    invalid += local(attributed[last], behind_heavy, last)
    busy = [window.records.busy_ns for window in light]
    invalid += stopped_too_early(whole, busy, [window.load for window in light])
    notes = approximate(whole, [window.records.synced_ns for window in light])
    if tenancy.is_asynchronous and not is_refuted(last_heavy, naive[last], 1.5):
        notes.append(f"the naive time of {last} did not grow with the others' work")
    return Outcome(
        "chain",
        {
            **{f"{name}: naive": tuple(found) for name, found in naive.items()},
            **{f"{name}: attributed": tuple(found) for name, found in attributed.items()},
            "whole chain, synced": tuple(whole),
        },
        tuple(_figures(names, naive, attributed, last_heavy, behind_heavy, light)),
        distinct(invalid),
        distinct(notes),
        light[-1].records,
    )


def _naive(stamps: Sequence[int]) -> list[int]:
    """What a clock around each call shows; the last one's is stopped after the drain."""
    ends = [0, *stamps[:-2], stamps[-1]]
    return [after - before for before, after in pairwise(ends)]


def _figures(
    names: list[str],
    naive: dict[str, list[int]],
    attributed: dict[str, list[int]],
    last_heavy: list[int],
    behind_heavy: list[int],
    windows: list[Window],
) -> list[Figure]:
    last = names[-1]
    medians = {name: quantile_ns(found, 50) for name, found in naive.items()}
    own = {name: quantile_ns(found, 50) for name, found in attributed.items()}
    behind = [w.records.behind_ns(w.records.of(last)[-1]) for w in windows]
    shares = [
        figure
        for name in names
        for figure in (
            Figure(
                f"{name}: naive share",
                medians[name] / sum(medians.values()),
                SHARE,
                "of the chain, by a clock around each call",
            ),
            Figure(
                f"{name}: attributed share",
                own[name] / max(sum(own.values()), 1),
                SHARE,
                "of the work, by events",
            ),
        )
    ]
    return [
        *shares,
        Figure(
            f"{last}: misattributed",
            max(0, medians[last] - own[last]),
            MS,
            "of its naive time, what its own events do not explain",
        ),
        Figure(
            f"{last}: behind others",
            quantile_ns(behind, 50),
            MS,
            "others' work between its call and its end, by the events of recorded chains",
        ),
        Figure(
            f"{last}: naive growth",
            quantile_ns(last_heavy, 50) / max(medians[last], 1),
            TIMES,
            f"of its naive time where {names[0]} runs {HEAVIER} times before it",
        ),
        Figure(
            f"{last}: attributed growth",
            quantile_ns(behind_heavy, 50) / max(own[last], 1),
            TIMES,
            "of its attributed time there; 1 is right",
        ),
    ]


def play_barrier(tenancy: Tenancy, rounds: int) -> Outcome:
    """Each alone, the chain, and the chain with a drain after each model, by turns."""
    tenants = tenancy.tenants
    alone: dict[str, list[int]] = {tenant.name: [] for tenant in tenants}
    plain: list[int] = []
    barriers: list[int] = []
    with quiet_gc():
        for number in range(rounds):
            for tenant in tenants:
                alone[tenant.name].append(synced(tenant)[1])
            for barrier in (number % 2 == 0, number % 2 != 0):
                taken = chain(tenancy.runtime, tenants, barrier=barrier)[-1]
                (barriers if barrier else plain).append(taken)
        windows = [row[0] for row in recorded(tenancy, [tenants], min(rounds, PROFILED_MAX))]
    invalid = [s for window in windows for s in violations(window.records)]
    invalid += chained(alone, plain, barriers)
    busy = [window.records.busy_ns for window in windows]
    invalid += stopped_too_early(plain, busy, [window.load for window in windows])
    cost = quantile_ns(barriers, 50) - quantile_ns(plain, 50)
    summed = sum(quantile_ns(found, 50) for found in alone.values())
    return Outcome(
        "barrier",
        {
            **{f"{name}: alone": tuple(found) for name, found in alone.items()},
            "chain": tuple(plain),
            "chain with barriers": tuple(barriers),
        },
        (
            Figure("sum of the models alone", summed, MS, "of the medians"),
            Figure("cost of the barriers", cost, MS, "of the medians, chain with less without"),
            Figure(
                "gain of the chain",
                summed / max(quantile_ns(plain, 50), 1),
                TIMES,
                "sum of the models alone over the chain: enqueueing that the device hides",
            ),
        ),
        distinct(invalid),
        (),
        windows[-1].records,
    )
