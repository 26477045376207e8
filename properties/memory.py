"""Guarded memory: windows in one arena, poisoned before a run, with canaries around each."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.backends.protocol import Arena, Backend, Slot
from engine.ir.graph import Value
from engine.ir.types import STRING

GUARD_NBYTES = 64
CANARY = 0xA5
POISONS = (0xFF, 0x55)
"""Bytes of outputs before the first and the second run: NaN, then something finite."""


class Violation(AssertionError):
    """A property does not hold; the message is for the person who debugs it.

    Attributes:
        evidence: a graph that shows it on a device (`properties.evidence`), or None.
    """

    evidence: Any = None


def peek(backend: Backend, arena: Any) -> np.ndarray:
    """The raw bytes of an arena, a copy."""
    if backend.name == "cpu":
        return np.array(arena.bytes)
    host = np.empty(arena.nbytes, np.uint8)
    context: Any = backend.context  # type: ignore[attr-defined]
    if host.size:
        context.cl.enqueue_copy(context.queue, host, arena.buffer, is_blocking=True)
    return host


def poke(backend: Backend, arena: Any, array: np.ndarray, offset_nbytes: int = 0) -> None:
    """Overwrite raw bytes of an arena."""
    if backend.name == "cpu":
        arena.bytes[offset_nbytes : offset_nbytes + array.size] = array
    elif array.size:
        context: Any = backend.context  # type: ignore[attr-defined]
        context.cl.enqueue_copy(
            context.queue, arena.buffer, array, dst_offset=offset_nbytes, is_blocking=True
        )


def _digest(element: str | bytes) -> bytes:
    """As many bytes as a reference has; a poison, which is such bytes, as it is."""
    if isinstance(element, bytes):
        return element
    return hashlib.blake2b(repr(element).encode(), digest_size=STRING.itemsize).digest()


class GuardedMemory:
    """Slots for some values in one arena, at aligned offsets, none of them 0.

    Use as a context manager; it frees the arena.
    """

    def __init__(self, backend: Backend, values: Sequence[Value]) -> None:
        self.backend = backend
        align = max(backend.info.alignment_nbytes, GUARD_NBYTES)
        places, end = [], GUARD_NBYTES
        for value in values:
            storage = backend.storage(value.known_type.dtype)
            start = -(-end // align) * align
            places.append((start, storage))
            end = start + value.known_type.size * storage.itemsize + GUARD_NBYTES
        self.arena: Arena = backend.allocate(end)
        self.slots = {
            value: Slot(self.arena, start, value.known_type, storage, value.layout)
            for value, (start, storage) in zip(values, places, strict=True)
        }
        self._inside = np.zeros(end, bool)
        for slot in self.slots.values():
            self._inside[self._range(slot)] = True
        poke(backend, self.arena, np.where(self._inside, POISONS[0], CANARY).astype(np.uint8))

    @staticmethod
    def _range(slot: Slot) -> slice:
        return slice(slot.offset_nbytes, slot.offset_nbytes + slot.nbytes)

    def bytes_of(self, values: Sequence[Value]) -> dict[Value, bytes]:
        """Raw bytes of some windows; of strings, for each element, those of a digest."""
        raw = peek(self.backend, self.arena)
        return {
            v: raw[self._range(self.slots[v])].tobytes()
            if v.known_type.dtype != STRING
            else b"".join(map(_digest, self._strings(v)))
            for v in values
        }

    def _strings(self, value: Value) -> np.ndarray:
        """Where a window's strings lie."""
        arena: Any = self.arena
        slot = self.slots[value]
        strings: np.ndarray = arena.references[slot.offset : slot.offset + slot.type.size]
        return strings

    def poison(self, values: Sequence[Value], byte: int) -> None:
        """Overwrite windows, so that elements which no kernel writes show."""
        for value in values:
            slot = self.slots[value]
            if slot.storage == STRING:
                self._strings(value)[...] = bytes([byte] * STRING.itemsize)
                continue
            filled = np.full(slot.nbytes, byte, np.uint8)
            poke(self.backend, self.arena, filled, slot.offset_nbytes)

    def check_canaries(self, who: str) -> None:
        """Raise Violation when a byte between the windows changed."""
        raw = peek(self.backend, self.arena)
        changed = np.flatnonzero((raw != CANARY) & ~self._inside)
        if changed.size:
            raise Violation(
                f"{who} wrote outside its windows: {changed.size} bytes, the first at "
                f"{int(changed[0])}{self._nearest(int(changed[0]))}"
            )

    def _nearest(self, offset: int) -> str:
        name, distance = "", 1 << 60
        for value, slot in self.slots.items():
            after = offset - (slot.offset_nbytes + slot.nbytes) + 1
            before = slot.offset_nbytes - offset
            if min(abs(after), abs(before)) < distance:
                distance = min(abs(after), abs(before))
                side = "after" if abs(after) < abs(before) else "before"
                name = f", {distance} bytes {side} {value.name!r}"
        return name

    def __enter__(self) -> GuardedMemory:
        return self

    def __exit__(self, *_: object) -> None:
        self.arena.release()
