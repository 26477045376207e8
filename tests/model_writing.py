"""Short ways to write ONNX models in tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

Dims = Sequence[int | str | None]


def model(
    nodes: Sequence[NodeProto],
    inputs: Mapping[str, Dims],
    outputs: Sequence[str],
    constants: Mapping[str, np.ndarray] | None = None,
    *,
    opset: int = 13,
    dtype: int = TensorProto.FLOAT,
    functions: Sequence[onnx.FunctionProto] = (),
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    """A model whose inputs all have one dtype; output types are left open."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(k, dtype, dims) for k, dims in inputs.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(v, k) for k, v in (constants or {}).items()],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=10)


def model_bytes(*args: object, **options: object) -> bytes:
    """The serialised `model(...)`."""
    return model(*args, **options).SerializeToString()  # type: ignore[arg-type]


def node(op_type: str, inputs: str, outputs: str, **attributes: object) -> NodeProto:
    """Names separated by spaces, "-" for an omitted one; named after its first output."""
    ins = ["" if n == "-" else n for n in inputs.split()]
    outs = ["" if n == "-" else n for n in outputs.split()]
    return helper.make_node(op_type, ins, outs, name=f"the_{outs[0]}", **attributes)
