"""Gather, GatherElements, GatherND, OneHot, Trilu by NumPy indexing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.cpu.packed import Packed
from engine.ir.graph import Node
from engine.ops.gather import diagonal, in_range
from engine.ops.operands import input_at

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views


def _make_gather(backend: CpuBackend, node: Node) -> Function:
    axis = int(node.attributes.get("axis", 0))

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x, indices = inputs
        assert x is not None
        assert indices is not None
        front = in_range("Gather", indices, x.shape[axis])
        if outputs[0].size:
            np.take(x, front, axis, out=outputs[0], mode="clip")

    return run


def _make_elements(backend: CpuBackend, node: Node) -> Function:
    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x, indices = inputs
        assert x is not None
        assert indices is not None
        axis = int(node.attributes.get("axis", 0)) % x.ndim
        where = list(np.indices(indices.shape, sparse=True))
        where[axis] = in_range("GatherElements", indices, x.shape[axis])
        outputs[0][...] = x[tuple(where)]

    return run


def _make_nd(backend: CpuBackend, node: Node) -> Function:
    batch = int(node.attributes.get("batch_dims", 0))

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x, indices = inputs
        assert x is not None
        assert indices is not None
        where = list(np.indices(indices.shape[:-1], sparse=True))[:batch]
        for k in range(indices.shape[-1]):
            where.append(in_range("GatherND", indices[..., k], x.shape[batch + k]))
        outputs[0][...] = x[tuple(where)]

    return run


def _make_one_hot(backend: CpuBackend, node: Node) -> Function:
    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        indices, _, values = inputs
        (out,) = outputs
        assert indices is not None
        assert values is not None
        axis = int(node.attributes.get("axis", -1)) % out.ndim
        count = out.shape[axis]
        if indices.dtype == np.uint64:
            indices = np.minimum(indices, np.uint64(count))
        wide = indices.astype(np.int64)
        wide = np.expand_dims(np.where(wide < 0, wide + count, wide), axis)
        hot = wide == np.arange(count).reshape(-1, *[1] * (out.ndim - 1 - axis))
        out[...] = values[0]
        np.copyto(out, values[1], where=hot)

    return Packed(run, frozenset({1}))


def _make_trilu(backend: CpuBackend, node: Node) -> Function:
    k = input_at([None if v is None else v.constant for v in node.inputs], 1)
    keep = np.triu if int(node.attributes.get("upper", 1)) else np.tril

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x = np.asarray(inputs[0])
        outputs[0][...] = keep(x, diagonal(k, x.shape))

    return Packed(run, frozenset(range(1, len(node.inputs))))


KERNELS = {
    "Gather": _make_gather,
    "GatherElements": _make_elements,
    "GatherND": _make_nd,
    "OneHot": _make_one_hot,
    "Trilu": _make_trilu,
}
