"""The CPU backend uses as many threads as it was told, and leaves the user's BLAS alone."""

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from engine.backends.cpu.backend import CpuBackend
from engine.backends.cpu.team import SINGLE_THREADED_BLAS, Team
from engine.config import ScheduleConfig
from engine.runtime import Runtime


def blas_threads() -> list[int]:
    return [t["num_threads"] for t in threadpool_info() if t["user_api"] == "blas"]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_range_is_shared_by_as_many_threads_as_were_asked_for(size):
    team = Team(size)
    meet = threading.Barrier(size, timeout=10)
    seen: list[tuple[int, int]] = []

    def work(start: int, stop: int) -> None:
        meet.wait()
        seen.append((start, stop))

    team.split(100, work)
    team.close()
    assert len(seen) == size
    assert sorted(i for start, stop in seen for i in range(start, stop)) == list(range(100))


def test_num_threads_reaches_the_team_of_the_backend():
    with Runtime() as runtime:
        backends = [
            runtime.backend(c.type, c) for c in (ScheduleConfig(num_threads=n) for n in (1, 3))
        ]
        assert [b.team.size for b in backends if isinstance(b, CpuBackend)] == [1, 3]


def test_blas_keeps_its_threads_outside_of_a_computation():
    before = blas_threads()
    backend = CpuBackend(2)
    assert blas_threads() == before
    backend.team.split(10, lambda start, stop: np.testing.assert_equal(max(blas_threads()), 1))
    backend.close()
    assert blas_threads() == before


def test_two_computations_at_once_do_not_restore_the_limit_under_each_other():
    before = blas_threads()
    with SINGLE_THREADED_BLAS:
        with SINGLE_THREADED_BLAS:
            pass
        assert max(blas_threads()) == 1
    assert blas_threads() == before
