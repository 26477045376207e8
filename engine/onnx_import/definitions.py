"""The bodies by which operators are defined by simpler ones: ONNX's own, and `microsoft`.

Source: https://github.com/onnx/onnx/blob/main/docs/Operators.md, "Function body". Some are the same
for all calls; others depend on attributes, types and ranks, and ONNX makes one for each call.
"""

from __future__ import annotations

from functools import lru_cache

from onnx import FunctionProto, NodeProto, TypeProto, defs, helper

from engine.errors import ModelError, UnsupportedError
from engine.onnx_import.attributes import check_against_schema, decode_attribute, schema_of
from engine.onnx_import.calls import check_call, with_checks
from engine.onnx_import.microsoft.bodies import BODIES, body_of
from engine.onnx_import.microsoft.body import ArrayOf, TypeOf
from engine.onnx_import.raw_node import RawNode

REDUCTIONS = ("none", "mean", "sum")
"""Of losses; by any other their bodies would sum."""
DOMAINS = ("", "ai.onnx.preview")
"""In which ONNX defines operators."""


def definition(node: RawNode, type_of: TypeOf, array_of: ArrayOf) -> FunctionProto | None:
    """The body of an operator; None where there is none.

    Args:
        type_of: by the name of an input; None where its dtype is not known.
        array_of: the same of constants; None for what is none.

    Raises:
        ModelError: the node is not as ONNX's schema has it.
        UnsupportedError: what the body depends on is not known before the run.
    """
    if node.domain not in node.opsets:
        return None
    is_own = (node.domain, node.op_type) in BODIES
    schema = schema_of(node.op_type, node.opset, node.domain)
    if schema is None or not (is_own or _has_body(node, schema)):
        return None
    omitted = [i for i, name in enumerate(node.inputs) if not name]
    counts = len(node.inputs), len(node.outputs)
    check_against_schema(
        node.title, node.op_type, node.opset, counts, node.attributes, omitted, node.domain
    )
    if is_own:
        return body_of(node, type_of, array_of)
    check_call(node, type_of, array_of)
    if "reduction" in node.attributes and _reduction(node) not in REDUCTIONS:
        raise ModelError(
            f"{node.title}: reduction={_reduction(node)!r}, expected {', '.join(REDUCTIONS)}"
        )
    body = _same_for_all(node.op_type, node.opset, node.domain) or _of_call(node, schema, type_of)
    if body is not None and node.domain and not any(o.domain == "" for o in body.opset_import):
        newest = node.opsets.get("", defs.onnx_opset_version())
        body.opset_import.append(helper.make_opsetid("", newest))  # of the simpler operators
    return body


def _has_body(node: RawNode, schema: defs.OpSchema) -> bool:
    """Whether ONNX has one."""
    return node.domain in DOMAINS and (schema.has_function or schema.has_context_dependent_function)


def _reduction(node: RawNode) -> object:
    return decode_attribute(node.attributes["reduction"], node.title)


@lru_cache(maxsize=1024)
def _same_for_all(op_type: str, opset: int, domain: str) -> FunctionProto | None:
    schema = schema_of(op_type, opset, domain)
    versions = [v for v in schema.function_opset_versions if v <= opset] if schema else []
    if schema is None or not versions:
        return None
    return _parsed(schema, schema.get_function_with_opset_version(max(versions)))


def _of_call(node: RawNode, schema: defs.OpSchema, type_of: TypeOf) -> FunctionProto | None:
    versions = [v for v in schema.context_dependent_function_opset_versions if v <= node.opset]
    if not versions:
        return None
    types = []
    for name in node.inputs:
        known = type_of(name) if name else TypeProto()
        if known is None:
            raise UnsupportedError(
                f"{node.title}: there is no kernel for this operator, and its definition by others "
                f"depends on the dtype of '{name}', which is not known at import"
            )
        types.append(known.SerializeToString())
    call = NodeProto(op_type=node.op_type, name=node.name, input=node.inputs, output=node.outputs)
    call.domain = node.domain
    for attribute_name, attribute in node.attributes.items():
        call.attribute.add().CopyFrom(attribute)
        call.attribute[-1].name = attribute_name  # a function's may have another
    data = schema.get_context_dependent_function_with_opset_version(
        max(versions), call.SerializeToString(), types
    )
    return with_checks(node.op_type, _parsed(schema, data)) if data else None


def _parsed(schema: defs.OpSchema, data: bytes) -> FunctionProto:
    """With the schema's defaults of the attributes that the body reads, and with their types."""
    body = FunctionProto.FromString(data)
    body.domain = ""
    for attribute in (a for node in body.node for a in node.attribute if a.ref_attr_name):
        attribute.type = schema.attributes[attribute.ref_attr_name].type.value
    for name, attribute in schema.attributes.items():
        if name in body.attribute and attribute.default_value.name:
            body.attribute_proto.append(attribute.default_value)
    return body
