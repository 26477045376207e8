"""Computing a node before any run: at its logical dtypes, by its float64 reference."""

from __future__ import annotations

import numpy as np

from engine.errors import ParallaxError, ShapeError
from engine.ir.graph import Node, Value
from engine.ir.types import FLOATS, TensorType
from engine.ops.compose import spec_of
from engine.ops.spec import Operand

FOLD_NBYTES_MAX = 64 * 2**20
"""Larger results are computed early only when the inputs are at least as large."""

TYPE_ONLY = frozenset(("Shape", "Size"))
"""Operators whose result depends on the type of their input alone."""

# fmt: off
_MOVES = frozenset((
    "Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape",
    "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
))
# fmt: on
"""Exact at any dtype: weights go through without a float64 copy."""


def infer_node(node: Node) -> tuple[TensorType, ...]:
    """Output types; errors of the spec are prefixed with the node's title."""
    operands = [None if v is None else Operand(v.known_type, v.contents) for v in node.inputs]
    try:
        spec = spec_of(node.op_type)
        least, most = spec.arity
        if not least <= len(operands) <= most:
            raise type_error(node, f"{len(operands)} inputs, expected {least} to {most}")
        types = spec.infer_types(operands, node.attributes)
    except ParallaxError as error:
        text = str(error)
        raise type(error)(text if node.title in text else f"{node.title}: {text}") from None
    if len(types) < len(node.outputs):
        raise type_error(node, f"{len(node.outputs)} outputs, only {len(types)} are supported")
    return types[: len(node.outputs)]


def type_error(node: Node, text: str) -> ShapeError:
    """A ShapeError in the house form."""
    return ShapeError(f"{node.title}: {text}")


def is_computable(node: Node) -> bool:
    """True when every input is a constant (or, for Shape and Size, of static type)."""
    if node.body:
        return False
    if node.op_type in TYPE_ONLY:
        first = node.inputs[0] if node.inputs else None
        return first is not None and first.type is not None and first.type.is_static
    return all(v is None or v.is_constant for v in node.inputs)


def compute(node: Node, types: tuple[TensorType, ...]) -> tuple[np.ndarray, ...] | None:
    """The outputs of a computable node; None when they would be too large to keep."""
    nbytes_in = sum(
        v.contents.type.nbytes for v in node.inputs if v is not None and v.contents is not None
    )
    nbytes_out = sum(t.nbytes for t in types)
    if nbytes_out > max(FOLD_NBYTES_MAX, nbytes_in):
        return None
    arguments = [None if v is None else _argument(node, v) for v in node.inputs]
    with np.errstate(all="ignore"):
        results = spec_of(node.op_type).reference(arguments, node.attributes)
        return tuple(_cast(np.asarray(r), t) for r, t in zip(results, types, strict=False))


def _argument(node: Node, value: Value) -> np.ndarray:
    if value.constant is None:
        type_ = value.known_type
        return np.broadcast_to(np.zeros((), np.float64), type_.dims)
    if value.constant.dtype in FLOATS and node.op_type not in _MOVES:
        return value.constant.astype(np.float64)
    return value.constant


def _cast(result: np.ndarray, type_: TensorType) -> np.ndarray:
    if result.shape != type_.dims:
        raise AssertionError(f"reference gave shape {result.shape}, inference says {type_}")
    return result.astype(type_.dtype, copy=False)
