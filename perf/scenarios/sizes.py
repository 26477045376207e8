"""Alternating input sizes: what going to a shape costs, and what going back to it does.

The first free dimension of a model (often the batch) is taken once, twice and three times as large
as at first, in the order 1, 2, 1, 3. A visit is a resize with its first inference; then the model
stays for one more. The session begins at the first size, which therefore has no first visit.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from conformance.inputs import Feeds, random_inputs
from engine.errors import InputError
from engine.ir.types import TensorType
from perf.invariants import revisited, same_outputs, unchanged
from perf.latency import quiet_gc
from perf.quantiles import quantile_ns
from perf.records import drain
from perf.resident import resident_nbytes
from perf.scenarios.outcome import COUNT, NBYTES, Figure, Outcome, distinct
from perf.scenarios.tenants import Tenancy, Tenant, digest

FACTORS = (1, 2, 3)
ORDER = (1, 2, 1, 3)
CYCLES_MIN, CYCLES_MAX = 3, 16
Shapes = Mapping[str, tuple[int, ...]]


@dataclass
class Size:
    """One set of input shapes, and what it took, in ns."""

    name: str
    feeds: Feeds
    flops: int = 0
    first_ns: list[int] = field(default_factory=list)
    revisit_ns: list[int] = field(default_factory=list)
    stay_ns: list[int] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)


def play(tenancy: Tenancy, rounds: int) -> Outcome:
    """At least three cycles of each model; InputError for one without a free dimension."""
    every = [(tenant, _sizes(tenant, tenancy.seed)) for tenant in tenancy.tenants]
    cycles = max(CYCLES_MIN, min(CYCLES_MAX, rounds))
    times: dict[str, tuple[int, ...]] = {}
    figures: list[Figure] = []
    invalid: list[str] = []
    for tenant, sizes in every:
        with quiet_gc():
            held, builds = _cycles(tenancy, tenant, sizes, cycles)
        invalid += revisited(tenant.name, builds)
        invalid += unchanged(f"memory of {tenant.name} on the device", held[1][0], held[-1][0])
        for size in sizes.values():
            head = f"{tenant.name} {size.name}"
            if size.first_ns:
                times[f"{head}: first visit"] = tuple(size.first_ns)
            times[f"{head}: revisit"] = tuple(size.revisit_ns)
            times[f"{head}: staying"] = tuple(size.stay_ns)
            invalid += same_outputs(head, size.digests[0], size.digests[1:])
        figures += _figures(tenant.name, list(sizes.values()), held)
        tenant.session.run(tenant.feeds[0], sync=True)
    return Outcome("sizes", times, tuple(figures), distinct(invalid))


def _sizes(tenant: Tenant, seed: int) -> dict[int, Size]:
    """By factor; the first is that of the tenant's own inputs."""
    shapes = {name: array.shape for name, array in tenant.model.feeds.items()}
    free = _free(tenant)
    if free is None:
        raise InputError(
            f"{tenant.model.path}: no input has a free dimension, and the scenario sizes changes "
            "one: give a model with a free batch or length"
        )
    found = {}
    for factor in FACTORS:
        scaled = {
            name: tuple(d * factor if (name, i) in free else d for i, d in enumerate(shape))
            for name, shape in shapes.items()
        }
        shown = ", ".join("x".join(map(str, shape)) for shape in scaled.values())
        found[factor] = Size(shown, random_inputs(tenant.interpreter, scaled, seed))
    return found


def _free(tenant: Tenant) -> set[tuple[str, int]] | None:
    """Where the first free dimension occurs: input and axis; a name may stand for several."""
    inputs = tenant.interpreter.inputs
    dims = [
        (name, axis, dim)
        for name, type_ in inputs.items()
        if isinstance(type_, TensorType)
        for axis, dim in enumerate(type_.shape or ())
        if not isinstance(dim, int)
    ]
    if not dims:
        return None
    first = dims[0]
    return {d[:2] for d in dims if d == first or (first[2] is not None and d[2] == first[2])}


def _cycles(
    tenancy: Tenancy, tenant: Tenant, sizes: Mapping[int, Size], cycles: int
) -> tuple[list[tuple[int, int]], int]:
    """Bytes on devices and resident after each cycle; programs compiled after the first one."""
    held, after_first, current = [], 0, sizes[FACTORS[0]]
    for cycle in range(cycles):
        for factor in ORDER:
            size = sizes[factor]
            visit = size.revisit_ns if size.stay_ns else size.first_ns
            visit = size.stay_ns if size is current else visit
            visit.append(_inference(tenancy, tenant, size))
            current = size
            size.stay_ns.append(_inference(tenancy, tenant, size))
            read = {name: tenant.session.read(name) for name in tenant.session.outputs}
            size.digests.append(digest(read))
            size.flops = size.flops or tenant.session.info().flops
        if cycle == 0:
            after_first = _builds(tenancy)
        gc.collect()
        held.append((tenancy.runtime.live().nbytes, resident_nbytes()))
    return held, _builds(tenancy) - after_first


def _inference(tenancy: Tenancy, tenant: Tenant, size: Size) -> int:
    """ns of a resize, where there is something to resize, inputs, and a run, until it is done."""
    drain(tenancy.runtime)
    started = time.perf_counter_ns()
    tenant.session.run(size.feeds)
    drain(tenancy.runtime)
    return time.perf_counter_ns() - started


def _builds(tenancy: Tenancy) -> int:
    return sum({b.memory: b.builds for b in tenancy.runtime._made()}.values())


def _figures(name: str, sizes: list[Size], held: list[tuple[int, int]]) -> list[Figure]:
    stays = [quantile_ns(size.stay_ns, 50) for size in sizes]
    flops = [size.flops for size in sizes]
    slope = None
    if all(flops) and len(set(flops)) > 1:
        slope = float(np.polyfit([math.log(f) for f in flops], [math.log(t) for t in stays], 1)[0])
    grown = held[-1][1] - held[1][1]
    return [
        Figure(f"{name}: slope", slope, COUNT, "of ln latency over ln FLOPs; above 1 it is worse"),
        Figure(f"{name}: resident growth", grown, NBYTES, "of the process, after the second cycle"),
    ]
