"""Open loop: requests arrive when they arrive, and their latency counts from then.

A closed loop asks the next time when it was answered, and so leaves out what would have had to wait
(coordinated omission). Here each model has a thread that serves its own requests in order; gaps
between arrivals are exponential, seeded, and a request that comes while another is served waits.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from perf.invariants import same_outputs
from perf.latency import quiet_gc
from perf.quantiles import quantile_ns
from perf.records import Request
from perf.scenarios.crowd import together
from perf.scenarios.outcome import SHARE, Figure, Outcome, distinct
from perf.scenarios.tenants import Tenancy, Tenant, digest

LOADS = (0.60, 0.80, 0.95)
"""Of what the models could serve one after the other; at 1 the queue would grow for ever."""
WARMUP = 11
SPIN_NS = 100_000
"""The last moment before a request is due is not slept: a sleep ends a little late."""


def play(tenancy: Tenancy, rounds: int) -> Outcome:
    """The service time of each model first, then `rounds` requests of each at each load."""
    tenants = tenancy.tenants
    times: dict[str, tuple[int, ...]] = {}
    figures: list[Figure] = []
    invalid: list[str] = []
    with quiet_gc():
        alone = {t.name: [t.serve(i)[0].service_ns for i in range(WARMUP)] for t in tenants}
        service = {name: quantile_ns(found, 50) for name, found in alone.items()}
        for load in LOADS:
            gaps = {name: ns * len(tenants) / load for name, ns in service.items()}
            served = _served(tenants, gaps, rounds, tenancy.seed, invalid)
            for name, requests in served.items():
                invalid += _in_order(name, requests, rounds)
                head = f"{name} at {load:.0%}"
                times[f"{head}: from when it was due"] = tuple(r.latency_ns for r in requests)
                times[f"{head}: from when it began"] = tuple(r.service_ns for r in requests)
                waited = sum(r.start_ns - r.due_ns for r in requests)
                share = waited / max(sum(r.latency_ns for r in requests), 1)
                meaning = "of the latency, for the requests before it: a closed loop omits it"
                figures.append(Figure(f"{head}: waiting", share, SHARE, meaning))
    return Outcome("arrivals", times, tuple(figures), distinct(invalid))


def _served(
    tenants: Sequence[Tenant],
    gaps_ns: Mapping[str, float],
    wanted: int,
    seed: int,
    invalid: list[str],
) -> dict[str, list[Request]]:
    """`wanted` requests of each tenant, in threads; what a thread sleeps through stays due."""
    due = {
        tenant.name: _schedule(gaps_ns[tenant.name], wanted, (seed, i))
        for i, tenant in enumerate(tenants)
    }
    began: dict[str, int] = {}

    def serve(tenant: Tenant, number: int) -> Request:
        start = began.setdefault(tenant.name, time.perf_counter_ns())
        due_ns = start + due[tenant.name][number]
        _wait_until(due_ns)
        request, outputs = tenant.serve(number, due_ns)
        if number == wanted - 1:
            invalid.extend(same_outputs(tenant.name, tenant.expects(number), [digest(outputs)]))
        return request

    return together(tenants, wanted, serve, closed=False)


def _schedule(gap_ns: float, count: int, seed: tuple[int, int]) -> list[int]:
    """Arrivals in ns after the start: a Poisson process."""
    gaps = np.random.default_rng(seed).exponential(gap_ns, count)
    return [int(at) for at in np.cumsum(gaps)]


def _wait_until(due_ns: int) -> None:
    while (left := due_ns - time.perf_counter_ns()) > 0:
        time.sleep(max(left - SPIN_NS, 0) / 1e9)


def _in_order(name: str, requests: Sequence[Request], wanted: int) -> list[str]:
    """I1 of a stream: nobody before it was due, none left out, one at a time."""
    found = []
    if [r.number for r in requests] != list(range(wanted)):
        found.append(f"I1: {name}: {len(requests)} of {wanted} requests that were due were served")
    if any(not r.due_ns <= r.start_ns <= r.enqueued_ns <= r.posted_ns for r in requests):
        found.append(f"I1: {name}: a request was begun before it was due, or ended before it began")
    if any(b.start_ns < a.posted_ns for a, b in pairwise(requests)):
        found.append(f"I1: {name}: a request was begun before the one before it was answered")
    return found
