"""What can be told of a value before shapes are known: element type and rank."""

from __future__ import annotations

import numpy as np

from engine.ir.graph import Value
from engine.onnx_import.tensors import DTYPES
from engine.ops import unary

_SAME_RANK = frozenset(spec.op_type for spec in unary.SPECS) | {
    *("BatchNormalization", "Cast", "Identity", "InstanceNormalization", "LRN"),
    *("LogSoftmax", "Softmax"),
}
_LIKE_WEIGHT = frozenset(("Conv", "ConvTranspose"))


def dtype_before_run(value: Value | None) -> np.dtype:
    """The dtype, followed back through producers to an input, a constant or a Cast.

    For operators whose output has the dtype of their first input (Where: the second), which all
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
        value = node.inputs[1 if node.op_type in ("Where", "CastLike") else 0]
    return np.dtype(np.float32)


def rank_before_run(value: Value | None) -> int | None:
    """The rank, or None where it cannot be told."""
    while value is not None:
        if value.type is not None:
            return len(value.type.shape)
        node = value.producer
        if node is None:
            return None
        if node.op_type in ("Gemm", "Flatten"):
            return 2
        if node.op_type in _LIKE_WEIGHT:
            value = node.inputs[1]
        elif node.op_type == "Reshape":
            shape = node.inputs[1]
            if shape is None or shape.constant is None or shape.constant.ndim != 1:
                return None
            return int(shape.constant.size)
        elif node.op_type in _SAME_RANK:
            value = node.inputs[0]
        else:
            return None
    return None
