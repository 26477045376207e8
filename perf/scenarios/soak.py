"""Soak: many requests, one after the other, and whether anything drifts or leaks."""

from __future__ import annotations

import gc
from dataclasses import astuple

from perf.invariants import same_outputs, unchanged
from perf.latency import quiet_gc
from perf.quantiles import quantile_ns
from perf.resident import resident_nbytes
from perf.scenarios.outcome import NBYTES, TIMES, Figure, Outcome, distinct
from perf.scenarios.tenants import Tenancy, digest

CALLS_PER_ROUND = 16
"""So that the usual 64 rounds are 1024 requests."""
CHECKED = 64
"""Outputs of each so many requests are compared."""
LIVE = ("buffers", "commands", "bytes")


def play(tenancy: Tenancy, rounds: int) -> Outcome:
    """Models take turns; memory is compared between the end of the first quarter and the end."""
    calls = max(4, rounds * CALLS_PER_ROUND)
    times: dict[str, list[int]] = {tenant.name: [] for tenant in tenancy.tenants}
    invalid: list[str] = []
    before = _held(tenancy)
    with quiet_gc():
        for number in range(calls):
            if number == calls // 4:
                before = _held(tenancy)
            for tenant in tenancy.tenants:
                request, outputs = tenant.serve(number)
                times[tenant.name].append(request.service_ns)
                if number % CHECKED == 0 or number == calls - 1:
                    got = [digest(outputs)]
                    invalid += same_outputs(tenant.name, tenant.expects(number), got)
                del outputs
        after = _held(tenancy)
    for what, old, new in zip(LIVE, before[:3], after[:3], strict=True):
        invalid += unchanged(f"{what} on the devices", old, new)
    figures = [_drift(name, found) for name, found in times.items()]
    meaning = "of the process, over the last three quarters"
    figures.append(Figure("resident growth", after[3] - before[3], NBYTES, meaning))
    return Outcome(
        "soak", {n: tuple(found) for n, found in times.items()}, tuple(figures), distinct(invalid)
    )


def _drift(name: str, times_ns: list[int]) -> Figure:
    quarter = max(len(times_ns) // 4, 1)
    first, last = (quantile_ns(part, 50) for part in (times_ns[:quarter], times_ns[-quarter:]))
    return Figure(f"{name}: drift", last / first, TIMES, "the last quarter's median over the first")


def _held(tenancy: Tenancy) -> tuple[int, ...]:
    """Buffers, commands and bytes on the devices, and resident bytes of the process."""
    gc.collect()
    return (*astuple(tenancy.runtime.live()), resident_nbytes())
