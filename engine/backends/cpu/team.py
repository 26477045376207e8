"""Team: the threads of a CPU backend, waiting without spinning."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from engine.forks import ProcessBound


class SingleThreadedBlas(ProcessBound):
    """While anyone is inside, BLAS runs on one thread; the last to leave restores its limit.

    The limit belongs to the process, so entries are counted: two backends that compute at once
    must not restore it under each other, and the user's own NumPy keeps its threads otherwise.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._libraries: list[Any] | None = None
        self._limits: list[int] = []
        self._bind_to_process()

    def __enter__(self) -> None:
        with self._lock:
            if self._libraries is None:
                self._libraries = ThreadpoolController().select(user_api="blas").lib_controllers
            if self._inside == 0:
                self._limits = [library.get_num_threads() for library in self._libraries]
                self._limit([1] * len(self._limits))
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._limit(self._limits)

    def _limit(self, limits: list[int]) -> None:
        """From any thread: threadpoolctl itself heeds only the first that limited OpenBLAS."""
        for library, limit in zip(self._libraries or (), limits, strict=True):
            getattr(library, "_real_set_num_threads", library.set_num_threads)(limit)

    def _after_fork(self) -> None:
        """Threads of the parent that were inside do not leave here."""
        if self._inside:
            self._limit(self._limits)
        self.__init__()  # type: ignore[misc]


SINGLE_THREADED_BLAS = SingleThreadedBlas()


def cores() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Team:
    """Splits ranges among `size` threads, the caller's own included.

    BLAS is kept to one thread per call: its own threads wait by spinning, which costs many times
    the work itself as soon as another process wants a core.
    """

    def __init__(self, size: int) -> None:
        self._start(size)

    def _start(self, size: int) -> None:
        self.size = size
        self._pool = ThreadPoolExecutor(size - 1, "parallax-cpu") if size > 1 else None

    def resize(self, size: int) -> None:
        """Have as many threads from now on; not while a range is split."""
        self.close()
        self._start(size)

    def split(self, count: int, work: Callable[[int, int], None], least: int = 1) -> None:
        """Run work(start, stop) over [0, count) in even parts of at least `least`; wait for all."""
        with SINGLE_THREADED_BLAS:
            self._split(count, work, min(self.size, max(count // max(least, 1), 1)))

    def _split(self, count: int, work: Callable[[int, int], None], parts: int) -> None:
        if self._pool is None or parts == 1:
            work(0, count)
            return
        borders = [count * i // parts for i in range(parts + 1)]
        (first, *rest) = pairwise(borders)
        others = [self._pool.submit(_quietly, work, start, stop) for start, stop in rest]
        work(*first)
        for other in others:
            other.result()

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def _quietly(work: Callable[[int, int], None], start: int, stop: int) -> None:
    """NumPy's error state belongs to a thread: infinities and NaN are results here too."""
    with np.errstate(all="ignore"):
        work(start, stop)
