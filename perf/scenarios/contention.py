"""Contention: models in threads of their own, each asking again as soon as it was answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median

from perf.invariants import in_company, same_outputs, violations
from perf.latency import quiet_gc
from perf.quantiles import quantile_ns
from perf.records import Records, Request, Tape, recording_queues
from perf.scenarios.crowd import together
from perf.scenarios.outcome import COUNT, MS, SHARE, TIMES, Figure, Outcome, distinct
from perf.scenarios.tenants import Outputs, Tenancy, Tenant, digest

TURNS = 8
"""Alone and together alternate so often."""
LEAST, WARMUP = 4, 4
"""Requests of each model in a turn at least, and those before them: a thread begins cold."""
Turns = dict[str, list[list[Request]]]


def play(tenancy: Tenancy, rounds: int) -> Outcome:
    """Each alone and all together, by turns.

    Args:
        rounds: requests of each model in company, at least.
    """
    tenants, turns = tenancy.tenants, min(TURNS, rounds)
    wanted = max(LEAST, -(-rounds // turns))
    alone: Turns = {tenant.name: [] for tenant in tenants}
    shared: Turns = {tenant.name: [] for tenant in tenants}
    outputs: dict[str, tuple[int, Outputs]] = {}

    def serve(tenant: Tenant, number: int) -> Request:
        request, outputs_ = tenant.serve(number)
        outputs[tenant.name] = number, outputs_
        return request

    with quiet_gc():
        for _ in range(turns):
            for tenant in tenants:
                alone[tenant.name] += together([tenant], wanted, serve, warmup=WARMUP).values()
            for name, requests in together(tenants, wanted, serve, warmup=WARMUP).items():
                shared[name].append(requests)
        records = _recorded(tenancy, wanted)
    invalid = violations(records)
    for tenant in tenants:
        number, got = outputs[tenant.name]
        invalid += same_outputs(tenant.name, tenant.expects(number), [digest(got)])
    shares = {n: records.busy_of(n) / max(records.synced_ns, 1) for n in records.models}
    invalid += in_company(
        _medians(alone), _medians(shared), shares if tenancy.is_asynchronous else {}
    )
    return Outcome(
        "contention",
        {
            f"{name}: {where}": tuple(r.service_ns for turn in found[name] for r in turn)
            for name in alone
            for where, found in (("alone", alone), ("in company", shared))
        },
        tuple(_figures(alone, shared, shares)),
        distinct(invalid),
        (),
        records,
    )


def _recorded(tenancy: Tenancy, wanted: int) -> Records:
    """The same with events, of requests that run on what the inputs hold."""
    tape = Tape(tenancy.runtime)

    def serve(tenant: Tenant, number: int) -> None:
        tape.enqueue(tenant.name, tenant.session).wait()

    with recording_queues(tenancy.runtime):
        together(tenancy.tenants, 1, lambda tenant, _: tenant.session.run(sync=True))
        tape.plant(tenant.session for tenant in tenancy.tenants)
        tape.start()
        together(tenancy.tenants, wanted, serve)
        return tape.stop()


def _medians(turns: Turns) -> dict[str, list[int]]:
    return {
        name: [quantile_ns([r.service_ns for r in turn], 50) for turn in found]
        for name, found in turns.items()
    }


def _figures(alone: Turns, shared: Turns, shares: Mapping[str, float]) -> list[Figure]:
    single, company = _medians(alone), _medians(shared)
    slowdowns = {
        name: median(b / a for a, b in zip(single[name], company[name], strict=True))
        for name in single
    }
    each = []
    for name, slowdown in slowdowns.items():
        gap = max(_longest_gap(turn) for turn in shared[name])
        each += [
            Figure(f"{name}: slowdown", slowdown, TIMES, "in company over alone, of the medians"),
            Figure(f"{name}: longest gap", gap, MS, "between two of its answers in company"),
            Figure(f"{name}: device share", shares[name], SHARE, "its own events, of the time"),
        ]
    speeds = [1 / slowdown for slowdown in slowdowns.values()]
    jain = sum(speeds) ** 2 / (len(speeds) * sum(speed**2 for speed in speeds))
    return [
        *each,
        Figure("fairness", jain, SHARE, "Jain's index of 1/slowdown: 1 where all suffer alike"),
        Figure("ANTT", sum(slowdowns.values()) / len(speeds), TIMES, "the mean slowdown"),
        Figure("STP", sum(speeds), COUNT, "sum of 1/slowdown: how many devices they seem to have"),
    ]


def _longest_gap(turn: Sequence[Request]) -> int:
    ends = [turn[0].start_ns, *(request.posted_ns for request in turn)]
    return max(after - before for before, after in pairwise(ends))
