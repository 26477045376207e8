"""Runtimes that come and go leave nothing of ours: what is kept, the driver keeps for anyone."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys

import pytest

from tests.sharing_models import OPENCL

OURS_NBYTES = 12_000
"""Room for what the engine asks of a driver beside programs and kernels."""

pytestmark = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_info"), reason="only glibc says what is in use"
)


def kept(device: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.cycles", device],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        stdout=subprocess.PIPE,
        timeout=600,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.device_free
def test_a_cycle_on_the_cpu_keeps_nothing() -> None:
    assert kept("cpu")["engine"] < 1000


def test_a_cycle_on_a_device_keeps_what_its_driver_keeps() -> None:
    found = kept(OPENCL)
    assert found["engine"] < 1.5 * max(found["plain"], 0) + OURS_NBYTES
