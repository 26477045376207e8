"""Cast and BitCast by NumPy and ml_dtypes, floats to integers by a rule that no processor decides.

ml_dtypes rounds float to its formats correctly, once, and everything else by way of float: so what
float cannot hold is rounded to odd on its way there, which leaves the second rounding right (S.
Boldo, G. Melquiond, Emulation of a FMA and correctly rounded sums: proved algorithms using rounding
to odd, IEEE Trans. Computers 57(4), 2008).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np

from engine.ir.graph import Node
from engine.ir.types import (
    FLOAT8E8M0,
    FLOATS8,
    NARROW_FLOATS,
    NARROW_INTEGERS,
    element_bits,
)
from engine.ops.cast import round_mode, saturates

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views


def to_integers(x: np.ndarray, out: np.ndarray) -> None:
    """Floats truncated into an integer array; its nearest end beyond the range, 0 for NaN.

    The ends are powers of two, which float holds; half does not.
    """
    wide = x.astype(np.float32) if x.dtype == np.float16 else x
    limits = np.iinfo(out.dtype)
    with np.errstate(invalid="ignore"):
        np.copyto(out, wide, casting="unsafe")
    np.copyto(out, limits.min, where=wide < float(limits.min))
    np.copyto(out, limits.max, where=wide >= 2.0 ** limits.max.bit_length())
    np.copyto(out, 0, where=np.isnan(wide))


def to_odd_float(x: np.ndarray) -> np.ndarray:
    """As float: what lies between two of its numbers becomes the one with an odd last bit."""
    if x.dtype.itemsize < 4 or x.dtype == np.float32:
        return x.astype(np.float32, copy=False)
    near = x.astype(np.float32)
    if x.dtype.kind == "f":
        above, below = near > x, near < x
    else:  # 2^63 and 2^64 have no integer to be compared with
        largest = np.nextafter(np.float32(2.0 ** np.iinfo(x.dtype).max.bit_length()), np.float32(0))
        back = np.minimum(near, largest).astype(x.dtype)
        above, below = (back > x) | (near > largest), (back < x) & (near <= largest)
    down = np.where(near > 0, above, below)  # to the lesser magnitude
    bits = near.view(np.uint32) - down
    bits |= above | below
    return np.where(near == 0, near, bits.view(np.float32))


def _to_narrow_floats(x: np.ndarray, out: np.ndarray, saturate: bool) -> None:
    wide = to_odd_float(x)
    if saturate and out.dtype in FLOATS8:
        most = np.float32(ml_dtypes.finfo(out.dtype).max)
        wide = np.clip(wide, -most, most)
    np.copyto(out, wide, casting="unsafe")


def _to_powers_of_two(x: np.ndarray, out: np.ndarray, saturate: bool, mode: str) -> None:
    """The exponent of a double is that of its power of two, 127 less than the byte that is kept."""
    exact = to_odd_float(x) if x.dtype.kind in "iu" else x
    size = np.abs(exact.astype(np.float64))
    bits = size.view(np.uint64)
    add = {"up": 2**52 - 1, "down": 0, "nearest": 2**51}[mode]
    power = ((bits + np.uint64(add)) >> np.uint64(52)).astype(np.int64) - 1023 + 127
    small, large = size < 2.0**-127, power > 254
    power = np.where(
        small, 0 if saturate else 255, np.where(large, 254 if saturate else 255, power)
    )
    out.view(np.uint8)[...] = np.where(np.isnan(x), 255, power)


def _to_narrow_integers(x: np.ndarray, out: np.ndarray) -> None:
    """The low bits; what NumPy makes of a larger exponent is up to the processor."""
    if x.dtype.kind == "f":
        x = np.fmod(x, x.dtype.type(2 ** element_bits(out.dtype)))
        x = np.where(np.isfinite(x), x, 0).astype(np.int8)
    np.copyto(out, x.astype(np.int64).astype(np.int8), casting="unsafe")


def _widened(x: np.ndarray) -> np.ndarray:
    """What narrow formats hold, in a dtype that NumPy has."""
    if x.dtype in NARROW_INTEGERS:
        return x.astype(np.int8)
    return x.astype(np.float32) if x.dtype in NARROW_FLOATS else x


def _make(backend: CpuBackend, node: Node) -> Function:
    saturate, mode = saturates(node.attributes), round_mode(node.attributes)

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x, out = _widened(inputs[0]), outputs[0]
        if out.dtype == FLOAT8E8M0:
            _to_powers_of_two(x, out, saturate, mode)
        elif out.dtype in NARROW_FLOATS:
            _to_narrow_floats(x, out, saturate)
        elif out.dtype in NARROW_INTEGERS:
            _to_narrow_integers(x, out)
        elif x.dtype.kind == "f" and out.dtype.kind in "iu":
            to_integers(x, out)
        else:
            np.copyto(out, x, casting="unsafe")

    return run


def _make_bits(backend: CpuBackend, node: Node) -> Function:
    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x, out = inputs[0], outputs[0]
        assert x is not None
        out[...] = np.ascontiguousarray(x).view(out.dtype).reshape(out.shape)

    return run


KERNELS = {"Cast": _make, "BitCast": _make_bits}
