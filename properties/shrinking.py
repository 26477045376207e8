"""Programs of random graphs made smaller while they fail: records first, then what is in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from properties.graphs import Program, Record

TRIES = 300


def shrunk(program: Program, fails: Callable[[Program], bool], tries: int = TRIES) -> Program:
    """A program that still fails, of which nothing more can be left out (within so many tries).

    Args:
        program: fails.
    """
    return _Shrinker(program, fails, tries).run()


@dataclass
class _Shrinker:
    program: Program
    fails: Callable[[Program], bool]
    left: int

    def run(self) -> Program:
        before = None
        while self.program != before and self.left > 0:
            before = self.program
            self._leave_out_records()
            for change in (self._simpler_records, self._simpler_tensors):
                self._take_each(change)
        return self.program

    def _take(self, program: Program) -> bool:
        """Go on with a program if it fails."""
        if program == self.program or self.left <= 0:
            return False
        self.left -= 1
        if not self.fails(program):
            return False
        self.program = program
        return True

    def _take_each(self, candidates: Callable[[], Iterator[Program]]) -> None:
        """Take candidates until none fails; each is made of the program as it then is."""
        going = True
        while going:
            going = any(self._take(candidate) for candidate in candidates())

    def _leave_out_records(self) -> None:
        size = len(self.program.records)
        while size:
            for start in range(0, len(self.program.records), size):
                records = list(self.program.records)
                part = records[start : start + size]
                records[start : start + size] = [Record()] * len(part)
                self._take(replace(self.program, records=tuple(records)))
            size //= 2

    def _simpler_records(self) -> Iterator[Program]:
        for i, record in enumerate(self.program.records):
            for simpler in _simpler(record):
                records = (*self.program.records[:i], simpler, *self.program.records[i + 1 :])
                yield replace(self.program, records=records)

    def _simpler_tensors(self) -> Iterator[Program]:
        for i, side in enumerate(self.program.sides):
            for smaller in {0, side // 2} - {side}:
                sides = (*self.program.sides[:i], smaller, *self.program.sides[i + 1 :])
                yield replace(self.program, sides=sides)
        yield replace(self.program, rank=0)
        yield replace(self.program, dtype=0)


def _simpler(record: Record) -> Iterator[Record]:
    """What a record may become; the greatest step first."""
    if record.op == 0:
        return
    if record.peer:
        yield replace(record, peer=0)
    if record.back:
        yield replace(record, back=0)
    decisions = record.decisions
    half = len(decisions) // 2
    for kept in (0, half):
        if any(decisions[kept:]):
            yield replace(record, decisions=(*decisions[:kept], *(0,) * (len(decisions) - kept)))
    for i, decision in enumerate(decisions):
        if decision:
            yield replace(record, decisions=(*decisions[:i], 0, *decisions[i + 1 :]))
