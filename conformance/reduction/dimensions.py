"""Smaller tensors: every axis of one extent at once, or a single one, cut from either end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import onnx

from conformance.bundles.failing import Case
from conformance.reduction.draft import Draft

SHAPE_ELEMENTS_MAX = 8
"""Constant integers of so many elements may be a shape, axes or sizes."""
Cut = Callable[[int], slice]


def smaller_dimensions(case: Case) -> Iterator[tuple[str, Case]]:
    """Extents made 1, 2, half, or one less, the largest first."""
    draft = Draft.of(case)
    extents = sorted({d for a in draft.arrays().values() for d in a.shape if d > 1}, reverse=True)
    for extent in extents:
        for to in _targets(extent):
            for cut in (slice(0, to), slice(extent - to, extent)):
                for with_numbers in (False, True):
                    smaller = _every(draft, extent, to, cut, with_numbers=with_numbers)
                    if smaller is not None:
                        yield f"extents of {extent} made {to}", smaller.case()
    for name, array in draft.arrays().items():
        for axis, extent in enumerate(array.shape):
            for to in _targets(extent):
                for cut in (slice(0, to), slice(extent - to, extent)):
                    cuts = {axis: cut}
                    smaller = draft.with_arrays({name: _cut(array, cuts)})
                    yield f"axis {axis} of {name!r} made {to}, from {extent}", smaller.case()


def _targets(extent: int) -> list[int]:
    return [t for t in dict.fromkeys((1, 2, extent // 2, extent - 1)) if 0 < t < extent]


def _every(draft: Draft, extent: int, to: int, cut: slice, *, with_numbers: bool) -> Draft | None:
    """All axes of an extent; with equal integers in constants and attributes, or without.

    None where there are none of those.
    """
    arrays = {
        name: _cut(array, {i: cut for i, d in enumerate(array.shape) if d == extent})
        for name, array in draft.arrays().items()
        if extent in array.shape
    }
    smaller = draft.with_arrays(arrays)
    if not with_numbers:
        return smaller
    numbers = {
        name: np.where(array == extent, np.array(to, array.dtype), array)
        for name, array in smaller.constants.items()
        if _may_be_a_shape(array) and (array == extent).any()
    }
    nodes = [_with_numbers(node, extent, to) for node in draft.nodes]
    if not numbers and all(new is old for new, old in zip(nodes, draft.nodes, strict=True)):
        return None
    changed = smaller.with_arrays(numbers)
    changed.nodes = nodes
    return changed


def _cut(array: np.ndarray, cuts: Mapping[int, slice]) -> np.ndarray:
    where = tuple(cuts.get(axis, slice(None)) for axis in range(array.ndim))
    return np.ascontiguousarray(array[where]).reshape(array[where].shape)


def _may_be_a_shape(array: np.ndarray) -> bool:
    return array.dtype.kind == "i" and array.ndim < 2 and array.size <= SHAPE_ELEMENTS_MAX


def _with_numbers(node: onnx.NodeProto, extent: int, to: int) -> onnx.NodeProto:
    """The node with another number in its lists of integers."""
    if not any(extent in attribute.ints for attribute in node.attribute):
        return node
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    for attribute in copy.attribute:
        attribute.ints[:] = [to if i == extent else i for i in attribute.ints]
    return copy
