"""Offsets for blocks with lifetimes in one arena: a packing of rectangles in time and space."""

from __future__ import annotations

import random
from bisect import insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

GOOD_ENOUGH = 1.02
"""Stop looking for a better packing below this ratio of peak to lower bound."""
ATTEMPTS = 24
"""Perturbed orders tried when the plain ones are not good enough."""


@dataclass(frozen=True)
class Block:
    """Bytes needed over steps first..last, both included."""

    nbytes: int
    first: int
    last: int


@dataclass(frozen=True)
class Packing:
    """Offsets in the order of the blocks, what they need in total, and the least they could."""

    offsets: tuple[int, ...]
    peak_nbytes: int
    lower_bound_nbytes: int = 0


def lower_bound(blocks: Sequence[Block]) -> int:
    """The largest sum of bytes live at one step: no packing can need less."""
    change: dict[int, int] = {}
    for b in blocks:
        change[b.first] = change.get(b.first, 0) + b.nbytes
        change[b.last + 1] = change.get(b.last + 1, 0) - b.nbytes
    live = peak = 0
    for step in sorted(change):
        live += change[step]
        peak = max(peak, live)
    return peak


def pack(blocks: Sequence[Block], alignment_nbytes: int) -> Packing:
    """The best of several greedy packings; deterministic.

    Each places the blocks in some order, every block into the lowest gap it fits in between those
    already placed and live at the same time (Pisarchyk & Lee, "Efficient memory management for deep
    neural net inference", 2020, greedy by size and by breadth).
    """
    sizes = [-(-b.nbytes // alignment_nbytes) * alignment_nbytes for b in blocks]
    rounded = [Block(n, b.first, b.last) for n, b in zip(sizes, blocks, strict=True)]
    floor = lower_bound(rounded)
    if not blocks:
        return Packing((), 0, 0)
    orders = _orders(rounded)
    best_offsets, best_peak = _pack_in_order(rounded, next(orders))
    for order in orders:
        if best_peak <= floor * GOOD_ENOUGH:
            break
        offsets, peak = _pack_in_order(rounded, order)
        if peak < best_peak:
            best_offsets, best_peak = offsets, peak
    return Packing(best_offsets, best_peak, floor)


def _orders(blocks: Sequence[Block]) -> Iterator[list[int]]:
    """Placing orders worth trying: four plain ones, then seeded perturbations of the first."""
    indices = range(len(blocks))
    keys = (
        lambda i: (-blocks[i].nbytes, blocks[i].first),
        lambda i: (blocks[i].first, -blocks[i].nbytes),
        lambda i: (-blocks[i].nbytes * (blocks[i].last - blocks[i].first + 1), i),
        lambda i: (blocks[i].first - blocks[i].last, -blocks[i].nbytes),
    )
    for key in keys:
        yield sorted(indices, key=key)
    source = random.Random(0)
    for _ in range(ATTEMPTS):
        weights = [-b.nbytes * source.uniform(0.5, 1.0) for b in blocks]
        yield sorted(indices, key=weights.__getitem__)


def _pack_in_order(blocks: Sequence[Block], order: Sequence[int]) -> tuple[tuple[int, ...], int]:
    offsets = [0] * len(blocks)
    placed: list[tuple[int, int]] = []  # (offset, index), ascending offset
    peak = 0
    for i in order:
        block = blocks[i]
        offset = 0
        for start, j in placed:
            other = blocks[j]
            if other.last < block.first or block.last < other.first:
                continue
            if start - offset >= block.nbytes:
                break
            offset = max(offset, start + other.nbytes)
        offsets[i] = offset
        insort(placed, (offset, i))
        peak = max(peak, offset + block.nbytes)
    return tuple(offsets), peak
