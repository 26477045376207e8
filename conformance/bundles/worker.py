"""Cases tried in a process of their own: a driver that crashes or hangs fails like any other.

One process tries case after case, so that programs stay built; when it dies or is ended another
follows at once, forked from a server that has imported everything and opened no device. The
requests go through a pipe, one at a time.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import re
import signal
import tempfile
import traceback
import warnings
from collections.abc import Callable
from logging import ERROR, getLogger
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from conformance.bundles.failing import (
    AnyPlace,
    Case,
    Failing,
    NothingVerified,
    Signature,
)
from conformance.inputs import Feeds
from conformance.reduction.tensors import tensors_by_reference
from engine.errors import ParallaxError
from engine.runtime import Runtime

CRASH, HANG = "crash", "hang"
"""Kinds of failure, each followed by how: `crash: SIGSEGV`."""
SECONDS = 120.0
"""A try that takes longer hangs; a driver that compiles for the first time may need a minute."""
TRIES_MAX = 2000
"""A process that has tried so many makes room for a fresh one, whatever it kept."""
START_SECONDS = 300.0

PRELOADED = ("__main__", __name__, "engine.backends.cpu.backend")
"""What the server imports: a process that follows a dead one is there in 50 ms."""

PREPARE: Callable[[], object] | None = None
"""Called first in each new process: tests plant faults there."""

_CONTEXT = multiprocessing.get_context("forkserver")
_PLACE = re.compile(r'File ".*?((?:engine|conformance)/[^"]*)", line (\d+) in (\w+)')
_T = TypeVar("_T")


def is_death(signature: Signature) -> bool:
    """Whether the failure ended the process, so that it must be tried in another."""
    return signature.kind.partition(":")[0] in (CRASH, HANG)


class Worker:
    """The process; made when the first case comes. Use as a context manager.

    Args:
        seconds: a try that takes longer hangs.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._process: Any = None
        self._connection: Connection | None = None
        self._tries = 0
        self._folder = tempfile.TemporaryDirectory(prefix="parallax-worker-")
        self._dump = Path(self._folder.name) / "dump"

    def examine(
        self,
        case: Case,
        place: AnyPlace,
        seed: int = 0,
        *,
        launches: bool = False,
        seconds: float | None = None,
    ) -> Failing | None:
        """`failing.examine` there; a process that dies or hangs is a failure.

        Args:
            seconds: instead of those of the worker.

        Raises:
            ParallaxError: as `failing.examine`.
        """
        try:
            found: Failing | None = self._ask(
                "examine", case, place, seed, launches, seconds=seconds
            )
        except _Death as death:
            return Failing(Signature(death.kind, "", place.arithmetic), str(death))
        return found

    def tensors(self, case: Case, place: AnyPlace) -> Feeds:
        """`AnyPlace.tensors` there; of a case that kills the process, what the references give."""
        try:
            found: Feeds = self._ask("tensors", case, place)
        except _Death:
            return tensors_by_reference(case)
        return found

    def _ask(
        self,
        what: str,
        case: Case,
        place: AnyPlace,
        *rest: object,
        seconds: float | None = None,
    ) -> Any:
        connection, limit = self._ready(), self.seconds if seconds is None else seconds
        self._tries += 1
        try:
            connection.send((what, case, place.recipe, *rest))
            if not connection.poll(limit):
                self._end()
                raise _Death(HANG, f"no answer in {limit:g} s", self._where())
            kind, answer = connection.recv()
        except (EOFError, OSError):  # it is gone, before or after it read the case
            raise _Death(CRASH, self._how(), self._where()) from None
        except BaseException:  # an interrupt: its answer would be taken for that of the next
            self._end()
            raise
        if kind == "found":
            return answer
        raise {"nothing": NothingVerified, "refused": ParallaxError}.get(kind, RuntimeError)(answer)

    def _ready(self) -> Connection:
        """The connection of a process that waits."""
        if self._tries >= TRIES_MAX:
            self._end()
        if self._connection is None or not self._process.is_alive():
            self._end()
            self._start()
        assert self._connection is not None
        return self._connection

    def _start(self) -> None:
        self._tries = 0
        self._dump.write_text("")
        _CONTEXT.set_forkserver_preload(list(PRELOADED))
        self._connection, theirs = multiprocessing.Pipe()
        self._process = _CONTEXT.Process(
            target=serve, args=(theirs, str(self._dump), PREPARE), daemon=True
        )
        self._process.start()
        theirs.close()
        if not self._connection.poll(START_SECONDS):
            self._end()
            raise RuntimeError(f"a process that tries cases was not ready in {START_SECONDS:g} s")
        self._connection.recv()

    def _how(self) -> str:
        self._process.join(10)
        code = self._process.exitcode
        self._end()
        return signal.Signals(-code).name if code and code < 0 else f"exit code {code}"

    def _where(self) -> str:
        """The line of ours at which a process that died was, as far as it could say."""
        found = _PLACE.search(self._dump.read_text(errors="replace"))
        return f" in {found[1]}:{found[2]} {found[3]}" if found else ""

    def _end(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None and self._process.pid is not None:
            self._process.kill()
            self._process.join()

    def close(self) -> None:
        """End the process; harmless the second time."""
        self._end()
        self._folder.cleanup()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Death(Exception):
    """The process is gone, and the case it tried is to blame."""

    def __init__(self, kind: str, how: str, where: str) -> None:
        super().__init__(f"the process {'hung' if kind == HANG else 'ended'}: {how}{where}")
        self.kind = HANG if kind == HANG else f"{kind}: {how}"


# ------------------------------------------------------------------------- in the process
def serve(connection: Connection, dump: str, prepare: Callable[[], object] | None) -> None:
    """Try cases until the connection ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    getLogger("parallax").setLevel(ERROR)
    with open(dump, "w") as file, Runtime() as runtime:
        faulthandler.enable(file)
        planted = None if prepare is None else prepare()  # kept for as long as this runs
        connection.send(("ready", planted is not None))
        while True:
            try:
                what, case, recipe, *rest = connection.recv()
            except EOFError:
                return
            connection.send(_answer(what, case, recipe, runtime, rest))


def _answer(
    what: str,
    case: Case,
    recipe: Callable[[Runtime], AnyPlace],
    runtime: Runtime,
    rest: list[Any],
) -> tuple[str, object]:
    """What was found, or which error it was, in words that any process can read."""
    try:
        place = recipe(runtime)
        if what == "tensors":
            return "found", place.tensors(case)
        seed, launches = rest
        return "found", place.examine(case, seed, launches=launches)
    except NothingVerified as error:
        return "nothing", str(error)
    except ParallaxError as error:
        return "refused", str(error)
    except Exception:
        return "wrong", traceback.format_exc()
