"""The most memory that a scenario held, of the host and of its devices; never while it is timed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from engine.runtime import Runtime
from perf.resident import peak_nbytes, resident_nbytes
from perf.scenarios.outcome import Memory

RESET_PEAK = "5"
"""What resets VmHWM when it is written to clear_refs (proc_pid_clear_refs(5))."""


def peak_of(runtime: Runtime, work: Callable[[], object]) -> Memory:
    """Do some work and say how much memory it took at most.

    The host's peak counts from here where the system can reset it, else it is not stated.
    """
    try:
        Path("/proc/self/clear_refs").write_text(RESET_PEAK)
        is_reset = True
    except OSError:
        is_reset = False
    with ExitStack() as stack:
        marks = {b.memory: stack.enter_context(HighWater(b)) for b in runtime._made()}.values()
        work()
        held = sum(mark.nbytes for mark in marks)
    return Memory(max(peak_nbytes(), resident_nbytes()) if is_reset else None, held)


class HighWater:
    """Notes the most that a backend's counter of buffers shows while it is entered."""

    def __init__(self, backend: Any) -> None:
        context = getattr(backend, "context", None)
        self._counter = backend._counter if context is None else context.counter
        self.nbytes = self._counter.live().nbytes

    def __enter__(self) -> HighWater:
        counter, note = self._counter, self._counter.note_buffer

        def noting(owner: Any, nbytes: int) -> Any:
            end = note(owner, nbytes)
            self.nbytes = max(self.nbytes, counter.live().nbytes)
            return end

        counter.note_buffer = noting
        return self

    def __exit__(self, *_: object) -> None:
        del self._counter.note_buffer
