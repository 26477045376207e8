"""StringConcat, StringSplit, StringNormalizer, RegexFullMatch on arrays of `str`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.cpu.computed import Arrays, kernel_of
from engine.backends.cpu.memory import claim
from engine.ir.graph import Node
from engine.ir.node import Attributes
from engine.ir.types import STRING
from engine.ops.regex import Program, Work, compiled, kind_of
from engine.ops.strings import check_characters, check_normalizer, limits_of, pattern_of

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views

SETS_MAX = 4096
"""Sets of states of a pattern of which it is remembered where characters lead."""


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
    """Found one by one."""
    pieces: list[str] = []
    start = 0
    while most < 0 or len(pieces) < most:
        end = text.find(delimiter, start)
        if end < 0:
            break
        pieces.append(text[start:end])
        start = end + len(delimiter)
    return [*pieces, text[start:]]


def _words(most: int, text: str) -> list[str]:
    """What lies between spaces; after `most` of them all up to the last word."""
    places = [word.span() for word in re.finditer(r"\S+", text)]
    if 0 <= most < len(places) - 1:
        places[most:] = [(places[most][0], places[-1][1])]
    return [text[start:end] for start, end in places]


def _split(arrays: Arrays, attributes: Attributes) -> list[np.ndarray]:
    x, (delimiter, most) = np.asarray(arrays[0]), limits_of(attributes)
    split = partial(_between, delimiter, most) if delimiter else partial(_words, most)
    rows = [split(text) for text in x.flat]
    counts = np.array([len(row) for row in rows], np.int64)
    longest = int(counts.max(initial=0))
    claim(len(rows) * longest * STRING.itemsize)
    padded = np.full((len(rows), longest), "", STRING)
    for row, pieces in zip(padded, rows, strict=True):
        row[: len(pieces)] = pieces
    return [padded.reshape(*x.shape, longest), counts.reshape(x.shape)]


# --------------------------------------------------------------------------- StringNormalizer
def _normalize(arrays: Arrays, attributes: Attributes) -> list[np.ndarray]:
    x = np.asarray(arrays[0])
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
class _Matcher:
    """Remembers where a character leads from a set of states, so that most cost one look."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._known: dict[tuple[frozenset[int], str, str], frozenset[int]] = {}

    def matches(self, text: str, work: Work) -> bool:
        """Whether the whole text does."""
        states, before = frozenset({0}), ""
        for character in text:
            key = states, before, character
            found = self._known.get(key)
            states = self._advanced(key, work) if found is None else found
            before = kind_of(character)
        return self._program.accepts(self._program.closure(states, before, "", work))

    def _advanced(self, key: tuple[frozenset[int], str, str], work: Work) -> frozenset[int]:
        states, before, character = key
        if len(self._known) >= SETS_MAX:
            self._known.clear()
        there = self._program.closure(states, before, character, work)
        self._known[key] = frozenset(self._program.step(there, character))
        return self._known[key]


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
