"""No attribute is dropped in silence: a spec reads it, or the importer knows why it need not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from onnx import defs, helper

from engine.errors import ModelError, UnsupportedError
from engine.onnx_import import OPSET_MAX, load_model
from engine.ops import OPERATORS
from engine.ops.spec import Call
from properties.choose import SeededChoose
from properties.dtypes import newest_schema
from tests.model_writing import model, node

pytestmark = pytest.mark.device_free

DRAWN = 40


class Recorded(Mapping[str, Any]):
    """Attributes that note which of them are asked for."""

    def __init__(self, attributes: Mapping[str, Any], asked: set[str]) -> None:
        self._attributes, self._asked = attributes, asked

    def __getitem__(self, name: str) -> Any:
        self._asked.add(name)
        return self._attributes[name]

    def __contains__(self, name: object) -> bool:
        self._asked.add(str(name))
        return name in self._attributes

    def __iter__(self) -> Iterator[str]:
        return iter(self._attributes)

    def __len__(self) -> int:
        return len(self._attributes)


def asked_for(op_type: str) -> set[str]:
    """What inference and reference read in any of many calls."""
    spec, asked = OPERATORS[op_type], set[str]()
    drawn = [spec.example(SeededChoose(seed)) for seed in range(DRAWN)]
    for call in (*drawn, *(edge() for edge in spec.edges)):
        recorded = Call(call.inputs, Recorded(call.attributes, asked))
        spec.infer_types(recorded.operands(spec.constant_inputs), recorded.attributes)
        with np.errstate(all="ignore"):
            spec.reference(call.inputs, recorded.attributes)
    return asked


@pytest.mark.parametrize("op_type", OPERATORS)
def test_what_a_spec_declares_is_what_it_reads(op_type: str) -> None:
    assert asked_for(op_type) == set(OPERATORS[op_type].reads)


@pytest.mark.parametrize(
    "op_type", [n for n, spec in OPERATORS.items() if defs.has(n, spec.domain)]
)
def test_every_attribute_of_the_schema_is_declared(op_type: str) -> None:
    spec = OPERATORS[op_type]
    declared = [*spec.reads, *spec.ignores, *spec.only]
    assert len(declared) == len(set(declared))
    assert set(declared) == set(newest_schema(op_type).attributes)


def test_what_is_not_declared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = OPERATORS["LeakyRelu"]
    data = model([node("LeakyRelu", "x", "y", alpha=0.5)], {"x": (2,)}, ["y"]).SerializeToString()
    load_model(data)
    monkeypatch.setitem(OPERATORS, "LeakyRelu", replace(spec, reads=()))
    with pytest.raises(UnsupportedError, match="LeakyRelu 'the_y': attribute 'alpha' is not supp"):
        load_model(data)


ONLY = [(name, *pair) for name, spec in OPERATORS.items() for pair in spec.only.items()]


@pytest.mark.parametrize(("op_type", "name", "only"), ONLY)
def test_only_the_known_value_of_an_unread_attribute_reaches_a_kernel(
    op_type: str, name: str, only: str | int
) -> None:
    schema = defs.get_schema(op_type, OPSET_MAX, "")
    assert helper.get_attribute_value(schema.attributes[name].default_value) in (
        only,
        str(only).encode(),
    )
    more = {"blocksize": 2} if op_type == "SpaceToDepth" else {}
    shape = (1, 1, 4, 4)

    def data(value: str | int) -> bytes:
        call = node(op_type, "x", "y", **more, **{name: value})
        return model([call], {"x": shape}, ["y"], opset=OPSET_MAX).SerializeToString()

    load_model(data(only))
    spec, wrong = OPERATORS[op_type], "other" if isinstance(only, str) else 2
    for other in (*spec.defined.get(name, () if isinstance(only, str) else (0,)), wrong):
        refusal = refusal_of(data(other))
        assert (refusal is None) == (other != wrong)
        if refusal is not None:
            sentence = rf"{op_type} 'the_y': {name}=.* is not supported|.*=2, expected 0 or 1"
            assert re.match(sentence, refusal)
        else:
            nodes = load_model(data(other)).nodes
            assert all(n.attributes.get(name, only) == only for n in nodes)


def test_a_value_of_another_type_is_refused() -> None:
    proto = model([node("Gelu", "x", "y")], {"x": (2,)}, ["y"], opset=OPSET_MAX)
    pair = helper.make_attribute("approximate", helper.make_tensor("t", 1, [2], [0.5, 0.5]))
    proto.graph.node[0].attribute.append(pair)
    with pytest.raises(ModelError, match="attribute 'approximate' is of type TENSOR"):
        load_model(proto.SerializeToString())


def refusal_of(data: bytes) -> str | None:
    try:
        load_model(data)
    except (UnsupportedError, ModelError) as refusal:
        return str(refusal)
    return None
