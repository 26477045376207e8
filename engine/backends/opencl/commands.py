"""One Command made of several launches on the in-order queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.backends.protocol import Command


class InOrder:
    """Launches that follow one another; keeps alive the scratch memory they share.

    `parts` lets a timing listener see every launch; `enqueue` returns the last event.
    """

    __slots__ = ("name", "parts", "scratch")

    def __init__(self, parts: Sequence[Command], scratch: Sequence[Any]) -> None:
        self.parts, self.scratch = tuple(parts), tuple(scratch)
        self.name = "+".join(getattr(part, "name", "") for part in self.parts)

    def enqueue(self) -> Any:
        """Submit all; returns the last event."""
        event = None
        for part in self.parts:
            event = part.enqueue()
        return event


def in_order(parts: Sequence[Command], scratch: Sequence[Any] = ()) -> Command:
    """The parts as one Command; a single part without scratch is returned as it is.

    Args:
        scratch: arenas that only these launches use.
    """
    if len(parts) == 1 and not scratch:
        return parts[0]
    return InOrder(parts, scratch)
