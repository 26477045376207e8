"""fuse_hard_swish: x * Clip(x + 3, 0, 6) / 6, as older exporters write it, is HardSwish."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from engine.ir.graph import Graph, Node, Value
from engine.ir.types import FLOATS
from engine.passes.base import Pass, only_reader, replace_node, require_types


def fuse_hard_swish(graph: Graph, keep: Collection[str] = ()) -> None:
    """Replace the four nodes Add, Clip, Mul, Div (or Mul by 1/6) of scalars by one HardSwish.

    1/6 may be off by what rounding to its own dtype costs, and no more.

    The intermediates must have no other reader and not be in `keep`.
    """
    kept = frozenset(keep)
    for add in list(graph.nodes):
        source = _operand(add, "Add", 3.0)
        if source is None or source.known_type != add.outputs[0].known_type:
            continue
        clip = only_reader(graph, add.outputs[0], kept)
        if clip is None or source.known_type.dtype not in FLOATS or not _is_relu6(clip, add):
            continue
        product = only_reader(graph, clip.outputs[0], kept)
        if product is None or product.op_type != "Mul" or product.body:
            continue
        if {id(v) for v in product.inputs} != {id(source), id(clip.outputs[0])}:
            continue
        last = only_reader(graph, product.outputs[0], kept)
        if last is None or not _is_sixth(last, product.outputs[0]):
            continue
        if last.outputs[0].known_type != source.known_type:
            continue
        replace_node(graph, last, "HardSwish", [source], {}, name=last.name)
        for node in (product, clip, add):
            graph.remove_node(node)


def _scalar(value: Value | None) -> float | None:
    if value is None or value.contents is None or value.contents.type.size != 1:
        return None
    return float(value.contents.array.reshape(()))


def _operand(node: Node, op_type: str, scalar: float) -> Value | None:
    """The other operand of a commutative operator with that scalar, else None."""
    if node.op_type != op_type or node.body or len(node.inputs) != 2:
        return None
    for one, other in (node.inputs, node.inputs[::-1]):
        if _scalar(one) == scalar and other is not None and not other.is_constant:
            return other
    return None


def _is_relu6(clip: Node, add: Node) -> bool:
    return (
        clip.op_type == "Clip"
        and len(clip.inputs) == 3
        and clip.inputs[0] is add.outputs[0]
        and _scalar(clip.inputs[1]) == 0.0
        and _scalar(clip.inputs[2]) == 6.0
    )


def _is_sixth(node: Node, value: Value) -> bool:
    if node.op_type == "Div":
        return node.inputs[0] is value and _scalar(node.inputs[1]) == 6.0
    if node.op_type != "Mul" or node.body:
        return False
    other = node.inputs[1] if node.inputs[0] is value else node.inputs[0]
    factor = _scalar(other)
    if factor is None or other is None:
        return False
    return abs(factor * 6.0 - 1.0) <= float(np.finfo(other.known_type.dtype).eps)


def pass_keeping(keep: Collection[str]) -> Pass:
    """The pass; values named in `keep` stay."""
    return Pass("fuse_hard_swish", lambda graph: fuse_hard_swish(graph, keep), require_types)
