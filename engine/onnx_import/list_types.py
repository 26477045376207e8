"""ListType and ONNX's own form of it, and where an operator takes a sequence or optional."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import TensorShapeProto, TypeProto
from onnx.helper import (
    make_optional_type_proto,
    make_sequence_type_proto,
    make_tensor_type_proto,
    np_dtype_to_tensor_dtype,
)

from engine.errors import ModelError, UnsupportedError
from engine.ir.graph import Value
from engine.ir.types import Dim, ListType
from engine.onnx_import.attributes import schema_of
from engine.onnx_import.tensors import dtype_of

LISTS = ("sequence_type", "optional_type")
"""What a TypeProto holds that a ListType stands for."""


def list_type_of(proto: TypeProto, owner: str) -> ListType:
    """What is declared; raises UnsupportedError where it does not come down to dense tensors.

    Args:
        proto: of one of the LISTS. owner: whose type it is, in errors.
    """
    kinds = []
    while (kind := proto.WhichOneof("value")) in LISTS:
        kinds.append(kind)
        proto = getattr(proto, kind).elem_type
    if kind != "tensor_type" or kinds not in ([LISTS[0]], [LISTS[1]], [LISTS[1], LISTS[0]]):
        raise UnsupportedError(
            f"{owner} is {' of '.join((*kinds, kind or 'no type'))}: only dense tensors, sequences "
            "of them, and either as an optional are supported"
        )
    tensor = proto.tensor_type
    shape = _shape(tensor.shape) if tensor.HasField("shape") else None
    is_sequence, is_optional = LISTS[0] in kinds, LISTS[1] in kinds
    return ListType(dtype_of(tensor.elem_type, owner), shape, is_sequence, is_optional)


def _shape(proto: TensorShapeProto) -> tuple[Dim, ...]:
    """Free dimensions have no meaning beyond one tensor."""
    return tuple(d.dim_value if d.dim_value > 0 else d.dim_param or "?" for d in proto.dim)


def type_proto_of(type_: ListType) -> TypeProto:
    """As ONNX writes it; of the tensors only the dtype."""
    proto = make_tensor_type_proto(np_dtype_to_tensor_dtype(type_.dtype), None)
    proto = make_sequence_type_proto(proto) if type_.is_sequence else proto
    return make_optional_type_proto(proto) if type_.is_optional else proto


def check_lists(title: str, op_type: str, opset: int, values: Sequence[Value | None]) -> None:
    """Raise ModelError where an operator is given a sequence or optional that it does not take."""
    schema = schema_of(op_type, opset)
    for i, value in enumerate(values):
        if value is None or value.list_type is None or schema is None:
            continue
        allowed = schema.inputs[min(i, len(schema.inputs) - 1)].types
        prefix = "optional(" if value.list_type.is_optional else "seq("
        if not any(name.startswith(prefix) for name in allowed):
            raise ModelError(
                f"{title}: input {i} '{value.name}' is {value.list_type}, which no "
                f"{op_type} of opset {opset} takes"
            )
