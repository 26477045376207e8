"""fold_bias: the Add of a per-channel constant becomes the bias of the linear node before it."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from engine.ir.graph import Graph, Node, Value
from engine.passes.base import Pass, only_reader, replace_node
from engine.passes.linear import as_channel, as_row, linear_of


def fold_bias(graph: Graph, keep: Collection[str] = ()) -> None:
    """Fold Add after Conv, ConvTranspose and Gemm; a MatMul of two matrices becomes a Gemm by it.

    The latter once types are known. The constant must vary along axis 1 of the output only, and
    the Add be the only reader. MatMul of more than two dimensions keeps its Add: ONNX gives it
    no bias. Of floats: integers wrap, and stay as they are.
    """
    kept = frozenset(keep)
    for node in list(graph.nodes):
        after = only_reader(graph, node.outputs[0], kept) if len(node.outputs) == 1 else None
        if after is None or after.op_type != "Add" or after.body:
            continue
        constant = _other(after, node.outputs[0])
        if constant is None or constant.constant is None:
            continue
        bias = _bias_of_linear(node, constant.constant)
        core = node.op_type
        if bias is None and node.op_type == "MatMul":
            bias, core = _bias_of_matrices(node, constant.constant), "Gemm"
        if bias is None:
            continue
        name = graph.unique(f"{after.outputs[0].name}_bias")
        inputs = [*node.inputs[:2], graph.add_constant(name, bias)]
        attributes = {k: v for k, v in node.attributes.items() if k != "beta"}
        replace_node(graph, after, core, inputs, attributes, name=node.name)
        graph.remove_node(node)


def _other(add: Node, value: Value) -> Value | None:
    first, second = add.inputs
    return second if first is value else first


def _bias_of_linear(node: Node, constant: np.ndarray) -> np.ndarray | None:
    linear = linear_of(node)
    if linear is None or linear.dtype != constant.dtype:
        return None
    if node.op_type == "Gemm":
        added = as_row(constant, linear.channels)
    else:
        added = as_channel(constant, linear.channels, linear.rank)
    if added is None:
        return None
    total = (added if linear.bias is None else added + linear.bias).astype(constant.dtype)
    return total if np.isfinite(total).all() else None


def _bias_of_matrices(node: Node, constant: np.ndarray) -> np.ndarray | None:
    types = [v.type for v in node.inputs if v is not None]
    if any(t is None or not t.is_static or len(t.shape) != 2 for t in types):
        return None
    out = node.outputs[0].type
    if out is None or out.dtype != constant.dtype or out.dtype.kind != "f":
        return None
    row = as_row(constant, out.dims[1])
    return None if row is None else row.astype(constant.dtype)


def pass_keeping(keep: Collection[str]) -> Pass:
    """The pass; values named in `keep` stay."""
    return Pass("fold_bias", lambda graph: fold_bias(graph, keep))
