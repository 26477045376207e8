"""Outputs that are the input's bytes; the copy for where they cannot share memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.cpu.packed import Packed
from engine.ir.graph import Node

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views


def _make(backend: CpuBackend, node: Node) -> Function:
    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x = inputs[0]
        assert x is not None
        outputs[0][...] = x.reshape(outputs[0].shape)

    return Packed(run, frozenset(range(1, len(node.inputs))))


KERNELS = dict.fromkeys(
    ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"), _make
)
