"""Pipeline: the host prepares the next item and finishes the last while the device computes.

Host work is NumPy arithmetic, as much as the device takes for an item, half of it before and half
behind. `overlap` is what of the shorter side was hidden:

    (serial - pipelined) / (serial - max(host, device))

1 is all; on a device that is a processor the two sides fight for the same cores, and it can be
below 0, which is a finding and no error. A queue need not begin before it is flushed or waited for:
the pipeline runs with and without an explicit flush.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from perf.invariants import pipelined, same_outputs
from perf.latency import quiet_gc
from perf.quantiles import quantile_ns
from perf.records import drain
from perf.scenarios.outcome import MS, SHARE, Figure, Outcome, distinct
from perf.scenarios.tenants import Outputs, Tenancy, Tenant, digest

ITEMS = 8
STREAMS_MAX = 16
"""Streams of each kind; the rounds beyond add nothing that a median of streams shows."""
ELEMENTS = 4096
CALIBRATION = 200


@dataclass(frozen=True)
class HostWork:
    """So many passes over some floats, half of them on each side of an item."""

    passes: int

    def half(self) -> None:
        """Half of what an item needs."""
        array = np.ones(ELEMENTS, np.float32)
        for _ in range(max(self.passes // 2, 1)):
            array = array * np.float32(0.5) + np.float32(0.25)

    @classmethod
    def lasting(cls, target_ns: int) -> HostWork:
        """As many as take `target_ns` now; from then on it is the number that counts."""
        before = time.perf_counter_ns()
        cls(CALIBRATION).half()
        cls(CALIBRATION).half()
        each = (time.perf_counter_ns() - before) / CALIBRATION
        return cls(max(2, round(target_ns / each)))


def play(tenancy: Tenancy, rounds: int) -> Outcome:
    """Of each model: host alone, device alone, serial, pipelined, pipelined with a flush."""
    times: dict[str, tuple[int, ...]] = {}
    figures: list[Figure] = []
    invalid: list[str] = []
    with quiet_gc():
        for tenant in tenancy.tenants:
            stream = Stream(tenancy, tenant)
            found, items = stream.measure(min(rounds, STREAMS_MAX))
            invalid += stream.invalid
            sides = found["host alone"], found["device alone"]
            for kind in ("pipelined", "pipelined, flushed"):
                invalid += pipelined(*sides, found[kind], items[kind], ITEMS)
                figures.append(_overlap(tenant.name, kind, found))
            times |= {f"{tenant.name}: {kind}": tuple(ns) for kind, ns in found.items()}
            for kind, each in items.items():
                median = quantile_ns(each, 50)
                meaning = "from the start of its host work to its end"
                figures.append(Figure(f"{tenant.name}: item, {kind}", median, MS, meaning))
    notes = () if tenancy.is_asynchronous else ("no queue: nothing can overlap",)
    return Outcome("pipeline", times, tuple(figures), distinct(invalid), notes)


def _overlap(name: str, kind: str, found: dict[str, list[int]]) -> Figure:
    host, device, serial, taken = (
        quantile_ns(found[k], 50) for k in ("host alone", "device alone", "serial", kind)
    )
    most = serial - max(host, device)
    overlap = (serial - taken) / most if most > 0 else None
    meaning = "what of the shorter side was hidden; below 0 it took longer than serially"
    return Figure(f"{name}: overlap, {kind}", overlap, SHARE, meaning)


class Stream:
    """Items of one model, one after the other."""

    def __init__(self, tenancy: Tenancy, tenant: Tenant) -> None:
        self._tenancy, self._tenant = tenancy, tenant
        self.invalid: list[str] = []
        self._queues = [b.context for b in tenancy.runtime._made() if hasattr(b, "context")]
        device_ns = min(self._device() for _ in range(3)) // ITEMS
        self._work = HostWork.lasting(device_ns)

    def measure(self, rounds: int) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
        """ns of whole streams by kind, and of the mean item of each, round by round."""
        kinds: dict[str, Callable[[], list[tuple[int, int, Outputs]]]] = {
            "serial": self._serial,
            "pipelined": self._pipelined,
            "pipelined, flushed": lambda: self._pipelined(flush=True),
        }
        whole: dict[str, list[int]] = {"host alone": [], "device alone": []}
        items: dict[str, list[int]] = {}
        for _ in range(rounds):
            whole["host alone"].append(self._host())
            whole["device alone"].append(self._device())
            for kind, run in kinds.items():
                drain(self._tenancy.runtime)
                started = time.perf_counter_ns()
                done = run()
                whole.setdefault(kind, []).append(time.perf_counter_ns() - started)
                items.setdefault(kind, []).append(sum(b - a for a, b, _ in done) // ITEMS)
                for number, (_, _, outputs) in enumerate(done):
                    self._check(number, outputs)
        return whole, items

    def _check(self, number: int, outputs: Outputs) -> None:
        name, expected = self._tenant.name, self._tenant.expects(number)
        self.invalid += same_outputs(name, expected, [digest(outputs)])

    def _host(self) -> int:
        started = time.perf_counter_ns()
        for _ in range(2 * ITEMS):
            self._work.half()
        return time.perf_counter_ns() - started

    def _device(self) -> int:
        drain(self._tenancy.runtime)
        started = time.perf_counter_ns()
        begun = [self._enqueue(number, flush=True) for number in range(ITEMS)]
        for reads in begun:
            for read in reads.values():
                read.result()
        return time.perf_counter_ns() - started

    def _serial(self) -> list[tuple[int, int, Outputs]]:
        found = []
        for number in range(ITEMS):
            began = time.perf_counter_ns()
            self._work.half()
            _, outputs = self._tenant.serve(number)
            self._work.half()
            found.append((began, time.perf_counter_ns(), outputs))
        return found

    def _pipelined(self, *, flush: bool = False) -> list[tuple[int, int, Outputs]]:
        return list(self._overlapping(flush=flush))

    def _overlapping(self, *, flush: bool) -> Iterator[tuple[int, int, Outputs]]:
        pending: tuple[int, dict[str, Any]] | None = None
        for number in range(ITEMS + 1):
            ahead = None if number == ITEMS else self._begin(number, flush=flush)
            if pending is not None:
                began, reads = pending
                outputs = {name: read.result() for name, read in reads.items()}
                self._work.half()
                yield began, time.perf_counter_ns(), outputs
            pending = ahead

    def _begin(self, number: int, *, flush: bool) -> tuple[int, dict[str, Any]]:
        began = time.perf_counter_ns()
        self._work.half()
        return began, self._enqueue(number, flush=flush)

    def _enqueue(self, number: int, *, flush: bool) -> dict[str, Any]:
        """Write, run, and begin to read: nobody waits."""
        session, feeds = self._tenant.session, self._tenant.feeds
        session.run(feeds[number % len(feeds)])
        reads = {name: session.read_later(name) for name in session.outputs}
        if flush:
            for context in self._queues:
                context.queue.flush()
        return reads
