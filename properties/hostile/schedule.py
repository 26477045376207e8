"""Which case comes when, and for how long."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

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


def requests(
    attacks: Sequence[str],
    seed: int,
    budget: Budget,
    numbers: Mapping[str, Iterable[int]] | None = None,
) -> Iterator[Request]:
    """Cases of all attacks by turns.

    Args:
        numbers: of the cases, by attack; from 0 on where none are given.
    """
    turn = [name for name in attacks for _ in range(WEIGHTS[name])]
    following = {name: iter((numbers or {}).get(name, count())) for name in attacks}
    end = None if budget.seconds is None else time.monotonic() + budget.seconds
    given = 0
    while True:
        for name in turn:
            is_over = end is not None and time.monotonic() >= end
            if is_over or (budget.cases is not None and given >= budget.cases):
                return
            yield Request(name, seed, next(following[name]))
            given += 1
