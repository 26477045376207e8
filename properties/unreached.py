"""Operators at dtypes that random graphs do not reach, and why: data, strict both ways."""

from __future__ import annotations

from collections.abc import Collection, Iterable

Typed = tuple[str, str]

UNREACHED: dict[Typed, str] = {}


def unexplained(missing: Iterable[Typed]) -> list[Typed]:
    """Those that no reason is given for."""
    return [typed for typed in missing if typed not in UNREACHED]


def stale(reached: Collection[Typed]) -> list[Typed]:
    """Those that a reason is given for, and that are reached."""
    return sorted(set(UNREACHED) & set(reached))
