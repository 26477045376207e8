"""What a fused kernel does to a sum before it stores it."""

from __future__ import annotations

import numpy as np

from conformance.mirrors.arithmetic import Arithmetic, Range
from engine.ops.compose import Epilogue


def activated(arithmetic: Arithmetic, epilogue: Epilogue, v: Range, storage: np.dtype) -> Range:
    """The activation of an epilogue; limits of a Clip are tensors, hence rounded to storage."""
    alpha, beta = (arithmetic.numbers(p) for p in (epilogue.alpha, epilogue.beta))
    kind = epilogue.activation
    if kind in ("", "Relu", "Clip"):
        low, high = {"": (-np.inf, np.inf), "Relu": (0.0, np.inf)}.get(
            kind, (epilogue.alpha, epilogue.beta)
        )
        ends = [np.asarray(np.asarray(end, storage), arithmetic.dtype) for end in (low, high)]
        return clamped(v, *ends)
    if kind == "LeakyRelu":
        return leaky(arithmetic, v, alpha)
    if kind == "HardSigmoid":
        return unit(arithmetic, arithmetic.multiply_add(alpha, v, beta))
    if kind == "HardSwish":
        sixth = arithmetic.numbers(arithmetic.dtype.type(1) / arithmetic.dtype.type(6))
        half = arithmetic.numbers(0.5)
        return arithmetic.multiply(v, unit(arithmetic, arithmetic.multiply_add(v, sixth, half)))
    if kind == "Sigmoid":
        one = arithmetic.numbers(1.0)
        grown = arithmetic.function("exp", np.exp, arithmetic.negative(v))
        return arithmetic.divide(one, arithmetic.add(one, grown))
    raise AssertionError(f"no mirror of {kind}")


def clamped(v: Range, low: np.ndarray, high: np.ndarray) -> Range:
    """min(max(v, low), high); NaN stays."""

    def one(x: np.ndarray) -> np.ndarray:
        raised = np.where(x < low, low, x)
        return np.asarray(np.where(raised > high, high, raised), x.dtype)

    return v.each(one)


def unit(arithmetic: Arithmetic, v: Range) -> Range:
    """Clamped to [0, 1]."""
    return clamped(v, *(np.asarray(end, arithmetic.dtype) for end in (0, 1)))


def leaky(arithmetic: Arithmetic, v: Range, slope: Range) -> Range:
    """v < 0 ? slope v : v."""
    scaled = arithmetic.multiply(slope, v)
    if v.is_one:
        return arithmetic.numbers(np.where(v.low < 0, scaled.low, v.low))
    positive = clamped(v, np.asarray(0, arithmetic.dtype), np.asarray(np.inf, arithmetic.dtype))
    below = scaled.or_else(positive)
    low = np.where(v.low < 0, below.low, v.low)
    return Range(low, np.where(v.low < 0, below.high, v.high))
