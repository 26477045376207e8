"""What a launch leaves behind: quads of slots, and what the device did; plain data, replayable.

A quad measures baseline (B) and candidate (C) as B C C B or C B B C, so that a drift of the machine
adds to both alike. Its effect is a log ratio; the launch's is the median over its quads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

BASE, CAND = "baseline", "candidate"
ARMS = (BASE, CAND)
ORDERS = ((BASE, CAND, CAND, BASE), (CAND, BASE, BASE, CAND))
CONTROL = "control"
"""The scenario that is the harness's own: the same work in both arms, whatever they are."""


@dataclass(frozen=True)
class Slot:
    """One turn of one arm: a few inferences in a row, each from drained to drained queues.

    Attributes:
        synced_ns, enqueue_ns: medians over its inferences. cpu_ns: of the whole process, for each.
        started_ns: of the host's monotonic clock.
    """

    arm: str
    started_ns: int
    synced_ns: int
    enqueue_ns: int
    cpu_ns: int

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Slot:
        """The inverse of `dataclasses.asdict`; ValueError where no clock can have said so."""
        slot = cls(**data)
        times = slot.started_ns, slot.synced_ns, slot.enqueue_ns, slot.cpu_ns
        if not all(type(t) is int and 0 <= t < 2**63 for t in times) or slot.synced_ns == 0:
            raise ValueError(f"times of a slot are {times}, expected nanoseconds")
        return slot


@dataclass(frozen=True)
class Quad:
    """Four slots in one of `ORDERS`."""

    slots: tuple[Slot, ...]

    @property
    def first(self) -> str:
        """The arm that began."""
        return self.slots[0].arm

    def effect(self, name: str = "synced_ns") -> float:
        """ln of candidate over baseline."""
        sums = dict.fromkeys(ARMS, 0.0)
        for slot in self.slots:
            sums[slot.arm] += math.log(max(getattr(slot, name), 1))
        return (sums[CAND] - sums[BASE]) / 2


@dataclass(frozen=True)
class Series:
    """One scenario in one launch.

    Attributes:
        profiles: of each arm, by model, what a profiled run was spent on (`perf.gate.agent`);
            empty where the engine cannot say.
    """

    quads: tuple[Quad, ...]
    profiles: Mapping[str, Sequence[Mapping[str, Any]]]

    @property
    def effect(self) -> float:
        """The launch's one number."""
        return median(quad.effect() for quad in self.quads)

    @property
    def cpu_effect(self) -> float:
        """The same of processor time."""
        return median(quad.effect("cpu_ns") for quad in self.quads)

    @property
    def order_effect(self) -> float:
        """What it makes of a difference which arm began; 0.0 where only one did."""
        found = {arm: [q.effect() for q in self.quads if q.first == arm] for arm in ARMS}
        if not all(found.values()):
            return 0.0
        return median(found[BASE]) - median(found[CAND])

    def median_ns(self, arm: str, name: str = "synced_ns") -> int:
        """Of an arm's slots."""
        return int(median(getattr(s, name) for q in self.quads for s in q.slots if s.arm == arm))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Series:
        """The inverse of `dataclasses.asdict`."""
        quads = tuple(
            Quad(tuple(Slot.from_json(slot) for slot in quad["slots"])) for quad in data["quads"]
        )
        return cls(quads, {arm: list(data["profiles"][arm]) for arm in ARMS})


@dataclass(frozen=True)
class Launch:
    """A fresh process for each arm.

    Attributes:
        stage: 1, or 2 where it confirms. series: by scenario, the control included.
        peaks_nbytes: the largest resident size of each arm. invalid: why it must not be believed.
        foreign_share: of the processors, used by other programs.
    """

    stage: int
    number: int
    seed: int
    series: Mapping[str, Series]
    peaks_nbytes: Mapping[str, int]
    foreign_share: float
    invalid: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Launch:
        """The inverse of `to_json`."""
        series = {name: Series.from_json(one) for name, one in data["series"].items()}
        return cls(**{**data, "series": series, "invalid": tuple(data["invalid"])})
