"""The child process: tries case after case and says of each what it came to and what it cost."""

from __future__ import annotations

import faulthandler
import os
import re
import resource
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from engine.errors import ParallaxError
from properties.hostile.cases import TOO_LARGE, USUAL, Attack, Case, Limits, Outcome, Result
from properties.hostile.places import place_of
from properties.hostile.resident import Gauge

ADDRESSES_NBYTES = 3 << 30
"""Address space beyond that of the warm process, so that no case takes the machine's memory."""
WARMING = 6
"""So many cases of each attack come first: imports, contexts and compilers are in place then."""
ENGINE, WITNESS = 0, 1
"""Who works: what an outside engine does to the process is no finding."""


@dataclass(frozen=True)
class Orders:
    """What a child is told at its start.

    Attributes:
        attacks: makes the attacks, in the child. planted: puts a fault in place, for tests.
        log: takes standard output and error. dump: takes what faulthandler writes.
    """

    attacks: Callable[[Callable[[int], None]], Sequence[Attack]]
    log: Path
    dump: Path
    planted: Callable[[], Any] | None = None
    limits: Limits = USUAL


@dataclass(frozen=True)
class Request:
    """A case by number, or a whole one."""

    attack: str
    seed: int
    number: int
    case: Case | None = None


def serve(connection: Connection, stage: Any, orders: Orders) -> None:
    """Answer requests until the connection ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _redirect(orders.log)
    warnings.simplefilter("ignore")
    dump = orders.dump.open("w")
    faulthandler.enable(dump)
    faulthandler.register(signal.SIGUSR1, dump, all_threads=True)

    gauge = Gauge()

    def tell(who: int) -> None:
        stage.value = who
        (gauge.resume if who == ENGINE else gauge.pause)()

    try:
        attacks = {attack.name: attack for attack in orders.attacks(tell)}
        for attack in attacks.values():
            _warm(attack, orders.limits, gauge)
        if orders.planted is not None:
            orders.planted()
        _limit_addresses()
        connection.send(None)
        while True:
            request: Request = connection.recv()
            tell(ENGINE)
            connection.send(answer(attacks[request.attack], request, orders.limits, gauge))
    except (EOFError, BrokenPipeError):
        return


def _redirect(log: Path) -> None:
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor in (1, 2):
        os.dup2(target, descriptor)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")


def _warm(attack: Attack, limits: Limits, gauge: Gauge) -> None:
    attack.warm()
    for number in range(WARMING):
        answer(attack, Request(attack.name, 0, number), limits, gauge)


def _limit_addresses() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ADDRESSES_NBYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def answer(attack: Attack, request: Request, limits: Limits, gauge: Gauge) -> Result:
    """Try one case; whatever it raises becomes an outcome."""
    try:
        case = request.case or attack.draw(request.seed, request.number)
    except Exception as error:
        return _failed(attack.name, request.number, error, "harness error")
    gauge.start()
    try:
        outcome, kind = attack.attempt(case), ""
    except ParallaxError as error:
        outcome = Outcome("refused", place_of(error), _first_line(error))
        kind = type(error).__name__
    except Exception as error:
        name = "raw exception" if place_of(error) else "harness error"
        return _failed(attack.name, request.number, error, name)
    seconds, excess = gauge.stop()
    if excess > limits.excess_nbytes and outcome.name != TOO_LARGE:
        detail = f"{excess} bytes more at the peak; {outcome.name}: {outcome.detail}"
        place = outcome.place or re.split(r"\W", case.origin)[0]
        outcome = Outcome("memory", place, detail)
    return Result(
        attack.name,
        request.number,
        outcome.name,
        kind,
        outcome.place,
        outcome.detail,
        seconds,
        excess,
    )


def _failed(attack: str, number: int, error: Exception, name: str) -> Result:
    name = "memory" if isinstance(error, MemoryError) and name == "raw exception" else name
    place = place_of(error) or place_of(error, everywhere=True)
    return Result(attack, number, name, type(error).__name__, place, _first_line(error))


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "")[:300]
