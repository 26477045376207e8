"""Watch: counts what storage in half loses of a session's values, for `debug=True`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np

from engine.errors import ParallaxWarning
from engine.info import Loss
from engine.ir.types import FLOAT16, FLOATS, NARROW_FLOATS


class Watch:
    """Losses by tensor, over all writes and runs of one session; the first one is warned about."""

    def __init__(self) -> None:
        self._losses: dict[tuple[str, str], Loss] = {}

    def note_stored(self, kind: str, name: str, array: np.ndarray, storage: np.dtype) -> None:
        """An array that is converted to its storage dtype on its way to a device."""
        if storage != FLOAT16 or array.dtype == FLOAT16:
            return
        with np.errstate(over="ignore", under="ignore"):
            half = array.astype(FLOAT16)
        clipped = np.isinf(half) & np.isfinite(array)
        flushed = (half == 0) & (array != 0)
        self._add(kind, name, array, clipped=clipped, flushed=flushed)

    def note_result(self, name: str, array: np.ndarray) -> None:
        """What a run left in an output or a saved tensor."""
        if array.dtype in FLOATS | NARROW_FLOATS:
            self._add("output", name, array, not_finite=~np.isfinite(array))

    def _add(self, kind: str, name: str, array: np.ndarray, **masks: np.ndarray) -> None:
        counts = {what: int(np.count_nonzero(mask)) for what, mask in masks.items()}
        if not any(counts.values()):
            return
        known = self._losses.get((kind, name)) if kind != "constant" else None
        found = Loss(name, kind, array.size, **counts)
        if not self._losses:
            warnings.warn(
                f"{found}; HIGH precision stores float, and info().losses counts all such values",
                ParallaxWarning,
                stacklevel=2,
            )
        self._losses[kind, name] = found if known is None else known + found

    def __iter__(self) -> Iterator[Loss]:
        return iter(self._losses.values())
