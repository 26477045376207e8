"""The schemas of onnxruntime's operators are those that onnxruntime has."""

from __future__ import annotations

from typing import Any

import pytest
from onnx import AttributeProto, defs, helper
from onnxruntime.capi import onnxruntime_pybind11_state as native

from engine.onnx_import.microsoft.bodies import BODIES
from engine.onnx_import.microsoft.schemas import SCHEMAS

pytestmark = pytest.mark.device_free

THEIRS = {
    (schema.domain, schema.name): schema
    for schema in native.get_all_operator_schema()
    if schema.since_version == 1
}


def parameters(formals: Any, type_of: str) -> list[tuple[str, str, str]]:
    return [(f.name, f.option.name, getattr(f, type_of)) for f in formals]


def default(data: bytes) -> Any:
    return helper.get_attribute_value(AttributeProto.FromString(data)) if data else None


@pytest.mark.parametrize("name", SCHEMAS, ids=str)
def test_a_schema_is_that_of_onnxruntime(name: tuple[str, str]) -> None:
    ours, theirs = SCHEMAS[name], THEIRS[name]
    for mine, its in ((ours.inputs, theirs.inputs), (ours.outputs, theirs.outputs)):
        assert parameters(mine, "type_str") == parameters(its, "typeStr")
    assert {c.type_param_str: sorted(c.allowed_type_strs) for c in ours.type_constraints} == {
        c.type_param_str: sorted(c.allowed_type_strs) for c in theirs.type_constraints
    }
    assert {
        n: (a.type.name, a.required, default(a.default_value.SerializeToString()))
        for n, a in ours.attributes.items()
    } == {
        n: (a.type.name, a.required, default(a._default_value))
        for n, a in theirs.attributes.items()
    }


def test_each_operator_has_a_schema_and_a_body_unless_onnx_has_it_too() -> None:
    of_onnx = {(domain, name) for domain, name in SCHEMAS if defs.has(name, domain)}
    assert of_onnx == {("", "LayerNormalization")}
    assert SCHEMAS.keys() - of_onnx == BODIES.keys()
