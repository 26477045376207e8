"""Arithmetic in a narrow format, one rounding after the other, and what is left open in it.

A `Range` holds what an honest kernel may have: one number where every operation is rounded as IEEE
754 says, more behind built-in functions, of which OpenCL C only says by how many ULP they may be
off. Roundings are monotone, so the ends of a range are computed like numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.ops.numerics import ULPS

Function = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Range:
    """Numbers of one format, the least and the greatest; the same array where there is but one."""

    low: np.ndarray
    high: np.ndarray

    @property
    def is_one(self) -> bool:
        """Whether it is known to hold one number per element."""
        return self.low is self.high

    def __getitem__(self, key: Any) -> Range:
        low = self.low[key]
        return Range(low, low if self.is_one else self.high[key])

    def each(self, function: Function) -> Range:
        """A function that moves elements, or never falls, of both ends."""
        low = function(self.low)
        return Range(low, low if self.is_one else function(self.high))

    def or_else(self, other: Range) -> Range:
        """What either may be."""
        return Range(np.minimum(self.low, other.low), np.maximum(self.high, other.high))

    def with_first(self, first: Range) -> Range:
        """The first elements of the last axis replaced."""
        n = first.low.shape[-1]

        def put(into: np.ndarray, part: np.ndarray) -> np.ndarray:
            return np.concatenate([part, into[..., n:]], axis=-1)

        low = put(self.low, first.low)
        return Range(low, low if self.is_one and first.is_one else put(self.high, first.high))


@dataclass(frozen=True)
class Arithmetic:
    """Operations rounded to a format, which is float or half.

    Attributes:
        fused: a product that is added to something is not rounded before.
        rounds_well: built-in functions and divisions are correctly rounded, more than is demanded.
    """

    dtype: np.dtype
    fused: bool = True
    rounds_well: bool = False

    def numbers(self, x: np.ndarray | np.floating[Any] | float) -> Range:
        """Numbers of the format; others are rounded to it."""
        array = np.asarray(x, self.dtype)
        return Range(array, array)

    def zeros(self, shape: tuple[int, ...], value: float = 0.0) -> Range:
        """The same number everywhere."""
        return self.numbers(np.full(shape, value))

    def add(self, a: Range, b: Range) -> Range:
        """a + b."""
        low = a.low + b.low
        return Range(low, low if a.is_one and b.is_one else a.high + b.high)

    def negative(self, a: Range) -> Range:
        """-a."""
        low = -a.high
        return Range(low, low if a.is_one else -a.low)

    def subtract(self, a: Range, b: Range) -> Range:
        """a - b."""
        return self.add(a, self.negative(b))

    def multiply(self, a: Range, b: Range) -> Range:
        """a b."""
        if a.is_one and b.is_one:
            return self.numbers(a.low * b.low)
        return _hull([x * y for x in (a.low, a.high) for y in (b.low, b.high)])

    def multiply_add(self, a: Range, b: Range, c: Range) -> Range:
        """a b + c."""
        if not self.fused:
            return self.add(self.multiply(a, b), c)
        if a.is_one and b.is_one and c.is_one:
            return self.numbers(_fused(a.low, b.low, c.low))
        corners = [(x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
        return _hull([_fused(x, y, z) for x, y in corners for z in (c.low, c.high)])

    def divide(self, a: Range, b: Range) -> Range:
        """a / b, as good as OpenCL C demands; anything where b may be 0 and something else."""
        if self.rounds_well:
            return self.numbers(a.low / b.low)
        wide = [
            x.astype(np.float64) / y.astype(np.float64)
            for x in (a.low, a.high)
            for y in (b.low, b.high)
        ]
        found = self._within(_hull(wide), self._ulps("divide"))
        if b.is_one:
            return found
        lost = (b.low <= 0) & (b.high >= 0)
        low, high = np.where(lost, -np.inf, found.low), np.where(lost, np.inf, found.high)
        return Range(low.astype(self.dtype), high.astype(self.dtype))

    def function(self, name: str, f: Function, x: Range, *, falls: bool = False) -> Range:
        """A built-in function that never falls (or never grows), given in double."""
        if self.rounds_well:
            return self.numbers(f(x.low.astype(np.float64)))
        ends = (x.high, x.low) if falls else (x.low, x.high)
        low, high = (f(end.astype(np.float64)) for end in ends)
        return self._within(Range(low, high), self._ulps(name))

    def _ulps(self, name: str) -> float:
        return ULPS[name][1 if self.dtype == np.float16 else 0]

    def _within(self, exact: Range, ulps: float) -> Range:
        """What lies so many units in the last place around exact results, given in double.

        No function here changes the sign of what is positive.
        """
        low = exact.low - ulps * self._ulp(exact.low)
        high = exact.high + ulps * self._ulp(exact.high)
        low, high = np.where(exact.low >= 0, np.maximum(low, 0), low), np.asarray(high)
        return Range(low.astype(self.dtype), high.astype(self.dtype))

    def _ulp(self, y: np.ndarray) -> np.ndarray:
        narrow = np.abs(y).astype(self.dtype)
        step = np.spacing(np.where(np.isfinite(narrow), narrow, 0).astype(self.dtype))
        return np.asarray(step, np.float64)


def _hull(candidates: list[np.ndarray]) -> Range:
    return Range(np.minimum.reduce(candidates), np.maximum.reduce(candidates))


def _fused(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """a b + c rounded once.

    The product of two floats is a double; the sum is rounded to odd there, hence rightly to the
    narrow format, which has fewer than half as many bits (S. Boldo and G. Melquiond, Emulation of a
    FMA and correctly rounded sums: proved algorithms using rounding to odd, 2008).
    """
    product, term = a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64)
    total = product + term
    back = total - product
    rest = (product - (total - back)) + (term - back)  # Knuth's two-sum: what was rounded away
    bits = total.view(np.int64) if total.ndim else total.reshape(1).view(np.int64).reshape(())
    is_even = (bits & 1 == 0) & (rest != 0) & np.isfinite(rest)
    odd = np.where(is_even, np.nextafter(total, np.copysign(np.inf, rest)), total)
    return odd.astype(a.dtype)
