"""Random graphs on many machines: Dask hands out runs of seeds, one process of a worker each.

A chunk is a run of `Fuzz` like any other, so that whatever fails there is reduced there. Its
bundles come back as files; the state of the whole is that of one machine that tried all of it.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance.bundles.bundle import Bundle, read, save
from conformance.bundles.failing import AnyPlace, Signature
from conformance.bundles.worker import Worker
from conformance.reduction.bundling import free_path
from engine.errors import ConfigError
from engine.runtime import Runtime
from properties.fuzz import Finding, Fuzz, State

if TYPE_CHECKING:
    from distributed import Client

CHUNK = 25
"""Graphs of one task: seconds, so that an interrupt loses little."""
AHEAD = 2
"""Tasks for each process of the fleet that are handed out at a time."""
Recipe = Callable[[Runtime], AnyPlace]


@dataclass(frozen=True)
class Chunk:
    """Seeds to try.

    Attributes:
        recipes: of the places, one for each precision. timeout_s: a try that takes longer hangs.
        known: signatures of which there is a bundle: they are counted, and not reduced again.
    """

    first: int
    count: int
    recipes: tuple[Recipe, ...]
    timeout_s: float
    known: frozenset[str] = frozenset()


@dataclass
class Tried:
    """What became of a chunk, as plain data.

    Attributes:
        bundles: files of the bundles, by the text of their signature.
    """

    state: State
    bundles: dict[str, dict[str, bytes]] = field(default_factory=dict)


def tried(chunk: Chunk) -> Tried:
    """Try the seeds of a chunk in this process of the fleet.

    Raises:
        ConfigError: it may start no process, as cases are tried in.
    """
    if multiprocessing.current_process().daemon:
        raise ConfigError(
            "a worker of the fleet runs under a nanny as a daemon, which may start no process; "
            "start it with --no-nanny, or with DASK_DISTRIBUTED__WORKER__DAEMON=False"
        )
    with (
        Runtime() as runtime,
        Worker(chunk.timeout_s) as worker,
        tempfile.TemporaryDirectory(prefix="parallax-fleet-") as folder,
    ):
        places = [recipe(runtime).tried_by(worker) for recipe in chunk.recipes]
        _, *chosen = places[0].choice
        arithmetic = [place.arithmetic for place in places]
        state = State(" ".join(chosen), arithmetic, chunk.first, chunk.first)
        fuzz = Fuzz(state, places, Path(folder), _ignore, _ignore, _ignore, known=chunk.known)
        fuzz.run(seconds=None, count=chunk.count)
        done = Tried(state)
        for key, finding in state.findings.items():
            if finding.bundle is not None:
                done.bundles[key] = dict(read(Path(finding.bundle)).files)
                finding.bundle = None
        return done


def _ignore(_: object) -> None:
    pass


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """A client of the scheduler at an address.

    Raises:
        ConfigError: Dask is not installed, or nobody answers, or has no process that works.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ConfigError(
            f'--scheduler {address}: pip install "parallax-engine[fleet]" has Dask: {error}'
        ) from error
    try:
        client = Client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"--scheduler {address}: no scheduler of Dask answers there, expected an address such "
            f"as tcp://10.0.0.1:8786: {error}"
        ) from error
    with client:
        if not client.scheduler_info(n_workers=-1)["workers"]:
            raise ConfigError(f"--scheduler {address}: it has no workers; start `dask worker`")
        yield client


@dataclass
class Fleet:
    """A run on a fleet; see Fuzz for what is called.

    Args:
        recipes: of the places. bundles: the folder for what comes back.
    """

    state: State
    client: Client
    recipes: Sequence[Recipe]
    timeout_s: float
    bundles: Path
    saved: Callable[[State], None]
    tell: Callable[[str], None]
    found: Callable[[Finding], None]

    def run(self, *, seconds: float | None, count: int | None) -> None:
        """Chunk after chunk, in the order of their seeds, until the time is up, or so many."""
        end = None if seconds is None else time.monotonic() + seconds
        last = None if count is None else self.state.following + count
        processes = max(1, sum(self.client.nthreads().values()))
        waiting: list[Any] = []
        following = self.state.following
        try:
            while True:
                is_over = end is not None and time.monotonic() >= end
                while not is_over and len(waiting) < AHEAD * processes and following != last:
                    size = CHUNK if last is None else min(CHUNK, last - following)
                    waiting.append(self._hand_out(following, size))
                    following += size
                if not waiting:
                    return
                self.tell(f"seeds up to {following - 1}, {processes} processes")
                self._take(self._result(waiting.pop(0)))
        finally:
            self.client.cancel(waiting)

    def _hand_out(self, first: int, count: int) -> Any:
        known = frozenset(self.state.findings)
        chunk = Chunk(first, count, tuple(self.recipes), self.timeout_s, known)
        return self.client.submit(tried, chunk, pure=False)

    def _result(self, future: Any) -> Tried:
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        try:
            done: Tried = future.result()
        except (KilledWorker, FutureCancelledError, OSError) as error:
            raise ConfigError(
                f"the fleet lost its workers or its scheduler: {error}; with --resume the same "
                f"command goes on from seed {self.state.following}"
            ) from error
        return done

    def _take(self, done: Tried) -> None:
        """Add a chunk to the whole; it is the next in the order of seeds."""
        state, other = self.state, done.state
        state.following = other.following
        state.graphs += other.graphs
        state.verified += other.verified
        state.slow += other.slow
        for mine, theirs in ((state.refused, other.refused), (state.left_out, other.left_out)):
            for key, number in theirs.items():
                mine[key] = mine.get(key, 0) + number
        for key, finding in other.findings.items():
            if key in state.findings:
                state.findings[key].count += finding.count
                continue
            state.findings[key] = finding
            if key in done.bundles:
                path = free_path(self.bundles, Signature(**finding.signature))
                save(Bundle(done.bundles[key]), path)
                finding.bundle = str(path)
            self.found(finding)
        self.saved(state)
