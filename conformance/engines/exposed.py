"""A model that shows what it computes on the way: values of nodes as outputs of the graph."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import onnx.shape_inference
from onnx import helper

from engine.errors import InputError, ModelError

NBYTES_MAX = (1 << 31) - 1
"""Of a serialised message."""


def read(model: str | Path | bytes) -> onnx.ModelProto:
    """The model with its weights, and its functions inlined, so that all engines see one graph.

    Raises:
        ModelError: it cannot be read. InputError: its weights take too much.
    """
    try:
        proto = onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(str(model))
        proto = onnx.inliner.inline_local_functions(proto)
        nbytes = proto.ByteSize()
    except Exception as error:
        raise ModelError(f"onnx cannot read the model: {error}") from error
    if nbytes > NBYTES_MAX:
        raise InputError(f"a model of {nbytes:,} bytes, of which engines take {NBYTES_MAX:,}")
    return proto


def shown_values(model: onnx.ModelProto) -> list[str]:
    """What nodes of the graph compute and no output shows, in the order of the graph."""
    outputs = {o.name for o in model.graph.output}
    made = (name for node in model.graph.node for name in node.output)
    return [name for name in made if name and name not in outputs]


def exposed(model: onnx.ModelProto, names: Iterable[str]) -> bytes:
    """The model with these values as outputs, too."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    shown.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    data: bytes = shown.SerializeToString()
    return data


def exposed_all(model: onnx.ModelProto) -> bytes:
    """The model with every value of its graph as an output."""
    return exposed(model, shown_values(model))


def ports(data: bytes) -> tuple[list[str], list[str]]:
    """Names of the inputs of a serialised model that have no default, and of its outputs."""
    graph = onnx.load_from_string(data).graph
    defaults = {constant.name for constant in graph.initializer}
    taken = [value.name for value in graph.input if value.name not in defaults]
    return taken, [value.name for value in graph.output]


def dtypes(data: bytes) -> dict[str, np.dtype]:
    """Of the outputs of a serialised model, as far as onnx can tell."""
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(data))
    types = ((value.name, value.type.tensor_type.elem_type) for value in model.graph.output)
    return {name: helper.tensor_dtype_to_np_dtype(kind) for name, kind in types if kind}
