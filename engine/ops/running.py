"""Running error analysis: float64 numbers that carry what an honest kernel may be off so far.

Source: N. Higham, Accuracy and Stability of Numerical Algorithms (2nd ed.), section 3.3. Every
operation adds its own rounding to what its operands inherit, so a state that is fed back is judged
with all the errors of the steps before. The formulas of an operator are written once, for an
`Arithmetic`: `Doubles` is float64, `RunningErrors` the same with errors.

bound: |computed - exact| for any order of the sums. sigma: the expected RMS error; errors that one
operation inherits from several operands are added, as they come from the same steps before, those
of the elements of one vector are taken as independent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from engine.ops.numerics import Error, Units, finite, magnified, quadrature, sum_of_products

Array = np.ndarray
EPSILON = 2.0**-50
"""How far float64's own functions are off, relative, with room."""


@dataclass(frozen=True)
class Function:
    """A function of one number.

    Attributes:
        magnitude: worst error of the compute format in units of u_c, from x, y and units; None
            where there is none.
        slope: greatest |dy/dx|, infinite where it jumps. kinks: where it is not monotonic.
    """

    of: Callable[[Array], Array]
    magnitude: Callable[[Array, Array, Units], Array | float] | None
    slope: float
    kinks: tuple[float, ...] = ()


class Arithmetic(Protocol):
    """What formulas may do beside + and *, and 1 - x."""

    def sum(self, products: Sequence[tuple[Any, Array]], addends: Sequence[Array]) -> Any:
        """x m^T of every matrix m, x m of every vector m, and the addends."""
        ...

    def apply(self, function: Function, x: Any) -> Any:
        """function(x)."""
        ...

    def choose(self, where: Array, x: Any, y: Any) -> Any:
        """Rows of x, or of y."""
        ...

    def start(self, x: Array) -> Any:
        """A number without error."""
        ...


def times(x: Array, m: Array) -> Array:
    """x m^T of a matrix, x m of a vector."""
    return np.asarray(x * m if m.ndim == 1 else x @ m.T)


class Doubles:
    """float64 itself."""

    def sum(self, products: Sequence[tuple[Array, Array]], addends: Sequence[Array]) -> Array:
        """See Arithmetic."""
        return np.asarray(sum(times(x, m) for x, m in products) + sum(addends))

    def apply(self, function: Function, x: Array) -> Array:
        """See Arithmetic."""
        return function.of(x)

    def choose(self, where: Array, x: Array, y: Array) -> Array:
        """See Arithmetic."""
        return np.where(where, x, y)

    def start(self, x: Array) -> Array:
        """See Arithmetic."""
        return x


@dataclass(frozen=True)
class Running:
    """Values, and what an honest kernel may be off; a bound stays infinite once it is."""

    value: Array
    sigma: Array
    bound: Array
    units: Units = field(repr=False)

    def __add__(self, other: Running) -> Running:
        """One rounding."""
        inherited = self.sigma + other.sigma, self.bound + other.bound
        return self._rounded(self.value + other.value, *inherited)

    def __mul__(self, other: Running) -> Running:
        """One rounding; the errors of each factor times the other."""
        a, b = finite(self.value), finite(other.value)
        sigma = a * other.sigma + b * self.sigma
        bound = a * other.bound + b * self.bound + self.bound * other.bound
        return self._rounded(self.value * other.value, sigma, bound)

    def __rsub__(self, one: float) -> Running:
        """One rounding."""
        return self._rounded(one - self.value, self.sigma, self.bound)

    def _rounded(self, value: Array, sigma: Array, bound: Array) -> Running:
        u = self.units.u_compute
        local = u * finite(value) / np.sqrt(3)
        bound = bound * (1 + u) + u * finite(value) + self.units.floor
        sigma = quadrature(sigma, local, self.units.floor)
        return running(value, sigma, bound, finite(value) + bound, self.units)


def running(value: Array, sigma: Array, bound: Array, magnitude: Array, units: Units) -> Running:
    """Nothing is promised where `magnitude` may overflow the compute format."""
    lost = (magnitude * (1 + 8 * units.u_compute) > units.largest) | np.isnan(bound)
    return Running(value, np.nan_to_num(sigma), np.where(lost, np.inf, bound), units)


class RunningErrors:
    """Float64 with errors, for kernels that compute as `units` say and store nothing between."""

    def __init__(self, units: Units) -> None:
        self.units = units.without_storage()

    def start(self, x: Array) -> Running:
        """See Arithmetic."""
        none = np.zeros(x.shape)
        return Running(x, none, none, self.units)

    def sum(self, products: Sequence[tuple[Running, Array]], addends: Sequence[Array]) -> Running:
        """All terms in any order: numerics.sum_of_products on top of what the factors inherit."""
        value = Doubles().sum([(x.value, m) for x, m in products], addends)
        inherited = [(times(x.bound, abs(m)), _sigma(x, m)) for x, m in products]
        squares = Doubles().sum([(x.value**2, m**2) for x, m in products], [b * b for b in addends])
        terms_of = [times(abs(x.value) + x.bound, abs(m)) for x, m in products]
        sizes = np.asarray(sum((*terms_of, *map(abs, addends))))
        terms = sum(1 if m.ndim == 1 else m.shape[-1] for _, m in products) + len(addends)
        local = sum_of_products(value, squares, sizes, terms, self.units)
        bound = sum((b for b, _ in inherited), local.bound)
        sigma = quadrature(sum(s for _, s in inherited), local.sigma)
        gamma = 1 + 4 * (terms + 1) * self.units.u_compute
        return running(value, sigma, bound, sizes * gamma, self.units)

    def apply(self, function: Function, x: Running) -> Running:
        """How far the function is apart within reach of the argument, and its own error there."""
        y, bound = function.of(x.value), np.where(np.isfinite(x.bound), x.bound, 0.0)
        points = [x.value - bound, x.value + bound]
        points += [np.clip(k, *points[:2]) for kink in function.kinks for k in _sides(kink)]
        values = [function.of(p) for p in points]
        reach = _reach(function, y, values, bound)
        near = [x.value - x.sigma, x.value + x.sigma]
        spread = _reach(function, y, [function.of(p) for p in near], x.sigma)
        local = Error(np.zeros(y.shape), np.zeros(y.shape))
        if function.magnitude is not None:
            magnitudes = [
                np.nan_to_num(np.broadcast_to(function.magnitude(p, v, self.units), y.shape))
                for p, v in zip([x.value, *points], [y, *values], strict=True)
            ]
            local = magnified(y, np.maximum.reduce(magnitudes), self.units)
        total = np.where(np.isfinite(x.bound), reach + local.bound, np.inf)
        sigma = quadrature(spread, local.sigma)
        return running(y, sigma, total, finite(y) + total, self.units)

    def choose(self, where: Array, x: Running, y: Running) -> Running:
        """See Arithmetic."""
        value, sigma = np.where(where, x.value, y.value), np.where(where, x.sigma, y.sigma)
        return Running(value, sigma, np.where(where, x.bound, y.bound), self.units)


def _sigma(x: Running, m: Array) -> Array:
    """Of a product with a constant, from the errors of the elements of each row.

    Where elements exceed 1, no bounded function has made them: states may grow from step to step,
    and then their errors have grown along one direction and are not independent.
    """
    if not x.value.size:
        return times(x.sigma, abs(m))
    largest = np.maximum(x.sigma.max(-1, keepdims=True), np.finfo(np.float64).tiny)
    independent = largest * np.sqrt(times((x.sigma / largest) ** 2, m**2))
    has_grown = finite(x.value).max(-1, keepdims=True) > 1
    return np.where(has_grown, times(x.sigma, abs(m)), independent)


def _sides(kink: float) -> tuple[float, float]:
    return kink, float(np.nextafter(kink, np.inf))


def _reach(function: Function, y: Array, values: Sequence[Array], width: Array) -> Array:
    """The greatest distance of f(x) from f(x +- width)."""
    apart = [abs(v - y) + EPSILON * (abs(v) + abs(y)) for v in values]
    widest = np.maximum.reduce(apart)
    if np.isfinite(function.slope):
        widest = np.minimum(widest, function.slope * width)
    return np.nan_to_num(np.where(width == 0, 0.0, widest))
