"""SharedArena: memory for what is live only within a run, shared by all runs that take turns."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from weakref import WeakMethod, WeakSet

from engine.backends.protocol import Arena
from engine.errors import ConfigError, DeviceMemoryError

SHRINK_BELOW = 0.5
"""The arena shrinks when what is still leased is less than this share of it."""


class SharedArena:
    """One allocation as large as the largest lease.

    All executions on one in-order queue may share it: whoever enqueues holds `lock` until all of
    its commands are in the queue, and leaves nothing there that the next run must find.
    """

    def __init__(self, allocate: Callable[[int], Arena], lock: AbstractContextManager[Any]) -> None:
        self._allocate, self._lock = allocate, lock
        self._arena: Arena | None = None
        self._in_run = threading.Lock()
        self._leases: WeakSet[Lease] = WeakSet()

    @property
    def nbytes(self) -> int:
        """Bytes allocated now."""
        return self._arena.nbytes if self._arena is not None else 0

    def lease(self, nbytes: int, moved: Callable[[], None]) -> Lease:
        """The right to use the first `nbytes`, until the lease is released or collected.

        Args:
            moved: a method, called with `lock` held whenever the memory moved; whoever is bound to
                it lets go of it there. It is not kept alive.

        Raises:
            DeviceMemoryError: nothing was changed.
        """
        with self._lock:
            if self._arena is None or nbytes > self.nbytes:
                self._refuse_in_run()
                self._move(nbytes)
            lease = Lease(self, nbytes, moved)
            self._leases.add(lease)
            return lease

    def give_back(self, lease: Lease) -> None:
        """End a lease; harmless the second time."""
        with self._lock:
            if lease in self._leases:
                self._leases.discard(lease)
                self._shrink(SHRINK_BELOW)

    def run(self) -> AbstractContextManager[Any]:
        """Inside, with `lock` held, the memory belongs to one run: it cannot move.

        Raises:
            ConfigError: it belongs to a run already, one of whose callbacks wants another.
        """
        self._refuse_in_run()
        return self._in_run

    def _refuse_in_run(self) -> None:
        if self._in_run.locked():
            raise ConfigError(
                "a callback of a run may not run, resize or make sessions on the same Runtime, "
                "whose memory its run is using: do it after the run, or on another Runtime"
            )

    def trim(self) -> None:
        """Give back what no lease needs."""
        with self._lock:
            self._shrink(1.0)

    def _shrink(self, below: float) -> None:
        if self._in_run.locked():
            return
        needed = [lease.nbytes for lease in self._leases]
        if not needed and self._arena is not None:
            self._arena.release()
            self._arena = None
        elif needed and max(needed) < self.nbytes * below:
            try:
                self._move(max(needed))
            except DeviceMemoryError:
                """The old memory and the new do not fit together: the old one serves on."""

    def _move(self, nbytes: int) -> None:
        new = self._allocate(nbytes)
        if self._arena is not None:
            self._arena.release()
        self._arena = new
        for lease in self._leases:
            lease.tell_moved()

    @property
    def arena(self) -> Arena:
        """The memory of this moment."""
        assert self._arena is not None, "no lease is open"
        return self._arena


class Lease:
    """A share of a SharedArena, until `release`."""

    def __init__(self, shared: SharedArena, nbytes: int, moved: Callable[[], None]) -> None:
        self.shared, self.nbytes = shared, nbytes
        self._moved = WeakMethod(moved)

    def tell_moved(self) -> None:
        """The memory is another one from now on."""
        if (moved := self._moved()) is not None:
            moved()

    def release(self) -> None:
        """End the lease; harmless the second time."""
        self.shared.give_back(self)
