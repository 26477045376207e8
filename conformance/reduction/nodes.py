"""Fewer nodes: what a node computed becomes an input, or one of its own inputs stands for it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import onnx

from conformance.bundles.failing import AnyPlace, Case
from conformance.inputs import Feeds
from conformance.reduction.draft import Draft, names_made, names_read


def without_nodes(case: Case, place: AnyPlace) -> Iterator[tuple[str, Case]]:
    """Halves, quarters and so on of the nodes left out, in both ways."""
    draft = Draft.of(case)
    count = len(draft.nodes)
    if count < 2:
        return
    values = place.tensors(case) if place.worker is None else place.worker.tensors(case, place)
    size = math.ceil(count / 2)
    while True:
        for start in range(0, count, size):
            gone = range(start, min(start + size, count))
            for bypass in (False, True):
                smaller = without(draft, set(gone), values, bypass=bypass)
                if smaller is not None:
                    names = ", ".join(draft.nodes[i].op_type for i in list(gone)[:4])
                    yield f"{len(gone)} nodes left out ({names})", smaller.case()
        if size == 1:
            return
        size = math.ceil(size / 2)


def without(draft: Draft, gone: set[int], values: Feeds, *, bypass: bool) -> Draft | None:
    """The draft without some nodes; None where something that is needed would be missing."""
    kept = [node for i, node in enumerate(draft.nodes) if i not in gone]
    lost = {name: i for i in gone for name in draft.nodes[i].output if name}
    wanted = {name for node in kept for name in names_read(node) if name in lost}
    stands_for = {}
    if bypass:
        stands_for = {name: _source(name, draft, lost, values) for name in wanted}
    feeds = dict(draft.feeds)
    for name in wanted:
        if stands_for.get(name) is None:
            if name not in values:
                return None
            feeds[name] = values[name]
    if bypass and not any(stands_for.values()):
        return None  # the same as without
    nodes = [_renamed(node, {k: v for k, v in stands_for.items() if v}) for node in kept]
    read = {name for node in nodes for name in names_read(node)}
    outputs = [n for n in names_made(nodes) if n not in read or n in draft.outputs]
    return Draft(draft.model, nodes, draft.constants, feeds, outputs) if outputs else None


def _source(name: str, draft: Draft, lost: dict[str, int], values: Feeds) -> str | None:
    """What a lost tensor was made of and has its type, from outside of what is left out."""
    arrays = {**values, **draft.arrays()}
    wanted = arrays.get(name)
    for other in draft.nodes[lost[name]].input if wanted is not None else ():
        array = arrays.get(other)
        if array is None or wanted is None:
            continue
        if (array.dtype, array.shape) == (wanted.dtype, wanted.shape):
            return _source(other, draft, lost, values) if other in lost else other
    return None


def _renamed(node: onnx.NodeProto, names: dict[str, str]) -> onnx.NodeProto:
    """Reading other tensors; subgraphs keep what they read."""
    if not names.keys() & set(node.input):
        return node
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [names.get(n, n) for n in node.input]
    return copy
