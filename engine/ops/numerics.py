"""Unit roundoffs, the OpenCL C error table, and bounds for roundings and sums.

Sources: N. Higham, Accuracy and Stability of Numerical Algorithms (2nd ed.), ch. 2-3, for gamma_n;
the Khronos OpenCL C specification, "Relative error as ULPs", for the built-in functions.
One ULP of y is at most 2u|y|, u the unit roundoff.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce

import ml_dtypes
import numpy as np

from engine.ir.types import BFLOAT16

BFLOAT16_ROUNDOFF = 2.0**-8
"""No kernel computes in it; of what other engines give, it says how far they may be off."""
HALF_MAX = 65504.0
FLOAT_MAX = float(np.finfo(np.float32).max)

_FORMATS = {
    # dtype: unit roundoff, smallest subnormal / 2, smallest normal, largest finite
    BFLOAT16: (BFLOAT16_ROUNDOFF, 2.0**-134, 2.0**-126, float(ml_dtypes.finfo(BFLOAT16).max)),
    np.dtype(np.float16): (2.0**-11, 2.0**-25, 2.0**-14, HALF_MAX),
    np.dtype(np.float32): (2.0**-24, 2.0**-150, 2.0**-126, FLOAT_MAX),
    # Twice the unit roundoff of double: the float64 reference rounds as well.
    np.dtype(np.float64): (2.0**-52, 2.0**-1074, 2.0**-1022, float(np.finfo(np.float64).max)),
}

ULPS: dict[str, tuple[float, float]] = {
    # built-in: (float or double, half); "-" rows of the specification are correctly rounded
    "divide": (2.5, 1.0),
    "reciprocal": (2.5, 1.0),
    "sqrt": (3.0, 1.5),
    "rsqrt": (2.0, 1.0),
    "exp": (3.0, 2.0),
    "log": (3.0, 2.0),
    "sin": (4.0, 2.0),
    "cos": (4.0, 2.0),
    "tan": (5.0, 2.0),
    "asin": (4.0, 2.0),
    "acos": (4.0, 2.0),
    "atan": (5.0, 2.0),
    "sinh": (4.0, 2.0),
    "cosh": (4.0, 2.0),
    "tanh": (5.0, 2.0),
    "asinh": (4.0, 2.0),
    "acosh": (4.0, 2.0),
    "atanh": (5.0, 2.0),
    "erf": (16.0, 4.0),
    "pow": (16.0, 4.0),
    "log1p": (2.0, 2.0),
    "expm1": (3.0, 2.0),
}


@dataclass(frozen=True)
class Units:
    """What one rounding costs on a device at a precision.

    Attributes:
        compute, storage: the dtypes in which a kernel computes and stores.
        flushes: True when the device may flush subnormals of `compute` or `storage` to zero.
        stores: False inside a fused node, where the result is not rounded to storage.
    """

    compute: np.dtype
    storage: np.dtype
    flushes: bool = False
    stores: bool = True

    @property
    def u_compute(self) -> float:
        """Unit roundoff of the compute format."""
        return _FORMATS[self.compute][0]

    @property
    def u_storage(self) -> float:
        """Unit roundoff of the storage format, 0 where nothing is stored or storage is wider."""
        if not self.stores or self.storage == self.compute:
            return 0.0
        return _FORMATS[self.storage][0]

    @property
    def floor(self) -> float:
        """Absolute error near zero: half the smallest subnormal, or the smallest normal."""
        formats = [_FORMATS[self.compute]] + ([_FORMATS[self.storage]] if self.stores else [])
        return max(f[2] if self.flushes else f[1] for f in formats)

    @property
    def largest(self) -> float:
        """The largest finite number that survives compute and storage."""
        formats = [_FORMATS[self.compute]] + ([_FORMATS[self.storage]] if self.stores else [])
        return min(f[3] for f in formats)

    def ulps(self, function: str) -> float:
        """The OpenCL C bound of a built-in function, in ULP of the compute format."""
        return ULPS[function][1 if self.compute == np.float16 else 0]

    def without_storage(self) -> Units:
        """The same units where the result stays in a register."""
        return replace(self, stores=False)


@dataclass(frozen=True)
class Error:
    """What an honest kernel may be off, per output element, absolute.

    Attributes:
        sigma: expected root-mean-square error.
        bound: worst case.
    """

    sigma: np.ndarray
    bound: np.ndarray


def exact(*outputs: np.ndarray) -> tuple[Error, ...]:
    """No error: copies, integers, comparisons, index operators."""
    return tuple(Error(np.zeros(y.shape), np.zeros(y.shape)) for y in outputs)


def finite(y: np.ndarray) -> np.ndarray:
    """|y| with infinities and NaN replaced by 0 (class mismatches are judged separately)."""
    return np.abs(np.where(np.isfinite(y), y, 0.0))


def quadrature(*errors: np.ndarray | float) -> np.ndarray:
    """The root of the sum of squares, none of which leaves the range of doubles on the way."""
    return np.asarray(reduce(np.hypot, errors))


def rounded(y: np.ndarray, units: Units, *, roundings: float = 1, ulps: float = 0.0) -> Error:
    """A result y made by `roundings` correctly rounded operations and `ulps` of built-ins.

    A rounding is uniform in +-u|y|, hence RMS u|y|/sqrt(3); 1 ULP <= 2u|y|. Rounding to storage
    and the subnormal floor are added once.
    """
    a = finite(y)
    uc, us = units.u_compute, units.u_storage
    per_call = (roundings + (2 * ulps) ** 2) * uc * uc + us * us
    sigma = quadrature(a * np.sqrt(per_call / 3), units.floor)
    bound = a * ((roundings + 2 * ulps) * uc + us) * (1 + 4 * uc) + (1 + roundings) * units.floor
    return Error(sigma, bound)


def where_sums_fit(error: Error, magnitude: np.ndarray, terms: float, units: Units) -> Error:
    """No bound where a sum that is not the result itself may overflow on the way to it.

    A mean, a norm or a variance can be representable where its sum is not.

    Args:
        magnitude: sum of the absolute terms, hence above every partial sum in any order.
        terms: how many.
    """
    inside = units.without_storage()
    overflows = magnitude * (1 + 4 * (terms + 1) * inside.u_compute) > inside.largest
    return Error(error.sigma, np.where(overflows, np.inf, error.bound))


def where_settled(error: Error, results: Iterable[np.ndarray]) -> Error:
    """No bound where what is no number depends on a rounding.

    Args:
        results: y, and what it would be if positions were rounded elsewhere.
    """
    first, *others = results
    jumps = np.zeros(first.shape, np.bool_)
    for other in others:
        both = np.isfinite(first) & np.isfinite(other)
        same = both | (first == other) | (np.isnan(first) & np.isnan(other))
        jumps |= ~same
    return Error(error.sigma, np.where(jumps, np.inf, error.bound))


def magnified(y: np.ndarray, magnitude: np.ndarray, units: Units) -> Error:
    """A result y whose worst error in the compute format is u_c times `magnitude`.

    `magnitude` is first order: the sum, over every rounded quantity q of the formula, of |q| times
    how much the result amplifies an absolute error of q (1 ULP counts 2). The roundings are taken
    as one in quadrature for sigma, which over-states it slightly.
    """
    a, m = finite(y), finite(magnitude)
    uc, us = units.u_compute, units.u_storage
    sigma = quadrature(uc * m / np.sqrt(3), us * a / np.sqrt(3), units.floor)
    bound = (uc * m + us * a) * (1 + 8 * uc) + 4 * units.floor
    return Error(sigma, bound)


def sum_of_products(
    y: np.ndarray,
    squares: np.ndarray,
    magnitudes: np.ndarray,
    terms: float,
    units: Units,
) -> Error:
    """A sum of `terms` products in any order, one accumulator in the compute format.

    sigma^2 = u_c^2/3 (n y^2/3 + n Q/6 + 2Q) + (u_s y)^2/3 + floor^2, with Q = sum (a_i b_i)^2: the
    expected sum of squared partial sums under random order. bound = gamma_{n+1} S + u_s|y| + floor
    with S = sum |a_i b_i| and gamma_n = n u/(1 - n u), or n u e^{n u} where n u >= 1/2.

    There is none where a partial sum may overflow and the result does not: in some order all terms
    of one sign come first, which add up to (S + |y|)/2 at most. Nor in half where a term is
    infinite: finite ones may overflow to the other infinity, and the sum is NaN.

    Args:
        y: float64 result. squares: Q. magnitudes: S. terms: n, products summed (bias included).
    """
    uc, us = units.u_compute, units.u_storage
    a, q, s = finite(y), finite(squares), finite(magnitudes)
    n = max(float(terms), 1.0)
    root = np.maximum(np.sqrt(q), s / np.sqrt(n))  # equal where a square of doubles vanished
    nu = (n + 1) * uc
    gamma = nu / (1 - nu) if nu < 0.5 else nu * np.exp(min(nu, 50.0))
    sigma = quadrature(
        a * uc * np.sqrt(n / 9),
        root * uc * np.sqrt((n / 6 + 2) / 3),
        a * us / np.sqrt(3),
        np.sqrt(n) * units.floor,
    )
    bound = gamma * s * (1 + us) + us * a + (n + 1) * units.floor
    largest = units.without_storage().largest
    overflows = ((s + a) / 2 * (1 + gamma) > largest) & (a <= largest)
    overflows |= np.isinf(y) & (units.compute == np.float16)
    return Error(sigma, np.where(overflows, np.inf, bound))


def saturated(x: np.ndarray, to: np.dtype) -> np.ndarray:
    """Floats as integers: truncated towards zero, beyond the range its nearest end, NaN 0.

    ONNX leaves the latter two open, and processors differ. Rust's `as`, LLVM's fptosi.sat and
    OpenCL C's convert_T_sat follow this rule.
    """
    limits, x = np.iinfo(to), x.astype(np.float64)
    above, below = x >= float(limits.max) + 1, x < float(limits.min)
    inside = np.where(above | below | np.isnan(x), 0.0, x).astype(to)
    return np.where(above, limits.max, np.where(below, limits.min, inside)).astype(to)


def propagate(local: Error, *terms: tuple[np.ndarray | float, Error]) -> Error:
    """Compose errors: local error plus each input error times |dy/dx_i| (sigma: in quadrature)."""
    variance = local.sigma**2
    bound = local.bound
    for slope, error in terms:
        variance = variance + (slope * error.sigma) ** 2
        bound = bound + slope * error.bound
    return Error(np.sqrt(variance), bound)
