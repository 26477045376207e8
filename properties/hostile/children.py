"""Child processes under limits: a case that crashes, hangs or takes memory ends one child only."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import psutil

from properties.hostile.cases import Result
from properties.hostile.places import place_in_dump
from properties.hostile.worker import ENGINE, Orders, Request, serve

CASES_MAX = 4000
"""A child that has tried so many makes room for a fresh one."""
START_SECONDS_MAX = 300.0
"""Imports, contexts, and a driver that compiles for the first time."""
DUMP_SECONDS_MAX = 3.0
"""What faulthandler gets to write where a hanging child is."""

_CONTEXT = multiprocessing.get_context("forkserver")


def preload() -> None:
    """Import once for all children; call it before the first one starts."""
    _CONTEXT.set_forkserver_preload(["properties.hostile.attacks"])


class Dead(Exception):
    """A child did not come up."""


WAITS, WORKS = 0.02, 0.6
"""Shares of the time of a case: of a process that waits for something, of one that works."""
EXTENSIONS_MAX = 5
"""So often a child that gets little of a busy machine has the time of a case once more."""


@dataclass
class Job:
    """A request in the hands of a child.

    Attributes:
        deadline: when it must be answered. extensions: how often that was put off.
        cpu_seconds: what the child had used when that was decided.
    """

    request: Request
    deadline: float
    cpu_seconds: float
    extensions: int = 0


class Child:
    """One process, at work on at most one request."""

    def __init__(self, folder: Path, orders: Callable[[Path], Orders]) -> None:
        self._folder = Path(tempfile.mkdtemp(dir=folder))
        self._stage = _CONTEXT.Value("i", ENGINE, lock=False)
        self.connection, theirs = multiprocessing.Pipe()
        self._orders = orders(self._folder)
        self._seconds = self._orders.limits.seconds
        self._process = _CONTEXT.Process(
            target=serve, args=(theirs, self._stage, self._orders), daemon=True
        )
        self._process.start()
        theirs.close()
        self.job: Job | None = None
        self.done = 0
        self.is_ready = False
        self._deadline = time.monotonic() + START_SECONDS_MAX

    @property
    def deadline(self) -> float:
        """When whatever it does now must be over."""
        return self.job.deadline if self.job else self._deadline

    def ask(self, request: Request) -> bool:
        """Hand over a request, whose result comes by `take`; False: give it to another child."""
        if self.connection.closed or self.done >= CASES_MAX:
            return False
        self.job = Job(request, time.monotonic() + self._seconds, self._cpu_seconds(deep=False))
        try:
            self.connection.send(request)
        except BrokenPipeError:
            self.job = None
        return self.job is not None

    def _cpu_seconds(self, *, deep: bool) -> float:
        """Of its whole life; 0 for one that has ended.

        Args:
            deep: with processes of its own. Between cases it has none, and to look for them takes
                as long as a quarter of a case.
        """
        try:
            process = psutil.Process(self._process.pid)
            own = process.children(recursive=True) if deep else []
            every = [p.cpu_times() for p in (process, *own)]
        except psutil.NoSuchProcess:
            return 0.0
        return float(sum(t.user + t.system for t in every))

    def is_over(self) -> bool:
        """Whether time is up: put off while a busy machine lets the child work, but too little.

        A child that waits for something uses next to no processor time, one that spins on an idle
        machine all of it; both are late at once.
        """
        if time.monotonic() <= self.deadline:
            return False
        job = self.job
        if job is None or job.extensions >= EXTENSIONS_MAX:
            return True
        used = self._cpu_seconds(deep=True) - job.cpu_seconds
        if not WAITS * self._seconds < used < WORKS * self._seconds:
            return True
        job.deadline += self._seconds
        job.extensions += 1
        return False

    def take(self) -> Result | None:
        """What it says, once its connection is readable; None: it is ready to work.

        A child that has died says how; see `is_alive` then.
        """
        try:
            result: Result | None = self.connection.recv()
        except (EOFError, ConnectionResetError):
            return self._died()
        if result is None:
            self.is_ready = True
            return None
        self.job, self.done = None, self.done + 1
        return result

    def _died(self) -> Result:
        self._process.join(10)
        code = self._process.exitcode
        how = signal.Signals(-code).name if code and code < 0 else f"exit code {code}"
        if self.job is None:
            raise Dead(f"a child ended with {how} before any case: {self.said()}")
        return self._end("crash", how)

    def stop_hanging(self) -> Result:
        """End a child whose time is over, and say where it was."""
        if self.job is None:
            self.close()
            raise Dead(f"a child was not ready after {START_SECONDS_MAX:.0f} s: {self.said()}")
        if self._process.pid is not None:
            os.kill(self._process.pid, signal.SIGUSR1)
        end = time.monotonic() + DUMP_SECONDS_MAX
        while not self._orders.dump.stat().st_size and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(0.05)
        return self._end("hang", f"no answer in {self._seconds:.0f} s")

    def _end(self, outcome: str, how: str) -> Result:
        job, place = self.job, place_in_dump(self._orders.dump.read_text(errors="replace"))
        assert job is not None
        if self._stage.value != ENGINE:
            outcome = f"witness {outcome}"
        self.close()
        request = job.request
        seconds = self._seconds if outcome.endswith("hang") else 0.0
        return Result(request.attack, request.number, outcome, how, place, "", seconds)

    def said(self) -> str:
        """The end of what the child printed."""
        log = self._orders.log
        return log.read_text(errors="replace")[-500:] if log.exists() else ""

    def close(self) -> None:
        """End the process and whatever it still does."""
        self.job = None
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        self.connection.close()


def readable(children: list[Child]) -> Iterator[Child]:
    """Those that have something to say, once there are any or a deadline is over."""
    seconds = max(0.0, min(c.deadline for c in children) - time.monotonic())
    by_connection: dict[Any, Child] = {c.connection: c for c in children}
    for connection in wait(list(by_connection), seconds):
        assert isinstance(connection, Connection)
        yield by_connection[connection]
