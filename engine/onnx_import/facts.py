"""What can be told of a value before shapes are known: element type and rank."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
from onnx import TensorProto
from onnx.defs import onnx_opset_version

from engine.errors import ModelError
from engine.ir.graph import Node, Value
from engine.ir.types import ListType
from engine.onnx_import.attributes import schema_of
from engine.onnx_import.raw_node import RawNode
from engine.onnx_import.tensors import DTYPES
from engine.ops import OPERATORS, binary, pool, unary
from engine.ops.recurrent_form import STATES
from engine.ops.sequence import LAID_OUT

Rank = int | None
"""None where it cannot be told."""
Dtype = np.dtype | None
"""None where it cannot be told."""
BY_SCHEMA_NAME = {
    f"tensor({TensorProto.DataType.Name(number).lower()})": dtype
    for number, dtype in DTYPES.items()
    if number in TensorProto.DataType.values()
}
"""ONNX's name of a type in schemas -> dtype."""

LIKE_FIRST = frozenset(spec.op_type for m in (unary, pool) for spec in m.SPECS) | {
    *("BatchNormalization", "BitCast", "Cast", "Concat", "CumProd", "CumSum", "DFT", "DeformConv"),
    *("DepthToSpace", "GridSample", "Identity", "InstanceNormalization", "LRN"),
    *(
        "LayerNormalization",
        "LogSoftmax",
        "Pad",
        "Resize",
        "RoiAlign",
        "ScatterElements",
        "Slice",
        "Softmax",
    ),
    *("SpaceToDepth", "Split", "Tile", "TopK", "Transpose", "Trilu"),
}
"""Operators whose outputs have the rank of their first input."""
WIDEST = frozenset(spec.op_type for spec in binary.SPECS)
"""Operators whose inputs are broadcast together."""


def check_dtypes(node: RawNode, dtype: Callable[[str], Dtype]) -> None:
    """Raise ModelError for an input of a dtype that ONNX's schema does not have there.

    What has a specification looks itself; this is for what is taken apart.

    Args:
        dtype: of an input, by name.
    """
    is_specified = not node.domain and node.op_type in (*OPERATORS, *LAID_OUT)
    schema = None if is_specified else schema_of(node.op_type, node.opset, node.domain)
    formals = [] if schema is None else list(schema.inputs)
    for index, name in enumerate(node.inputs if formals else ()):
        formal = formals[min(index, len(formals) - 1)]
        if not all(text.startswith("tensor(") for text in formal.types):
            continue  # it may be a sequence
        allowed = {BY_SCHEMA_NAME[text] for text in formal.types if text in BY_SCHEMA_NAME}
        if name and (given := dtype(name)) is not None and given not in allowed:
            expected = ", ".join(sorted(d.name for d in allowed))
            raise ModelError(f"{node.title}: {formal.name} is {given.name}, expected {expected}")


def output_dtypes(node: Node, dtype: Callable[[Value | None], np.dtype | None]) -> list[Dtype]:
    """The dtypes of a node's outputs, as ONNX's newest schema of the operator relates them.

    Args:
        dtype: of its inputs.
    """
    if node.op_type in ("Cast", "BitCast"):
        return [DTYPES[node.attributes["to"]]]
    if node.op_type == "ConstantOfShape":
        return [np.asarray(node.attributes.get("value", np.float32(0))).dtype]
    if node.op_type == "SequenceEmpty":
        return [DTYPES.get(node.attributes.get("dtype", TensorProto.FLOAT))]
    known = [dtype(value) for value in node.inputs]
    if node.op_type in LAID_OUT and not LAID_OUT[node.op_type].of_length:
        return known[:1] or [None]
    found: list[Dtype] = []
    for rule in _typed_by(node.op_type, len(node.outputs)):
        positions = [i for i in rule if i < len(known)] if isinstance(rule, tuple) else []
        like = next((known[i] for i in positions if known[i] is not None), None)
        found.append(rule if isinstance(rule, np.dtype) else like)
    return found


@lru_cache(maxsize=1024)
def _typed_by(op_type: str, outputs: int) -> list[np.dtype | tuple[int, ...]]:
    """For each output its only dtype, or the inputs that have the same."""
    schema = schema_of(op_type, onnx_opset_version())
    if schema is None:
        return [()] * outputs
    only = {
        constraint.type_param_str: constraint.allowed_type_strs[0]
        for constraint in schema.type_constraints
        if len(constraint.allowed_type_strs) == 1
    }
    rules: list[np.dtype | tuple[int, ...]] = []
    for i in range(outputs):
        kind = schema.outputs[min(i, len(schema.outputs) - 1)].type_str
        name = only.get(kind, kind)
        inputs = tuple(j for j, formal in enumerate(schema.inputs) if formal.type_str == kind)
        rules.append(BY_SCHEMA_NAME.get(name, inputs))
    return rules


def output_list_type(node: Node, dtype: Dtype) -> ListType | None:
    """What the first output is where it is no tensor, as far as it can be told.

    Args:
        dtype: of the output, or of its tensors.
    """
    first = node.inputs[0].list_type if node.inputs and node.inputs[0] is not None else None
    if node.op_type == "Identity" or dtype is None:
        return first
    if node.op_type == "OptionalGetElement":
        return replace(first, is_optional=False) if first and first.is_sequence else None
    if node.op_type == "Optional":
        return ListType(dtype, None, first is not None, is_optional=True)
    makes_list = node.op_type in LAID_OUT and LAID_OUT[node.op_type].makes_list
    return ListType(dtype, None) if makes_list else None


def output_ranks(node: Node, rank: Callable[[Value | None], Rank]) -> list[Rank]:
    """The ranks of a node's outputs.

    Args:
        rank: of its inputs.
    """
    if node.op_type in STATES:
        return [4, *(3,) * STATES[node.op_type]]
    return [_rank(node, rank)] * len(node.outputs)


def _rank(node: Node, rank: Callable[[Value | None], Rank]) -> Rank:
    """The rank that all outputs have."""
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
    count, base = _length(second, rank), rank(first)
    if node.op_type.startswith("Reduce"):
        if node.attributes.get("keepdims", 1):
            return base
        if not any(node.inputs[1:]):
            return base if node.attributes.get("noop_with_empty_axes", 0) else 0
        return None if base is None or not count else base - count
    if node.op_type == "Reshape":
        return count
    other = rank(second)
    if node.op_type in ("Gather", "MatMul") and base is not None and other is not None:
        is_vector = (base == 1) + (other == 1)
        return base + other - 1 if node.op_type == "Gather" else max(base, other, 2) - is_vector
    if node.op_type in ("Squeeze", "Unsqueeze") and count is not None and base is not None:
        return base + (count if node.op_type == "Unsqueeze" else -count)
    return None


def _length(value: Value | None, rank: Callable[[Value | None], Rank]) -> int | None:
    """Of a vector that is constant, the shape of something, or made of such vectors."""
    maker = None if value is None else value.producer
    if maker is not None and maker.op_type == "Concat":
        parts = [_length(part, rank) for part in maker.inputs]
        return None if None in parts else sum(filter(None, parts))
    if maker is not None and maker.op_type == "Shape":
        base, attributes = rank(maker.inputs[0]), maker.attributes
        part = slice(attributes.get("start", 0), attributes.get("end"))
        return None if base is None else len(range(base)[part])
    constant = None if value is None else value.constant
    return None if constant is None or constant.ndim != 1 else int(constant.size)
