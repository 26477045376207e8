"""Formulas of normalisations that engines take in place of ours, with the bound of each.

Our references take (x - mean) * scale / sqrt(var + epsilon) + bias, the variance as the mean of
(x - mean)^2. Equal in exact arithmetic, and used by engines and by ONNX's own function bodies, are

- scale and shift: x * s + (bias - mean * s), with s = scale / sqrt(var + epsilon), which cancels
  where x is near the mean;
- the variance as E[x^2] - E[x]^2, which cancels where the mean is large beside the deviation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from engine.ir.graph import Node
from engine.ops.normalization import epsilon_of
from engine.ops.numerics import Units

REWRITTEN = "as scale and shift"
ONE_PASS = "variance as a difference"

ROUNDINGS = 8
"""Of x * s + b with s = scale / sqrt(var + epsilon) and b = bias - mean * s: three for s, two more
for b, and three for product and sum."""


@dataclass(frozen=True)
class _Parts:
    """Of a normalisation; each array is as large as its input, or broadcasts to it.

    Attributes:
        count: elements that a mean and a variance are taken of; 0 where the node is given them.
    """

    x: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    epsilon: float
    count: int


def bounds_of(
    node: Node, inputs: Sequence[np.ndarray | None], units: Units
) -> Iterator[tuple[str, np.ndarray]]:
    """By name of a formula, what its result may be off beyond the bound of ours.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., lemma 3.1, with the
    number of roundings in place of n.
    """
    with np.errstate(all="ignore"):
        if (parts := _parts(node, inputs)) is None:
            return
        s = np.abs(parts.scale) / np.sqrt(parts.variance + parts.epsilon)
        terms = (np.abs(parts.x) + np.abs(parts.mean)) * s + np.abs(parts.bias)
        rewritten = np.asarray(ROUNDINGS * units.u_compute * terms)
        yield REWRITTEN, rewritten
        if parts.count:
            difference = np.abs(parts.x - parts.mean) * s * _one_pass(parts, units)
            yield ONE_PASS, difference
            yield ONE_PASS, difference + rewritten


def _one_pass(parts: _Parts, units: Units) -> np.ndarray:
    """The relative error of 1 / sqrt(E[x^2] - E[x]^2 + epsilon); infinite where it may vanish.

    Each of the two is off by at most (count + ROUNDINGS) u of itself, and r = 1 / sqrt(v (1 + d))
    by at most |d| / (1 - |d|) of itself.
    """
    squares = parts.variance + 2 * parts.mean**2
    off = (parts.count + ROUNDINGS) * units.u_compute * squares
    relative = off / (parts.variance + parts.epsilon)
    return np.where(relative < 1, relative / (1 - relative), np.inf)


def _parts(node: Node, inputs: Sequence[np.ndarray | None]) -> _Parts | None:
    """None of a node that is no such normalisation."""
    arrays = [None if a is None else np.asarray(a, np.float64) for a in inputs]
    epsilon = epsilon_of(node.attributes)
    x = arrays[0] if arrays else None
    if x is None or node.op_type not in GROUPED | {"BatchNormalization"}:
        return None
    if node.op_type == "BatchNormalization":
        scale, bias, mean, variance = (_upright(a, x.ndim) for a in arrays[1:5])
        return _Parts(x, scale, bias, mean, variance, epsilon, 0)
    rows, scale, bias = _grouped(node, x, arrays[1:])
    mean, variance = rows.mean(-1, keepdims=True), rows.var(-1, keepdims=True)
    mean, variance = (np.broadcast_to(a, rows.shape).reshape(x.shape) for a in (mean, variance))
    return _Parts(x, scale, bias, mean, variance, epsilon, rows.shape[-1])


GROUPED = frozenset({"InstanceNormalization", "GroupNormalization", "LayerNormalization"})


def _grouped(
    node: Node, x: np.ndarray, parameters: Sequence[np.ndarray | None]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is normalised together, as the last axis; scale and bias as they broadcast to x."""
    if node.op_type == "LayerNormalization":
        axis = int(node.attributes.get("axis", -1)) % x.ndim
        scale, *rest = parameters
        bias = rest[0] if rest and rest[0] is not None else np.zeros(())
        assert scale is not None
        return x.reshape(*x.shape[:axis], -1), scale, bias
    groups = x.shape[1]
    if node.op_type == "GroupNormalization":
        groups = int(node.attributes["num_groups"])
    scale, bias = (_upright(a, x.ndim) for a in parameters[:2])
    return x.reshape(x.shape[0], groups, -1), scale, bias


def _upright(parameter: np.ndarray | None, rank: int) -> np.ndarray:
    """A vector of channels, as it broadcasts to a tensor of that rank."""
    assert parameter is not None
    return parameter.reshape(1, -1, *([1] * (rank - 2)))
