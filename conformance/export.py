"""A graph of the engine as an ONNX model of the newest opset, which loads as the same graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import defs, helper, numpy_helper

from engine.errors import UnsupportedError
from engine.ir.graph import Graph, Node, Value
from engine.ops import OPERATORS

Schema: TypeAlias = defs.OpSchema
MOVES = ("Reorder", "Copy")
"""What a plan adds to a model: to another layout, to another memory."""


def exported(graph: Graph) -> onnx.ModelProto:
    """The model of a graph whose inputs have static shapes; fused nodes are taken apart.

    Raises:
        UnsupportedError: it has a node that is no ONNX operator, or one with subgraphs.
    """
    constants = {v.name: v.constant for v in graph.values() if v.is_constant}
    proto = helper.make_graph(
        [p for node in graph.nodes for p in _protos(node)],
        graph.name or "graph",
        [_input(value) for value in graph.inputs],
        [helper.make_empty_tensor_value_info(v.name) for v in graph.outputs],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()],
    )
    domains = dict.fromkeys(("", *(p.domain for p in proto.node)))
    opsets = [helper.make_opsetid(domain, _newest(domain)) for domain in domains]
    ir_version = helper.find_min_ir_version_for(opsets[:1])
    return helper.make_model(proto, opset_imports=opsets, ir_version=ir_version)


@cache
def _newest(domain: str) -> int:
    """The newest opset of a domain."""
    if not domain:
        return int(defs.onnx_opset_version())
    return max(int(s.since_version) for s in defs.get_all_schemas() if s.domain == domain)


def alone(node: Node, within: Graph) -> tuple[Graph, dict[str, Value]]:
    """A node of a graph in one of its own, in which what it reads are inputs and constants.

    Names are those of the model, where a plan moved a tensor between memories or layouts.

    Returns:
        The graph, and by name what its inputs stand for.
    """
    graph = Graph(node.name or node.op_type)
    mine: dict[Value, Value] = {}
    given: dict[str, Value] = {}
    for value in node.inputs:
        if value is None or value in mine:
            continue
        name = graph.unique(source_of(value).name)
        if value.constant is not None:
            mine[value] = graph.add_constant(name, value.constant)
        else:
            mine[value] = graph.add_input(name, value.known_type)
            given[name] = value
    twin = graph.add_node(
        node.op_type,
        [None if v is None else mine[v] for v in node.inputs],
        [(result_of(v, within).name, v.known_type) for v in node.outputs],
        node.attributes,
        name=node.name,
        body=node.body,
    )
    graph.outputs = list(twin.outputs)
    return graph, given


def source_of(value: Value) -> Value:
    """Where a value comes from that a plan only moved."""
    while value.producer is not None and value.producer.op_type in MOVES:
        (source,) = value.producer.inputs
        assert source is not None
        value = source
    return value


def result_of(value: Value, graph: Graph) -> Value:
    """The output of a graph that a plan makes of a value by moving it; else the value itself."""
    moved = [r.outputs[0] for r in value.uses if r.op_type in MOVES]
    return next((v for v in moved if v in graph.outputs), value)


def _input(value: Value) -> onnx.ValueInfoProto:
    type_ = value.known_type
    element = helper.np_dtype_to_tensor_dtype(type_.dtype)
    return helper.make_tensor_value_info(value.name, element, type_.dims)


def _protos(node: Node) -> Iterator[onnx.NodeProto]:
    names = ["" if v is None else v.name for v in node.inputs]
    made = [v.name for v in node.outputs]
    if not node.body:
        yield _proto(node, node.op_type, names, made, node.attributes, node.name)
        return
    last = len(node.body) - 1
    for k, op in enumerate(node.body):
        read = ["" if i is None else names[i] for i in op.inputs]
        names.append(made[0] if k == last else f"{made[0]}/{k}")
        yield _proto(node, op.op_type, read, names[-1:], op.attributes, f"{node.name}/{k}")


def _proto(
    node: Node,
    op_type: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    attributes: Mapping[str, Any],
    name: str,
) -> onnx.NodeProto:
    domain = OPERATORS[op_type].domain if op_type in OPERATORS else ""
    if node.subgraphs or not defs.has(op_type, domain):
        raise UnsupportedError(f"{node.title} cannot be written down as a node of ONNX")
    schema = defs.get_schema(op_type, domain)
    proto = helper.make_node(op_type, inputs, outputs, name=name, domain=domain or None)
    proto.attribute.extend(attribute_proto(n, v, schema) for n, v in attributes.items())
    return proto


def attribute_proto(name: str, value: Any, schema: Schema) -> onnx.AttributeProto:
    """An attribute of the type that the schema gives it, where the value has that type."""
    kind = schema.attributes[name].type.name if name in schema.attributes else ""
    if isinstance(value, np.ndarray):
        value = numpy_helper.from_array(value)
    if kind == "FLOATS" and isinstance(value, Sequence):
        value = [float(v) for v in value]
    if kind == "FLOAT" and isinstance(value, (int, float)):
        value = float(value)
    if kind == "INT" and isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    types = {t.name: t.value for t in (*map(_kind, ("INTS", "FLOATS", "STRINGS")),)}
    if isinstance(value, (list, tuple)) and not value:
        return helper.make_attribute(name, value, attr_type=types.get(kind, types["INTS"]))
    return helper.make_attribute(name, value)


def _kind(name: str) -> Any:
    return getattr(defs.OpSchema.AttrType, name)
