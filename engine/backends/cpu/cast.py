"""Cast by NumPy's conversions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.ir.graph import Node

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views


def _make(backend: CpuBackend, node: Node) -> Function:
    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x = inputs[0]
        assert x is not None
        np.copyto(outputs[0], x, casting="unsafe")

    return run


KERNELS = {"Cast": _make}
