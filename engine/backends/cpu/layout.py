"""Transpose, Expand, Tile, DepthToSpace, SpaceToDepth, Reorder: one strided NumPy copy each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.cpu.packed import Packed
from engine.ir.graph import Node
from engine.ops.layout import block_size, permutation

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views

Move = Callable[[np.ndarray, np.ndarray, Node], None]
"""`move(x, out, node)`: writes every element of out."""


def _transpose(x: np.ndarray, out: np.ndarray, node: Node) -> None:
    out[...] = x.transpose(permutation(x.ndim, node.attributes))


def _expand(x: np.ndarray, out: np.ndarray, node: Node) -> None:
    out[...] = x


def _tile(x: np.ndarray, out: np.ndarray, node: Node) -> None:
    """Through a view of `out` with one axis per repeat and one per extent."""
    if not x.size or not out.size:
        return
    blocks = [e for n, m in zip(x.shape, out.shape, strict=True) for e in (m // n, n)]
    spread = [e for n in x.shape for e in (1, n)]
    out.reshape(blocks)[...] = x.reshape(spread)


def _depth_to_space(x: np.ndarray, out: np.ndarray, node: Node) -> None:
    n, c, h, w = x.shape
    b = block_size("DepthToSpace", x.shape, node.attributes)
    deep = c // (b * b)
    if node.attributes.get("mode", "DCR") == "DCR":
        moved = x.reshape(n, b, b, deep, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        moved = x.reshape(n, deep, b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
    out.reshape(n, deep, h, b, w, b)[...] = moved


def _space_to_depth(x: np.ndarray, out: np.ndarray, node: Node) -> None:
    n, c, h, w = x.shape
    b = block_size("SpaceToDepth", x.shape, node.attributes)
    blocks = x.reshape(n, c, h // b, b, w // b, b)
    out.reshape(n, b, b, c, h // b, w // b)[...] = blocks.transpose(0, 3, 5, 1, 2, 4)


def _make(move: Move) -> Callable[[CpuBackend, Node], Function]:
    def make(backend: CpuBackend, node: Node) -> Function:
        def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
            x = inputs[0]
            assert x is not None
            move(x, outputs[0], node)

        return Packed(run, frozenset(range(1, len(node.inputs))))

    return make


KERNELS = {
    "Transpose": _make(_transpose),
    "Expand": _make(_expand),
    "Tile": _make(_tile),
    "DepthToSpace": _make(_depth_to_space),
    "SpaceToDepth": _make(_space_to_depth),
    "Reorder": _make(_expand),
    "Copy": _make(_expand),
}
