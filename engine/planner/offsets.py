"""Offsets for blocks with lifetimes in one arena: a packing of rectangles in time and space."""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import NamedTuple

GOOD_ENOUGH = 1.02
"""Stop looking for a better packing below this ratio of peak to lower bound."""
SMALL_NBYTES, SMALL_ENOUGH = 4096, 1.1
"""And below this ratio where less than a page is wasted: memory is given by the page."""
ATTEMPTS = 24
"""Perturbed orders tried when the plain ones are not good enough."""
PAIRS_EACH = 64
"""Where a block meets more others than so many on average, they are not looked at pair by pair."""
STEPS_MAX = 8_000_000
"""Comparisons of blocks after which no further order is tried."""


class Block(NamedTuple):
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
    neural net inference", 2020, greedy by size and by breadth). Where too many are live at the same
    time for that, `sweep` packs them.
    """
    sizes = [-(-b.nbytes // alignment_nbytes) * alignment_nbytes for b in blocks]
    rounded = [Block(n, b.first, b.last) for n, b in zip(sizes, blocks, strict=True)]
    floor = lower_bound(rounded)
    if not blocks:
        return Packing((), 0, 0)
    packings = _packings(rounded)
    best_offsets, best_peak = next(packings)
    enough = max(floor * GOOD_ENOUGH, min(floor * SMALL_ENOUGH, floor + SMALL_NBYTES))
    while best_peak > enough and (other := next(packings, None)) is not None:
        if other[1] < best_peak:
            best_offsets, best_peak = other
    return Packing(best_offsets, best_peak, floor)


def _packings(blocks: Sequence[Block]) -> Iterator[tuple[tuple[int, ...], int]]:
    """Offsets and peaks worth comparing, within `STEPS_MAX`."""
    near = neighbours(blocks)
    if near is None:
        yield sweep(blocks)
        yield sweep([Block(b.nbytes, -b.last, -b.first) for b in blocks])
        return
    steps = len(blocks) + sum(map(len, near))
    for _, order in zip(range(max(1, STEPS_MAX // steps)), _orders(blocks), strict=False):
        yield _pack_in_order(blocks, near, order)


def neighbours(blocks: Sequence[Block]) -> list[list[int]] | None:
    """For each block those that are live at the same time; None where `PAIRS_EACH` is exceeded."""
    near: list[list[int]] = [[] for _ in blocks]
    live: dict[int, None] = {}
    ends: list[tuple[int, int]] = []
    count = 0
    for i in sorted(range(len(blocks)), key=lambda i: blocks[i].first):
        while ends and ends[0][0] < blocks[i].first:
            del live[heappop(ends)[1]]
        count += len(live)
        if count > PAIRS_EACH * len(blocks):
            return None
        near[i] += live
        for j in live:
            near[j].append(i)
        live[i] = None
        heappush(ends, (blocks[i].last, i))
    return near


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


def _pack_in_order(
    blocks: Sequence[Block], near: Sequence[Sequence[int]], order: Sequence[int]
) -> tuple[tuple[int, ...], int]:
    """Every block at the lowest offset that its neighbours leave, in that order."""
    offsets = [-1] * len(blocks)
    peak = 0
    for i in order:
        nbytes, offset = blocks[i].nbytes, 0
        for start, j in sorted((offsets[j], j) for j in near[i] if offsets[j] >= 0):
            if start - offset >= nbytes:
                break
            offset = max(offset, start + blocks[j].nbytes)
        offsets[i] = offset
        peak = max(peak, offset + nbytes)
    return tuple(offsets), peak


def sweep(blocks: Sequence[Block]) -> tuple[tuple[int, ...], int]:
    """Offsets and peak of an allocator that goes through time: the smallest gap that fits.

    n blocks cost n log n steps, however many are live at the same time. Larger ones go first.
    """
    memory = _Memory()
    offsets = [0] * len(blocks)
    ends: list[tuple[int, int]] = []
    for i in sorted(range(len(blocks)), key=lambda i: (blocks[i].first, -blocks[i].nbytes)):
        while ends and ends[0][0] < blocks[i].first:
            j = heappop(ends)[1]
            memory.free(offsets[j], blocks[j].nbytes)
        offsets[i] = memory.allocate(blocks[i].nbytes)
        heappush(ends, (blocks[i].last, i))
    return tuple(offsets), memory.peak


class _Memory:
    """Gaps of an arena that grows at its end; two that touch become one."""

    def __init__(self) -> None:
        self.peak = 0
        self._by_size: list[tuple[int, int]] = []
        self._ends: dict[int, int] = {}
        self._starts: dict[int, int] = {}

    def allocate(self, nbytes: int) -> int:
        at = bisect_left(self._by_size, (nbytes, 0))
        if not nbytes:
            return 0
        if at < len(self._by_size):
            size, start = self._by_size[at]
            self._drop(start, size)
        else:
            start = self._ends.get(self.peak, self.peak)
            size = self.peak - start
            if size:
                self._drop(start, size)
            size = nbytes
            self.peak = start + nbytes
        if size > nbytes:
            self._add(start + nbytes, size - nbytes)
        return start

    def free(self, start: int, nbytes: int) -> None:
        if not nbytes:
            return
        end = start + nbytes
        before, after = self._ends.get(start), self._starts.get(end)
        if before is not None:
            self._drop(before, start - before)
            start = before
        if after is not None:
            self._drop(end, after - end)
            end = after
        self._add(start, end - start)

    def _add(self, start: int, nbytes: int) -> None:
        insort(self._by_size, (nbytes, start))
        self._starts[start], self._ends[start + nbytes] = start + nbytes, start

    def _drop(self, start: int, nbytes: int) -> None:
        del self._by_size[bisect_left(self._by_size, (nbytes, start))]
        del self._starts[start], self._ends[start + nbytes]
