"""Comparison: one model on several candidates, best first, each with what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from conformance.figures import figures
from perf.agreement import RELATIVE_L2_MAX
from perf.candidates import PEER, Candidate
from perf.launch import WorkerError
from perf.machine import FOREIGN_SHARE_MAX
from perf.rounds import Rounds, ratios
from perf.stages import Stages

EXACT_FIRST = ("high", "normal", "low")


@dataclass(frozen=True)
class Row:
    """One candidate's figures.

    Attributes:
        error: relative L2 of its outputs against those of the comparison's reference; None for
            the reference itself.
        differs: a sentence, where that is more than its precision explains.
    """

    stages: Stages
    error: float | None = None
    differs: str = ""

    @property
    def device(self) -> str:
        """As `--device` takes it."""
        return self.stages.candidate.device

    @property
    def precision(self) -> str:
        """The effective one."""
        return self.stages.precision

    @property
    def is_believed(self) -> bool:
        """Whether its times are latencies of the right computation."""
        return not self.differs and not self.stages.invalid

    @property
    def exactness(self) -> int:
        """0 for the most exact precision."""
        return EXACT_FIRST.index(self.precision)

    @property
    def latency_ns(self) -> int:
        """The median over all steady runs."""
        return self.stages.synced.p50_ns

    @property
    def start_ns(self) -> int:
        """From the file to the first outputs, as it will usually be."""
        return (self.stages.cached or self.stages.first).total_ns

    def ratios(self, other: Row) -> tuple[float, ...]:
        """Its latency over another's, round by round."""
        return ratios(self.stages.medians_ns, other.stages.medians_ns)


@dataclass(frozen=True)
class Comparison:
    """What was measured of one model.

    Attributes:
        inputs: name -> type. rows: best first, those that are not believed last.
        left_out: what was not measured -> why.
        interrupted: whether the user stopped it before all launches had ended.
    """

    model: str
    inputs: Mapping[str, str]
    rows: tuple[Row, ...]
    left_out: Mapping[str, str]
    interrupted: bool = False

    @property
    def reference(self) -> Row | None:
        """What ratios are to: the peer, else the fastest; of rows that are believed."""
        believed = [row for row in self.rows if row.is_believed]
        peers = [row for row in believed if row.stages.candidate.is_peer]
        return next(iter([*peers, *believed]), None)

    @property
    def is_quiet(self) -> bool:
        """Whether other programs left the processors alone."""
        return all(row.stages.foreign_share <= FOREIGN_SHARE_MAX for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """Plain data; ns throughout."""
        reference = self.reference
        return {
            "model": self.model,
            "inputs": dict(self.inputs),
            "reference": None if reference is None else reference.device,
            "rows": [_row_json(row, reference) for row in self.rows],
            "left_out": dict(self.left_out),
            "interrupted": self.interrupted,
        }


def _row_json(row: Row, reference: Row | None) -> dict[str, Any]:
    found = () if reference is None else row.ratios(reference)
    return {
        "device": row.device,
        "precision": row.precision,
        "ratio": median(found) if found else None,
        "ratios": list(found),
        "output_error": row.error,
        "differs": row.differs or None,
        "stages": row.stages.to_json(),
    }


def compare(
    model: Path,
    inputs: Mapping[str, str],
    rounds: Rounds,
    left_out: Mapping[str, str],
    *,
    interrupted: bool = False,
) -> Comparison:
    """What the rounds have measured so far, refusals among what is left out.

    Raises:
        WorkerError: no candidate can run the model; says why of each.
    """
    refused = {f"{c.device} at {c.precision}": reason for c, reason in rounds.refused.items()}
    stages = rounds.stages
    if not stages:
        reasons = [f"{what}: {why}" for what, why in refused.items()]
        raise WorkerError("\n".join(reasons) if len(reasons) > 1 else rounds.refused.popitem()[1])
    witness = _witness([row.candidate for row in stages])
    rows = [_row(row, rounds, witness) for row in stages]
    ordered = sorted(rows, key=lambda row: (not row.is_believed, row.latency_ns))
    everything_else = {**left_out, **refused}
    return Comparison(str(model), inputs, tuple(ordered), everything_else, interrupted)


def _witness(candidates: Sequence[Candidate]) -> Candidate:
    """Whose outputs the others must have: the peer's, else the CPU backend's, else the first's."""
    preferred = [c for device in (PEER, "cpu") for c in candidates if c.device == device]
    return [*preferred, *candidates][0]


def _row(stages: Stages, rounds: Rounds, witness: Candidate) -> Row:
    if stages.candidate == witness:
        return Row(stages)
    error = rounds.error(stages.candidate, witness)
    limit = RELATIVE_L2_MAX[stages.precision]
    if error <= limit:
        return Row(stages, error)
    sentence = (
        f"its outputs differ from those of {witness.device} by {figures(error)} (relative L2, at "
        f"most {limit:g} expected): `parallax verify` says whether its kernels are right"
    )
    return Row(stages, error, sentence)
