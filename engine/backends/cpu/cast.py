"""Cast and BitCast by NumPy, floats to integers by a rule that does not depend on the processor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.ir.graph import Node

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


def _make(backend: CpuBackend, node: Node) -> Function:
    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x, out = inputs[0], outputs[0]
        assert x is not None
        if x.dtype.kind == "f" and out.dtype.kind in "iu":
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
