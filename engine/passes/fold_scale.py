"""fold_scale: Mul and Add of per-channel constants go into the node before them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from engine.ir.graph import Graph, Node, Value
from engine.passes.base import Pass, only_reader, replace_node
from engine.passes.linear import as_channel, as_row, linear_of


def fold_scale(graph: Graph, keep: Collection[str] = ()) -> None:
    """(Wx + b) k = (kW)x + kb, for Conv, ConvTranspose and Gemm with constant weights of floats.

    And, once types are known, BatchNormalization followed by Mul and Add. In float64, rounded once
    to the weights' dtype; left alone where the result is not finite. Only where nothing
    else reads the intermediate value.
    """
    kept = frozenset(keep)
    for node in list(graph.nodes):
        current = node
        while True:
            folded = _fold_next(graph, current, kept)
            if folded is None:
                break
            current = folded


def _fold_next(graph: Graph, node: Node, keep: frozenset[str]) -> Node | None:
    """Fold the one node after `node`; returns the node that replaces both."""
    if len(node.outputs) != 1 or node.body:
        return None
    after = only_reader(graph, node.outputs[0], keep)
    if after is None or after.op_type not in ("Mul", "Add"):
        return None
    constant = after.inputs[1] if after.inputs[0] is node.outputs[0] else after.inputs[0]
    if constant is None or constant.constant is None:
        return None
    if node.op_type == "BatchNormalization":
        new = _normalised(graph, node, after, constant.constant)
    else:
        new = _scaled(graph, node, after, constant.constant)
    if new is None:
        return None
    inputs, attributes = new
    merged = replace_node(graph, after, node.op_type, inputs, attributes, name=node.name)
    graph.remove_node(node)
    return merged


def _scaled(
    graph: Graph, node: Node, after: Node, constant: np.ndarray
) -> tuple[list[Value | None], dict[str, Any]] | None:
    linear = linear_of(node) if after.op_type == "Mul" else None
    if linear is None or linear.dtype != constant.dtype:
        return None
    if node.op_type == "Gemm":
        factor = as_row(constant, linear.channels)
    else:
        factor = as_channel(constant, linear.channels, linear.rank)
    if factor is None:
        return None
    with np.errstate(all="ignore"):
        weight = linear.scaled(factor)
        bias = None if linear.bias is None else (linear.bias * factor).astype(constant.dtype)
    if weight is None or (bias is not None and not np.isfinite(bias).all()):
        return None
    inputs: list[Value | None] = [
        node.inputs[0],
        graph.add_constant(f"{linear.weight.name}_scaled", weight),
    ]
    if bias is not None:
        inputs.append(graph.add_constant(f"{after.outputs[0].name}_bias", bias))
    return inputs, {k: v for k, v in node.attributes.items() if k != "beta"}


def _normalised(
    graph: Graph, node: Node, after: Node, constant: np.ndarray
) -> tuple[list[Value | None], dict[str, Any]] | None:
    scale, shift = node.inputs[1], node.inputs[2]
    type_ = node.outputs[0].type
    if scale is None or shift is None or scale.constant is None or shift.constant is None:
        return None
    if type_ is None or constant.dtype != shift.constant.dtype:
        return None
    channel = as_channel(constant, int(scale.constant.size), len(type_.shape))
    if channel is None:
        return None
    gain = channel if after.op_type == "Mul" else np.ones_like(channel)
    offset = channel if after.op_type == "Add" else np.zeros_like(channel)
    with np.errstate(all="ignore"):
        new_scale = (scale.constant * gain).astype(scale.constant.dtype)
        new_shift = (shift.constant * gain + offset).astype(shift.constant.dtype)
    if not (np.isfinite(new_scale).all() and np.isfinite(new_shift).all()):
        return None
    name = after.outputs[0].name
    inputs = [
        node.inputs[0],
        graph.add_constant(f"{name}_scale", new_scale),
        graph.add_constant(f"{name}_shift", new_shift),
        *node.inputs[3:],
    ]
    return inputs, node.attributes


def pass_keeping(keep: Collection[str]) -> Pass:
    """The pass; values named in `keep` stay."""
    return Pass("fold_scale", lambda graph: fold_scale(graph, keep))
