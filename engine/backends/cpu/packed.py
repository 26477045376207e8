"""Function: what a CPU kernel is; Packed: one that holds the values of some inputs itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Views = Sequence[Any]
"""Input arrays of one call; None where omitted or packed."""
Function = Callable[[Views, Sequence[np.ndarray]], None]
"""`function(inputs, outputs)` computes into the given output arrays; None: omitted or packed."""


@dataclass(frozen=True)
class Packed:
    """A `Function` that is never given the inputs in `packed_inputs` (see `Kernel`)."""

    function: Function
    packed_inputs: frozenset[int]

    def __call__(self, inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        """Compute; the backend calls `function` itself."""
        self.function(inputs, outputs)
