"""AttributeProto to Python values, and the checks of a node against its ONNX schema."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

from onnx import AttributeProto, defs

from engine.errors import ModelError, UnsupportedError
from engine.onnx_import.microsoft.schemas import SCHEMAS
from engine.onnx_import.read_file import Origin
from engine.onnx_import.tensors import constant_of, text_of

_SCALARS = {AttributeProto.FLOAT: "f", AttributeProto.INT: "i", AttributeProto.STRING: "s"}
_LISTS = {AttributeProto.FLOATS: "floats", AttributeProto.INTS: "ints"}
_ALL_FIELDS = ("f", "i", "s", "t", "g", "sparse_tensor", "tp")
_ALL_LISTS = ("floats", "ints", "strings", "tensors", "graphs", "sparse_tensors", "type_protos")
_FIELD_OF_TYPE = {
    **_SCALARS,
    **_LISTS,
    AttributeProto.STRINGS: "strings",
    AttributeProto.TENSOR: "t",
    AttributeProto.GRAPH: "g",
    AttributeProto.GRAPHS: "graphs",
    AttributeProto.SPARSE_TENSOR: "sparse_tensor",
    AttributeProto.TENSORS: "tensors",
    AttributeProto.SPARSE_TENSORS: "sparse_tensors",
    AttributeProto.TYPE_PROTO: "tp",
    AttributeProto.TYPE_PROTOS: "type_protos",
}


def decode_attribute(attribute: AttributeProto, owner: str) -> Any:
    """An int, float, str, tuple of these, or np.ndarray; `owner` names it in errors."""
    kind = attribute.type
    field = _FIELD_OF_TYPE.get(kind)
    if field is None:
        raise ModelError(f"{owner} has no valid type ({kind})")
    set_fields = [f for f in _ALL_FIELDS if attribute.HasField(f)]
    set_fields += [f for f in _ALL_LISTS if len(getattr(attribute, f))]
    if set_fields not in ([], [field]):
        raise ModelError(f"{owner}: its type says '{field}', but it holds {', '.join(set_fields)}")
    if field in ("g", "graphs"):
        raise UnsupportedError(f"{owner} is a subgraph: only If, Loop and Scan may have them")
    if kind == AttributeProto.STRING:
        return text_of(attribute.s, owner)
    if kind == AttributeProto.STRINGS:
        return tuple(text_of(s, owner) for s in attribute.strings)
    if kind in _SCALARS:
        return getattr(attribute, field)
    if kind in _LISTS:
        return tuple(getattr(attribute, field))
    if kind == AttributeProto.TENSOR:
        if not set_fields:
            raise ModelError(f"{owner} is a tensor attribute without a tensor")
        return constant_of(attribute.t, owner, Origin()).array
    raise UnsupportedError(f"{owner}: values of kind '{field}' are not supported")


READ_ALTHOUGH_DEPRECATED = frozenset(("GroupNormalization",))
"""Deprecated because another meaning was wanted; files hold it, and it is well defined."""


@lru_cache(maxsize=4096)
def schema_of(op_type: str, opset: int, domain: str = "") -> defs.OpSchema | None:
    """The schema of an operator at an opset of its domain; None: no such one."""
    schema = _schema(op_type, opset, domain)
    if schema is None or (schema.deprecated and op_type not in READ_ALTHOUGH_DEPRECATED):
        return None
    return schema


def _schema(op_type: str, opset: int, domain: str = "") -> defs.OpSchema | None:
    try:
        return defs.get_schema(op_type, opset, domain)
    except defs.SchemaError:
        return SCHEMAS.get((domain, op_type))


def why_no_schema(op_type: str, opset: int) -> str:
    """One sentence for an operator of which `schema_of` has none."""
    schema = _schema(op_type, opset)
    if schema is None:
        return f"ONNX opset {opset} has no operator '{op_type}'"
    return (
        f"ONNX opset {opset} has no operator '{op_type}' any more: it is deprecated since opset "
        f"{schema.since_version}; export the model with another opset"
    )


def default_of(op_type: str, opset: int, name: str, domain: str = "") -> Any:
    """The default that ONNX's schema gives an attribute at an opset; None where it gives none."""
    schema = schema_of(op_type, opset, domain)
    default = (
        schema.attributes[name].default_value if schema and name in schema.attributes else None
    )
    return decode_attribute(default, op_type) if default is not None and default.name else None


ANY_FLOAT = frozenset(
    {
        *("min", "max", "value", "value_float", "value_floats"),
        *("keys_floats", "values_floats", "default_float"),
    }
)
"""Attributes that are elements of data: limits of Clip, what Pad fills in, Constant, tables."""


def check_finite(title: str, attributes: Mapping[str, Any]) -> None:
    """Raise ModelError for a float attribute that is no number: what it means is left to chance."""
    for name, value in attributes.items():
        floats = value if isinstance(value, tuple) else (value,)
        if name not in ANY_FLOAT and any(
            isinstance(f, float) and not math.isfinite(f) for f in floats
        ):
            raise ModelError(f"{title}: {name}={value}, expected finite numbers")


def check_against_schema(
    title: str,
    op_type: str,
    opset: int,
    counts: tuple[int, int],
    attributes: Mapping[str, AttributeProto],
    omitted: Collection[int] = (),
    domain: str = "",
) -> None:
    """Raise ModelError when ONNX does not define the node so.

    Args:
        counts: number of inputs and outputs, trailing omitted ones not counted.
        omitted: positions of inputs that are left out before others.
    """
    facts = _facts(op_type, opset, domain)
    if facts is None:
        raise UnsupportedError(f"{title}: {why_no_schema(op_type, opset)}")
    limits, known, required, needed = facts
    for count, (least, most), what in zip(counts, limits, ("inputs", "outputs"), strict=True):
        if not least <= count <= most:
            expected = str(least) if least == most else f"{least} to {most}"
            raise ModelError(f"{title} has {count} {what}, opset {opset} expects {expected}")
    for index in omitted:
        if name := needed[min(index, len(needed) - 1)]:
            raise ModelError(f"{title}: input {index} ({name}) is left out, it is needed")
    for name, attribute in attributes.items():
        if name not in known:
            accepted = ", ".join(sorted(known)) or "none"
            raise ModelError(
                f"{title}: opset {opset} has no attribute '{name}' here; accepted: {accepted}"
            )
        if attribute.type != known[name]:
            raise ModelError(
                f"{title}: attribute '{name}' is of type {_type_name(attribute.type)}, "
                f"opset {opset} expects {_type_name(known[name])}"
            )
    for name in required:
        if name not in attributes:
            raise ModelError(f"{title}: the required attribute '{name}' is missing")


def _type_name(kind: int) -> str:
    names: dict[int, str] = {v: k for k, v in AttributeProto.AttributeType.items()}
    return names.get(kind, str(kind))


@lru_cache(maxsize=4096)
def _facts(
    op_type: str, opset: int, domain: str
) -> (
    tuple[tuple[tuple[int, int], tuple[int, int]], dict[str, int], tuple[str, ...], tuple[str, ...]]
    | None
):
    """Numbers of inputs and outputs, types of attributes, those required, names of inputs.

    Of inputs that may be left out, the name is "".
    """
    schema = schema_of(op_type, opset, domain)
    if schema is None:
        return None
    known = {name: int(a.type.value) for name, a in schema.attributes.items()}
    required = tuple(name for name, a in schema.attributes.items() if a.required)
    limits = (schema.min_input, schema.max_input), (schema.min_output, schema.max_output)
    optional = defs.OpSchema.FormalParameterOption.Optional
    needed = tuple("" if f.option == optional else f.name for f in schema.inputs)
    return limits, known, required, needed
