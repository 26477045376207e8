"""Outcome: what a scenario found, in a form that one table and one JSON document show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from perf.quantiles import RUNS_NEEDED, is_stateable, quantile_ns
from perf.records import Records

MS, TIMES, SHARE, NBYTES, COUNT = "ms", "x", "share", "bytes", ""
"""Units of figures; times are in ns and shown in ms."""


@dataclass(frozen=True)
class Figure:
    """One number that is not a distribution.

    Attributes:
        value: None where it cannot be stated. unit: ns where the unit is `MS`.
        meaning: a sentence for whoever reads it for the first time.
    """

    name: str
    value: float | None
    unit: str
    meaning: str


@dataclass(frozen=True)
class Memory:
    """The most that was held in a pass of the scenario that was not timed; None: not known.

    Attributes:
        host_nbytes: resident in this process, drivers and libraries included. device_nbytes:
            allocated by the engine on the devices of the runtime.
    """

    host_nbytes: int | None
    device_nbytes: int | None


@dataclass(frozen=True)
class Outcome:
    """Of one scenario on one device.

    Attributes:
        times: by name, all that was measured, in ns.
        invalid: a sentence for each broken invariant; such times must not be believed.
        notes: what a reader of the numbers must know.
        records: of a profiled window: every request with its events.
    """

    scenario: str
    times: Mapping[str, tuple[int, ...]]
    figures: tuple[Figure, ...] = ()
    invalid: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    records: Records | None = None
    memory: Memory = Memory(None, None)

    def to_json(self) -> dict[str, Any]:
        """Plain data; percentiles that there are too few times for are null.

        Of an invalid outcome there are the times that were measured, as evidence, and nothing that
        is computed from them.
        """
        figures = self.figures
        if self.invalid:
            figures = tuple(replace(figure, value=None) for figure in figures)
        return {
            "scenario": self.scenario,
            "times": {
                name: {"ns": list(times), **({} if self.invalid else summary(times))}
                for name, times in self.times.items()
            },
            "figures": [asdict(figure) for figure in figures],
            "invalid": list(self.invalid),
            "notes": list(self.notes),
            "memory": asdict(self.memory),
            "records": None if self.records is None else asdict(self.records),
        }


def summary(times_ns: tuple[int, ...]) -> dict[str, int | None]:
    """How many there are, the shortest, and each percentile that they are enough for."""
    found: dict[str, int | None] = {"n": len(times_ns), "min_ns": min(times_ns, default=None)}
    for percent in RUNS_NEEDED:
        enough = is_stateable(percent, len(times_ns))
        found[f"p{percent}_ns"] = quantile_ns(times_ns, percent) if enough else None
    return found


def distinct(sentences: list[str]) -> tuple[str, ...]:
    """Each once, in order."""
    return tuple(dict.fromkeys(sentences))
