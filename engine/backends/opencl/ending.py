"""The end of the process: threads that Python does not wait for are kept from calling drivers.

A daemon thread that comes back from a driver while the interpreter ends is ended by Python in the
middle of C++ code, which aborts the process. So before that, in an `atexit` handler, its turns are
taken for good: what is in progress ends, within a bounded time, and nothing new begins.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

if TYPE_CHECKING:
    from engine.backends.opencl.context import OpenCLContext

END_TIMEOUT_S = 10.0
"""How long the end of a process waits for its daemon threads, all in all."""
PAUSE_S = 1e-3

making = threading.RLock()
"""Held while a context is made."""
_contexts: WeakSet[OpenCLContext] = WeakSet()
_waiting: set[object] = set()
_closed = threading.Event()


def note(context: OpenCLContext) -> None:
    """From now on the end of the process waits for threads that use the context."""
    with making:
        _contexts.add(context)


@contextmanager
def waiting() -> Iterator[None]:
    """Around every wait for a device without the context's lock."""
    if threading.current_thread() is threading.main_thread():
        yield
        return
    token = object()
    _waiting.add(token)
    try:
        if _closed.is_set():
            _waiting.discard(token)
            threading.Event().wait()  # for ever: the process is about to end
        yield
    finally:
        _waiting.discard(token)


def _end() -> None:
    """Let daemon threads finish their calls, and begin no others."""
    others = [t for t in threading.enumerate() if t is not threading.main_thread()]
    if not others or not _own_contexts():
        return
    end_s = time.monotonic() + END_TIMEOUT_S
    _take(making, end_s)
    for context in sorted(_own_contexts(), key=lambda c: id(c.lock)):  # as engine.locks does
        _take(context.lock, end_s)
    _closed.set()
    while _waiting and time.monotonic() < end_s:
        time.sleep(PAUSE_S)


def _own_contexts() -> list[OpenCLContext]:
    """Not those that a fork brought here, which nobody can use."""
    return [context for context in list(_contexts) if not context._is_inherited]


def _take(lock: Any, end_s: float) -> None:
    lock.acquire(timeout=max(end_s - time.monotonic(), 0))


atexit.register(_end)
