"""LRN: local response normalization across channels.

Source: https://onnx.ai/onnx/operators/onnx__LRN.html: y = x / (bias + alpha / size * s)^beta, where
s sums squares over the channels c - floor((size - 1) / 2) to c + ceil((size - 1) / 2). No kernel
computes in half (`reduce.accumulated`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.errors import ShapeError
from engine.ir.types import FLOATS, TensorType
from engine.ops.normalization import float_input
from engine.ops.numerics import Error, Units, finite, magnified, where_sums_fit
from engine.ops.reduce import accumulated
from engine.ops.spec import HERE, Arrays, Attributes, Call, Choose, Growth, Operand, OpSpec, Reject


@dataclass(frozen=True)
class Window:
    """Attributes as ONNX holds them (floats), and how many channels lie before and after.

    Of those no more than there are: the attribute may say 2**62.
    """

    size: int
    before: int
    after: int
    alpha: float
    beta: float
    bias: float


def window_of(attributes: Attributes, channels: int) -> Window:
    """The attributes with their defaults, for a tensor of so many channels."""
    size = int(attributes["size"])
    alpha, beta, bias = (
        float(np.float32(attributes.get(name, default)))
        for name, default in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))
    )
    most = max(channels - 1, 0)
    return Window(size, min((size - 1) // 2, most), min(size // 2, most), alpha, beta, bias)


def window_sum(squares: np.ndarray, window: Window) -> np.ndarray:
    """Sums over the window of channels (axis 1), in the dtype of `squares`."""
    channels = squares.shape[1]
    total = np.zeros_like(squares)
    for shift in range(-window.before, window.after + 1):
        low, high = max(0, -shift), min(channels, channels - shift)
        if low < high:
            total[:, low:high] += squares[:, low + shift : high + shift]
    return total


def _infer(inputs: Sequence[Operand | None], attributes: Attributes) -> tuple[TensorType, ...]:
    x = float_input("LRN", inputs, 2)
    if int(attributes.get("size", 0)) < 1:
        raise ShapeError(f"LRN: size={attributes.get('size')}, expected 1 or more channels")
    return (x,)


def _parts(inputs: Arrays, attributes: Attributes) -> tuple[np.ndarray, np.ndarray, Window]:
    x = np.asarray(inputs[0])
    window = window_of(attributes, x.shape[1])
    with np.errstate(all="ignore"):
        base = window.bias + window.alpha / window.size * window_sum(x * x, window)
        return x * base**-window.beta, base, window


def _error(inputs: Arrays, attributes: Attributes, units: Units) -> tuple[Error, ...]:
    """The roundings of base, amplified by pow; pow's ULP row; the last product.

    base: size squares and sums, alpha / size, one product, one sum: size + 4 roundings of terms,
    which exceed base where they cancel (alpha or bias below zero). alpha / size and the product may
    be subnormal, or flushed: then they are off by the floor. A relative error r of base is
    one of at most |beta| r (1 - r)^-(|beta| + 1) of the power, which may be subnormal or flushed in
    its turn: x times the floor. Where base or its power may be half wrong, or the squares overflow
    the compute format, nothing is promised.
    """
    y, base, window = _parts(inputs, attributes)
    units = accumulated(units)
    x = np.asarray(inputs[0])
    power = abs(window.beta)
    with np.errstate(all="ignore"):
        squares = window_sum(x * x, window)
        terms = abs(window.bias) + abs(window.alpha) / window.size * squares
        roundings = (window.size + 4) * np.where(terms == 0, 1, terms / np.abs(base))
        lost = np.where(squares > 0, (squares + 1) * units.without_storage().floor, 0.0)
        lost = lost * (window.alpha != 0)
        roundings += np.where(lost == 0, 0.0, lost / (np.abs(base) * units.u_compute))
        r = roundings * units.u_compute
        per_unit = power * roundings * (1 - r) ** -(power + 1) + 2 * units.ulps("pow") + 1
        vanished = np.abs(x) * (units.without_storage().floor / units.u_compute)
    error = magnified(y, finite(y) * finite(per_unit) + finite(vanished), units)
    promised = (r * max(power, 1) < 0.5) | ~np.isfinite(base)
    error = Error(error.sigma, np.where(promised, error.bound, np.inf))
    return (where_sums_fit(error, squares, window.size, units),)


def _attributes(choose: Choose) -> dict[str, float]:
    more: dict[str, float] = choose.one_of(
        (
            {},
            {"alpha": 0.5, "beta": 0.5, "bias": 2.0},
            {"alpha": -0.25},  # base through zero
            {"alpha": 0.0, "bias": -1.0, "beta": 2.0},
            {"beta": -0.5},
        )
    )
    return {"size": choose.one_of((5, 1, 3, 2, 4)), **more}


def _example(choose: Choose) -> Call:
    limit = choose.one_of((4.0, 200.0))
    return Call(
        (choose.tensor(choose.shape((2, 5), 17), low=-limit, high=limit),), _attributes(choose)
    )


def _grow(choose: Choose, x: TensorType) -> Growth | None:
    return Growth((HERE,), _attributes(choose)) if x.dtype in FLOATS and len(x.shape) > 2 else None


LRN = OpSpec(
    "LRN",
    (1, 1),
    _infer,
    lambda inputs, attributes: (_parts(inputs, attributes)[0],),
    _error,
    _example,
    grow=_grow,
    edges=(
        lambda: Call((np.ones((1, 2, 3, 3), "f4"),), {"size": 9}, "window wider than the channels"),
        lambda: Call((np.zeros((0, 2, 3, 3), "f4"),), {"size": 3}),
        lambda: Call((np.array([[[1], [np.nan], [2], [1]]], "f4"),), {"size": 3}),
        lambda: Call(
            (np.full((1, 4, 17), 3, "f4"),),
            {"size": 5, "alpha": 1e-45, "beta": -0.5, "bias": 0.0},
            "alpha / size is subnormal",
        ),
        lambda: Call(
            (np.array([[[0], [-1e10], [0]]], "f4"),), {"size": 3, "beta": 3.0}, "no power is left"
        ),
    ),
    rejects=(
        Reject("size 0", lambda: Call((np.ones((1, 2, 3, 3), "f4"),), {"size": 0}), "size=0"),
    ),
    flops=lambda inputs, outputs, a: (
        outputs[0].size * (2 * min(int(a["size"]), 2 * outputs[0].dims[1]) + 4)
    ),
    reads=("alpha", "beta", "bias", "size"),
)

SPECS: tuple[OpSpec, ...] = (LRN,)
