"""DFT by NumPy's fast transforms, in double; MelWeightMatrix, where it did not fold away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.cpu.packed import Packed
from engine.backends.cpu.region import constants
from engine.ir.graph import Node
from engine.ops.dft import given_transform, mel_weights

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views


def _make(backend: CpuBackend, node: Node) -> Function:
    given = constants(node)

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x, (y,) = inputs[0], outputs
        assert x is not None
        t = given_transform(given, x.shape, node.attributes)
        if not x.size:  # np.fft leaves results of nothing as memory is
            y[...] = 0
        if not x.size or not y.size:
            return
        wide = x.astype(np.float64)
        lines = wide[..., 0] if x.shape[-1] == 1 else wide[..., 0] + 1j * wide[..., 1]
        if t.mirrors:
            y[..., 0] = np.fft.irfft(lines, t.length, t.axis)
            return
        fast = np.fft.ifft if t.inverse else np.fft.rfft if t.made < t.length else np.fft.fft
        z = fast(lines, t.length, t.axis)
        y[..., 0], y[..., 1] = z.real, z.imag

    return Packed(run, frozenset(range(1, len(node.inputs))))


def _make_mel(backend: CpuBackend, node: Node) -> Function:
    weights = mel_weights(constants(node), node.attributes)

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        outputs[0][...] = weights

    return Packed(run, frozenset(range(5)))


KERNELS = {"DFT": _make, "MelWeightMatrix": _make_mel}
