"""Constant: the array of a value that is known before any run, in memory or within reach."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator
from weakref import WeakValueDictionary, ref

import numpy as np

from engine.ir.types import TensorType, type_of

REST_NBYTES_MIN = 64 << 10
"""Smaller arrays always stay in memory."""


class Constant:
    """An array that several graphs share; one that can be made again need not stay in memory.

    It is made when it is asked for, stays until `rest`, and after that for as long as somebody else
    holds it.

    Args:
        array: read-only from now on.
        make: gives the array again, bit for bit; None: it always stays in memory.
        type: of what `make` gives, where no array is at hand.
        part: gives elements [start, stop) of it in row-major order, without making the rest.
    """

    def __init__(
        self,
        array: np.ndarray | None = None,
        make: Callable[[], np.ndarray] | None = None,
        type: TensorType | None = None,
        part: Callable[[int, int], np.ndarray] | None = None,
    ) -> None:
        self._array = None if array is None else np.asarray(array)
        self._make, self._part = make, part
        self._lent = (lambda: None) if self._array is None else ref(self._array)
        self.type = type_of(self.array) if type is None else type
        self._derived: WeakValueDictionary[Hashable, Constant] = WeakValueDictionary()

    @property
    def array(self) -> np.ndarray:
        """The array; it is made where it is not in memory, and stays until `rest`."""
        array = self._array if self._array is not None else self._lent()
        if array is None:
            assert self._make is not None
            array = self._make()
            array.flags.writeable = False
            self._lent = ref(array)
        self._array = array
        return array

    def parts(self, most_nbytes: int, unit: int = 1) -> Iterator[np.ndarray]:
        """All elements in row-major order, some at a time; what is not in memory stays outside.

        Args:
            unit: each part but the last has a multiple of so many elements, one at least.
        """
        part = self._part
        if part is None or self.is_in_memory:
            flat = self.array.reshape(-1)

            def part(start: int, stop: int) -> np.ndarray:
                return flat[start:stop]

        size, most = self.type.size, most_nbytes // self.type.dtype.itemsize
        step = max(most // max(unit, 1), 1) * max(unit, 1)
        for start in range(0, max(size, 1), step):
            yield part(start, min(start + step, size))

    def derived(self, how: Hashable, make: Callable[[], Constant]) -> Constant:
        """What `make` computes of this, or what it gave before, if somebody still has that.

        So graphs that are optimised in different ways share what is computed in the same way.

        Args:
            how: names all that the result depends on, beside this array.
        """
        known = self._derived.get(how)
        if known is None:
            known = self._derived[how] = make()
        return known

    @property
    def nbytes(self) -> int:
        """What the array takes in memory when it is there: one element that is repeated, once."""
        array = self._array if self._array is not None else self._lent()
        if array is None:
            return self.type.nbytes
        strides = zip(array.shape, array.strides, strict=True)
        return int(array.itemsize * math.prod(extent for extent, stride in strides if stride))

    @property
    def can_rest(self) -> bool:
        """Whether the array can be made again."""
        return self._make is not None

    @property
    def is_in_memory(self) -> bool:
        """Whether the array is there now, held here or by somebody else."""
        return self._array is not None or self._lent() is not None

    def rest(self) -> None:
        """Let go of the array, if it can be made again."""
        if self._make is not None:
            self._array = None
