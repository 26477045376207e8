"""Copies: between two backends of one memory, and from an array of the user's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from engine.backends.protocol import Backend, Slot
from engine.ir import TensorType
from engine.ir.types import FLOAT, FLOAT16, INT64
from properties.choose import TapedChoose
from properties.memory import Violation

LAYOUTS = ("plain", "channels_last")


def check_copy(source: Backend, target: Backend, choose: TapedChoose) -> bool:
    """The target holds what the source held, rounded to its storage; False for two memories.

    Raises:
        Violation: it holds something else.
    """
    if source.memory != target.memory:
        return False
    x = choose.tensor(choose.shape((0, 4)), FLOAT, -1e5, 1e5)
    slots = [_slot(backend, x, choose.one_of(LAYOUTS)) for backend in (source, target)]
    try:
        source.write(slots[0], x)
        target.copy(*slots).enqueue()
        got = target.read(slots[1])
    finally:
        for backend, slot in zip((source, target), slots, strict=True):
            backend.synchronize()
            slot.arena.release()
    if not np.array_equal(got, expected := target.stored(source.stored(x))):
        at = tuple(int(i) for i in np.argwhere(got != expected)[0])
        layouts = " to ".join(f"{s.storage} {s.layout}" for s in slots)
        raise Violation(f"copy of float32{list(x.shape)}, {layouts}: got {got[at]} at {at}")
    return True


@contextmanager
def _held(backend: Backend) -> Iterator[None]:
    """Inside, the queue of an OpenCL device does nothing."""
    if backend.name == "cpu":
        yield
        return
    context: Any = backend.context  # type: ignore[attr-defined]
    event = context.cl.UserEvent(context.context)
    context.cl.enqueue_barrier(context.queue, wait_for=[event])
    try:
        yield
    finally:
        event.set_status(context.cl.command_execution_status.COMPLETE)


def check_write(backend: Backend, choose: TapedChoose) -> None:
    """Whoever wrote an array may change it at once, although the device has not begun to read it.

    Raises:
        Violation: the device holds what it was changed to.
    """
    x = choose.tensor(choose.shape((0, 4)), choose.one_of((FLOAT, FLOAT16, INT64)))
    storage = backend.storage(x.dtype)
    arena = backend.allocate(x.size * storage.itemsize)
    slot = Slot(arena, 0, TensorType(x.dtype, x.shape), storage)
    given = x.copy()
    try:
        with _held(backend):
            backend.write(slot, given)
            given[...] = 99
        got = backend.read(slot)
    finally:
        backend.synchronize()
        arena.release()
    if not np.array_equal(got, backend.stored(x)):
        raise Violation(f"{backend.name}: {slot.type} changed after it was written")


def _slot(backend: Backend, x: np.ndarray, layout: str) -> Slot:
    storage = backend.storage(FLOAT)
    arena = backend.allocate(x.size * storage.itemsize)
    return Slot(arena, 0, TensorType(FLOAT, x.shape), storage, layout)
