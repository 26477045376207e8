"""Resize: axis after axis, the one that shrinks the data most first, one tap at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.cpu.packed import Packed
from engine.backends.cpu.region import constants
from engine.ir.graph import Node
from engine.ops.resize import extrapolation, outside_of, taps_of
from engine.ops.resize_taps import AxisTaps

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views


def _resampled(x: np.ndarray, taps: AxisTaps) -> np.ndarray:
    y = np.take(x, taps.indices[:, 0], taps.axis)
    if taps.weights.shape[1] == 1:
        return y
    shape = [-1 if axis == taps.axis else 1 for axis in range(x.ndim)]
    weights = taps.weights.astype(x.dtype)
    y *= weights[:, 0].reshape(shape)
    for k in range(1, weights.shape[1]):
        part = np.take(x, taps.indices[:, k], taps.axis)
        part *= weights[:, k].reshape(shape)
        y += part
    return y


def _make(backend: CpuBackend, node: Node) -> Function:
    given = constants(node)
    is_nearest = node.attributes.get("mode", "nearest") == "nearest"
    beyond = extrapolation(node.attributes, node.outputs[0].known_type.dtype)

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x, y = inputs[0], outputs[0]
        assert x is not None
        if not y.size:
            return
        taps = taps_of(given, x.shape, node.attributes)
        wide = x if is_nearest else x.astype(backend.compute(x.dtype), copy=False)
        for t in sorted(taps, key=lambda t: len(t.indices) / x.shape[t.axis]):
            wide = _resampled(wide, t)
        y[...] = wide
        mask = outside_of(y.shape, taps)
        if mask is not None:
            y[mask] = beyond

    return Packed(run, frozenset(range(1, len(node.inputs))))


KERNELS = {"Resize": _make}
