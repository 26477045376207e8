"""What NumPy can do here at most: multiply-adds and copied bytes per second, measured."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

SIDE = 768
"""Of the matrices that are multiplied."""
COPIED_NBYTES = 48 << 20
"""More than most caches hold."""
REPEATS = 5
"""The fastest counts: what else the machine does only makes one slower."""


def measured() -> tuple[float, float]:
    """Float32 operations (a multiply-add is two) and bytes (read and written) per second.

    With the BLAS that NumPy has, on the threads that it may use now.
    """
    left = np.full((SIDE, SIDE), 0.5, np.float32)
    product = np.empty_like(left)
    source = np.zeros(COPIED_NBYTES // 4, np.float32)
    target = np.empty_like(source)
    arithmetic_s = _fastest_s(lambda: np.matmul(left, left, out=product))
    copy_s = _fastest_s(lambda: np.copyto(target, source))
    return 2 * SIDE**3 / arithmetic_s, 2 * COPIED_NBYTES / copy_s


def _fastest_s(work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(REPEATS):
        before = time.perf_counter()
        work()
        times.append(time.perf_counter() - before)
    return min(times)
