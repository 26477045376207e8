r"""Patterns in RE2's syntax as programs that go through a text once, whatever the pattern.

Sources: https://github.com/google/re2/wiki/Syntax, and https://swtch.com/~rsc/regexp/regexp2.html
for programs: a state reads a character of some ranges, or leads on without one. Only whole texts
are matched, so that captures, and whether a repetition is greedy, change nothing.
Valid in RE2 and not supported here: Unicode classes (\p), bytes (\C), and (?i) beyond ASCII.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

from engine.errors import InputError, ShapeError, UnsupportedError
from engine.ops import regex_classes as classes
from engine.ops.regex_classes import EVERYTHING, NOT_NEWLINE, Ranges

REPEATS_MAX = 1000
"""Of repetitions in repetitions, multiplied; as in RE2."""
STATES_MAX = 10_000
"""Of a program: each character of a text may have to go through all of them."""
WORK_MAX = 2**21
"""States that one call goes through at most."""
DEPTH_MAX = 100
"""Of groups in groups."""


# --------------------------------------------------------------------------- what is parsed
@dataclass(frozen=True)
class Chars:
    """One character of some ranges."""

    ranges: Ranges


@dataclass(frozen=True)
class Look:
    """A place: `^`, `$` (of a line), `A`, `z` (of the text), `b`, `B` (of a word)."""

    kind: str


@dataclass(frozen=True)
class Cat:
    """One after the other."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True)
class Choice:
    """One of them."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True)
class Repeat:
    """So often; None: any number."""

    part: Tree
    least: int
    most: int | None


Tree: TypeAlias = Chars | Look | Cat | Choice | Repeat


class _Parser:
    """Recursive descent.

    Attributes:
        flags: those that are set here, out of "imsU".
    """

    def __init__(self, pattern: str) -> None:
        self.pattern, self.at, self.flags = pattern, 0, frozenset[str]()

    def whole(self) -> Tree:
        tree = self._choice(0)
        if self.at < len(self.pattern):
            raise self._error("a ) that closes no group")
        return tree

    def _error(self, what: str) -> ShapeError:
        shown = self.pattern if len(self.pattern) <= 60 else f"{self.pattern[:60]}..."
        return ShapeError(f"RegexFullMatch: pattern {shown!r}: {what} is no RE2 syntax")

    def _unsupported(self, what: str) -> UnsupportedError:
        return UnsupportedError(f"RegexFullMatch: pattern: {what} is not supported")

    def _next(self, text: str) -> bool:
        """Whether this comes next, which is then behind."""
        found = self.pattern.startswith(text, self.at)
        self.at += len(text) if found else 0
        return found

    def _take(self) -> str:
        if self.at >= len(self.pattern):
            raise self._error("its end after a backslash, or within brackets,")
        self.at += 1
        return self.pattern[self.at - 1]

    # ----------------------------------------------------------------- structure
    def _choice(self, depth: int) -> Tree:
        if depth > DEPTH_MAX:
            raise self._unsupported(f"more than {DEPTH_MAX} groups in groups")
        parts = [self._cat(depth)]
        while self._next("|"):
            parts.append(self._cat(depth))
        return parts[0] if len(parts) == 1 else Choice(tuple(parts))

    def _cat(self, depth: int) -> Tree:
        parts: list[Tree] = []
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            if self._next(r"\Q"):
                quoted, _, _ = self.pattern[self.at :].partition(r"\E")
                self.at = min(self.at + len(quoted) + 2, len(self.pattern))
                parts += [self._chars(c) for c in quoted]
                if quoted:
                    parts.append(self._repeated(parts.pop()))
            elif (part := self._atom(depth)) is not None:
                parts.append(self._repeated(part))
        return parts[0] if len(parts) == 1 else Cat(tuple(parts))

    def _repeated(self, part: Tree) -> Tree:
        limits = self._limits()
        if limits is None:
            return part
        self._next("?")  # lazy
        if self._limits() is not None:
            raise self._error("a repetition of a repetition")
        repeat = Repeat(part, *limits)
        if not _capacity(repeat, REPEATS_MAX):
            raise self._error(f"more than {REPEATS_MAX} repetitions in all")
        return repeat

    def _limits(self) -> tuple[int, int | None] | None:
        """Of a repetition that comes next."""
        for sign, limits in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._next(sign):
                return limits
        found = classes.COUNTS.match(self.pattern, self.at)
        if found is None:
            return None
        self.at = found.end()
        least, comma, most = found.groups()
        if max(len(least), len(most or "")) > len(str(REPEATS_MAX)):
            raise self._error("so large a number of repetitions")
        first = int(least)
        last = None if comma and not most else int(most or least)
        if max(first, last or 0) > REPEATS_MAX or (last is not None and last < first):
            raise self._error(found[0])
        return first, last

    def _atom(self, depth: int) -> Tree | None:
        """What may be repeated; None of flags, which are none."""
        if self._next("("):
            return self._group(depth)
        if self._limits() is not None:
            raise self._error("a repetition of nothing")
        c = self._take()
        if c == "[":
            return Chars(self._brackets())
        if c == "\\":
            return self._escape()
        if c == ".":
            return Chars(EVERYTHING if "s" in self.flags else NOT_NEWLINE)
        if c in "^$":
            return Look(c if "m" in self.flags else {"^": "A", "$": "z"}[c])
        return self._chars(c)

    def _group(self, depth: int) -> Tree | None:
        outer = self.flags
        if self._next("?"):
            found = classes.GROUP.match(self.pattern, self.at)
            if found is None:
                raise self._error(f"(?{self.pattern[self.at : self.at + 2]}")
            self.at = found.end()
            if found["name"] is None:
                self.flags = (self.flags | {*found["on"]}) - {*(found["off"] or "")}
                if found["end"] == ")":
                    return None
        tree = self._choice(depth + 1)
        if not self._next(")"):
            raise self._error("a group that is never closed")
        self.flags = outer
        return tree

    # ----------------------------------------------------------------- characters
    def _chars(self, character: str) -> Chars:
        return Chars(self._folded(((ord(character), ord(character)),)))

    def _folded(self, ranges: Ranges) -> Ranges:
        if "i" not in self.flags:
            return ranges
        if any(last > classes.ASCII_MAX for _, last in ranges):
            raise self._unsupported("(?i) with characters beyond ASCII")
        return classes.folded(ranges)

    def _escape(self) -> Tree:
        c = self.pattern[self.at : self.at + 1]
        if c and c in "AzbB":
            self.at += 1
            return Look(c)
        return Chars(self._unless_negated(self._escaped()))

    def _escaped(self) -> Ranges:
        """The characters of an escape, in brackets or not."""
        c = self._take()
        if c.lower() in classes.PERL:
            ranges = classes.PERL[c.lower()]
            return ranges if c.islower() else classes.negated(self._folded(ranges))
        if c in "pPC":
            raise self._unsupported(f"\\{c}")
        number = self._number(c)
        return ((number, number),)

    def _number(self, c: str) -> int:
        """The code point of an escape that is one character."""
        if c in classes.CONTROLS:
            return ord(classes.CONTROLS[c])
        self.at -= 1
        if (found := classes.CODE.match(self.pattern, self.at)) is not None:
            self.at = found.end()
            octal, short, long = found.groups()
            number = int(octal, 8) if octal else int(short or long, 16)
            if number > classes.LAST:
                raise self._error(f"\\{found[0]}")
            return number
        self.at += 1
        if c.isdigit():
            raise self._error(f"a back reference, \\{c},")
        if not c.isascii() or c.isalnum():
            raise self._error(f"\\{c}")
        return ord(c)

    def _brackets(self) -> Ranges:
        is_negated = self._next("^")
        ranges: list[tuple[int, int]] = []
        is_first = True
        while is_first or not self._next("]"):
            is_first = False
            ranges += self._range()
        found = classes.sorted_ranges(ranges)
        return classes.negated(found) if is_negated else found

    def _range(self) -> Ranges:
        """The next of what stands in brackets."""
        if (found := classes.POSIX_NAME.match(self.pattern, self.at)) is not None:
            self.at = found.end()
            if found[2] not in classes.POSIX:
                raise self._error(found[0])
            ranges = self._folded(classes.POSIX[found[2]])
            return classes.negated(ranges) if found[1] else ranges
        first = self._member()
        is_range = _is_one(first) and self.pattern.startswith("-", self.at)
        if not is_range or self.pattern.startswith("-]", self.at):
            return self._unless_negated(first)
        self.at += 1
        last = self._member()
        if not _is_one(last) or last < first:
            raise self._error("a range in brackets that ends before it begins, or at a class,")
        return self._folded(((first[0][0], last[0][0]),))

    def _member(self) -> Ranges:
        c = self._take()
        return self._escaped() if c == "\\" else ((ord(c), ord(c)),)

    def _unless_negated(self, ranges: Ranges) -> Ranges:
        """Folded, unless it is what a class, which was, has left."""
        return ranges if ranges[-1][1] == classes.LAST else self._folded(ranges)


def _is_one(ranges: Ranges) -> bool:
    """Whether it is a single character."""
    return ranges[0][0] == ranges[-1][1]


def _capacity(tree: Tree, left: int) -> int:
    """How many repetitions are left for what is inside; 0: too many are there."""
    if isinstance(tree, Repeat):
        most = tree.least if tree.most is None else tree.most
        return _capacity(tree.part, left // max(most, 1))
    if isinstance(tree, Cat | Choice) and left:
        return min((_capacity(part, left) for part in tree.parts), default=left)
    return left


# --------------------------------------------------------------------------- what runs
class Work:
    """Counts the states that are gone through; raises InputError beyond WORK_MAX."""

    def __init__(self) -> None:
        self._done = 0

    def add(self, states: int) -> None:
        """So many more."""
        self._done += states
        if self._done > WORK_MAX:
            raise InputError(
                f"RegexFullMatch: the texts lead through more than {WORK_MAX} states of the "
                "pattern: it is too large for them"
            )


@dataclass
class Program:
    """States, of which 0 is the first and `end` the last.

    Attributes:
        reads: by state, the characters that lead to the next one. leads: where a state leads
            without a character, and the place where alone it does, "" for anywhere.
    """

    reads: dict[int, Ranges] = field(default_factory=dict)
    leads: dict[int, list[tuple[int, str]]] = field(default_factory=dict)
    end: int = 0

    def closure(
        self, states: Collection[int], before: str, after: str, work: Work
    ) -> frozenset[int]:
        """All states that these lead to between two characters, "" at the ends of the text."""
        found, left = set(states), list(states)
        while left:
            for target, place in self.leads.get(left.pop(), ()):
                if target not in found and (not place or _is_at(place, before, after)):
                    found.add(target)
                    left.append(target)
        work.add(len(found) + 1)
        return frozenset(found)

    def step(self, states: Collection[int], character: str) -> set[int]:
        """Where a character leads."""
        return {s + 1 for s in states if s in self.reads and _has(self.reads[s], ord(character))}

    def accepts(self, states: Collection[int]) -> bool:
        """Whether the whole pattern is behind."""
        return self.end in states

    def add(self, tree: Tree) -> None:
        """Append a part: its first state is `end` now, its last `end` after."""
        if self.end > STATES_MAX:
            raise UnsupportedError(
                f"RegexFullMatch: the pattern is too large: more than {STATES_MAX} states"
            )
        if isinstance(tree, Chars):
            self.reads[self.end] = tree.ranges
            self.end += 1
        elif isinstance(tree, Look):
            self._lead(self.end, self.end + 1, tree.kind)
            self.end += 1
        elif isinstance(tree, Cat):
            for part in tree.parts:
                self.add(part)
        elif isinstance(tree, Choice):
            self._add_choice(tree)
        else:
            self._add_repeat(tree)

    def _lead(self, source: int, target: int, place: str = "") -> None:
        self.leads.setdefault(source, []).append((target, place))

    def _add_choice(self, tree: Choice) -> None:
        start, ends = self.end, []
        for part in tree.parts:
            self.end += 1
            self._lead(start, self.end)
            self.add(part)
            ends.append(self.end)
        self.end += 1
        for end in ends:
            self._lead(end, self.end)

    def _add_repeat(self, tree: Repeat) -> None:
        for _ in range(tree.least):
            self.add(tree.part)
        exits = [self._begin()]
        if tree.most is None:
            self._begin()
            self.add(tree.part)
            self._lead(self.end, exits[0])
        else:
            for _ in range(tree.most - tree.least):
                exits.append(self._begin())
                self.add(tree.part)
            exits.append(self.end)
        self.end += 1
        for state in exits:
            self._lead(state, self.end)

    def _begin(self) -> int:
        """A state of its own: none but what is behind leads there."""
        self._lead(self.end, self.end + 1)
        self.end += 1
        return self.end


@lru_cache(maxsize=256)
def compiled(pattern: str) -> Program:
    """The program of a pattern.

    Raises:
        ShapeError: RE2 refuses it. UnsupportedError: it does not, or it is too large.
    """
    program = Program()
    program.add(_Parser(pattern).whole())
    return program


def _has(ranges: Ranges, number: int) -> bool:
    return any(first <= number <= last for first, last in ranges)


def _is_at(place: str, before: str, after: str) -> bool:
    if place in "bB":
        return (_is_word(before) != _is_word(after)) == (place == "b")
    if place in "Az":
        return not (before if place == "A" else after)
    return (before if place == "^" else after) in ("", "\n")


def kind_of(character: str) -> str:
    """A character of the same kind, as far as places between characters tell them apart."""
    return character if character in ("", "\n") else "a" if _is_word(character) else " "


def _is_word(character: str) -> bool:
    return bool(character) and _has(classes.PERL["w"], ord(character))
