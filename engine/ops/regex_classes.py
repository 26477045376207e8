"""Sets of characters as ranges of code points, and what RE2 calls them.

Source: https://github.com/google/re2/wiki/Syntax.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeAlias

Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""First and last code points, ascending and apart."""

ASCII_MAX = 0x7F
LAST = 0x10FFFF
NOTHING: Ranges = ()
EVERYTHING: Ranges = ((0, LAST),)

COUNTS = re.compile(r"\{(0|[1-9][0-9]*)(?:(,)(0|[1-9][0-9]*)?)?\}")
"""A counted repetition; other braces are characters."""
GROUP = re.compile(r"P?<(?P<name>\w+)>|(?P<on>[imsU]*)(?:-(?P<off>[imsU]+))?(?P<end>[:)])")
"""What follows (? of a group."""
CODE = re.compile(r"(0[0-7]{0,2}|[1-7][0-7]{1,2})|x([0-9A-Fa-f]{2})|x\{([0-9A-Fa-f]{1,8})\}")
"""A code point, after a backslash."""
POSIX_NAME = re.compile(r"\[:(\^?)([^\]:]*):\]")
CONTROLS = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def sorted_ranges(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Ascending and apart."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(last, found[-1][1])
        else:
            found.append((first, last))
    return tuple(found)


def negated(ranges: Ranges) -> Ranges:
    """All other characters."""
    found, start = [], 0
    for first, last in ranges:
        if start < first:
            found.append((start, first - 1))
        start = last + 1
    return (*found, (start, LAST)) if start <= LAST else tuple(found)


def of(text: str) -> Ranges:
    """Single characters, and ranges of them: `a-z`."""
    pairs = re.findall(r"(.)(?:-(.))?", text, re.DOTALL)
    return sorted_ranges((ord(first), ord(last or first)) for first, last in pairs)


def folded(ranges: Ranges) -> Ranges:
    """With the other case of each letter: of ASCII, and of what folds to its k and s."""
    characters = {chr(n) for first, last in ranges for n in range(first, last + 1)}
    folds = {other for c in characters for other in (c.lower(), c.upper())}
    more = {"\u212a" for c in "kK" if c in characters} | {"\u017f" for c in "sS" if c in characters}
    return sorted_ranges((ord(c), ord(c)) for c in characters | folds | more)


NOT_NEWLINE = negated(of("\n"))
PERL = {"d": of("0-9"), "s": of("\t\n\f\r "), "w": of("0-9A-Za-z_")}
"""By the letter of the escape."""
POSIX = {
    "alnum": of("0-9A-Za-z"),
    "alpha": of("A-Za-z"),
    "ascii": ((0, ASCII_MAX),),
    "blank": of("\t "),
    "cntrl": ((0, 0x1F), (ASCII_MAX, ASCII_MAX)),
    "digit": of("0-9"),
    "graph": of("!-~"),
    "lower": of("a-z"),
    "print": of(" -~"),
    "punct": of("!-/:-@[-`{-~"),
    "space": of("\t\n\v\f\r "),
    "upper": of("A-Z"),
    "word": of("0-9A-Za-z_"),
    "xdigit": of("0-9A-Fa-f"),
}
"""By the name in brackets."""
