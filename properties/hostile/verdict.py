"""Whether outputs are what is expected: ours within derived bounds, others' in meaning."""

from __future__ import annotations

from collections.abc import Mapping

import ml_dtypes
import numpy as np

from conformance.expectation import Arrays, Expected, is_float
from conformance.judge import Verdict, judge
from engine.ir.types import BFLOAT16, STRING
from engine.ops.numerics import Error, Units

LUCK = 16.0
"""How many times further than in one sample of them roundings may move an output."""
LOOSE = {
    BFLOAT16: 0.15,
    np.dtype(np.float16): 2e-2,
    np.dtype(np.float32): 1e-3,
    np.dtype(np.float64): 1e-3,
}
"""Relative difference, by dtype, above which another engine computes another function.

Witnesses are asked what a model means; their roundings are not ours to bound.
"""
OF_LARGEST = 1e-2
"""The same relative difference may be added of the largest element, times this."""


def misses(outputs: Arrays, expected: Mapping[str, Expected]) -> str:
    """What of our outputs is out of bounds, in a sentence; "" for nothing."""
    for name, e in expected.items():
        got = outputs.get(name)
        if got is None:
            return f"output '{name}' is missing"
        if got.dtype != e.dtype or got.shape != e.reference.shape:
            return (
                f"output '{name}' is {got.dtype}{got.shape}, expected {e.dtype}{e.reference.shape}"
            )
        if text := _out_of(got, e, e.bound, e.units):
            return f"output '{name}' {text}"
    return ""


def differences(
    outputs: Arrays,
    expected: Mapping[str, Expected],
    *,
    has_own: bool = False,
    moved: Arrays | None = None,
) -> dict[str, str]:
    """Output -> how another engine reads it differently; those alone where it does.

    Args:
        has_own: onnxruntime's own operators are among those that make them. Of what their bodies
            come to no bound is derived, so numbers alone are compared; an integer may be the next
            one, as decision 0018 says.
        moved: how far one sample of roundings moves each output, `moved_by_storage`.
    """
    told = {
        name: _difference(outputs.get(name), e, has_own, (moved or {}).get(name))
        for name, e in expected.items()
    }
    return {name: text for name, text in told.items() if text}


def _difference(
    got: np.ndarray | None, e: Expected, has_own: bool, moved: np.ndarray | None
) -> str:
    if got is None:
        return "is missing"
    if got.shape != e.reference.shape:
        return f"has shape {got.shape}, expected {e.reference.shape}"
    if got.dtype != e.dtype:
        return f"is {got.dtype}, expected {e.dtype}"
    units = Units(e.dtype, e.dtype, True) if is_float(e.dtype) else e.units
    bound = np.where(are_numbers(e.bound) | ~are_numbers(got), e.bound, 0.0) if has_own else e.bound
    if moved is not None:
        bound = bound + LUCK * np.nan_to_num(moved, nan=0.0)
    return _out_of(got, e, bound + _slack(e, has_own), units)


def are_numbers(array: np.ndarray) -> np.ndarray:
    """Element by element; what is no number is."""
    numbers = array.astype(np.float64) if array.dtype != STRING else np.zeros(array.shape)
    return np.isfinite(numbers)


def _slack(e: Expected, has_own: bool) -> np.ndarray:
    if not is_float(e.dtype):
        return np.full(e.reference.shape, float(has_own and e.dtype.itemsize == 1))
    size = np.abs(np.where(np.isfinite(e.reference), e.reference, 0.0))
    largest = size.max(initial=0.0)
    floor = float(ml_dtypes.finfo(e.dtype).smallest_normal)
    with np.errstate(over="ignore"):
        return np.asarray(LOOSE[e.dtype] * (size + OF_LARGEST * largest) + floor)


def _out_of(got: np.ndarray, e: Expected, bound: np.ndarray, units: Units) -> str:
    judgement = judge(got, e.reference, Error(bound, bound), units)
    if judgement.verdict is not Verdict.FAIL:
        return ""
    return (
        f"at {judgement.index}: got {judgement.got!r}, expected {judgement.expected!r} "
        f"({judgement.bounds:.3g} x bound; {judgement.failures} of {judgement.count})"
    )
