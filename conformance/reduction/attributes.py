"""Simpler attributes: left out, or lists of integers made all 1 or all 0."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx

from conformance.bundles.failing import Case
from conformance.reduction.draft import Draft


def simpler_attributes(case: Case) -> Iterator[tuple[str, Case]]:
    """One attribute at a time."""
    draft = Draft.of(case)
    for i, node in enumerate(draft.nodes):
        for k, attribute in enumerate(node.attribute):
            who = f"{attribute.name} of {node.op_type}"
            yield f"{who} left out", _changed(draft, i, _remover(k))
            for number in (1, 0):
                if attribute.ints and set(attribute.ints) != {number}:
                    yield f"{who} made {number}", _changed(draft, i, _filler(k, number))


def _remover(index: int) -> Callable[[onnx.NodeProto], object]:
    return lambda copy: copy.attribute.pop(index)


def _filler(index: int, number: int) -> Callable[[onnx.NodeProto], object]:
    def fill(copy: onnx.NodeProto) -> None:
        ints = copy.attribute[index].ints
        ints[:] = [number] * len(ints)

    return fill


def _changed(draft: Draft, index: int, change: Callable[[onnx.NodeProto], object]) -> Case:
    copy = onnx.NodeProto()
    copy.CopyFrom(draft.nodes[index])
    change(copy)
    nodes = [copy if i == index else node for i, node in enumerate(draft.nodes)]
    return Draft(draft.model, nodes, draft.constants, draft.feeds, draft.outputs).case()
