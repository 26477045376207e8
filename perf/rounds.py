"""Rounds: candidates side by side, so that a ratio divides what was measured in the same minutes.

Each round starts a fresh process for every candidate, forwards and in the next round backwards;
one process at a time, so that a large model needs its memory once. The spread of a ratio over the
rounds, not over runs, is what the ratio can be trusted to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from types import TracebackType

from perf.agreement import relative_l2
from perf.candidates import Candidate
from perf.launch import WorkerError
from perf.stages import Launcher, Stages

Tell = Callable[[str, int, int], None]
"""Called with what is being measured, how much is done, and how much there is."""


class Rounds:
    """The launches of several candidates on one model; a context manager.

    Args:
        feeds: a file of `perf.arrays` with every input; gives the shapes too.

    Attributes:
        refused: why a candidate cannot run the model; it is asked no more.
    """

    def __init__(
        self, model: Path, feeds: Path, candidates: Sequence[Candidate], threads: int | None
    ) -> None:
        self._launchers = {c: Launcher(model, feeds, c, threads) for c in candidates}
        self.refused: dict[Candidate, str] = {}

    def take(self, launches: int, runs: int, tell: Tell = lambda *_: None) -> None:
        """Launch every candidate so many times; `runs` steady runs each, over all launches.

        What was measured before an interruption is kept.
        """
        total = launches * len(self._launchers)
        per_launch = math.ceil(runs / launches)
        for turn in range(launches):
            order = list(self._launchers.items())
            for i, (candidate, launcher) in enumerate(order if turn % 2 == 0 else order[::-1]):
                if candidate in self.refused:
                    continue
                done = turn * len(order) + i
                tell(f"{candidate.device} {candidate.precision}", done, total)
                try:
                    launcher.launch(per_launch)
                except WorkerError as error:
                    self.refused[candidate] = str(error)

    @property
    def stages(self) -> list[Stages]:
        """Of every candidate that finished a launch and was never refused, in order."""
        made = [x.stages() for c, x in self._launchers.items() if c not in self.refused]
        return [row for row in made if row is not None]

    def error(self, row: Candidate, reference: Candidate) -> float:
        """How far the outputs of a candidate are from those of another (relative L2)."""
        ours, theirs = (self._launchers[c].outputs() for c in (row, reference))
        return relative_l2(ours, theirs)

    def close(self) -> None:
        """Remove what the launches left on disk."""
        for launcher in self._launchers.values():
            launcher.close()

    def __enter__(self) -> Rounds:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def ratios(ours: Sequence[int], theirs: Sequence[int]) -> tuple[float, ...]:
    """Ours over theirs, round by round, of the medians of the rounds that both have."""
    return tuple(a / b for a, b in zip(ours, theirs, strict=False))


def median_ratio(ours: Sequence[int], theirs: Sequence[int]) -> float:
    """The median of `ratios`."""
    return median(ratios(ours, theirs))
