"""Resident memory of this process at its peak, from the kernel's own mark."""

from __future__ import annotations

import resource
from pathlib import Path

STATUS, MARK = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET = "5"
"""What proc(5) has for a new mark: VmHWM becomes VmRSS."""


class Gauge:
    """How much more than at its start a case holds, at its peak; pauses do not count."""

    def __init__(self) -> None:
        self._before = self._most = 0

    def start(self) -> None:
        """A case begins."""
        MARK.write_text(RESET)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self._before, self._most = pages * resource.getpagesize(), 0

    def pause(self) -> None:
        """What is taken from here on is not the case's."""
        self._most = max(self._most, _peak_nbytes() - self._before)

    def resume(self) -> None:
        """The case goes on."""
        MARK.write_text(RESET)

    @property
    def excess_nbytes(self) -> int:
        """Since the start."""
        self.pause()
        return self._most


def _peak_nbytes() -> int:
    for line in STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"{STATUS} has no VmHWM")
