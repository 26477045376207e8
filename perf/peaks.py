"""The roofline of a device: its measured peaks, and how near to them some work came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.profile import Share

ARITHMETIC, MEMORY = "arithmetic", "memory"


@dataclass(frozen=True)
class Roof:
    """How near some work came to what the peaks allow.

    Attributes:
        share: the least time that the peaks allow, of the time it took; above 1 where tensors
            stayed in caches, which the peak of memory does not know. bound: which peak it is.
    """

    share: float
    bound: str


@dataclass(frozen=True)
class Peaks:
    """What a device did at most when it was measured, per second.

    Attributes:
        flops: float32 operations, a multiply-add being two. nbytes: read and written by a copy.
    """

    flops: float
    nbytes: float

    def roof(self, share: Share) -> Roof | None:
        """None where nothing was timed, or the work is not known."""
        if share.flops is None or share.nbytes is None or not share.work_ns:
            return None
        arithmetic, memory = share.flops / self.flops, share.nbytes / self.nbytes
        bound = ARITHMETIC if arithmetic > memory else MEMORY
        return Roof(max(arithmetic, memory) * 1e9 / share.work_ns, bound)


def measured_peaks(backend: Any) -> Peaks:
    """Measure a backend's device, in about a second; alone, or the peaks are too low."""
    if backend.name == "cpu":
        from engine.backends.cpu import peaks as of_numpy

        return Peaks(*of_numpy.measured())
    from engine.backends.opencl import peaks as of_opencl

    return Peaks(*of_opencl.measured(backend))
