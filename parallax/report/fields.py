"""Fields of a document that anybody may have written: each is what it must be, or an error."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

TEXT_MAX = 200
"""Characters of a name or sentence that are shown: the JSON has all."""


def text(value: Any) -> str:
    """A string, printable and not too long; TypeError for another type."""
    if not isinstance(value, str):
        raise TypeError(f"a string is expected, not {type(value).__name__}")
    return "".join(_printable(value))


def _printable(text: str) -> Iterator[str]:
    cut = len(text) > TEXT_MAX
    shown = f"{text[: TEXT_MAX // 2]} … {text[-TEXT_MAX // 2 :]}" if cut else text
    yield from (c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in shown)


def number(value: Any) -> float:
    """A number, or one of the strings that stand for infinities and NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError(f"a number is expected, not {type(value).__name__}")
    return float(value)


def positive(value: Any) -> float:
    """A time that something took."""
    found = number(value)
    if not math.isfinite(found) or found <= 0:
        raise ValueError(f"a time is expected, not {found}")
    return found


def amount(value: Any) -> float:
    """What cannot be negative or without end: a time, operations, bytes."""
    found = number(value)
    if not 0 <= found < math.inf:
        raise ValueError(f"an amount is expected, not {found}")
    return found


def maybe(value: Any) -> float | None:
    """A number, or None of what was not measured."""
    return None if value is None else number(value)


def one_of(value: Any, known: tuple[str, ...]) -> str:
    """One of some words; ValueError for any other."""
    if value not in known:
        raise ValueError(f"one of {', '.join(known)} is expected")
    return str(value)
