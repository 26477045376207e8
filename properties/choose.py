"""Sources of examples: hypothesis, a seed, or a tape of integers; all implement `Choose`.

Tensors are never drawn element by element. A tensor is a 32-bit seed and a distribution tag, so it
costs two draws whatever its size, and shrinks to zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from engine.ir.types import BOOL, FLOAT, FLOATS
from engine.ops.numerics import saturated
from engine.ops.spec import SIDES

T = TypeVar("T")
Array = np.ndarray
Distribution = Callable[[np.random.Generator, Sequence[int], float, float], Array]
LARGEST_SEED = 2**32 - 1
LONG = (261, 4099, 4099, 20011)
"""Extents past where kernels and host code cut: past 256 columns, 4096 elements, 2 x 8192."""
LONG_EVERY = 3
"""One shape out of so many has a long axis; it has fewer elements than others."""
LEAST_LONG = 17
"""Where shapes must be smaller than that there are reasons."""
EVERY = 16
"""`mixed` puts one hard element into so many: the width of the kernels' vectors."""


def _constant(value: float) -> Distribution:
    return lambda rng, shape, low, high: np.full(shape, value)


def _integers(rng: np.random.Generator, shape: Sequence[int], low: float, high: float) -> Array:
    """Whole numbers within -8..8."""
    return np.rint(rng.uniform(max(low, -8.0), min(high, 8.0), shape))


def _smooth(rng: np.random.Generator, shape: Sequence[int], low: float, high: float) -> Array:
    return (low + high) / 2 + (high - low) / 6 * rng.standard_normal(shape)


def _even(rng: np.random.Generator, shape: Sequence[int], low: float, high: float) -> Array:
    return rng.uniform(low, high, shape)


def _sparse(rng: np.random.Generator, shape: Sequence[int], low: float, high: float) -> Array:
    """One element in eight is not zero; about as many lie on a limit."""
    values = rng.uniform(low, high, shape)
    limits = np.where(rng.random(shape) < 0.5, low, high)
    values = np.where(rng.random(shape) < 0.5, values, limits)
    return np.where(rng.random(shape) < 0.25, values, 0.0)


def _wide(rng: np.random.Generator, shape: Sequence[int], low: float, high: float) -> Array:
    """Magnitudes from the subnormal numbers of half up to the limits, evenly in the exponent."""
    largest = max(abs(low), abs(high), 2.0**-20)
    magnitude = 2.0 ** rng.uniform(-26, np.log2(largest), shape)
    return magnitude * np.where(rng.random(shape) < 0.5, -1.0, 1.0)


def _level(rng: np.random.Generator, shape: Sequence[int], low: float, high: float) -> Array:
    return np.full(shape, rng.uniform(low, high))


DISTRIBUTIONS: tuple[tuple[str, Distribution], ...] = (
    ("zeros", _constant(0.0)),
    ("ones", _constant(1.0)),
    ("integers", _integers),
    ("smooth", _smooth),
    ("smooth", _smooth),
    ("even", _even),
    ("even", _even),
    ("sparse", _sparse),
    ("wide", _wide),
    ("wide", _wide),
    ("constant", _level),
)
"""Simplest first; the telling ones twice."""
EQUAL_ELEMENTS = ("ones", "constant")
EVEN = [name for name, _ in DISTRIBUTIONS].index("even")


def build_tensor(
    seed: int, tag: int, shape: Sequence[int], dtype: np.dtype, low: float, high: float
) -> Array:
    """The tensor of a seed and an index into DISTRIBUTIONS, within [low, high]."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in shape)
    values = DISTRIBUTIONS[tag][1](rng, shape, low, high)
    return _as_dtype(np.clip(values, low, high), np.dtype(dtype), low, high)


def build_exact(seed: int, shape: Sequence[int], dtype: np.dtype, low: float, high: float) -> Array:
    """Whole numbers within -2..2, within -1..1 where [low, high] is (weights); sums stay exact."""
    rng = np.random.default_rng(seed)
    first, last = max(int(np.ceil(low)), -2), min(int(np.floor(high)), 2)
    values = rng.integers(first, max(first, last), tuple(int(n) for n in shape), endpoint=True)
    return _as_dtype(values.astype(np.float64), np.dtype(dtype), low, high)


def _as_dtype(values: Array, dtype: np.dtype, low: float, high: float) -> Array:
    if dtype == BOOL:
        return np.asarray(values > (low + high) / 2)
    if dtype in FLOATS:
        with np.errstate(over="ignore"):  # which conversions of half raise is up to the processor
            rounded = np.asarray(values).astype(dtype)
            least, most = np.asarray([low, high]).astype(dtype)
        return np.asarray(np.clip(rounded, least, most))
    return saturated(np.rint(values), dtype)


class TapedChoose:
    """What every `Choose` here shares; subclasses say where an integer comes from.

    Attributes:
        tape: every structural decision (not the seeds of tensors), so that the same structure can
            be drawn again with other values.
        exact: draw only small whole numbers. long: shapes may have a long axis.
    """

    def __init__(self, *, exact: bool = False, long: bool = True) -> None:
        self.exact, self.long = exact, long
        self.tape: list[int] = []

    def _pick(self, low: int, high: int) -> int:
        raise NotImplementedError

    def _seed(self) -> int:
        raise NotImplementedError

    def integer(self, low: int, high: int) -> int:
        """An integer in [low, high], smallest first."""
        value = self._pick(low, high) if high > low else low
        self.tape.append(value - low)
        return value

    def one_of(self, options: Sequence[T]) -> T:
        """One of the options, the first is the simplest."""
        return options[self.integer(0, len(options) - 1)]

    def shape(self, rank: tuple[int, int], largest: int = 33) -> tuple[int, ...]:
        """Extents out of SIDES; now and then one out of LONG, and the others small."""
        sides = [s for s in SIDES if s <= largest]
        drawn = tuple(self.one_of(sides) for _ in range(self.integer(*rank)))
        may_be_long = self.long and drawn and largest >= LEAST_LONG
        if not may_be_long or self.integer(0, LONG_EVERY - 1) < LONG_EVERY - 1:
            return drawn
        axis, extent = self.integer(0, len(drawn) - 1), self.one_of(LONG)
        few = 2 if extent > LONG[-2] or len(drawn) > 3 else 3
        return tuple(extent if a == axis else 1 + (n - 1) % few for a, n in enumerate(drawn))

    def tensor(
        self,
        shape: Sequence[int],
        dtype: np.dtype = FLOAT,
        low: float = -4.0,
        high: float = 4.0,
    ) -> Array:
        """A tensor of a drawn seed and tag."""
        tag = self._tag()
        if self.exact:
            return build_exact(self._seed(), shape, dtype, low, high)
        return build_tensor(self._seed(), tag, shape, dtype, low, high)

    def mixed(self, x: Array, hard: Sequence[float]) -> Array:
        """x, or x with one of `hard` in every sixteenth place; always x where `exact`.

        So every vector of a kernel has ordinary elements beside a hard one.
        """
        if self.exact or x.dtype not in FLOATS or (place := self.integer(0, EVERY)) == 0:
            return x
        y = x.copy()
        places = y.reshape(-1)[place - 1 :: EVERY]
        with np.errstate(over="ignore"):
            places[:] = np.resize(np.asarray(hard, np.float64), places.shape).astype(x.dtype)
        return y

    def _tag(self) -> int:
        return self.integer(0, len(DISTRIBUTIONS) - 1)


class HypothesisChoose(TapedChoose):
    """Draws through hypothesis, so that failures shrink."""

    def __init__(self, draw: Callable[[Any], Any], *, exact: bool = False) -> None:
        super().__init__(exact=exact)
        self._draw = draw

    def _pick(self, low: int, high: int) -> int:
        from hypothesis import strategies as st

        return int(self._draw(st.integers(low, high)))

    def _seed(self) -> int:
        return self._pick(0, LARGEST_SEED)


class SeededChoose(TapedChoose):
    """Draws from one seed; needs no hypothesis."""

    def __init__(self, seed: int, *, exact: bool = False, long: bool = True) -> None:
        super().__init__(exact=exact, long=long)
        self._random = np.random.default_rng(seed)

    def _pick(self, low: int, high: int) -> int:
        return int(self._random.integers(low, high, endpoint=True))

    def _seed(self) -> int:
        return self._pick(0, LARGEST_SEED)


class ReplayedChoose(TapedChoose):
    """Takes its decisions from a list of integers (0 beyond its end), tensors from `seed`.

    Total: any list of non-negative integers is valid, because each is taken modulo the number of
    options.

    Args:
        decorrelated: replace equal elements by independent ones. Rounding errors of a sum of equal
            terms all have one sign, which no model of independent errors describes.
    """

    def __init__(
        self,
        decisions: Iterable[int],
        seed: int,
        *,
        exact: bool = False,
        decorrelated: bool = False,
    ) -> None:
        super().__init__(exact=exact)
        self._decorrelated = decorrelated
        self._decisions = iter(decisions)
        self._of = seed

    @cached_property
    def _random(self) -> np.random.Generator:
        """Made when a tensor is drawn; most that are asked to grow refuse first."""
        return np.random.default_rng(self._of)

    def _pick(self, low: int, high: int) -> int:
        return low + next(self._decisions, 0) % (high - low + 1)

    def integer(self, low: int, high: int) -> int:
        """The next decision; one is used up even where there is a single option."""
        value = self._pick(low, high)
        self.tape.append(value - low)
        return value

    def _seed(self) -> int:
        return int(self._random.integers(0, LARGEST_SEED, endpoint=True))

    def _tag(self) -> int:
        tag = super()._tag()
        return EVEN if self._decorrelated and DISTRIBUTIONS[tag][0] in EQUAL_ELEMENTS else tag
