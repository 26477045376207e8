"""Which case comes when, and for how long."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from properties.hostile.worker import Request

WEIGHTS = {"models": 12, "operators": 6, "commands": 1}
"""Of so many cases together, those of each attack."""

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Budget:
    """What a campaign may spend; either may be None."""

    seconds: float | None = None
    cases: int | None = None


def seconds_of(text: str) -> float:
    """The seconds of "90s", "10m" or "1.5h"; an argparse type."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if found is None or float(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a duration such as 90s, 10m or 1.5h")
    return float(found[1]) * _UNITS[found[2]]


def requests(attacks: Sequence[str], seed: int, budget: Budget) -> Iterator[Request]:
    """Cases of all attacks by turns, each numbered from 0."""
    turn = [name for name in attacks for _ in range(WEIGHTS[name])]
    numbers = dict.fromkeys(attacks, 0)
    end = None if budget.seconds is None else time.monotonic() + budget.seconds
    given = 0
    while True:
        for name in turn:
            is_over = end is not None and time.monotonic() >= end
            if is_over or (budget.cases is not None and given >= budget.cases):
                return
            yield Request(name, seed, numbers[name])
            numbers[name] += 1
            given += 1
