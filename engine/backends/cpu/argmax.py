"""ArgMax and ArgMin by NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.ir.graph import Node
from engine.ops.argmax import position

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views


def _make(backend: CpuBackend, node: Node) -> Function:
    function = np.argmax if node.op_type == "ArgMax" else np.argmin
    axis = int(node.attributes.get("axis", 0))
    last = bool(node.attributes.get("select_last_index", 0))

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x, out = inputs[0], outputs[0]
        assert x is not None
        if out.size:
            out[...] = position(np.atleast_1d(x), axis, function, last).reshape(out.shape)

    return run


KERNELS = {"ArgMax": _make, "ArgMin": _make}
