"""read_contents: what a model file holds, whether or not it can be imported."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, helper

from engine.ir.types import dtype_name
from engine.onnx_import.importing import Import, import_model
from engine.onnx_import.raw_node import normal_domain, require_text
from engine.onnx_import.tensors import DTYPES

BITS = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
"""Of the element types that are packed; all others take whole bytes."""


@dataclass(frozen=True)
class Contents:
    """A model file, described.

    Attributes:
        producer: name and version of what wrote the file; "" where it does not say.
        opsets: domain -> version.
        inputs, outputs: name -> type as text; initialisers that are listed as inputs are left out.
        tensors, elements, nbytes: of all initialisers and constants, also in subgraphs.
        found: the import of it.
    """

    name: str
    producer: str
    ir_version: int
    opsets: dict[str, int]
    inputs: dict[str, str]
    outputs: dict[str, str]
    tensors: int
    elements: int
    nbytes: int
    found: Import


def read_contents(source: str | Path | bytes, *, name: str | None = None) -> Contents:
    """Read a model file; raises ModelError where it is no ONNX model, or is damaged."""
    model, found = import_model(source, name)
    require_text(model.producer_name, model.producer_version)
    graph = model.graph
    initialised = {t.name for t in graph.initializer}
    tensors = list(_tensors(model))
    return Contents(
        name=found.graph.name,
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        ir_version=model.ir_version,
        opsets={normal_domain(o.domain) or "ai.onnx": o.version for o in model.opset_import},
        inputs={i.name: type_text(i.type) for i in graph.input if i.name not in initialised},
        outputs={o.name: type_text(o.type) for o in graph.output},
        tensors=len(tensors),
        elements=sum(_elements(t) for t in tensors),
        nbytes=sum(_nbytes(t) for t in tensors),
        found=found,
    )


def type_text(type_: TypeProto) -> str:
    """`float32[n,3]`, `sequence(float32[?])`, `float32` where not even the rank is declared."""
    kind = type_.WhichOneof("value")
    if kind in ("tensor_type", "sparse_tensor_type"):
        tensor = getattr(type_, kind)
        dims = ",".join(
            str(d.dim_value) if d.HasField("dim_value") else d.dim_param or "?"
            for d in tensor.shape.dim
        )
        text = _dtype_name(tensor.elem_type) + (f"[{dims}]" if tensor.HasField("shape") else "")
        return text if kind == "tensor_type" else f"sparse({text})"
    if kind in ("sequence_type", "optional_type"):
        return f"{kind[:-5]}({type_text(getattr(type_, kind).elem_type)})"
    if kind == "map_type":
        key = _dtype_name(type_.map_type.key_type)
        return f"map({key}, {type_text(type_.map_type.value_type)})"
    return "of no declared type"


def _dtype_name(element_type: int) -> str:
    if element_type in DTYPES:
        return dtype_name(DTYPES[element_type])
    names = {number: name for name, number in TensorProto.DataType.items()}
    return str(names.get(element_type, f"element type {element_type}")).lower()


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    yield from (sparse.values for sparse in graph.sparse_initializer)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            if attribute.HasField("g"):
                yield from _graph_tensors(attribute.g)


def _elements(tensor: TensorProto) -> int:
    """0 where dimensions are damaged."""
    return math.prod(tensor.dims) if all(d >= 0 for d in tensor.dims) else 0


def _nbytes(tensor: TensorProto) -> int:
    known = {number: name for name, number in TensorProto.DataType.items()}
    name = known.get(tensor.data_type, "UNDEFINED")
    if name == "STRING":
        return sum(map(len, tensor.string_data))
    if name == "UNDEFINED":
        return 0
    bits = BITS.get(name) or 8 * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return -(-_elements(tensor) * bits // 8)
