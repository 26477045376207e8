"""What a node beyond its bound is: another formula, an approximation, or wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from conformance.expectation import Expected
from conformance.judge import SIGMAS, equal
from engine.ir.graph import Node
from engine.ops.compose import error_of
from engine.ops.normalization import epsilon_of
from engine.ops.numerics import Error, Units

REWRITTEN = "as scale and shift"
FUSED = "fused"
APPROXIMATED = "approximated"

APPROXIMABLE = frozenset(
    {
        *("Sigmoid", "Tanh", "Erf", "Gelu", "Exp", "Softplus", "Softmax", "LogSoftmax", "Mish"),
        *("Elu", "Selu", "Celu", "Swish", "LSTM", "GRU", "RNN", "Sin", "Cos", "Tan", "Pow", "Log"),
    }
)
"""Operators of functions that engines take from polynomials of absolute accuracy."""
ABSOLUTE = 16 * 2.0**-24
"""Roundings of float, at the size of the largest element or 1: what lies further off is wrong."""
ROUNDINGS = 8
"""Of x * s + b with s = scale / sqrt(var + epsilon) and b = bias - mean * s: three for s, two more
for b, and three for product and sum."""


def read(
    node: Node,
    inputs: Sequence[np.ndarray | None],
    got: np.ndarray,
    expected: Expected,
    fused: Expected,
) -> str:
    """REWRITTEN, FUSED, APPROXIMATED, or "" where none explains it.

    Args:
        fused: what it should be where the elementwise nodes before it are computed with it, and
            what was reported of them is not what it was made of.
    """
    if got.shape != expected.reference.shape or got.dtype != expected.dtype:
        return ""
    if node.op_type == "BatchNormalization":
        return REWRITTEN if _is_within(got, expected, _scaled(node, inputs, expected.units)) else ""
    if expected.chain & APPROXIMABLE and _is_within(got, expected, _absolute(expected)):
        return APPROXIMATED
    if _is_within(got, fused, fused.bound):
        return FUSED
    is_near = _is_within(got, fused, fused.bound + _absolute(fused))
    return APPROXIMATED if fused.chain & APPROXIMABLE and is_near else ""


def _is_within(got: np.ndarray, expected: Expected, bound: np.ndarray) -> bool:
    """Whether every element lies within a bound, or its own; where there is none, none does."""
    with np.errstate(all="ignore"):
        error = np.abs(got.astype(np.float64) - expected.reference)
    most = np.maximum(bound, np.where(np.isfinite(expected.bound), expected.bound, 0))
    within = np.isfinite(most) & (error <= most)
    return bool((equal(got, expected.reference) | within).all())


def _absolute(expected: Expected) -> np.ndarray:
    size = np.abs(expected.reference)
    return np.asarray(ABSOLUTE * size.max(initial=1.0, where=np.isfinite(size)))


def error_of_any(node: Node, inputs: Sequence[np.ndarray | None], units: Units) -> Sequence[Error]:
    """What a node that is fused with others may be off, by whichever formula an engine takes.

    No more than SIGMAS: the worst case of a long sum would explain too much of what follows it.
    """
    own = error_of(node, inputs, units)
    bounds = [np.minimum(e.bound, SIGMAS * e.sigma) for e in own]
    if node.op_type == "BatchNormalization":
        bounds[0] = np.maximum(bounds[0], _scaled(node, inputs, units))
    return [Error(bound, bound) for bound in bounds]


def _scaled(node: Node, inputs: Sequence[np.ndarray | None], units: Units) -> np.ndarray:
    """The bound of a BatchNormalization that is computed as x * s + b.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., lemma 3.1, with the
    number of roundings in place of n.
    """
    x, *parameters = (np.asarray(a, np.float64) for a in inputs[:5])
    upright = (1, -1, *([1] * (x.ndim - 2)))
    scale, bias, mean, variance = (p.reshape(upright) for p in parameters)
    s = np.abs(scale) / np.sqrt(variance + epsilon_of(node.attributes))
    terms = np.abs(x) * s + np.abs(mean) * s + np.abs(bias)
    return np.asarray(ROUNDINGS * units.u_compute * terms)
