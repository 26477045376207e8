"""Terms added up in the order that a kernel declares."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from conformance.mirrors.arithmetic import Arithmetic, Range
from engine.backends.order import Sums

Step = Callable[..., Range]
"""A partial sum and one term (or both factors of one): the next partial sum."""


@dataclass(frozen=True)
class Adding:
    """How terms are taken in, and partial sums joined.

    Attributes:
        start: of the only partial sum, where sums have neither lanes nor pieces.
        nothing: the value of a partial sum without terms.
    """

    step: Step
    join: Step
    start: Range | None = None
    nothing: float = 0.0


def add_up(arithmetic: Arithmetic, adding: Adding, sums: Sums, *terms: Range) -> Range:
    """One sum for each row of `terms`, whose last axis has the terms of one output in order."""
    shape = np.broadcast_shapes(*(t.low.shape for t in terms))
    run = max(sums.run, 1)
    if sums.piece is None:
        return _piece(arithmetic, adding, sums, terms, (0, shape[-1] // run), (0, sums.run))
    total = arithmetic.zeros(shape[:-1], adding.nothing)
    for rows, columns in _pieces(shape[-1] // run, run, sums.piece):
        total = adding.join(total, _piece(arithmetic, adding, sums, terms, rows, columns))
    return total


def _pieces(
    rows: int, run: int, piece: tuple[int, int]
) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    for r in range(0, rows, piece[0]):
        for i in range(0, run, piece[1]):
            yield (r, min(rows, r + piece[0])), (i, min(run, i + piece[1]))


def _piece(
    arithmetic: Arithmetic,
    adding: Adding,
    sums: Sums,
    terms: Sequence[Range],
    rows: tuple[int, int],
    columns: tuple[int, int],
) -> Range:
    outputs = np.broadcast_shapes(*(t.low.shape for t in terms))[:-1]
    lanes = arithmetic.zeros((*outputs, sums.lanes), adding.nothing)
    if adding.start is not None:
        lanes = adding.start[..., None]
    rest = arithmetic.zeros((*outputs, 1), adding.nothing)
    whole = columns[0] + (columns[1] - columns[0]) // sums.lanes * sums.lanes
    for row in range(*rows):
        at = row * sums.run
        for i in range(at + columns[0], at + whole, sums.lanes):
            lanes = adding.step(lanes, *(t[..., i : i + sums.lanes] for t in terms))
        for i in range(at + whole, at + columns[1]):
            term = [t[..., i : i + 1] for t in terms]
            if sums.rest == "own":
                rest = adding.step(rest, *term)
            else:
                lanes = lanes.with_first(adding.step(lanes[..., :1], *term))
    total = _joined(adding, sums, lanes)
    if sums.lanes > 1 and sums.rest == "own":
        total = adding.join(total, rest[..., 0])
    return total


def _joined(adding: Adding, sums: Sums, lanes: Range) -> Range:
    while (n := lanes.low.shape[-1]) > 1:
        if sums.joined == "halves":
            lanes = adding.join(lanes[..., : n // 2], lanes[..., n // 2 :])
        else:
            lanes = adding.join(lanes[..., 0::2], lanes[..., 1::2])
    return lanes[..., 0]
