"""CumSum and CumProd by NumPy, in float at least."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.cpu.packed import Packed
from engine.backends.cpu.region import constants
from engine.ir.graph import Node
from engine.ops.cumsum import running

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views


def _make(backend: CpuBackend, node: Node) -> Function:
    axis = int(np.asarray(constants(node)[1]).reshape(()))

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x = inputs[0]
        assert x is not None
        outputs[0][...] = running(node.op_type, x, axis, node.attributes, backend.compute(x.dtype))

    return Packed(run, frozenset({1}))


KERNELS = dict.fromkeys(("CumSum", "CumProd"), _make)
