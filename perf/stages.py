"""First, tuned, cached and steady: what a user waits for, each in the process it belongs to.

A launch is one fresh process, from the file to the first outputs and on to steady runs.
- first: the launch with empty driver caches, from the file to the first outputs;
- tuned: after kernel tuning; this version has only TUNING_NONE, so the column says why it is empty;
- cached: the same of the launches after it, with the driver caches that the first one filled;
- steady: synced latency, after warm-up, in every launch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from statistics import median, median_low
from typing import Any

from perf.candidates import Candidate
from perf.latency import Latency
from perf.quantiles import Summary

UNTUNED = "no tuning in this version (TUNING_NONE)"


@dataclass(frozen=True)
class Start:
    """One process from the model file to its outputs; times in ns.

    Attributes:
        create_ns: session creation, modules imported and model read included.
        first_ns: the first inference, host arrays to host arrays; second_ns: the next one.
        sections_ns: create_ns by section: import, read, context, plan (passes, memory plan,
            binding), lower, build (programs), prepare (packing and the rest), upload.
    """

    create_ns: int
    first_ns: int
    second_ns: int
    sections_ns: dict[str, int]

    @property
    def total_ns(self) -> int:
        """From the file to the first outputs."""
        return self.create_ns + self.first_ns


@dataclass(frozen=True)
class Launch:
    """One fresh process.

    Attributes:
        foreign_share: of the processors, used by other programs during the steady runs.
    """

    start: Start
    steady: Latency
    foreign_share: float


@dataclass(frozen=True)
class Stages:
    """The columns of one model on one candidate.

    Attributes:
        device: platform and name. precision: the effective one.
        launches: the first with empty driver caches; one or more.
        commands: enqueued in a run; 0 where that is not known.
        half_is_emulated: see `DeviceInfo`.
        tuned: why this column is empty.
    """

    model: str
    candidate: Candidate
    device: str
    driver: str
    precision: str
    launches: tuple[Launch, ...]
    commands: int
    fallbacks: tuple[tuple[str, str], ...]
    half_is_emulated: bool = False
    tuned: str = field(default=UNTUNED)

    @property
    def first(self) -> Start:
        """With empty driver caches."""
        return self.launches[0].start

    @property
    def cached(self) -> Start | None:
        """With filled driver caches: the median of the launches; None after a single one."""
        later = {launch.start.total_ns: launch.start for launch in self.launches[1:]}
        return later[median_low(later)] if later else None

    @property
    def asynchronous(self) -> bool:
        """Whether `run` returns before the work is done."""
        return self.launches[0].steady.asynchronous

    @property
    def synced(self) -> Summary:
        """Quantiles of the steady latency over all launches."""
        return Summary.of([ns for launch in self.launches for ns in launch.steady.synced_ns])

    @property
    def synced_min_ns(self) -> int:
        """The shortest steady latency."""
        return min(min(launch.steady.synced_ns) for launch in self.launches)

    @property
    def enqueue(self) -> Summary:
        """Quantiles of the time until `run` returned, over all launches."""
        return Summary.of([ns for launch in self.launches for ns in launch.steady.enqueue_ns])

    @property
    def busy_ns(self) -> int | None:
        """Median over the launches of the time that the device, or the host, was at work."""
        name = "busy" if self.asynchronous else "host_busy"
        profiles = [launch.steady.profile for launch in self.launches]
        found = [profile.median_ns(name) for profile in profiles if profile is not None]
        return int(median(found)) if found else None

    @property
    def medians_ns(self) -> tuple[int, ...]:
        """The median steady latency of each launch."""
        return tuple(launch.steady.synced.p50_ns for launch in self.launches)

    @property
    def foreign_share(self) -> float:
        """Of the processors, used by other programs during the steady runs of the worst launch."""
        return max(launch.foreign_share for launch in self.launches)

    @property
    def invalid(self) -> tuple[str, ...]:
        """A sentence for each broken invariant; such latencies must not be believed."""
        return tuple(s for launch in self.launches for s in launch.steady.invalid)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the numbers must know; of the steady runs, those of the last launch."""
        last = self.launches[-1].steady
        return (*_notes(self), *last.notes, *last.contradictions)

    def to_json(self) -> dict[str, Any]:
        """Plain data; ns throughout."""
        return {
            **asdict(self),
            "launches": [
                {**asdict(launch), "steady": launch.steady.to_json()} for launch in self.launches
            ],
            "summary": {
                "first_ns": self.first.total_ns,
                "cached_ns": None if self.cached is None else self.cached.total_ns,
                "synced": {"min_ns": self.synced_min_ns, **asdict(self.synced)},
                "enqueue": asdict(self.enqueue),
                "busy_ns": self.busy_ns,
            },
            "invalid": list(self.invalid),
            "notes": list(self.notes),
        }


def _notes(row: Stages) -> Iterator[str]:
    if row.device.startswith("Intel"):
        yield "Intel's runtime keeps no kernels on disk: cached is a second cold start"
    if row.device.startswith("NumPy"):
        yield "the CPU backend compiles nothing: first and cached differ by file caches"
    if row.precision != row.candidate.precision:
        yield f"{row.candidate.precision} was asked for, {row.precision} is effective here"
