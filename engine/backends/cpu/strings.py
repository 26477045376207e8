"""StringConcat, StringSplit, StringNormalizer, RegexFullMatch on arrays of `str`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.cpu.computed import Arrays, kernel_of
from engine.backends.cpu.memory import claim
from engine.ir.graph import Node
from engine.ir.node import Attributes
from engine.ir.types import STRING
from engine.ops.operands import check_dtype
from engine.ops.regex import Program, Work, compiled, kind_of
from engine.ops.strings import (
    Strings,
    check_characters,
    check_normalizer,
    limits_of,
    pattern_of,
)

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views

STEPS_KEPT = 4096
"""Of a pattern: from which states which character leads to which."""


# --------------------------------------------------------------------------- StringConcat
_lengths = np.frompyfunc(len, 1, 1)


def _make_concat(backend: CpuBackend, node: Node) -> Function:
    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x, y = (np.asarray(v) for v in inputs)
        counts = _lengths(x) + _lengths(y)
        check_characters("StringConcat", int(np.sum(counts)) if np.size(counts) else 0)
        np.add(x, y, out=outputs[0])

    return run


# --------------------------------------------------------------------------- StringSplit
def _between(delimiter: str, most: int, text: str) -> list[str]:
    return text.split(delimiter, most)


def _words(most: int, text: str) -> list[str]:
    return text.strip().split(None, most)


def _split(arrays: Arrays, attributes: Attributes) -> list[np.ndarray]:
    x, (delimiter, most) = np.asarray(arrays[0]), limits_of(attributes)
    check_dtype("StringSplit", x.dtype, Strings)
    split = partial(_between, delimiter, most) if delimiter else partial(_words, most)
    rows = [split(text) for text in x.flat]
    counts = np.array([len(row) for row in rows], np.int64)
    longest = int(counts.max(initial=0))
    claim(len(rows) * longest * STRING.itemsize)
    padded = np.empty(len(rows) * longest, STRING)
    padded[:] = [*chain.from_iterable(row + [""] * (longest - len(row)) for row in rows)]
    return [padded.reshape(*x.shape, longest), counts.reshape(x.shape)]


# --------------------------------------------------------------------------- StringNormalizer
def _normalize(arrays: Arrays, attributes: Attributes) -> list[np.ndarray]:
    x = np.asarray(arrays[0])
    check_dtype("StringNormalizer", x.dtype, Strings)
    check_normalizer(x.shape, attributes)
    stopwords = list(map(str, attributes.get("stopwords", ())))
    texts = compared = x.ravel().tolist()
    if not attributes.get("is_case_sensitive", 0):
        stopwords, compared = _lowered(stopwords), _lowered(texts)
    kept = [text for text, key in zip(texts, compared, strict=True) if key not in {*stopwords}]
    case = attributes.get("case_change_action", "NONE")
    if case != "NONE":
        kept = _lowered(kept) if case == "LOWER" else [text.upper() for text in kept]
    row = np.array(kept or [""], STRING)
    return [row.reshape(*x.shape[:-1], row.size)]


def _lowered(texts: Sequence[str]) -> list[str]:
    return [text.lower() for text in texts]


# --------------------------------------------------------------------------- RegexFullMatch
class _Place:
    """States that a text may have come to, and what is known of the way on.

    Attributes:
        before: the kind of the last character. following: the next place, by character.
        is_end: whether a text may end here; None where it is not known yet.
    """

    __slots__ = ("before", "following", "is_end", "states")

    def __init__(self, states: frozenset[int], before: str) -> None:
        self.states, self.before = states, before
        self.following: dict[str, _Place] = {}
        self.is_end: bool | None = None


class _Matcher:
    """Remembers where a character leads from a place, so that most cost one look."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._forget()

    def _forget(self) -> None:
        self._places: dict[tuple[frozenset[int], str], _Place] = {}
        self._start, self._known = self._place(frozenset({0}), ""), 0

    def _place(self, states: frozenset[int], before: str) -> _Place:
        return self._places.setdefault((states, before), _Place(states, before))

    def matches(self, text: str, work: Work) -> bool:
        """Whether the whole text does."""
        here = self._start
        for character in text:
            here = here.following.get(character) or self._advanced(here, character, work)
            if not here.states:
                return False
        if here.is_end is None:
            there = self._program.closure(here.states, here.before, "", work)
            here.is_end = self._program.accepts(there)
        return here.is_end

    def _advanced(self, here: _Place, character: str, work: Work) -> _Place:
        self._known += 1
        if self._known > STEPS_KEPT:
            self._forget()
        there = self._program.closure(here.states, here.before, character, work)
        found = self._place(frozenset(self._program.step(there, character)), kind_of(character))
        here.following[character] = found
        return found


def _make_match(backend: CpuBackend, node: Node) -> Function:
    matcher = _Matcher(compiled(pattern_of(node.attributes)))

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        work = Work()
        for place, text in zip(
            np.ndindex(outputs[0].shape), np.asarray(inputs[0]).flat, strict=True
        ):
            outputs[0][place] = matcher.matches(text, work)

    return run


COMPUTED = {"StringNormalizer": _normalize, "StringSplit": _split}
KERNELS = {
    "RegexFullMatch": _make_match,
    "StringConcat": _make_concat,
    **{op_type: kernel_of(compute) for op_type, compute in COMPUTED.items()},
}
