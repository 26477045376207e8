"""Enqueue-only, synced and end to end: three clocks around the same inference."""

from __future__ import annotations

import time

from perf.invariants import approximate, same_outputs, violations
from perf.latency import BLOCKING_SHARE, quiet_gc, stopped_too_early
from perf.quantiles import quantile_ns
from perf.records import drain
from perf.scenarios.outcome import SHARE, Figure, Outcome, distinct
from perf.scenarios.tenants import Tenancy, Tenant, Window, digest, recorded, synced

PROFILED_MAX = 11
"""Recorded windows of each model: as many as a median needs."""


def play(tenancy: Tenancy, rounds: int) -> Outcome:
    """Models take turns within each round; then each is recorded as often, up to a limit."""
    times: dict[str, list[int]] = {}
    invalid: list[str] = []
    with quiet_gc():
        for number in range(rounds):
            times.setdefault("drain of idle queues", []).append(_floor(tenancy))
            for tenant in tenancy.tenants:
                enqueue, whole = synced(tenant)
                request, outputs = tenant.serve(number)
                name = tenant.name
                times.setdefault(f"{name}: enqueue only", []).append(enqueue)
                times.setdefault(f"{name}: synced", []).append(whole)
                times.setdefault(f"{name}: end to end", []).append(request.service_ns)
                if not 0 <= enqueue <= whole:
                    invalid.append(f"I1: {name}: enqueue {enqueue} ns of {whole} ns synced")
                if number < len(tenant.feeds):
                    invalid += same_outputs(name, tenant.expects(number), [digest(outputs)])
        orders = [[tenant] for tenant in tenancy.tenants]
        windows = recorded(tenancy, orders, min(rounds, PROFILED_MAX))
    columns = list(zip(*windows, strict=True))
    figures, notes = [], []
    for tenant, column in zip(tenancy.tenants, columns, strict=True):
        plain = times[f"{tenant.name}: synced"]
        busy = [window.records.busy_ns for window in column]
        times[f"{tenant.name}: busy, by events"] = busy
        invalid += [s for window in column for s in violations(window.records)]
        invalid += stopped_too_early(plain, busy, [window.load for window in column])
        notes += _notes(tenancy, tenant, times, column)
        figures.append(
            Figure(
                f"{tenant.name}: enqueue / synced",
                quantile_ns(times[f"{tenant.name}: enqueue only"], 50) / quantile_ns(plain, 50),
                SHARE,
                "what a clock without synchronisation shows of the latency",
            )
        )
    return Outcome(
        "enqueue",
        {name: tuple(found) for name, found in times.items()},
        tuple(figures),
        distinct(invalid),
        distinct(notes),
        columns[0][-1].records,
    )


def _floor(tenancy: Tenancy) -> int:
    """ns of a drain where nothing is to be drained; a part of every synced latency."""
    drain(tenancy.runtime)
    before = time.perf_counter_ns()
    drain(tenancy.runtime)
    return time.perf_counter_ns() - before


def _notes(
    tenancy: Tenancy, tenant: Tenant, times: dict[str, list[int]], windows: tuple[Window, ...]
) -> list[str]:
    plain = times[f"{tenant.name}: synced"]
    profiled = [window.records.synced_ns for window in windows]
    notes = [f"{tenant.name}: {note}" for note in approximate(plain, profiled)]
    enqueue = quantile_ns(times[f"{tenant.name}: enqueue only"], 50)
    if not tenancy.is_asynchronous:
        notes.append("no queue: run() returns when the work is done")
    elif enqueue > BLOCKING_SHARE * quantile_ns(plain, 50):
        notes.append(f"{tenant.name}: enqueue takes most of synced: the host bounds it")
    return notes
