"""fold_batch_norm: BatchNormalization becomes part of the weights and bias before it."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from engine.ir.constant import Constant
from engine.ir.graph import Graph, Node
from engine.ops.normalization import epsilon_of
from engine.passes.base import Pass, only_reader, replace_node
from engine.passes.linear import Linear, linear_of


def fold_batch_norm(graph: Graph, keep: Collection[str] = ()) -> None:
    """Fold what follows Conv, ConvTranspose or Gemm into its weights and bias.

    y = (Wx + b - mean) k + B with k = scale / sqrt(var + epsilon): W' = kW, b' = k(b - mean) + B.
    For Conv, ConvTranspose (any group) and Gemm with constant weights whose output only the
    BatchNormalization reads and that is not in `keep`. In float64, rounded once to the weights'
    dtype; left alone where the result does not fit that dtype (half weights).
    """
    kept = frozenset(keep)
    for node in list(graph.nodes):
        linear = linear_of(node)
        after = only_reader(graph, node.outputs[0], kept) if linear else None
        if linear is None or after is None or after.op_type != "BatchNormalization":
            continue
        folded = _folded(linear, after)
        if folded is None:
            continue
        weight, bias = folded
        inputs = [
            node.inputs[0],
            graph.add_constant(f"{linear.weight.name}_folded", weight),
            graph.add_constant(f"{after.outputs[0].name}_bias", bias),
        ]
        attributes = {k: v for k, v in node.attributes.items() if k != "beta"}
        replace_node(graph, after, node.op_type, inputs, attributes, name=node.name)
        graph.remove_node(node)


def _folded(linear: Linear, norm: Node) -> tuple[Constant, np.ndarray] | None:
    parameters = [None if v is None else v.constant for v in norm.inputs[1:5]]
    if len(parameters) != 4 or norm.inputs[0] is not linear.node.outputs[0]:
        return None
    arrays = [p.astype(np.float64) for p in parameters if p is not None]
    if len(arrays) != 4 or any(p.shape != (linear.channels,) for p in arrays):
        return None
    scale, shift, mean, variance = arrays
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(variance + epsilon_of(norm.attributes))
        bias = 0.0 if linear.bias is None else linear.bias
        weight = linear.scaled(factor)
        bias = np.asarray(((bias - mean) * factor + shift).astype(linear.dtype))
    return (weight, bias) if weight is not None and np.isfinite(bias).all() else None


def pass_keeping(keep: Collection[str]) -> Pass:
    """The pass; values named in `keep` stay."""
    return Pass("fold_batch_norm", lambda graph: fold_batch_norm(graph, keep))
