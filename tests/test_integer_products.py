"""Products of integers by BLAS: exact on both sides of what floats and doubles hold."""

from __future__ import annotations

import numpy as np
import pytest

from engine.backends.cpu.backend import CpuBackend
from engine.backends.cpu.matmul import INTEGER_PRODUCTS_MIN, multiply_integers
from engine.config import ForwardType, ScheduleConfig
from engine.runtime import Runtime

pytestmark = pytest.mark.device_free
BACKEND = Runtime().backend(ForwardType.CPU, ScheduleConfig())
assert isinstance(BACKEND, CpuBackend)
TEAM = BACKEND.team
K = 64
ROWS = -(-INTEGER_PRODUCTS_MIN // K)


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64, np.uint64])
@pytest.mark.parametrize("bits", [7, 9, 10, 22, 24, 25, 29, 31])
def test_sums_are_those_of_whole_numbers(dtype: type, bits: int) -> None:
    """64 products of numbers of 9 bits are just within a float, of 24 or 23 within a double."""
    rng, most = np.random.default_rng(bits), 2**bits - 1
    least = 0 if np.dtype(dtype).kind == "u" else -most
    a = rng.integers(least, most, (ROWS, K), np.dtype(dtype), endpoint=True)
    b = rng.integers(least, most, (K, 3), np.dtype(dtype), endpoint=True)
    a[0], b[:, 0] = most, most
    a[1, 1:], a[1, 0] = 0, 1
    out = np.empty((ROWS, 3), dtype)
    multiply_integers(TEAM, a, b, out)
    whole = a.astype(object) @ b.astype(object)
    size = 8 * out.itemsize
    np.testing.assert_array_equal(out.astype(object) % 2**size, whole % 2**size)
