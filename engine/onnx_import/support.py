"""What the importer knows: the range of opsets, and which operators there are kernels for."""

from __future__ import annotations

import onnx
from onnx import TypeProto

from engine.errors import ModelError, UnsupportedError
from engine.onnx_import.attributes import decode_attribute, schema_of, why_no_schema
from engine.onnx_import.microsoft.body import TypeOf
from engine.onnx_import.microsoft.schemas import DOMAIN as MICROSOFT
from engine.onnx_import.opsets import FOREIGN, REWRITTEN_AWAY
from engine.onnx_import.raw_node import RawNode
from engine.onnx_import.subgraphs import CONTROL_FLOW
from engine.onnx_import.tensors import DTYPES
from engine.ops import OPERATORS
from engine.ops.sequence import LAID_OUT
from engine.ops.spec import Known

OPSET_MIN = 1
OPSET_MAX = onnx.defs.onnx_opset_version()
"""Newest opset of the installed onnx package."""

ADVICE = {
    f"{MICROSOFT}.nchwc": ": onnxruntime laid the model out for one processor; let it save what it "
    "optimises up to ORT_ENABLE_EXTENDED"
}
"""What else to say of operators of a domain that is not supported."""


def is_known(op_type: str) -> bool:
    """True for operators that have a spec, or of which the importer or a plan makes such."""
    laid_out = op_type in CONTROL_FLOW or op_type in LAID_OUT
    return laid_out or op_type in OPERATORS or op_type in REWRITTEN_AWAY


def has_kernel(node: RawNode, type_of: TypeOf) -> bool:
    """True for nodes of such operators, unless ONNX's definition is taken.

    It is for an attribute that has a value that is `defined`, and for calls that none `takes`.

    Args:
        type_of: by the name of an input; None where its dtype is not known.
    """
    spec = OPERATORS.get(node.op_type)
    if spec is None:
        return is_known(node.op_type)
    inputs = [_known(type_of(name) if name else None) for name in node.inputs]
    if not spec.takes(inputs, len(node.outputs)):
        return False
    asked = {
        name: decode_attribute(a, node.title)
        for name, a in node.attributes.items()
        if name in spec.defined
    }
    return not any(
        isinstance(v, (str, int)) and v in spec.defined[name] for name, v in asked.items()
    )


def _known(given: TypeProto | None) -> Known:
    """Nothing of what is no tensor, or omitted."""
    if given is None or not given.HasField("tensor_type"):
        return Known()
    dtype = DTYPES.get(given.tensor_type.elem_type)
    if not given.tensor_type.HasField("shape"):
        return Known(dtype)
    dims = given.tensor_type.shape.dim
    return Known(dtype, tuple(d.dim_value if d.HasField("dim_value") else None for d in dims))


def check_opset(opsets: dict[str, int]) -> None:
    """Raise UnsupportedError for a model of an opset that is too old or too new."""
    version = opsets.get("")
    if not opsets:
        raise ModelError("the model imports no operator set (opset_import is empty): it is damaged")
    if version is not None and not OPSET_MIN <= version <= OPSET_MAX:
        raise UnsupportedError(
            f"the model uses ONNX opset {version}; supported: {OPSET_MIN} to {OPSET_MAX}; convert "
            "it with onnx.version_converter or export it again"
        )


def check_function_opset(node: RawNode) -> None:
    """The same for a node of a function, which has an opset of its own."""
    if not node.domain and "" in node.opsets and not OPSET_MIN <= node.opset <= OPSET_MAX:
        raise UnsupportedError(
            f"{node.title}: its function uses ONNX opset {node.opset}; "
            f"supported: {OPSET_MIN} to {OPSET_MAX}"
        )


def check_known(node: RawNode) -> None:
    """Raise UnsupportedError for an operator that there is no way to run."""
    if (node.domain, node.op_type) in FOREIGN:
        if node.domain not in node.opsets:
            raise ModelError(f"{node.title}: the model does not import domain '{node.domain}'")
        return
    if node.domain == MICROSOFT:
        raise UnsupportedError(
            f"{node.title}: this operator of domain '{MICROSOFT}' is not supported"
        )
    if node.domain:
        raise UnsupportedError(
            f"{node.title}: operators of domain '{node.domain}' are not supported"
            f"{ADVICE.get(node.domain, '')}"
        )
    if "" not in node.opsets:
        raise ModelError(f"{node.title}: the model does not import the domain 'ai.onnx'")
    if is_known(node.op_type):
        return
    if schema_of(node.op_type, node.opset) is None:
        raise UnsupportedError(f"{node.title}: {why_no_schema(node.op_type, node.opset)}")
    raise UnsupportedError(f"{node.title}: there is no kernel for this operator")
