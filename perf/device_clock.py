"""Which clock a driver stamps its events with, found by measuring, and how to read it on ours.

PoCL takes CLOCK_MONOTONIC_RAW, Intel's runtime for processors CLOCK_MONOTONIC, which is that of
`time.perf_counter_ns` on Linux; a GPU has a counter of its own. QUEUED is stamped inside the call
of `enqueue`, so every command bounds what has to be added; a clock of the system that lies within
these bounds is taken, since it is known better than they are.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from engine.profile import Clock
from engine.timeline import Span

SYSTEM = {
    "CLOCK_MONOTONIC": getattr(time, "CLOCK_MONOTONIC", None),
    "CLOCK_MONOTONIC_RAW": getattr(time, "CLOCK_MONOTONIC_RAW", None),
    "CLOCK_REALTIME": getattr(time, "CLOCK_REALTIME", None),
}
OWN = "a counter of the device"
READING_NS = 20_000
"""How far a clock of the system may lie outside the bounds: reading two clocks takes time."""
TRIES = 5


@dataclass(frozen=True)
class DeviceClock:
    """host = device + offset, in ns.

    Attributes:
        name: of the clock of the system, or `OWN`. uncertainty_ns: around the offset; negative
            where no offset fits all commands of the run.
    """

    name: str
    offset_ns: int
    uncertainty_ns: int

    @classmethod
    def of(cls, spans: Iterable[Span]) -> DeviceClock:
        """From the stamps of a run that has just ended."""
        fitted = Clock.of(spans)
        for name, number in SYSTEM.items():
            if number is None or fitted.uncertainty_ns < 0:
                continue
            offset, taken = _offset(number)
            if abs(offset - fitted.offset_ns) <= fitted.uncertainty_ns + READING_NS:
                return cls(name, offset, taken)
        return cls(OWN, fitted.offset_ns, fitted.uncertainty_ns)


def _offset(clock: int) -> tuple[int, int]:
    """What to add to a clock of the system, and half of what the closest reading took."""
    readings = []
    for _ in range(TRIES):
        before = time.perf_counter_ns()
        there = time.clock_gettime_ns(clock)
        after = time.perf_counter_ns()
        readings.append((after - before, (before + after) // 2 - there))
    taken, offset = min(readings)
    return offset, (taken + 1) // 2
