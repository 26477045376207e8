"""Softmax and LogSoftmax in the tensor's own dtype; half in float."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.ir.graph import Node

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views


def _make(backend: CpuBackend, node: Node) -> Function:
    axis = int(node.attributes.get("axis", -1))
    logarithm = node.op_type == "LogSoftmax"

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x, y = (np.atleast_1d(a) for a in (inputs[0], outputs[0]) if a is not None)
        out = np.empty(y.shape, np.float32) if y.dtype == np.float16 else y
        largest = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
        np.subtract(x, largest, out=out, dtype=out.dtype)
        if logarithm:
            out -= np.log(np.sum(np.exp(out), axis=axis, keepdims=True))
        else:
            np.exp(out, out=out)
            out /= np.sum(out, axis=axis, keepdims=True)
        if out is not y:
            y[...] = out

    return run


KERNELS = {"Softmax": _make, "LogSoftmax": _make}
