"""Packed: a kernel function that holds the values of some inputs itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from engine.backends.cpu.backend import Function, Views


@dataclass(frozen=True)
class Packed:
    """A `Function` that is never given the inputs in `packed_inputs` (see `Kernel`)."""

    function: Function
    packed_inputs: frozenset[int]

    def __call__(self, inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        """Compute; the backend calls `function` itself."""
        self.function(inputs, outputs)
