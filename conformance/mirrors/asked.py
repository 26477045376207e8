"""What a mirror is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.backends.order import Order
from engine.ir.graph import Node

Array = np.ndarray
Arrays = Sequence[Array | None]
Places = tuple[Array, ...]
"""Of some elements of an output: their index along each axis."""


@dataclass(frozen=True)
class Asked:
    """One output of a node, at some places.

    Attributes:
        arrays: the inputs as the device holds them, logical. which: index of the output.
        storage: the format that the output is stored in.
    """

    node: Node
    arrays: Arrays
    order: Order
    at: Places
    storage: np.dtype
    which: int = 0

    def array(self, index: int) -> Array:
        """An input that is there."""
        array = self.arrays[index]
        assert array is not None
        return array

    @property
    def count(self) -> int:
        """How many places."""
        return len(self.at[0]) if self.at else 1
