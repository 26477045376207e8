"""All attacks; importing this imports whatever a child needs."""

from __future__ import annotations

from collections.abc import Callable

from properties.hostile.cases import Attack
from properties.hostile.commands import Commands
from properties.hostile.models import Models
from properties.hostile.operators import Operators
from properties.hostile.trial import Bench
from properties.hostile.witnesses import Court

NAMES = ("models", "operators", "commands")
"""In the order of the table."""


def make(devices: tuple[str, ...], tell: Callable[[int], None]) -> tuple[Attack, ...]:
    """The attacks, with one runtime for all of this process.

    Args:
        devices: the first is taken most often. tell: is told who is at work.
    """
    bench = Bench(devices, Court(tell))
    return Models(bench), Operators(bench), Commands()
