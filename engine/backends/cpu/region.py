"""Concat, Split, Slice: slices of one array assigned to slices of another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.cpu.packed import Packed
from engine.ir.graph import Node
from engine.ops.operands import integers
from engine.ops.region import slice_ranges

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views


def constants(node: Node) -> list[np.ndarray | None]:
    """The constant behind every input, None where there is none."""
    return [None if v is None else v.constant for v in node.inputs]


def _pieces(whole: np.ndarray, axis: int, parts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The views of `whole` along `axis` where the parts lie one after the other."""
    views, start = [], 0
    for part in parts:
        end = start + part.shape[axis]
        views.append(whole[(*[slice(None)] * (axis % whole.ndim), slice(start, end))])
        start = end
    return views


def _make_concat(backend: CpuBackend, node: Node) -> Function:
    axis = int(node.attributes["axis"])

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        parts = [np.asarray(x) for x in inputs]
        for view, part in zip(_pieces(outputs[0], axis, parts), parts, strict=True):
            view[...] = part

    return run


def _make_split(backend: CpuBackend, node: Node) -> Function:
    axis = int(node.attributes.get("axis", 0))

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        for view, part in zip(_pieces(np.asarray(inputs[0]), axis, outputs), outputs, strict=True):
            part[...] = view

    return Packed(run, frozenset({1} if len(node.inputs) > 1 else ()))


def as_slice(taken: range) -> slice:
    """The slice that takes the indices of a range (an end before index 0 becomes None)."""
    return slice(taken.start, taken.stop if taken.stop >= 0 else None, taken.step)


def _make_slice(backend: CpuBackend, node: Node) -> Function:
    _, starts, ends, axes, steps = (*constants(node), None, None)[:5]

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x = inputs[0]
        assert x is not None
        ranges = slice_ranges(
            x.shape,
            integers(starts),
            integers(ends),
            None if axes is None else integers(axes),
            None if steps is None else integers(steps),
        )
        if outputs[0].size:
            outputs[0][...] = x[tuple(as_slice(r) for r in ranges)]

    return Packed(run, frozenset(range(1, len(node.inputs))))


KERNELS = {
    "Concat": _make_concat,
    "Split": _make_split,
    "Slice": _make_slice,
}
