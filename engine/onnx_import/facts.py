"""What can be told of a value before shapes are known: element type and rank."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engine.ir.graph import Node, Value
from engine.onnx_import.tensors import DTYPES
from engine.ops import binary, pool, unary

Rank = int | None
"""None where it cannot be told."""

LIKE_FIRST = frozenset(spec.op_type for m in (unary, pool) for spec in m.SPECS) | {
    *("BatchNormalization", "Cast", "Concat", "CumSum", "DepthToSpace", "Identity", "LRN"),
    *("InstanceNormalization", "LayerNormalization", "LogSoftmax", "Pad", "Resize", "Slice"),
    *("Softmax", "SpaceToDepth", "Split", "Tile", "Transpose", "Trilu"),
}
"""Operators whose outputs have the rank of their first input."""
WIDEST = frozenset(spec.op_type for spec in binary.SPECS)
"""Operators whose inputs are broadcast together."""


TYPED_BY = {"Where": 1, "CastLike": 1, "OneHot": 2}
"""The input whose dtype the output has, where that is not the first."""


def dtype_before_run(value: Value | None) -> np.dtype:
    """The dtype, followed back through producers to an input, a constant or a Cast.

    For operators whose output has the dtype of their first input (others: TYPED_BY), which all
    floating-point ones are; float32 where the walk ends without an answer.
    """
    while value is not None:
        if value.type is not None:
            return value.type.dtype
        node = value.producer
        if node is None:
            break
        if node.op_type == "Cast":
            return DTYPES[node.attributes["to"]]
        if node.op_type == "ConstantOfShape":
            fill: np.ndarray = np.asarray(node.attributes.get("value", np.float32(0)))
            return np.dtype(fill.dtype)
        value = node.inputs[TYPED_BY.get(node.op_type, 0)]
    return np.dtype(np.float32)


def output_rank(node: Node, rank: Callable[[Value | None], Rank]) -> Rank:
    """The rank of a node's outputs.

    Args:
        rank: of its inputs.
    """
    first, second, *_ = (*node.inputs, None, None)
    if node.op_type in ("Gemm", "Flatten"):
        return 2
    if node.op_type in ("Conv", "ConvTranspose"):
        return rank(second)
    if node.op_type in LIKE_FIRST:
        return rank(first)
    if node.op_type in WIDEST:
        ranks = [rank(value) for value in node.inputs if value is not None]
        return None if None in ranks else max(r for r in ranks if r is not None)
    if node.op_type.startswith("Reduce"):
        return rank(first) if node.attributes.get("keepdims", 1) else None
    count = _length(second)
    if node.op_type == "Reshape":
        return count
    base = rank(first)
    if node.op_type in ("Squeeze", "Unsqueeze") and count is not None and base is not None:
        return base + (count if node.op_type == "Unsqueeze" else -count)
    return None


def _length(value: Value | None) -> int | None:
    """Of a constant vector."""
    constant = None if value is None else value.constant
    return None if constant is None or constant.ndim != 1 else int(constant.size)
