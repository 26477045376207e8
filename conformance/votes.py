"""Several drivers on one model: where one is wrong alone it is suspect, where all are, we are."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from conformance.judge import Verdict
from conformance.report import PrecisionReport, VerifyReport

PRODUCTION = "the run that reuses memory"


class Finding(str, enum.Enum):
    """What a vote says."""

    DRIVER = "DRIVER SUSPECT"
    """One driver is wrong, others are right."""
    ENGINE = "ENGINE BUG"
    """All drivers are wrong, or the CPU backend is, which has none."""
    OPEN = "UNDECIDED"
    """Some drivers are wrong, or no other ran it."""


@dataclass(frozen=True, eq=False)
class Ballot:
    """What one device says of a model.

    Attributes:
        device: as a user types it. report: None where it could not run.
        problem: then why, for example that its compiler refuses a kernel.
    """

    device: str
    report: VerifyReport | None
    problem: str = ""

    @property
    def driver(self) -> str:
        """Two devices with one driver have one vote."""
        if self.report is None:
            return self.device
        info = self.report.device
        return f"{info.platform} {info.driver}"

    @property
    def is_cpu(self) -> bool:
        """Whether it is the CPU backend, which has no driver."""
        return self.device == "cpu"


@dataclass(frozen=True)
class Vote:
    """Who is wrong in one tensor, at one effective precision.

    Attributes:
        what: the title of the node, the run that reuses memory, or what could not be done.
        output: the tensor, "" where it is none. wrong, right: devices that judged it.
    """

    model: str
    precision: str
    what: str
    output: str
    wrong: tuple[str, ...]
    right: tuple[str, ...]
    finding: Finding

    def __str__(self) -> str:
        wrong, right = ", ".join(self.wrong), ", ".join(self.right) or "none"
        where = f"{self.precision}: " if self.precision else ""
        return f"{where}{self.what}: {self.finding.value}: wrong on {wrong}; right on {right}"


def votes_of(model: str, ballots: Sequence[Ballot]) -> list[Vote]:
    """One vote for each tensor that is wrong on some device; none where all are right."""
    found = []
    for ballot in ballots:
        if ballot.report is None:
            others = [b for b in ballots if b.report is not None]
            found.append(_vote(model, "", ballot.problem, "", [ballot], others))
    for precision in dict.fromkeys(p.effective for b in ballots for p in _judged(b)):
        found += _votes_at(model, precision, ballots)
    return found


def _judged(ballot: Ballot) -> list[PrecisionReport]:
    precisions = () if ballot.report is None else ballot.report.precisions
    return [p for p in precisions if p.same_as is None]


def _votes_at(model: str, precision: str, ballots: Sequence[Ballot]) -> Iterator[Vote]:
    at = {b: p for b in ballots for p in _judged(b) if p.effective == precision}
    titles = {c.output: c.title for p in at.values() for c in p.failures}
    for output, title in titles.items():
        sides: dict[bool, list[Ballot]] = {True: [], False: []}
        for ballot, report in at.items():
            for check in report.checks:
                if check.output == output and check.on_device and not check.known:
                    sides[check.verdict is Verdict.FAIL].append(ballot)
        yield _vote(model, precision, title, output, sides[True], sides[False])
    wrong = [b for b, p in at.items() if p.context_bugs]
    if wrong:
        right = [b for b in at if b not in wrong]
        yield _vote(model, precision, PRODUCTION, "", wrong, right)


def _vote(
    model: str,
    precision: str,
    what: str,
    output: str,
    wrong: Sequence[Ballot],
    right: Sequence[Ballot],
) -> Vote:
    return Vote(
        model=model,
        precision=precision,
        what=what,
        output=output,
        wrong=tuple(dict.fromkeys(b.device for b in wrong)),
        right=tuple(dict.fromkeys(b.device for b in right)),
        finding=_finding(wrong, right),
    )


def _finding(wrong: Sequence[Ballot], right: Sequence[Ballot]) -> Finding:
    """Devices of one driver vote once; the CPU backend is no witness for a driver."""
    accused = {b.driver for b in wrong if not b.is_cpu}
    others = {b.driver for b in right if not b.is_cpu} - accused
    if len(accused) < len({b.driver for b in wrong}) or (len(accused) > 1 and not others):
        return Finding.ENGINE
    return Finding.DRIVER if len(accused) == 1 and others else Finding.OPEN
