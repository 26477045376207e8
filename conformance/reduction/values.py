"""Simpler values: zeros, ones, parts of them zero, whole numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from conformance.bundles.failing import Case
from conformance.reduction.draft import Draft

PARTS = (2, 4, 8, 16)
"""Into how many parts a tensor is cut, of which one is made zero."""


def simpler_values(case: Case) -> Iterator[tuple[str, Case]]:
    """One feed or constant at a time."""
    draft = Draft.of(case)
    for name, array in draft.arrays().items():
        if array.dtype.kind not in "fiub":
            continue
        for said, simpler in _simpler(array):
            if simpler.tobytes() != array.tobytes():
                yield f"{name!r}: {said}", draft.with_arrays({name: simpler}).case()


def _simpler(array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    yield "zeros", np.zeros_like(array)
    if array.any() and not _is_constant(array):
        yield "ones", np.ones_like(array)
    flat = array.reshape(-1)
    for parts in PARTS:
        size = -(-flat.size // parts)
        for start in range(0, flat.size if flat.size >= parts else 0, max(size, 1)):
            less = flat.copy()
            less[start : start + size] = 0
            yield f"zero from element {start} on", less.reshape(array.shape)
    if array.dtype.kind == "f":
        with np.errstate(all="ignore"):
            yield "whole numbers", np.rint(array)


def _is_constant(array: np.ndarray) -> bool:
    return bool((array == array.reshape(-1)[:1]).all())
