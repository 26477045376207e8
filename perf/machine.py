"""What else the machine did during a measurement: the first suspect of a strange number."""

from __future__ import annotations

import os
import time

import psutil

FOREIGN_SHARE_MAX = 0.05
"""Above it, the table says that the machine was not quiet. Nothing is ever dropped for it."""


NOT_BUSY = {"idle", "iowait", "guest", "guest_nice"}
"""Fields of `psutil.cpu_times` that are no work, or work that `user` counts already."""


class Neighbours:
    """How much of the processors others used since this was made: a share of all of them."""

    def __init__(self) -> None:
        self._started = self.read()

    def foreign_share(self) -> float:
        """0 to 1: processor time of processes that are neither this one nor its children."""
        wall, busy, own = (b - a for a, b in zip(self._started, self.read(), strict=True))
        return min(1.0, max(0.0, busy - own) / max(wall * (os.cpu_count() or 1), 1e-9))

    @staticmethod
    def read() -> tuple[float, float, float]:
        """Seconds: now, of work on all processors, of it by this process and its children."""
        times = psutil.cpu_times()._asdict()
        busy = sum(v for k, v in times.items() if k not in NOT_BUSY)
        here = psutil.Process()
        ended = here.cpu_times()
        own = ended.children_user + ended.children_system
        for process in (here, *here.children(recursive=True)):
            try:
                used = process.cpu_times()
            except psutil.Error:
                continue
            own += used.user + used.system
        return time.monotonic(), busy, own
