"""Mutations of a node's attributes: absurd values, wrong types, long and empty lists."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, NodeProto, helper

from engine.onnx_import.attributes import schema_of

Rng = np.random.Generator

INTEGERS = (
    *(0, 1, -1, 2, 3, 5, 17, 10**5, 10**7, 2**31 - 1, 2**31, -(2**31)),
    *(2**40, 2**62, 2**63 - 1, -(2**63)),
)
FLOATS = (0.0, -0.0, 1.0, -1.0, float("nan"), float("inf"), -float("inf"), 1e30, 1e-45, 0.5)
LENGTHS = (0, 1, 2, 3, 5, 8, 100, 10_000)
TEXTS = ("", "NOTSET", "VALID", "SAME_UPPER", "nonsense", "é", "x" * 5000)


def bend_attributes(rng: Rng, data: bytes) -> tuple[str, bytes]:
    """One or two attributes changed, dropped, repeated, or added by the operator's schema."""
    model = onnx.load_from_string(data)
    told = []
    for _ in range(int(rng.choice([1, 1, 2]))):
        nodes = model.graph.node
        if len(nodes):
            node = nodes[int(rng.integers(len(nodes)))]
            told.append(f"{node.op_type} {_bend(rng, model, node)}")
    return ", ".join(told), model.SerializeToString()


def _bend(rng: Rng, model: ModelProto, node: NodeProto) -> str:
    missing = _missing(model, node)
    if (missing and rng.random() < 0.5) or not len(node.attribute):
        if not missing:
            node.attribute.append(helper.make_attribute("unknown", 1))
            return "unknown attribute"
        name, kind = missing[int(rng.integers(len(missing)))]
        attribute = node.attribute.add()
        attribute.name = name
        fill(rng, attribute, kind)
        return f"{name} added"
    index = int(rng.integers(len(node.attribute)))
    attribute, how = node.attribute[index], int(rng.integers(10))
    if how == 0:
        del node.attribute[index]
        return "attribute dropped"
    if how == 1:
        node.attribute.append(attribute)
        return "attribute twice"
    if how == 2:
        fill(rng, attribute, int(rng.integers(0, 15)))
        return f"{attribute.name} of another type"
    if how == 3:
        attribute.ref_attr_name = "alpha"
        return f"{attribute.name} is a reference"
    fill(rng, attribute, attribute.type)
    return f"{attribute.name} changed"


def _missing(model: ModelProto, node: NodeProto) -> list[tuple[str, int]]:
    """Attributes of the schema that the node does not have."""
    version = next((o.version for o in model.opset_import if not o.domain), 1)
    schema = schema_of(node.op_type, max(1, min(version, 2**31 - 1)), node.domain)
    if schema is None:
        return []
    there = {a.name for a in node.attribute}
    return [(n, int(a.type.value)) for n, a in schema.attributes.items() if n not in there]


def fill(rng: Rng, attribute: AttributeProto, kind: int) -> None:
    """Give an attribute a type and values of it."""
    name = attribute.name
    attribute.Clear()
    attribute.name, attribute.type = name, kind
    length = int(rng.choice(LENGTHS, p=[0.1, 0.2, 0.3, 0.1, 0.1, 0.1, 0.05, 0.05]))
    if kind == AttributeProto.INT:
        attribute.i = _integer(rng)
    elif kind == AttributeProto.INTS:
        usual = int(rng.choice([0, 1, 1, 2]))
        values = [usual] * length
        if length:
            values[int(rng.integers(length))] = _integer(rng)
        attribute.ints.extend(values)
    elif kind == AttributeProto.FLOAT:
        attribute.f = FLOATS[int(rng.integers(len(FLOATS)))]
    elif kind == AttributeProto.FLOATS:
        attribute.floats.extend(FLOATS[int(i)] for i in rng.integers(len(FLOATS), size=length))
    elif kind == AttributeProto.STRING:
        attribute.s = TEXTS[int(rng.integers(len(TEXTS)))].encode() + b"\xff" * (rng.random() < 0.1)
    elif kind == AttributeProto.STRINGS:
        attribute.strings.extend([b"a"] * length)
    elif kind == AttributeProto.TENSOR:
        attribute.t.CopyFrom(helper.make_tensor("t", 1, [length], [0.5] * length))
        if rng.random() < 0.3:
            attribute.t.dims[0] = _integer(rng)
    elif kind == AttributeProto.GRAPH:
        attribute.g.node.append(helper.make_node("Relu", ["x"], ["y"]))


def _integer(rng: Rng) -> int:
    return int(INTEGERS[int(rng.integers(len(INTEGERS)))])
