"""TfIdfVectorizer: a trie of n-grams, walked from every item of a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.ir.graph import Node
from engine.ops.tf_idf import distances_of, grams_of, lengths_of

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views

Trie = dict[Any, Any]
NUMBER = object()
"""In a node of the trie: the number of the n-gram that ends there."""


def _trie_of(grams: Sequence[Sequence[Any]], lengths: range) -> Trie:
    trie: Trie = {}
    for number, gram in enumerate(grams):
        if len(gram) in lengths:
            here = trie
            for item in gram:
                here = here.setdefault(item, {})
            here[NUMBER] = number
    return trie


def _count(row: Sequence[Any], trie: Trie, distance: int, counts: np.ndarray) -> None:
    """Add what begins anywhere in a row; single items at distance 1 only."""
    for start in range(len(row)):
        here: Trie | None = trie
        for place in range(start, len(row), distance):
            here = here.get(row[place]) if here else None
            if here is None:
                break
            if NUMBER in here and (place > start or distance == 1):
                counts[here[NUMBER]] += 1


def _make(backend: CpuBackend, node: Node) -> Function:
    attributes = node.attributes
    grams, mode = grams_of(attributes), attributes["mode"]
    trie = _trie_of(grams, lengths_of(attributes))
    weights = attributes.get("weights", ()) if mode != "TF" else ()
    scale = np.array(weights or [1] * len(grams), np.float32)
    places = np.array(attributes["ngram_indexes"], np.int64)

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x, (out,) = np.asarray(inputs[0]), outputs
        out[...] = 0
        rows, sums = (x, out) if x.ndim == 2 else (x[None], out[None])
        for row, total in zip(rows.tolist(), sums, strict=True):
            counts = np.zeros(len(grams), np.float32)
            for distance in distances_of(attributes, 2, max(len(row), 2)):
                _count(row, trie, distance, counts)
            np.add.at(total, places, scale * (np.minimum(counts, 1) if mode == "IDF" else counts))

    return run


KERNELS = {"TfIdfVectorizer": _make}
