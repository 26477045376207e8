"""What `verify` returns: plain frozen data that the table, the JSON file and tests read."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from conformance.judge import Judgement, Verdict
from engine.arguments import AnyShape
from engine.backends.protocol import DeviceInfo

VERIFIED, OUT_OF_BOUNDS, BAD_INPUT, NOTHING_VERIFIED = range(4)
INTERNAL_ERROR = 70
INTERRUPTED = 130
"""Exit codes of the command line."""

VERDICTS = {
    VERIFIED: "verified",
    OUT_OF_BOUNDS: "OUT OF BOUNDS",
    NOTHING_VERIFIED: "NOTHING VERIFIED",
    INTERRUPTED: "interrupted",
}
STALE = "A KNOWN FAILURE IS STALE"
OVERFLOW = "an intermediate may overflow"
OUTPUTS_DIFFER = "OUTPUTS DIFFER from those stored"


@dataclass(frozen=True)
class NodeCheck:
    """One output of one node (or fused group), judged on the device's own inputs.

    Attributes:
        title: what the user reads, `Conv+Relu 'name'`. index: of the step in the graph.
        kind: "computed", "view" (shares its input's bytes) or "copy" (between backends).
        on_device: False where the CPU backup ran instead; such a check proves nothing about
            the device.
        verdict: after suspects were replayed. note: what the replays said.
        reading: of an engine that is not ours, what explains a node beyond its bound.
        example: of several sets of inputs, the one that was worst for it.
        known: why its failure is known of this driver, and does not count.
    """

    title: str
    index: int
    output: str
    type: str
    kind: str
    backend: str
    on_device: bool
    judgement: Judgement
    verdict: Verdict
    note: str = ""
    reading: str = ""
    example: str = ""
    known: str = ""

    @property
    def proves_nothing(self) -> bool:
        """There was nothing to compare: no element, only NaN where NaN is expected, or no bound."""
        return not self.judgement.numbers

    @property
    def is_undecided(self) -> bool:
        """Whether nothing was compared because every bound is infinite."""
        return self.proves_nothing and self.judgement.undecided > 0


@dataclass(frozen=True)
class Excerpt:
    """A few values of a tensor along its last axis, around `index`."""

    name: str
    type: str
    index: tuple[int, ...]
    start: int
    values: tuple[float | str, ...]


@dataclass(frozen=True)
class Failure:
    """A node out of bounds, with what stands around its worst element."""

    check: NodeCheck
    inputs: tuple[Excerpt, ...]
    output: Excerpt
    expected: Excerpt


@dataclass(frozen=True)
class Fallback:
    """A node that ran on the CPU backup and was not verified on the device."""

    title: str
    backend: str
    reason: str


@dataclass(frozen=True)
class OutputError:
    """Accumulated error of a graph output: against the CPU backend at HIGH, or a stored output.

    Attributes:
        relative_l2: ||y - other|| / ||other||, over the elements that are finite on both sides.
        cosine: of the flattened tensors. top1: share of equal arg max along the last axis, None
            where that does not look like classes.
        overflows: infinite here and finite there. nans: NaN here and not there.
    """

    name: str
    type: str
    max_abs: float
    relative_l2: float
    cosine: float
    top1: float | None
    overflows: int
    nans: int


class Agreement(enum.IntEnum):
    """Whether rounding explains how a stored output differs; ordered by severity."""

    AGREE = 0
    UNDECIDED = 1
    """Nothing differs beyond rounding, but rounding alone might change most of the output."""
    DIFFER = 2


@dataclass(frozen=True)
class Distance:
    """How far an output lies from the float64 run, in spreads: what honest rounding does to it.

    Attributes:
        spreads: of the worst element; index, value, truth: of that element, integers as such.
        beyond: elements beyond the limit. undecided: elements that rounding may make anything.
        count: all elements. noise: the spreads' root mean square, relative to the truth's.
    """

    spreads: float
    index: tuple[int, ...]
    value: float
    truth: float
    beyond: int
    undecided: int
    count: int
    noise: float


@dataclass(frozen=True)
class StoredCheck:
    """One output of the device against the stored one, and both against the float64 run.

    Attributes:
        error: of the device against the stored output. ulps: its max_abs in units in the last
            place of the largest stored element; None for integers.
    """

    error: OutputError
    ulps: float | None
    ours: Distance
    stored: Distance
    verdict: Agreement


@dataclass(frozen=True)
class Parting:
    """A tensor by which a device or an engine beside it is wrong, by the float64 reference.

    Attributes:
        title: of the node that computes it, before passes. index: of the worst element of who is
            wrong; here, there, truth: what it is on the device, in the engine, in float64.
        ours, theirs: how far each lies from a float64 run of the model; None where the device
            keeps no such tensor, because it fuses the node with others.
        right: "this device", the name of the engine, or "neither".
    """

    title: str
    output: str
    index: tuple[int, ...]
    here: float | None
    there: float | None
    truth: float
    ours: Distance | None
    theirs: Distance
    right: str


@dataclass(frozen=True)
class Against:
    """A device beside an engine that is not ours.

    Attributes:
        engine: with version and options. name: alone.
        compared: tensors that both have. hidden: of those of the engine, what the device fuses.
        failure: the first node that is wrong in the engine on the engine's own inputs.
        partings: in the order of the graph; those behind the first may follow from it.
    """

    engine: str
    name: str
    compared: int
    hidden: int
    failure: Failure | None
    partings: tuple[Parting, ...]


@dataclass(frozen=True)
class SaturatedConstant:
    """A constant with finite elements that half storage cannot hold."""

    name: str
    elements: int


@dataclass(frozen=True)
class PrecisionReport:
    """The verdict at one precision.

    Attributes:
        same_as: the requested precision whose run this one repeats (same effective precision);
            everything else then is that run's.
        context_bugs: how the production plan differed from the run that keeps every tensor.
        unjudged: of what an engine gives as it is deployed, what nobody can tell, and why.
        stored: one check for each output that was expected. against: another engine, where asked.
        verified: checks that ran on the device. overflows, nans: over all its tensors.
    """

    requested: str
    effective: str
    same_as: str | None
    checks: tuple[NodeCheck, ...]
    failure: Failure | None
    fallbacks: tuple[Fallback, ...]
    context_bugs: tuple[str, ...]
    outputs: tuple[OutputError, ...]
    stored: tuple[StoredCheck, ...]
    saturated: tuple[SaturatedConstant, ...]
    overflows: int
    nans: int
    undecided: int
    seconds: float
    against: Against | None = None
    unjudged: tuple[str, ...] = ()

    @property
    def verified(self) -> int:
        """How many outputs of nodes were verified on the device."""
        return sum(c.on_device and c.kind != "copy" for c in self.checks if not c.proves_nothing)

    @property
    def failures(self) -> list[NodeCheck]:
        """Checks out of bounds, in graph order; the first one is the culprit.

        Failures of the driver that are known are not among them.
        """
        return [c for c in self.checks if c.verdict is Verdict.FAIL and not c.known]

    @property
    def differing(self) -> list[StoredCheck]:
        """Outputs that differ from the stored ones by more than rounding explains."""
        return [c for c in self.stored if c.verdict is Agreement.DIFFER]

    @property
    def parts(self) -> tuple[Parting, ...]:
        """Tensors by which this device or the engine beside it is wrong."""
        return () if self.against is None else self.against.partings

    @property
    def exit_code(self) -> int:
        """VERIFIED, OUT_OF_BOUNDS or NOTHING_VERIFIED."""
        if self.failures or self.context_bugs or self.differing or self.parts:
            return OUT_OF_BOUNDS
        return VERIFIED if self.verified else NOTHING_VERIFIED

    @property
    def verdict(self) -> str:
        """In words; capitals where something is wrong."""
        if self.exit_code == OUT_OF_BOUNDS and not (self.failures or self.context_bugs):
            if self.against is not None and not self.differing:
                return f"PARTS FROM {self.against.name}"
            return OUTPUTS_DIFFER
        return VERDICTS[self.exit_code]


@dataclass(frozen=True)
class VerifyReport:
    """Everything `verify` found out about one model on one device.

    Attributes:
        given: whether the user gave the inputs; else they are random, of this seed.
        interrupted: by the user; `precisions` holds those that were finished.
        examples: of several sets of inputs, what each is; then `precisions` holds the worst of all.
        refused: of inputs that were drawn, those that the model refuses, with its sentence.
        stale: entries of the file of known failures that are over, or fail no more.
    """

    model: str
    device: DeviceInfo
    seed: int
    shapes: dict[str, AnyShape]
    chosen_shapes: tuple[str, ...]
    precisions: tuple[PrecisionReport, ...]
    given: bool = False
    interrupted: bool = False
    examples: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """INTERRUPTED, or the worst: out of bounds, then nothing verified, then verified."""
        if self.interrupted:
            return INTERRUPTED
        codes = {p.exit_code for p in self.precisions} or {NOTHING_VERIFIED}
        codes |= {OUT_OF_BOUNDS} if self.stale else set()
        return next(c for c in (OUT_OF_BOUNDS, NOTHING_VERIFIED, VERIFIED) if c in codes)

    @property
    def verdict(self) -> str:
        """In words: that of the first precision with the worst exit code."""
        worst = (p.verdict for p in self.precisions if p.exit_code == self.exit_code)
        return next(worst, STALE if self.stale else VERDICTS[self.exit_code])

    @property
    def ok(self) -> bool:
        """True when everything on the device lies within its bounds, stored outputs included."""
        return self.exit_code == VERIFIED

    def __str__(self) -> str:
        """The table that `parallax verify` prints, without colours."""
        from conformance.table import text_of

        return text_of(self)

    def to_json(self) -> dict[str, Any]:
        """Dicts, lists, strings and numbers; infinities and NaN are the strings Python prints."""
        data: dict[str, Any] = jsonable(self)
        data["exit_code"] = self.exit_code
        for entry, report in zip(data["precisions"], self.precisions, strict=True):
            entry |= {"verified": report.verified, "exit_code": report.exit_code}
        return data


def jsonable(value: Any) -> Any:
    """Frozen data as JSON types."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: jsonable(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [jsonable(v) for v in value]
    if isinstance(value, enum.Enum):
        return value.name.lower()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
