"""Host memory: arrays of the engine's own, and arrays that somebody else owns.

Strings are no bytes: beside its bytes an arena has a place for a reference in each
`STRING.itemsize` of them, made when the first string tensor is asked for there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import psutil

from engine import heap
from engine.backends.live import LiveCounter
from engine.backends.protocol import Slot
from engine.errors import DeviceMemoryError, InputError
from engine.ir.types import STRING, TensorType, dtype_name

ALIGNMENT_NBYTES = 64
CLAIM_NBYTES_MIN = 16 * 2**20
"""Less is asked for without a look at what is free, which takes longer than the allocation."""


def claim(nbytes: int) -> None:
    """Raise DeviceMemoryError where so much cannot be had: the system would kill the process."""
    free = psutil.virtual_memory().available if nbytes > CLAIM_NBYTES_MIN else nbytes
    if nbytes > free:
        raise DeviceMemoryError(f"cpu: asked for {nbytes} bytes, {free} are free")


class CpuArena:
    """One aligned host allocation."""

    def __init__(self, nbytes: int, counter: LiveCounter) -> None:
        claim(nbytes)
        with heap.enough_for(f"cpu: asked for {nbytes} bytes"):
            raw = np.full(nbytes + ALIGNMENT_NBYTES, 0xFF, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT_NBYTES
        self.nbytes = nbytes
        self.bytes: np.ndarray | None = raw[start : start + nbytes]
        self._references: np.ndarray | None = None
        self._uncount = counter.note_buffer(self, nbytes)

    @property
    def references(self) -> np.ndarray:
        """What strings lie in: None where nothing was written."""
        if self._references is None:
            self._references = np.empty(self.nbytes // STRING.itemsize, STRING)
        return self._references

    def release(self) -> None:
        """Drop the memory."""
        self.bytes = self._references = None
        self._uncount()


class LentArray:
    """An array of somebody else's as an arena, without a copy where it is contiguous.

    It is neither filled nor counted, and kept alive, so that its id stays its own for as long.
    """

    def __init__(self, array: np.ndarray) -> None:
        if not array.flags.c_contiguous:
            claim(array.nbytes)
        self.source = array
        self.nbytes = array.nbytes
        flat = np.ascontiguousarray(array).reshape(-1)
        is_text = array.dtype == STRING
        self.bytes: np.ndarray | None = None if is_text else flat.view(np.uint8)
        self.references: np.ndarray | None = flat if is_text else None

    def release(self) -> None:
        """Let go of the array."""
        self.bytes = self.references = None


def attach(memory: Any, type_: TensorType) -> Slot:
    """A user's array as a slot.

    Raises:
        InputError: not an array of this type that is contiguous, aligned and writeable.
    """
    if not isinstance(memory, np.ndarray):
        raise InputError(f"memory: got {type(memory).__name__}, expected a NumPy array")
    if type_.dtype == STRING:
        raise InputError(f"memory: strings lie in the engine's own; write {type_} instead")
    if memory.dtype != type_.dtype or memory.shape != type_.dims:
        raise InputError(
            f"memory: got {dtype_name(memory.dtype)}{list(memory.shape)}, expected {type_}; "
            "convert the array, or resize the session"
        )
    for flag in ("C_CONTIGUOUS", "ALIGNED", "WRITEABLE"):
        if not memory.flags[flag]:
            raise InputError(f"memory: the array is not {flag}; use a copy of it")
    return Slot(LentArray(memory), 0, type_, type_.dtype)
