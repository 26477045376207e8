"""Pad: fill and assign; the other modes by numpy.pad."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.backends.cpu.packed import Packed
from engine.backends.cpu.region import constants
from engine.ir.graph import Node
from engine.ir.types import zero_of
from engine.ops.operands import input_at
from engine.ops.pad import pad_parts

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views


def _make(backend: CpuBackend, node: Node) -> Function:
    given = constants(node)
    mode: Any = str(node.attributes.get("mode", "constant"))

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x, value, out = inputs[0], input_at(inputs, 2), outputs[0]
        assert x is not None
        parts = pad_parts(x.shape, given, node.attributes)
        kept = x[tuple(slice(p.crop, p.crop + p.extent) for p in parts)]
        if mode == "constant":
            out[...] = zero_of(out.dtype) if value is None else value.reshape(())
            out[tuple(slice(p.before, p.before + p.extent) for p in parts)] = kept
        elif parts:
            out[...] = np.pad(kept, [(p.before, p.after) for p in parts], mode=mode)
        else:
            out[...] = kept

    return Packed(run, frozenset({1, 3} & set(range(len(node.inputs)))))


KERNELS = {"Pad": _make}
