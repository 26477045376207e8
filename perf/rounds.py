"""Rounds: candidates side by side, so that a ratio divides what was measured in the same minutes.

Each round starts a fresh process for every candidate, forwards and in the next round backwards;
one process at a time, so that a large model needs its memory once. The spread of a ratio over the
rounds, not over runs, is what the ratio can be trusted to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any

from perf.agreement import relative_l2
from perf.arrays import load_arrays
from perf.candidates import Candidate
from perf.latency import Latency
from perf.launch import Worker, WorkerError, cold_cache
from perf.machine import Neighbours
from perf.scratch import Scratch
from perf.stages import Launch, Stages, Start

Tell = Callable[[str, int, int], None]
"""Called with what is being measured, how much is done, and how much there is."""


class Launcher:
    """Starts one fresh process after the other for one candidate and one model.

    Args:
        feeds: a file of `perf.arrays` with every input; gives the shapes too.
        threads: of BLAS, OpenMP, the drivers, and processors of the processes; None for all.
    """

    def __init__(self, model: Path, feeds: Path, candidate: Candidate, threads: int | None) -> None:
        self._model, self._feeds = model, feeds
        self._candidate, self._threads = candidate, threads
        self._folder = Scratch("cold")
        self._facts: dict[str, Any] = {}
        self._launches: list[Launch] = []

    def launch(self, runs: int) -> None:
        """Measure in one more process; raises WorkerError where the model or device is refused."""
        with Worker(self._threads, cold_cache(self._folder.name)) as worker:
            feeds = str(self._feeds)
            facts = self._candidate.load(worker, str(self._model), feeds, self._threads)
            if not self._launches:
                self._facts = facts
                worker.ask("save", path=str(self._outputs))
            neighbours = Neighbours()
            steady = Latency.from_json(worker.ask("measure", runs=runs))
            start = Start(**{name: facts[name] for name in Start.__dataclass_fields__})
            self._launches.append(Launch(start, steady, neighbours.foreign_share()))

    @property
    def _outputs(self) -> Path:
        return Path(self._folder.name) / "outputs"

    def outputs(self) -> Mapping[str, Any]:
        """What the first inference of the first launch gave, by name."""
        return load_arrays(self._outputs)

    def stages(self) -> Stages | None:
        """What was measured so far; None before the first launch has ended."""
        if not self._launches:
            return None
        facts = self._facts
        return Stages(
            model=self._model.name,
            candidate=self._candidate,
            device=facts["device"],
            driver=facts["driver"],
            precision=facts["precision"],
            launches=tuple(self._launches),
            half_is_emulated=facts["half_is_emulated"],
            commands=facts["commands"],
            fallbacks=tuple((title, reason) for title, reason in facts["fallbacks"]),
        )

    def close(self) -> None:
        """Remove the driver caches and the outputs; harmless the second time."""
        self._folder.cleanup()


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
