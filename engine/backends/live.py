"""LiveCounter: what is allocated in one memory, for `Backend.live`."""

from __future__ import annotations

import itertools
from typing import Any
from weakref import WeakSet, finalize

from engine.backends.protocol import LiveMemory


class LiveCounter:
    """Counts objects from when they are noted until they are released or collected.

    Threads and the garbage collector may count at any time: every change is one atomic operation
    on a dictionary or a weak set, and no lock is taken.
    """

    def __init__(self) -> None:
        self._buffers: dict[int, int] = {}
        self._commands: WeakSet[Any] = WeakSet()
        self._tokens = itertools.count()

    def note_buffer(self, owner: Any, nbytes: int) -> finalize[..., Any]:
        """Count `nbytes` until `owner` is collected, or the returned function is called."""
        token = next(self._tokens)
        self._buffers[token] = nbytes
        end = finalize(owner, self._buffers.pop, token, None)
        end.atexit = False
        return end

    def note_command(self, command: Any) -> None:
        """Count a command until it is collected."""
        self._commands.add(command)

    def live(self) -> LiveMemory:
        """What is counted now."""
        sizes = list(self._buffers.values())
        return LiveMemory(buffers=len(sizes), commands=len(self._commands), nbytes=sum(sizes))
