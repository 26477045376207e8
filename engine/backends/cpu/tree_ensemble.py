"""TreeEnsemble: all rows go down all trees at once, a level at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.ir.graph import Node
from engine.ops.tree_ensemble import (
    AVERAGE,
    COMPARISONS,
    MAX,
    MEMBER,
    MIN,
    Forest,
    aggregate_of,
    forest_of,
)

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views

WALKED_TOGETHER = 2**16
"""Rows times trees: what is known of them on the way stays in a cache."""


class _Walk:
    """Where rows end in trees; of a leaf both ways lead to itself."""

    def __init__(self, forest: Forest, dtype: np.dtype) -> None:
        count, leaves = len(forest.modes), len(forest.weights)
        own = np.arange(count, count + leaves)
        self._count, self._roots = count, forest.roots
        self._children = np.concatenate([forest.children, np.stack([own, own], axis=1)])
        self._features = np.append(forest.features, np.zeros(leaves, np.int64))
        self._splits = np.append(forest.splits, np.zeros(leaves)).astype(dtype)
        self._tracks_true = np.append(forest.tracks_true, np.zeros(leaves, bool))
        self._modes = np.append(forest.modes, np.full(leaves, forest.modes[0]))
        self._known = np.unique(forest.modes).tolist()
        self._members = {n: values.astype(dtype) for n, values in forest.members.items()}

    def leaves(self, x: np.ndarray) -> np.ndarray:
        """[N, trees], counted from 0."""
        here = np.broadcast_to(self._roots, (len(x), len(self._roots)))
        rows = np.arange(len(x))[:, None]
        while (here < self._count).any():
            element = x[rows, self._features[here]]
            here = self._children[here, self._ways(here, element).astype(np.int8)]
        return here - self._count

    def _ways(self, here: np.ndarray, element: np.ndarray) -> np.ndarray:
        """Whether the true way is gone."""
        holds = self._holds(here, element)
        return np.where(np.isnan(element), self._tracks_true[here], holds)

    def _holds(self, here: np.ndarray, element: np.ndarray) -> np.ndarray:
        if len(self._known) == 1 and self._known[0] != MEMBER:
            return np.asarray(COMPARISONS[self._known[0]](element, self._splits[here]))
        modes, holds = self._modes[here], np.zeros(here.shape, bool)
        for mode in self._known:
            if mode != MEMBER:
                compared = COMPARISONS[mode](element, self._splits[here])
                np.copyto(holds, compared, where=modes == mode)
        for node, values in self._members.items():
            at = here == node
            holds[at] = np.isin(element[at], values)
        return holds


def _gather(
    leaves: np.ndarray, targets: np.ndarray, weights: np.ndarray, aggregate: int, out: np.ndarray
) -> None:
    """Into out [N, targets], a tree at a time."""
    rows = np.arange(len(out))
    take = {MIN: np.minimum, MAX: np.maximum}.get(aggregate, np.add)
    given = np.zeros(out.shape, bool)
    out[...] = 0
    for tree in leaves.T:
        place, weight = (rows, targets[tree]), weights[tree]
        out[place] = np.where(given[place], take(out[place], weight), weight)
        given[place] = True
    if aggregate == AVERAGE:
        out /= leaves.shape[1]


def _make(backend: CpuBackend, node: Node) -> Function:
    forest, aggregate = forest_of(node.attributes), aggregate_of(node.attributes)
    dtype = np.result_type(forest.weights.dtype, np.float32)
    walk, weights = _Walk(forest, dtype), forest.weights.astype(dtype)
    step = max(WALKED_TOGETHER // len(forest.roots), 1)

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x, (out,) = np.asarray(inputs[0]).astype(dtype, copy=False), outputs
        for start in range(0, len(x), step):
            part = slice(start, start + step)
            sums = np.empty(out[part].shape, dtype)
            _gather(walk.leaves(x[part]), forest.targets, weights, aggregate, sums)
            out[part] = sums

    return run


KERNELS = {"TreeEnsemble": _make}
