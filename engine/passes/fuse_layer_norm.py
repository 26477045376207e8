"""fuse_layer_norm: the nine nodes by which older exporters write LayerNormalization become one."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from engine.ir.graph import Graph, Node, Value
from engine.ir.types import FLOATS
from engine.ops.normalization import epsilon_of
from engine.passes.base import Pass, only_reader, replace_node, require_types


def fuse_layer_norm(graph: Graph, keep: Collection[str] = ()) -> None:
    """D = x - ReduceMean(x); y = d / Sqrt(ReduceMean(d^2) + epsilon) * scale + bias.

    Along the last axis; d^2 is Pow(d, 2) or Mul(d, d); scale and bias are constants of that axis'
    length, and epsilon is a number that the attribute, a float, can hold. The intermediates must
    have no other reader and not be in `keep`.
    """
    kept = frozenset(keep)
    for centred in list(graph.nodes):
        if centred.op_type != "Sub" or not _is_centred(centred):
            continue
        if any(v is not None and v.name in kept for v in (centred.inputs[1], centred.outputs[0])):
            continue
        found = _match(graph, centred, kept)
        if found is None:
            continue
        chain, epsilon, scale, bias = found
        x, last = centred.inputs[0], chain[-1]
        if last.outputs[0].type != centred.outputs[0].type:
            continue
        attributes = {"axis": -1, "epsilon": epsilon}
        replace_node(
            graph, last, "LayerNormalization", [x, scale, bias], attributes, name=last.name
        )
        mean = centred.inputs[1]
        assert mean is not None
        for node in (*reversed(chain[:-1]), centred):
            graph.remove_node(node)
        if mean.producer is not None and not mean.uses and mean not in graph.outputs:
            graph.remove_node(mean.producer)


def _is_centred(node: Node) -> bool:
    x, mean = node.inputs
    if x is None or mean is None or mean.producer is None or x.known_type.dtype not in FLOATS:
        return False
    return node.outputs[0].type == x.type and _is_last_mean(mean.producer, x)


def _is_last_mean(node: Node, x: Value) -> bool:
    if node.op_type != "ReduceMean" or node.inputs[0] is not x or len(node.inputs) < 2:
        return False
    axes, rank = node.inputs[1], len(x.known_type.shape)
    if axes is None or axes.contents is None or axes.contents.type.size != 1 or rank == 0:
        return False
    return (
        int(axes.contents.array.reshape(())) in (-1, rank - 1)
        and node.attributes.get("keepdims", 1) == 1
    )


def _match(
    graph: Graph, centred: Node, keep: frozenset[str]
) -> tuple[list[Node], float, Value, Value] | None:
    """The nodes after `centred` in order, epsilon, scale and bias."""
    d = centred.outputs[0]
    readers = list(d.uses)
    divide = next((n for n in readers if n.op_type == "Div" and n.inputs[0] is d), None)
    square = next((n for n in readers if n.op_type in ("Pow", "Mul") and n is not divide), None)
    if divide is None or square is None or len(readers) != 2 or d in graph.outputs:
        return None
    if not _is_square(square, d) or divide.inputs[1] is d:
        return None
    chain = [square]
    for op_type in ("ReduceMean", "Add", "Sqrt", "Div", "Mul", "Add"):
        after = only_reader(graph, chain[-1].outputs[0], keep)
        if after is None or after.op_type != op_type or after.body:
            return None
        chain.append(after)
    _, variance, plus, _, ratio, gain, shift = chain
    epsilon = _constant_beside(plus, variance.outputs[0])
    scale = _constant_beside(gain, ratio.outputs[0])
    bias = _constant_beside(shift, gain.outputs[0])
    if ratio is not divide or not _is_last_mean(variance, square.outputs[0]):
        return None
    width = d.known_type.shape[-1:]
    if epsilon is None or scale is None or bias is None or epsilon.known_type.size != 1:
        return None
    if scale.known_type.shape != width or bias.known_type.shape != width:
        return None
    number = float(np.asarray(epsilon.constant).reshape(()))
    return (chain, number, scale, bias) if number == epsilon_of({"epsilon": number}) else None


def _is_square(node: Node, d: Value) -> bool:
    if node.op_type == "Mul":
        return node.inputs[0] is d and node.inputs[1] is d
    power = node.inputs[1]
    if node.inputs[0] is not d or power is None or power.contents is None:
        return False
    return power.contents.type.size == 1 and float(power.contents.array.reshape(())) == 2.0


def _constant_beside(node: Node, value: Value) -> Value | None:
    other = node.inputs[1] if node.inputs[0] is value else node.inputs[0]
    return other if other is not None and other.is_constant else None


def pass_keeping(keep: Collection[str]) -> Pass:
    """The pass; values named in `keep` stay."""
    return Pass("fuse_layer_norm", lambda graph: fuse_layer_norm(graph, keep), require_types)
