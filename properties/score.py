"""The general score: how many faults a campaign notices that knows nothing of them.

The campaign (`properties.general`) is run once with nothing planted, and what each step reaches is
recorded. Of a planted fault those steps are tried, in their order, that reach what it changes; all
others would give what they gave. A worker process has the fault, so that a crash or a hang of it
ends nothing else, and counts as noticed because it is told, with the step.
"""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import re
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from rich.console import Console
from rich.progress import track

from properties import fault as planting
from properties.fault import Fault, FaultError, bench
from properties.general import Place, Step, campaign
from properties.memory import Violation
from properties.reach import ROOT, Record, Token, reached

T = TypeVar("T")
STEP_SECONDS_MAX = 90.0
"""A worker whose step takes longer hangs."""
START_SECONDS_MAX = 300.0
LEVELS = {
    "kernels and host arguments": ("kernel", "host", "cpu"),
    "passes, planner, scheduler, caches, synchronisation": ("pass", "planner", "session"),
    "importer and misreadings": ("importer", "meaning"),
    "reference and comparator": ("reference", "comparator"),
}
"""Of the score, of levels of faults."""
_CONTEXT = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Scored:
    """What became of one fault.

    Attributes:
        verdict: killed, survived, or broken (it cannot be planted).
        by: the step that noticed. said: what it said, or why the fault survived.
        seconds: of the campaign until then. steps: how many reach what the fault changes.
        blamed: operators that random graphs accuse first; None where none notices.
        is_named: whether that operator runs what is wrong; None where nothing is blamed.
    """

    name: str
    level: str
    verdict: str
    by: str = ""
    said: str = ""
    seconds: float = 0.0
    steps: int = 0
    blamed: str | None = None
    is_named: bool | None = None


# ------------------------------------------------------------------------- the record
def digest() -> str:
    """Of the sources that a record depends on: all but the faults."""
    found = hashlib.sha256()
    for folder in ("engine", "conformance", "properties"):
        for file in sorted((ROOT / folder).rglob("*")):
            is_source = file.suffix in (".py", ".cl") and not file.name.startswith("fault")
            if is_source and file.name not in ("score.py",):
                found.update(file.read_bytes())
    return found.hexdigest()[:16]


def record_of(selector: str, rounds: int, folder: Path) -> tuple[Path, Record]:
    """The campaign without a fault and the file of it in the folder, run now if there is none."""
    file = folder / f"{re.sub('[^a-z0-9]+', '-', selector.lower())}-{rounds}-{digest()}.npz"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        made = _recorded(selector, rounds)
        made.save(file)
    return file, Record.load(file)


def _recorded(selector: str, rounds: int) -> Record:
    rows: list[tuple[str, float, bool, set[Token]]] = []
    with bench(selector) as where:
        place = Place(selector, where)
        steps = [*campaign(tuple(t.id for t in where.all), rounds)]
        for step in shown(steps, "campaign"):
            start = time.perf_counter()
            with reached() as tokens:
                right = _failure(step, place) is None
            rows.append((step.name, time.perf_counter() - start, right, tokens))
        place.close()
    return Record.of(rows)


def _failure(step: Step, place: Place) -> str | None:
    """What a step says is wrong; an error that is no Violation is told by its type."""
    try:
        step.run(place)
        return None
    except Violation as error:
        return next(iter(str(error).splitlines()), "")
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]


# ------------------------------------------------------------------------- a worker
def preload() -> None:
    """Import once for all workers."""
    _CONTEXT.set_forkserver_preload(["properties.general"])


def _serve(connection: Connection, name: str, selector: str, rounds: int, file: str) -> None:
    """Try one fault; sends ("at", step) before each and what became of it at last."""
    from properties.faults import FAULTS

    logging.disable(logging.WARNING)
    (fault,) = (f for f in FAULTS if f.name == name)
    record = Record.load(Path(file))
    try:
        planting.TOUCHED.clear()
        with fault.plant(), bench(selector) as where:
            place = Place(selector, where)
            steps = [*campaign(tuple(t.id for t in where.all), rounds)]
            touched = _union(planting.TOUCHED)
            connection.send(("done", _tried(fault, place, steps, record, touched, connection)))
    except FaultError as error:
        connection.send(("done", Scored(fault.name, fault.level, "broken", said=str(error))))


def _union(touched: Iterable[frozenset[Token] | None]) -> frozenset[Token] | None:
    all_ = [*touched]
    return None if None in all_ or not all_ else frozenset[Token]().union(*filter(None, all_))


def _tried(
    fault: Fault,
    place: Place,
    steps: Sequence[Step],
    record: Record,
    touched: frozenset[Token] | None,
    connection: Connection,
) -> Scored:
    order = record.steps(touched)
    for at in order:
        connection.send(("at", int(at)))
        said = _failure(steps[at], place)
        if said is not None:
            blamed = None
            if fault.level in ("kernel", "host"):
                blamed = _blamed(place, steps, order, connection)
            return Scored(
                fault.name,
                fault.level,
                "killed",
                steps[at].name,
                said[:400],
                _seconds(record, at),
                len(order),
                blamed,
                None if blamed is None else blamed in _operators(steps, order),
            )
    said = (
        "what it changes is never reached"
        if not len(order)
        else "every step that reaches it passes"
    )
    return Scored(fault.name, fault.level, "survived", "", said, _seconds(record, -1), len(order))


def _seconds(record: Record, at: int) -> float:
    """Of the campaign until the end of a step."""
    return float(np.cumsum(record.seconds)[at])


def _operators(steps: Sequence[Step], order: np.ndarray) -> set[str]:
    return {steps[at].operator for at in order} - {""}


def _blamed(
    place: Place, steps: Sequence[Step], order: np.ndarray, connection: Connection
) -> str | None:
    """The operator of the first node that a random graph accuses."""
    for at in order:
        if steps[at].name.startswith("nodes "):
            connection.send(("at", int(at)))
            said = _failure(steps[at], place)
            found = re.match(r"\S+: (\w+)", said or "")
            if found:
                return found[1]
    return None


# ------------------------------------------------------------------------- all faults
def scored(fault: Fault, selector: str, rounds: int, record: Record, file: Path) -> Scored:
    """Plant one fault in a worker and run the campaign there."""
    ours, theirs = _CONTEXT.Pipe()
    arguments = (theirs, fault.name, selector, rounds, str(file))
    process = _CONTEXT.Process(target=_serve, args=arguments, daemon=True)
    process.start()
    theirs.close()
    at, limit = -1, START_SECONDS_MAX
    try:
        while ours.poll(limit):
            kind, content = ours.recv()
            if kind == "done":
                result: Scored = content
                return result
            at, limit = content, STEP_SECONDS_MAX
        said = f"no answer within {limit:.0f} s"
    except EOFError:
        process.join()
        said = f"the process ended with {process.exitcode}"
    finally:
        process.kill()
        process.join()
    step = record.names[at] if at >= 0 else "before the first step"
    seconds = _seconds(record, at) if at >= 0 else 0.0
    return Scored(fault.name, fault.level, "killed", step, said, seconds)


def shown(items: Sequence[T], name: str) -> Iterable[T]:
    """With a progress bar on standard error, where that is a terminal."""
    console = Console(stderr=True)
    return track(items, name, console=console, transient=True, disable=not sys.stderr.isatty())


def table(results: Sequence[Scored]) -> list[str]:
    """Killed by level, whom random graphs accuse, and who survived."""
    lines = []
    for title, levels in LEVELS.items():
        mine = [r for r in results if r.level in levels and r.verdict != "broken"]
        if mine:
            killed = sum(r.verdict == "killed" for r in mine)
            lines.append(f"{title}: killed {killed}/{len(mine)} ({killed / len(mine):.0%})")
    judged = [r for r in results if r.is_named is not None]
    named = sum(bool(r.is_named) for r in judged)
    lines.append(f"first failing node of a random graph named rightly: {named}/{len(judged)}")
    lines += [
        f"survived: {r.name} ({r.level}): {r.said}" for r in results if r.verdict == "survived"
    ]
    lines += [f"broken: {r.name} ({r.level}): {r.said}" for r in results if r.verdict == "broken"]
    return lines


class Results:
    """What was scored before, in a file, so that a run goes on where it stopped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        rows = json.loads(path.read_text()) if path.exists() else []
        self.known = {row["name"]: Scored(**row) for row in rows}

    def add(self, result: Scored) -> None:
        """Keep one more."""
        self.known[result.name] = result
        rows: list[dict[str, Any]] = [asdict(r) for r in self.known.values()]
        self._path.write_text(json.dumps(rows, indent=1))
