"""Shape, Size, ConstantOfShape, Range: for graphs in which they did not fold away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.cpu.packed import Packed
from engine.backends.cpu.region import constants
from engine.ir.graph import Node
from engine.ops.shape import constant_value, shape_part

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views


def _make_shape(backend: CpuBackend, node: Node) -> Function:
    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        outputs[0][...] = shape_part(np.shape(inputs[0]), node.attributes)

    return run


def _make_size(backend: CpuBackend, node: Node) -> Function:
    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        outputs[0][...] = np.size(inputs[0])

    return run


def _make_constant(backend: CpuBackend, node: Node) -> Function:
    value = constant_value(node.attributes)

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        outputs[0][...] = value

    return Packed(run, frozenset({0}))


def _make_range(backend: CpuBackend, node: Node) -> Function:
    start, _, delta = (np.asarray(c).reshape(()) for c in constants(node))

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        out = outputs[0]
        wide = np.float64 if out.dtype.kind == "f" else out.dtype
        out[...] = start + np.arange(out.size).astype(wide) * delta.astype(wide)

    return Packed(run, frozenset({0, 1, 2}))


KERNELS = {
    "Shape": _make_shape,
    "Size": _make_size,
    "ConstantOfShape": _make_constant,
    "Range": _make_range,
}
