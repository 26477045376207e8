"""Packings of random blocks: what lives at the same time never overlaps, and all is aligned."""

from __future__ import annotations

import numpy as np

from engine.planner.offsets import Block, Packing, pack
from properties.memory import Violation

STEPS, LARGEST_NBYTES = 40, 5000
ALIGNMENTS = (1, 64, 128, 4096)


def draw_blocks(seed: int) -> tuple[list[Block], int]:
    """Few blocks or many, short-lived or not, none or some of no bytes; and an alignment."""
    rng = np.random.default_rng(seed)
    count = int(rng.choice([1, 5, 20, 60, 300]))
    longest = int(rng.choice([1, 4, STEPS]))
    firsts = rng.integers(0, STEPS, count)
    lasts = firsts + rng.integers(0, longest, count)
    sizes = rng.integers(0, LARGEST_NBYTES, count) * (rng.random(count) < 0.9)
    blocks = [Block(*map(int, b)) for b in zip(sizes, firsts, lasts, strict=True)]
    return blocks, int(rng.choice(ALIGNMENTS))


def check_packing(seed: int) -> None:
    """Raises Violation for blocks that overlap, lie outside, or are not aligned."""
    blocks, alignment = draw_blocks(seed)
    packing = pack(blocks, alignment)
    who = f"{len(blocks)} blocks of seed {seed}"
    if any(offset % alignment for offset in packing.offsets):
        raise Violation(f"{who}: offsets are not multiples of {alignment}")
    if not packing.lower_bound_nbytes <= packing.peak_nbytes:
        raise Violation(f"{who}: {packing.peak_nbytes} bytes are less than is live at once")
    _check_apart(blocks, packing, who)


def _check_apart(blocks: list[Block], packing: Packing, who: str) -> None:
    """Pair by pair."""
    first, last = (np.array([getattr(b, k) for b in blocks]) for k in ("first", "last"))
    begin, nbytes = np.array(packing.offsets), np.array([b.nbytes for b in blocks])
    end = begin + nbytes
    together = (first[:, None] <= last) & (first <= last[:, None])
    touch = (begin[:, None] < end) & (begin < end[:, None]) & (nbytes > 0) & (nbytes > 0)[:, None]
    np.fill_diagonal(touch, val=False)
    if (together & touch).any():
        i, j = np.argwhere(together & touch)[0]
        raise Violation(f"{who}: {blocks[i]} and {blocks[j]} overlap")
    if (end > packing.peak_nbytes).any():
        raise Violation(f"{who}: a block ends beyond {packing.peak_nbytes}")
