"""Foreign load: how much a time was stretched by what else the machine did, as it was measured.

Linux counts for each thread how long it could run and had no processor (`run_delay` of
/proc/PID/task/TID/schedstat, https://docs.kernel.org/scheduler/sched-stats.html), and for the whole
machine what a hypervisor took away (`steal`). Where the kernel does not count, nothing is known.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median_low

import psutil

SLOWDOWN_MAX = 2
"""What undisturbed work may still differ by from one pass to the next: caches, clock frequencies,
and a sibling thread on the same core, which no count of waiting shows."""
UNMEASURED_SLOWDOWN_MAX = 4
"""The same where the system does not say how long threads waited."""

_TASKS = Path("/proc/self/task")


@dataclass(frozen=True)
class Moment:
    """What the counters of this process and of the machine said; times in ns.

    Attributes:
        worked_ns: processor time of all threads but this one: those of a driver for processors.
        waited_ns: by thread, how long it was ready and had no processor; None: not counted here.
        stolen_ns: by a hypervisor, of all processors; it moves in steps of 10 ms.
    """

    wall_ns: int
    worked_ns: int
    waited_ns: dict[str, int] | None
    stolen_ns: int

    @classmethod
    def now(cls) -> Moment:
        """Read the counters; takes some 20 us for each thread."""
        steal = getattr(psutil.cpu_times(), "steal", 0.0)
        return cls(
            time.perf_counter_ns(),
            time.process_time_ns() - time.thread_time_ns(),
            _waits(),
            round(steal * 1e9),
        )


def _waits() -> dict[str, int] | None:
    found = {}
    try:
        for thread in os.listdir(_TASKS):
            try:
                found[thread] = int((_TASKS / thread / "schedstat").read_text().split()[1])
            except (FileNotFoundError, ProcessLookupError):
                if thread == str(threading.get_native_id()):
                    return None  # of this thread: so the kernel does not count
    except OSError:
        return None
    return found


@dataclass(frozen=True)
class Load:
    """What happened between two moments; times in ns.

    Attributes:
        worked_ns: see `Moment`. waited_ns: sum over the threads; None where nobody counts.
        stolen_share: of the wall time, as if all of it had been taken from this process.
    """

    worked_ns: int
    waited_ns: int | None
    stolen_share: float
    processors: int = field(default_factory=lambda: os.cpu_count() or 1)

    @classmethod
    def between(cls, before: Moment, after: Moment) -> Load:
        """What the counters grew by; a thread that was born meanwhile counts from zero."""
        waited = None
        if before.waited_ns is not None and after.waited_ns is not None:
            began = before.waited_ns
            waited = sum(ns - began.get(thread, 0) for thread, ns in after.waited_ns.items())
        stolen = (after.stolen_ns - before.stolen_ns) / max(after.wall_ns - before.wall_ns, 1)
        return cls(after.worked_ns - before.worked_ns, waited, min(1.0, max(0.0, stolen)))

    def undisturbed_ns(self, busy_ns: int) -> int:
        """What is certain of `busy_ns` of device work, however much other programs stretched it.

        Two lower bounds, and the better one: all the waiting of all threads may have stretched it
        one after the other; and what the threads worked takes at least its share of all processors.
        Steal is taken off. Where waiting is not counted, busy as it is.
        """
        if self.waited_ns is None:
            return busy_ns
        worked = min(busy_ns, self.worked_ns // self.processors)
        return round(max(busy_ns - self.waited_ns, worked, 0) * (1 - self.stolen_share))


def undisturbed_ns(busy_ns: Sequence[int], loads: Sequence[Load]) -> int:
    """The lower median over some runs of what is certain of their device work."""
    return median_low(load.undisturbed_ns(busy) for busy, load in zip(busy_ns, loads, strict=True))


def slowdown_max(loads: Sequence[Load]) -> int:
    """The factor by which work of two passes may differ and yet be the same work."""
    is_measured = all(load.waited_ns is not None for load in loads)
    return SLOWDOWN_MAX if is_measured else UNMEASURED_SLOWDOWN_MAX
