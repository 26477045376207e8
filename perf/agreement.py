"""Whether two engines computed the same thing: asked before any time of theirs is believed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

RELATIVE_L2_MAX = {"high": 1e-3, "normal": 3e-2, "low": 1e-1}
"""By precision; above it two engines did not compute the same thing."""


def relative_l2(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> float:
    """The largest |ours - theirs| / |theirs| over the outputs; inf for other names or shapes.

    What is infinite or NaN in theirs must be the same in ours.
    """
    if list(ours) != list(theirs):
        return float("inf")
    return max((_relative_l2(ours[name], theirs[name]) for name in theirs), default=0.0)


def _relative_l2(ours: np.ndarray, theirs: np.ndarray) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    got, expected = ours.astype(np.float64), theirs.astype(np.float64)
    finite = np.isfinite(expected)
    if not np.array_equal(got[~finite], expected[~finite], equal_nan=True):
        return float("inf")
    scale = float(np.linalg.norm(expected[finite])) or 1.0
    error = float(np.linalg.norm(got[finite] - expected[finite])) / scale
    return error if np.isfinite(error) else float("inf")
