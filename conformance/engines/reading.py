"""What a node beyond its bound is: another formula, an approximation, or wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from conformance.engines.formulas import ROUNDINGS, bounds_of
from conformance.expectation import Expected
from conformance.judge import SIGMAS, equal
from engine.ir.graph import Node
from engine.ops.compose import error_of
from engine.ops.numerics import Error, Units

FUSED = "fused"
APPROXIMATED = "approximated"
UNROUNDED = "half kept in float"

APPROXIMABLE = frozenset(
    {
        *("Sigmoid", "Tanh", "Erf", "Gelu", "Exp", "Softplus", "Softmax", "LogSoftmax", "Mish"),
        *("Elu", "Selu", "Celu", "Swish", "LSTM", "GRU", "RNN", "Sin", "Cos", "Tan", "Pow", "Log"),
    }
)
"""Operators of functions that engines take from polynomials of absolute accuracy."""
ABSOLUTE = 16 * 2.0**-24
"""Roundings of float, at the size of the largest element or 1: what lies further off is wrong."""


def read(
    node: Node,
    inputs: Sequence[np.ndarray | None],
    got: np.ndarray,
    expected: Expected,
    fused: Expected,
    unrounded: Sequence[Expected],
) -> str:
    """A formula, FUSED, APPROXIMATED or UNROUNDED, or "" where none explains it.

    Args:
        fused: what it should be where the elementwise nodes before it are computed with it, and
            what was reported of them is not what it was made of.
        unrounded: what it should be where half is kept in float from node to node.
    """
    if got.shape != expected.reference.shape or got.dtype != expected.dtype:
        return ""
    for formula, further in bounds_of(node, inputs, expected.units):
        if _is_within(got, expected, expected.bound + further):
            return formula
    if expected.chain & APPROXIMABLE and _is_within(got, expected, _absolute(expected)):
        return APPROXIMATED
    if _is_within(got, fused, fused.bound):
        return FUSED
    for other in unrounded:
        if _is_within(got, other, _kept_in_float(other, expected)):
            return UNROUNDED
    is_near = _is_within(got, fused, fused.bound + _absolute(fused))
    return APPROXIMATED if fused.chain & APPROXIMABLE and is_near else ""


def _kept_in_float(unrounded: Expected, rounded: Expected) -> np.ndarray:
    """The node's own bound, and what roundings to float of what it reads become in it.

    These are as large beside what roundings to half become, which is how far the two references
    lie apart, as a unit of float beside one of half; in ROUNDINGS of them.
    """
    with np.errstate(all="ignore"):
        apart = np.abs(unrounded.reference - rounded.reference)
    carried = ROUNDINGS * 2.0**-13 * apart
    return np.asarray(np.where(np.isfinite(unrounded.bound), unrounded.bound, 0) + carried)


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
    for _, further in bounds_of(node, inputs, units):
        bounds[0] = bounds[0] + further
    return [Error(bound, bound) for bound in bounds]
