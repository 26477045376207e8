"""What can be told of a value before shapes are known: element type, rank, length of a vector.

Models compute the shapes that they reshape to; the lengths of such vectors are ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from onnx import TensorProto
from onnx.defs import onnx_opset_version

from engine.errors import ModelError
from engine.ir.graph import Node, Value
from engine.ir.types import ListType, dtype_name
from engine.onnx_import.attributes import schema_of
from engine.onnx_import.raw_node import RawNode
from engine.onnx_import.tensors import DTYPES
from engine.ops import OPERATORS, binary, pool, unary
from engine.ops.label_encoder import values_dtype
from engine.ops.recurrent_form import STATES
from engine.ops.sequence import LAID_OUT
from engine.ops.spec import any_call

Rank = int | None
"""None where it cannot be told."""
Length = int | None
"""Of a vector; None where it cannot be told, or is none."""
Dtype = np.dtype | None
"""None where it cannot be told."""
BY_SCHEMA_NAME = {
    f"tensor({TensorProto.DataType.Name(number).lower()})": dtype
    for number, dtype in DTYPES.items()
    if number in TensorProto.DataType.values()
}
"""ONNX's name of a type in schemas -> dtype."""

_UNARY = frozenset(spec.op_type for spec in unary.SPECS)
LIKE_FIRST = (
    _UNARY
    | frozenset(spec.op_type for spec in pool.SPECS)
    | {
        *("BatchNormalization", "BitCast", "Cast", "Concat", "CumProd", "CumSum", "DFT"),
        *("DeformConv", "DepthToSpace", "GridSample", "GroupNormalization", "Identity"),
        *("InstanceNormalization", "LRN", "LayerNormalization", "LogSoftmax", "Pad", "Resize"),
        *("RMSNormalization", "RandomNormalLike", "RandomUniformLike", "RotaryEmbedding"),
        *("RoiAlign", "ScatterElements", "ScatterND", "Slice", "Softmax", "SpaceToDepth", "Split"),
        *("Tile", "TopK", "Transpose", "Trilu"),
        *("LabelEncoder", "RegexFullMatch", "StringNormalizer", "TfIdfVectorizer"),
        "TreeEnsemble",
    }
)
"""Operators whose outputs have the rank of their first input."""
LIKE_SECOND = frozenset(("Conv", "ConvTranspose", "GatherElements"))
ALWAYS = {
    **dict.fromkeys(("Flatten", "Gemm", "MelWeightMatrix", "NonMaxSuppression", "NonZero"), 2),
    "ImageDecoder": 3,
    "Range": 1,
    "Shape": 1,
    "Size": 0,
}
"""Operators whose outputs have one rank."""
WIDEST = frozenset(spec.op_type for spec in binary.SPECS) | {"StringConcat"}
"""Operators whose inputs are broadcast together."""


def check_dtypes(node: RawNode, dtype: Callable[[str], Dtype]) -> None:
    """Raise ModelError for an input of a dtype that ONNX's schema does not have there, or not so.

    Inputs of one type variable are of one dtype.

    What has a specification looks itself; this is for what is taken apart.

    Args:
        dtype: of an input, by name.
    """
    schema = None if _looks_itself(node) else schema_of(node.op_type, node.opset, node.domain)
    formals = [] if schema is None else list(schema.inputs)
    bound: dict[str, tuple[str, np.dtype]] = {}
    for index, name in enumerate(node.inputs if formals else ()):
        formal = formals[min(index, len(formals) - 1)]
        if not all(text.startswith("tensor(") for text in formal.types):
            continue  # it may be a sequence
        allowed = {BY_SCHEMA_NAME[text] for text in formal.types if text in BY_SCHEMA_NAME}
        if name and (given := dtype(name)) is not None and given not in allowed:
            expected = ", ".join(sorted(dtype_name(d) for d in allowed))
            raise ModelError(f"{node.title}: {formal.name} is {given.name}, expected {expected}")
        if name and given is not None and formal.is_homogeneous:
            other, same = bound.setdefault(formal.type_str, (formal.name, given))
            if same != given:
                raise ModelError(
                    f"{node.title}: {formal.name} is {given.name} and {other} {same.name}, "
                    "expected one dtype"
                )


def _looks_itself(node: RawNode) -> bool:
    """Whether a specification, or a plan, sees all calls: none goes by ONNX's definition."""
    spec = OPERATORS.get(node.op_type)
    takes_all = spec is not None and spec.takes is any_call
    return not node.domain and (takes_all or node.op_type in LAID_OUT)


def output_dtypes(node: Node, dtype: Callable[[Value | None], np.dtype | None]) -> list[Dtype]:
    """The dtypes of a node's outputs, as ONNX's newest schema of the operator relates them.

    Args:
        dtype: of its inputs.
    """
    if node.op_type in ("Cast", "BitCast"):
        return [DTYPES[node.attributes["to"]]]
    if node.op_type in ("RandomNormalLike", "RandomUniformLike"):
        return [DTYPES[node.attributes["dtype"]]]
    if node.op_type == "ConstantOfShape":
        return [np.asarray(node.attributes.get("value", np.float32(0))).dtype]
    if node.op_type == "LabelEncoder":
        return [values_dtype(node.attributes)]
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
    domain = OPERATORS[op_type].domain if op_type in OPERATORS else ""
    schema = schema_of(op_type, onnx_opset_version(), domain)
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


def output_ranks(
    node: Node, rank: Callable[[Value | None], Rank], length: Callable[[Value | None], Length]
) -> list[Rank]:
    """The ranks of a node's outputs.

    Args:
        rank, length: of its inputs.
    """
    if node.op_type in STATES:
        return [4, *(3,) * STATES[node.op_type]]
    if node.op_type == "Attention":
        return [rank(node.inputs[0]), 4, 4][: len(node.outputs)]
    if node.op_type == "StringSplit":
        each = rank(node.inputs[0])
        return [_moved(each, 1), each][: len(node.outputs)]
    return [_rank(node, rank, length)] * len(node.outputs)


def _rank(
    node: Node, rank: Callable[[Value | None], Rank], length: Callable[[Value | None], Length]
) -> Rank:
    """The rank that all outputs have."""
    op_type = node.op_type
    if op_type in ALWAYS:
        return ALWAYS[op_type]
    first, second, *_ = (*node.inputs, None, None)
    if op_type in LIKE_FIRST:
        return rank(first)
    if op_type in LIKE_SECOND:
        return rank(second)
    if op_type in WIDEST:
        return _widest([rank(value) for value in node.inputs if value is not None])
    if op_type == "Expand":
        return _widest([rank(first), length(second)])
    if op_type == "Reshape":
        return length(second)
    if op_type == "ConstantOfShape":
        return length(first)
    if op_type == "MatMul":
        return _of_product(rank(first), rank(second))
    if op_type == "Gather":
        return _moved(rank(first), rank(second), -1)
    return _of_axes(node, rank(first), length(second))


def _of_axes(node: Node, base: Rank, count: Length) -> Rank:
    """Of an operator that adds or drops axes, as many as it is given, or one."""
    op_type, keeps = node.op_type, node.attributes.get("keepdims", 1)
    if op_type == "OneHot":
        return _moved(base, 1)
    if op_type == "Det":
        return _moved(base, -2)
    if op_type in ("ArgMax", "ArgMin"):
        return _moved(base, 0 if keeps else -1)
    if op_type.startswith("Reduce"):
        if keeps:
            return base
        if not any(node.inputs[1:]):
            return base if node.attributes.get("noop_with_empty_axes", 0) else 0
        return _moved(base, -count) if count else None
    if op_type in ("Squeeze", "Unsqueeze") and count is not None:
        return _moved(base, count if op_type == "Unsqueeze" else -count)
    return None


def _moved(rank: Rank, *steps: Rank) -> Rank:
    """The sum; None where a part is."""
    return None if rank is None or None in steps else rank + sum(s for s in steps if s is not None)


def _widest(ranks: list[Rank]) -> Rank:
    return None if None in ranks else max(r for r in ranks if r is not None)


def _of_product(a: Rank, b: Rank) -> Rank:
    """A vector has no row, or no column, in the product."""
    if a is None or b is None:
        return None
    return max(a, b, 2) - (a == 1) - (b == 1)


def output_length(
    node: Node, rank: Callable[[Value | None], Rank], length: Callable[[Value | None], Length]
) -> Length:
    """The length of a node's first output where it is a vector.

    Args:
        rank, length: of its inputs.
    """
    op_type, (first, second, *_) = node.op_type, (*node.inputs, None, None)
    known = [length(value) for value in node.inputs]
    if op_type == "Shape":
        start, end, base = node.attributes.get("start", 0), node.attributes.get("end"), rank(first)
        return None if base is None else len(range(base)[start:end])
    if op_type == "Concat":
        return _moved(0, *known)
    if op_type == "Unsqueeze":
        return 1 if rank(first) == 0 else None
    if op_type == "Gather":
        return length(second) if rank(first) == 1 else None
    if op_type == "Slice":
        return _sliced(known[0], node.inputs[1:])
    if op_type in _UNARY or op_type in ("Cast", "Identity"):
        return known[0]
    if op_type in WIDEST:
        sizes = [1 if rank(v) == 0 else n for v, n in zip(node.inputs, known, strict=True)]
        return _widest(sizes) if any(n is not None for n in known) else None
    return None


def _sliced(length: Length, limits: Sequence[Value | None]) -> Length:
    """Of a part of a vector."""
    given = [None if value is None else value.constant for value in limits]
    if length is None or any(
        c is None and v is not None for c, v in zip(given, limits, strict=True)
    ):
        return None
    start, stop, _, step = (
        None if c is None or not c.size else int(c.flat[0]) for c in (*given, None, None)[:4]
    )
    return len(range(length)[start:stop:step]) if step != 0 else None
