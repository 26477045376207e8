"""Transfers between host and device that do not wait, and the conversions on their host side."""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.backends.opencl import ending
from engine.backends.opencl.status import checked, code_name
from engine.backends.protocol import Slot
from engine.errors import DeviceError
from engine.forks import ProcessBound, check_process
from engine.ir.types import NARROW, bits_of
from engine.ops.numerics import HALF_MAX

if TYPE_CHECKING:
    from engine.backends.opencl.context import OpenCLContext

WRITES_MAX = 32
"""Unfinished transfers beyond which a write waits for the older half of them."""
IN_FLIGHT_NBYTES_MAX = 256 << 20
"""Host bytes of unfinished transfers beyond which a write waits for the older half of them."""
RUNS_MAX = 32
"""Unfinished runs beyond which a run waits for the older half of them: drivers keep them all."""


class InFlight(ProcessBound):
    """Transfers that the device has not finished, oldest first, on an in-order queue.

    The event of a non-blocking transfer keeps the host array alive, and waits in its destructor;
    therefore it must not be dropped before it is complete.
    """

    what = "transfer"

    def __init__(self, context: OpenCLContext) -> None:
        self._context = context
        self._held: deque[tuple[Any, int]] = deque()
        self._lock = threading.Lock()
        self._bind_to_process()

    def hold(self, event: Any, nbytes: int) -> None:
        """Keep a transfer until it is complete."""
        self.prune()
        with self._lock:
            self._held.append((event, nbytes))

    def prune(self) -> None:
        """Drop what is complete; raises DeviceError for a transfer that failed."""
        failed = 0
        with self._lock:
            while self._held and (status := self._held[0][0].command_execution_status) <= 0:
                self._held.popleft()
                failed = min(failed, status)
        if failed < 0:
            name = code_name(self._context.cl, failed)
            raise DeviceError(
                f"{self._context.info.name}: an earlier {self.what} failed with {name}"
            )

    def make_room(self) -> None:
        """Wait while there are too many or too large ones, until half of them are complete."""
        while True:
            with self._lock:
                if not self._is_full():
                    return
                middle = self._held[len(self._held) // 2][0]
            with checked(self._context, f"waiting for a {self.what}"), ending.waiting():
                middle.wait()
            self.prune()

    def _is_full(self) -> bool:
        nbytes = sum(n for _, n in self._held)
        return len(self._held) > WRITES_MAX or nbytes > IN_FLIGHT_NBYTES_MAX

    def abandon(self) -> None:
        """Leak what is not complete: its queue is stuck, and to drop it, now or at exit, waits."""
        with self._lock:
            for event, _ in self._held:
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(event))
            self._held.clear()

    def _after_fork(self) -> None:
        """The queue does not work on in the child."""
        self._lock = threading.Lock()
        self.abandon()

    def __len__(self) -> int:
        return len(self._held)


class RunsInFlight(InFlight):
    """Runs that the device has not finished, each by the event of its last command."""

    what = "run"

    def _is_full(self) -> bool:
        return len(self._held) > RUNS_MAX


class OpenCLRead:
    """A `PendingRead`; `host` is filled when `event` is complete (None: nothing to read)."""

    def __init__(self, context: OpenCLContext, slot: Slot, host: np.ndarray, event: Any) -> None:
        self._context, self._slot, self._host, self._event = context, slot, host, event
        self._result: np.ndarray | None = None
        self._lock = threading.Lock()

    def result(self) -> np.ndarray:
        """Wait, convert; the same array at every call."""
        if self._result is not None:
            return self._result
        check_process(self._context)
        with self._lock:
            if self._result is None:
                if self._event is not None:
                    with checked(self._context, f"reading {self._slot.type}"), ending.waiting():
                        self._event.wait()
                    self._context.in_flight.prune()
                self._result = from_stored(self._slot, self._host)
            return self._result


def write(context: OpenCLContext, slot: Slot, host: np.ndarray) -> None:
    """Enqueue a copy of a contiguous host array that nobody changes any more."""
    if not host.size:
        return
    check_process(context)
    with context.lock, checked(context, f"writing {slot.type}"):
        event = context.cl.enqueue_copy(
            context.queue,
            slot.arena.buffer,
            host,
            dst_offset=slot.offset_nbytes,
            is_blocking=False,
        )
        context.in_flight.hold(event, host.nbytes)
    context.in_flight.make_room()


def read_later(context: OpenCLContext, slot: Slot) -> OpenCLRead:
    """Enqueue a copy to the host."""
    check_process(context)
    host = np.empty(_stored_shape(slot), slot.storage)
    event = None
    if host.size:
        with context.lock, checked(context, f"reading {slot.type}"):
            event = context.cl.enqueue_copy(
                context.queue,
                host,
                slot.arena.buffer,
                src_offset=slot.offset_nbytes,
                is_blocking=False,
            )
            context.in_flight.hold(event, host.nbytes)
            context.queue.flush()
    return OpenCLRead(context, slot, host, event)


# --------------------------------------------------------------------------- conversions
def _is_channels_last(slot: Slot) -> bool:
    return slot.layout == "channels_last" and len(slot.type.dims) > 2


def _stored_shape(slot: Slot) -> tuple[int, ...]:
    shape = slot.type.dims
    return (shape[0], *shape[2:], shape[1]) if _is_channels_last(slot) else shape


def to_stored(slot: Slot, array: np.ndarray) -> np.ndarray:
    """A logical array in a slot's storage and layout: contiguous, in memory of its own."""
    if _is_channels_last(slot):
        array = np.moveaxis(array, 1, -1)
    if slot.storage == np.float16 != array.dtype:
        return to_half(array)
    return np.array(bits_of(array), order="C")


def from_stored(slot: Slot, host: np.ndarray) -> np.ndarray:
    """The logical array of what was read from a slot."""
    logical = np.moveaxis(host, -1, 1) if _is_channels_last(slot) else host
    if slot.type.dtype in NARROW:
        return np.ascontiguousarray(logical).reshape(logical.shape).view(slot.type.dtype)
    return np.asarray(logical, slot.type.dtype, order="C")


def to_half(array: np.ndarray) -> np.ndarray:
    """Rounded to nearest, row-major; finite values saturate at the largest half."""
    with np.errstate(over="ignore"):
        half = array.astype(np.float16, order="C")
    infinite = half.view(np.uint16) & 0x7FFF == 0x7C00
    if infinite.any():
        too_large = infinite & np.isfinite(array)
        half[too_large] = np.copysign(HALF_MAX, array[too_large])
    return half
