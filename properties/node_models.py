"""Calls of one operator as ONNX models of one node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from conformance.export import Schema, attribute_proto

NODE = "node"
"""Its name."""


def node_model(
    schema: Schema,
    inputs: Sequence[np.ndarray | None],
    attributes: Mapping[str, Any],
    *,
    constants: frozenset[int],
    outputs: int,
    opset: int,
) -> tuple[bytes, dict[str, np.ndarray]]:
    """A serialised model of one node, and what to feed it.

    Args:
        inputs: None where one is omitted. constants: which of them are initialisers.
        outputs: how many. opset: of ONNX's own domain; of another, it is the schema's.
    """
    given = {f"x{i}": x for i, x in enumerate(inputs) if x is not None}
    fixed = {f"x{i}": given.pop(f"x{i}") for i in sorted(constants) if f"x{i}" in given}
    names = ["" if x is None else f"x{i}" for i, x in enumerate(inputs)]
    made = [f"y{k}" for k in range(outputs)]
    node = helper.make_node(schema.name, names, made, name=NODE, domain=schema.domain)
    node.attribute.extend(attribute_proto(n, v, schema) for n, v in attributes.items())
    graph = helper.make_graph(
        [node],
        "call",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
            for n, x in given.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in made],
        [numpy_helper.from_array(x, n) for n, x in fixed.items()],
    )
    imports = [helper.make_opsetid("", opset)]
    if schema.domain:
        imports.append(helper.make_opsetid(schema.domain, schema.since_version))
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    return model.SerializeToString(), given
