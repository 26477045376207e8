"""LRN in the tensor's own dtype; half in float."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.ir.graph import Node
from engine.ops.lrn import window_of, window_sum

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views


def _make(backend: CpuBackend, node: Node) -> Function:
    window = window_of(node.attributes, node.outputs[0].known_type.dims[1])

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x = inputs[0]
        assert x is not None
        wide = x.astype(np.float32) if x.dtype == np.float16 else x
        number = wide.dtype.type
        base = window_sum(np.square(wide), window)
        base *= number(window.alpha / window.size)
        base += number(window.bias)
        np.power(base, number(-window.beta), out=base)
        np.multiply(wide, base, out=outputs[0], casting="same_kind")

    return run


KERNELS = {"LRN": _make}
