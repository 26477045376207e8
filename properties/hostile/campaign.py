"""A campaign: cases to children until the budget is spent, counts by outcome, findings kept."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from properties.hostile.cases import Attack, Case, Result, keep
from properties.hostile.children import Child, preload, readable
from properties.hostile.worker import Orders, Request

COMPARED_MAX = 20
"""So many cases of one finding are compared; the smallest is kept."""


@dataclass(frozen=True)
class Finding:
    """One kind of finding.

    Attributes:
        result: of the first case that showed it. file: where a case is kept, None where not.
    """

    result: Result
    file: Path | None


@dataclass
class Tally:
    """What a campaign has seen so far.

    Attributes:
        outcomes: by attack and outcome. notes: places of outcomes worth a second look.
        slowest, largest: the results that took the most time and memory, by attack.
    """

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    notes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    findings: dict[tuple[str, str, str], Finding] = field(default_factory=dict)
    repeats: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    slowest: dict[str, Result] = field(default_factory=dict)
    largest: dict[str, Result] = field(default_factory=dict)
    seconds: Counter[str] = field(default_factory=Counter)

    def add(self, result: Result) -> None:
        """Count one result."""
        attack = result.attack
        self.outcomes[attack, result.outcome] += 1
        self.seconds[attack] += result.seconds  # type: ignore[assignment]
        if result.place and not result.is_finding and result.outcome != "refused":
            self.notes[attack, result.outcome, result.place] += 1
        if attack not in self.slowest or result.seconds > self.slowest[attack].seconds:
            self.slowest[attack] = result
        if attack not in self.largest or result.excess_nbytes > self.largest[attack].excess_nbytes:
            self.largest[attack] = result
        if result.is_finding:
            self.repeats[result.key] += 1

    @property
    def count(self) -> int:
        """Cases tried."""
        return sum(self.outcomes.values())


class Campaign:
    """Attacks, and the children that carry them out.

    Args:
        attacks: by name, in this process, where cases are drawn again to be kept.
        orders: what a child is told, given its folder. jobs: how many children.
        findings: the folder for files, None to keep none.
    """

    def __init__(
        self,
        attacks: dict[str, Attack],
        orders: Callable[[Path], Orders],
        *,
        jobs: int,
        findings: Path | None,
    ) -> None:
        self._attacks, self._orders = attacks, orders
        self._jobs, self._findings = jobs, findings
        self._again: deque[Request] = deque()
        self._suspected: set[tuple[str, int]] = set()
        self.tally = Tally()

    def run(self, requests: Iterator[Request], tell: Callable[[Tally], None]) -> None:
        """Try all requests; `tell` is called after each. Ends early on KeyboardInterrupt only."""
        preload()
        with scratch() as folder:
            children = [Child(folder, self._orders) for _ in range(self._jobs)]
            try:
                while children:
                    children = self._turn(children, requests, folder)
                    tell(self.tally)
            finally:
                for child in children:
                    child.close()

    def _turn(
        self, children: list[Child], requests: Iterator[Request], folder: Path
    ) -> list[Child]:
        """Take what children say, give them more, replace those that ended."""
        here: list[Child] = []
        spoke = set(readable(children))
        for child in children:
            late = child not in spoke and child.is_over()
            if child not in spoke and not late:
                here.append(child)
                continue
            request = child.job.request if child.job else None
            result = child.stop_hanging() if late else child.take()
            if result is not None and request is not None:
                self._settle(request, result)
            if not child.is_ready:
                here.append(child)
                continue
            following = self._next(requests)
            if following is None:
                child.close()
                continue
            if not child.ask(following):
                child.close()
                child = Child(folder, self._orders)
                self._again.append(following)
            here.append(child)
        return here

    def _next(self, requests: Iterator[Request]) -> Request | None:
        return self._again.popleft() if self._again else next(requests, None)

    def _settle(self, request: Request, result: Result) -> None:
        """Count a result; a hang of a new kind counts when it hangs a second time.

        The machine may have been busy with other work the first time.
        """
        which = (request.attack, request.number)
        is_new = result.key not in self.tally.findings and which not in self._suspected
        if result.outcome == "hang" and is_new:
            self._suspected.add(which)
            self._again.append(request)
            return
        self.tally.add(result)
        if result.is_finding:
            self._keep(request, result)

    def _keep(self, request: Request, result: Result) -> None:
        known = self.tally.findings.get(result.key)
        if self.tally.repeats[result.key] > COMPARED_MAX:
            return
        file = None
        if self._findings is not None and result.outcome != "harness error":
            file = keep(self._findings, self.case_of(request), result)
        self.tally.findings[result.key] = Finding(known.result if known else result, file)

    def case_of(self, request: Request) -> Case:
        """The whole case of a request."""
        if request.case is not None:
            return request.case
        attack = self._attacks[request.attack]
        case = attack.draw(request.seed, request.number)
        return replace(case, origin=f"{case.origin} (seed {request.seed}, {request.number})")


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for what children write, gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="parallax-hostile-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
