"""What a report knows: plain frozen data, every text short and printable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

VERDICTS = ("pass", "known", "suspect", "fail")
"""The worst comes last."""


@dataclass(frozen=True)
class Check:
    """One output of one node, judged: a row of a model's graph, and of a cell of the matrix.

    Attributes:
        verdict: one of VERDICTS; a failure that is known of its driver is none of the engine's.
    """

    title: str
    operator: str
    output: str
    type: str
    kind: str
    on_device: bool
    verdict: str
    sigmas: float
    bounds: float
    exact: bool
    rounded: bool
    index: str
    got: float
    expected: float
    sigma: float
    bound: float
    failures: int
    count: int
    numbers: int
    note: str


@dataclass(frozen=True)
class Voted:
    """A tensor that is wrong on some of several devices; wrong, right: their names."""

    model: str
    precision: str
    what: str
    output: str
    wrong: str
    right: str
    finding: str


@dataclass(frozen=True)
class Values:
    """A few values of a tensor around the worst element."""

    name: str
    type: str
    start: int
    values: tuple[str, ...]


@dataclass(frozen=True)
class Verified:
    """One model on one driver at one precision."""

    model: str
    key: str
    driver: str
    precision: str
    same_as: str
    checks: tuple[Check, ...]
    fallbacks: tuple[tuple[str, str], ...]
    bugs: tuple[str, ...]
    failing: tuple[Values, ...]
    exit_code: int


@dataclass(frozen=True)
class Tried:
    """An operator that `selftest` tried on one driver at one precision."""

    driver: str
    operator: str
    precision: str
    passed: int
    failed: int
    skipped: int
    sigmas: float
    bounds: float
    messages: tuple[str, ...]


@dataclass(frozen=True)
class Timed:
    """A latency; times in ns, None where they were not measured.

    Attributes:
        medians_ns: of the launches, whose range is the interval.
    """

    model: str
    driver: str
    precision: str
    origin: str
    min_ns: float
    p50_ns: float
    p90_ns: float
    medians_ns: tuple[float, ...]
    enqueue_ns: float | None
    busy_ns: float | None
    first_ns: float | None
    cached_ns: float | None
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Drawn:
    """One command of a timeline, on the host's clock, since the run began."""

    title: str
    kernel: str
    on_device: bool
    start_ns: float
    end_ns: float
    called_ns: float
    returned_ns: float


@dataclass(frozen=True)
class Peaks:
    """What a device did at most when it was measured, per second."""

    flops: float
    nbytes: float


@dataclass(frozen=True)
class Spent:
    """What an operator of a model took in a profiled run, and what it did in that time."""

    operator: str
    launches: int
    ns: float
    flops: float
    nbytes: float

    @property
    def seconds(self) -> float:
        """Never 0."""
        return max(self.ns, 1.0) / 1e9

    def roof(self, peaks: Peaks) -> float:
        """The least time that the peaks allow, of the time it took."""
        least_s = max(self.flops / peaks.flops, self.nbytes / peaks.nbytes)
        return least_s / self.seconds


@dataclass(frozen=True)
class Lane:
    """One model's part of a profiled run.

    Attributes:
        shares: ns of work by title of the node.
    """

    model: str
    spans: tuple[Drawn, ...]
    left_out: int
    shares: Mapping[str, float]
    operators: tuple[Spent, ...]
    naive_ns: float
    enqueue_ns: float


@dataclass(frozen=True)
class Profiled:
    """A profiled run of one model, or of several together; the parts make up synced."""

    model: str
    key: str
    driver: str
    precision: str
    synced_ns: float
    parts_ns: Mapping[str, float]
    overhead: float
    peaks: Peaks
    lanes: tuple[Lane, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Fault:
    """A fault that was planted."""

    name: str
    level: str
    verdict: str
    message: str


@dataclass(frozen=True)
class Document:
    """One stored JSON document, as far as it is shown.

    Attributes:
        error: why the command failed, of a document that says so; "" else.
    """

    path: str
    command: str
    date: str
    version: str
    devices: tuple[str, ...]
    error: str = ""
    interrupted: bool = False
    errors: tuple[tuple[str, str], ...] = ()
    verified: tuple[Verified, ...] = ()
    votes: tuple[Voted, ...] = ()
    tried: tuple[Tried, ...] = ()
    timed: tuple[Timed, ...] = ()
    profiled: tuple[Profiled, ...] = ()
    faults: tuple[Fault, ...] = ()
    advice: tuple[str, ...] = ()
