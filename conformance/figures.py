"""Numbers for people: three significant figures, and no exponent where a reader needs none."""

from __future__ import annotations

import math

SMALLEST = 1e-6
"""Below it a plain number is all zeros, and an exponent says more."""

SCALES = (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))


def figures(value: float) -> str:
    """Three significant figures; whole from 100 on: 1.42, 0.0299, 12.0, 2491."""
    if not math.isfinite(value) or value == 0:
        return f"{value:.0f}"
    text = f"{value:.2e}"
    exponent = int(text.partition("e")[2])
    return text if abs(value) < SMALLEST else f"{value:.{max(0, 2 - exponent)}f}"


def element(value: float, digits: int) -> str:
    """An element of a tensor: integers in full, floats with so many significant figures."""
    return str(value) if isinstance(value, int) else f"{value:.{digits}g}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """How many of what: 1 model, 2 models, 1,500 tries."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def milliseconds(nanoseconds: float) -> str:
    """A time, in milliseconds and without the unit."""
    return figures(nanoseconds / 1e6)


def spread(ratios: tuple[float, ...]) -> str:
    """From the smallest to the largest ratio, to a hundredth around one: 0.98..1.02."""
    ends = (f"{r:.2f}" if 0.1 <= r < 1 else figures(r) for r in (min(ratios), max(ratios)))
    return "..".join(ends)


def count(number: float) -> str:
    """A count in powers of 1000, so that little work is no fraction of much: 40, 1.60 k, 3.86 G."""
    for letter, scale in SCALES:
        if abs(number) >= scale * 0.9995:
            return f"{figures(number / scale)} {letter}"
    return f"{number:.0f}"
