"""What a case takes: time, and resident memory at its peak by the kernel's own mark."""

from __future__ import annotations

import resource
import time
from pathlib import Path

STATUS, MARK = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET = "5"
"""What proc(5) has for a new mark: VmHWM becomes VmRSS."""


class Gauge:
    """Seconds, and how much more than at its start a case holds at its peak, without pauses.

    What others keep of a pause, as onnxruntime does where memory ran out, is not the case's.
    """

    def __init__(self) -> None:
        self._before = self._most = self._held = 0
        self._seconds, self._since = 0.0, 0.0
        self._runs = False

    def start(self) -> None:
        """A case begins."""
        MARK.write_text(RESET)
        self._before, self._most = _resident_nbytes(), 0
        self._seconds, self._since, self._runs = 0.0, time.perf_counter(), True

    def pause(self) -> None:
        """What is taken from here on is not the case's."""
        if self._runs:
            self._seconds += time.perf_counter() - self._since
            self._most = max(self._most, _peak_nbytes() - self._before)
            self._held = _resident_nbytes()
        self._runs = False

    def resume(self) -> None:
        """The case goes on."""
        MARK.write_text(RESET)
        self._before += max(0, _resident_nbytes() - self._held)
        self._since, self._runs = time.perf_counter(), True

    def stop(self) -> tuple[float, int]:
        """The case is over: its seconds, and its bytes at the peak."""
        self.pause()
        return self._seconds, self._most


def _resident_nbytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _peak_nbytes() -> int:
    for line in STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"{STATUS} has no VmHWM")
