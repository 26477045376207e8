"""load_model: the steps of an import, in order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx

from engine.errors import ModelError, UnsupportedError
from engine.ir.graph import Graph
from engine.ir.verify import verify
from engine.onnx_import.attributes import schema_of
from engine.onnx_import.build import Builder
from engine.onnx_import.functions import Inliner, refuse_references
from engine.onnx_import.opsets import REWRITTEN_AWAY
from engine.onnx_import.raw_node import RawNode, opset_versions, raw_node, require_text
from engine.onnx_import.read_file import read_model
from engine.onnx_import.topology import graph_names, sorted_nodes
from engine.ops import OPERATORS

OPSET_MIN = 7
OPSET_MAX = onnx.defs.onnx_opset_version()
"""Newest opset of the installed onnx package."""


def load_model(source: str | Path | bytes, *, name: str | None = None) -> Graph:
    """Read an ONNX model into a verified Graph in the newest operator forms.

    Free dimensions of inputs are strings: the file's dim_param, or `input.axis0` where it has none.
    Constants are read-only arrays that share memory with what was read.

    Args:
        source: a path, or a serialised ModelProto (which cannot have external data).
        name: of the graph; by default the file's own.

    Raises:
        ModelError: unreadable or not a valid ONNX graph; names node and value.
        UnsupportedError: valid ONNX that Parallax cannot run.
    """
    model, folder = read_model(source)
    try:
        graph = _import(model, folder, name)
    except UnicodeDecodeError:
        raise ModelError("the model holds names that are not UTF-8 text: it is damaged") from None
    verify(graph)
    return graph


def _import(model: onnx.ModelProto, folder: Path | None, name: str | None) -> Graph:
    proto = model.graph
    opsets = opset_versions(model.opset_import, "the model")
    _check_opset(opsets)
    if len(proto.sparse_initializer):
        first = proto.sparse_initializer[0].values.name
        raise UnsupportedError(f"sparse initialiser '{first}': only dense ones are supported")
    require_text(proto.name, *graph_names(proto), *(o.name for o in proto.output))
    require_text(*(d.dim_param for i in proto.input for d in i.type.tensor_type.shape.dim))
    raw = [raw_node(node, opsets) for node in proto.node]
    refuse_references(raw)
    inliner = Inliner(model.functions, graph_names(proto), is_known)
    nodes = list(inliner.inline(raw))
    _refuse_unknown(nodes)
    builder = Builder(name or proto.name or "model", opsets.get("", 0))
    builder.add_initialisers(proto.initializer, folder)
    builder.add_inputs(proto.input)
    known = {t.name for t in proto.initializer} | {i.name for i in proto.input}
    builder.reserve(nodes, (o.name for o in proto.output))
    for node in sorted_nodes(nodes, known):
        builder.add_node(node)
    builder.set_outputs(proto.output)
    return builder.graph


def is_known(op_type: str) -> bool:
    """True for operators that have a spec, or that the importer rewrites into such."""
    return op_type in OPERATORS or op_type in REWRITTEN_AWAY


def _check_opset(opsets: dict[str, int]) -> None:
    version = opsets.get("")
    if version is None and not opsets:
        raise ModelError("the model imports no operator set (opset_import is empty): it is damaged")
    if version is not None and not OPSET_MIN <= version <= OPSET_MAX:
        raise UnsupportedError(
            f"the model uses ONNX opset {version}; supported: {OPSET_MIN} to {OPSET_MAX}; convert "
            "it with onnx.version_converter or export it again"
        )


def _refuse_unknown(nodes: Sequence[RawNode]) -> None:
    """One error for all operators that are missing, the first node of each."""
    missing: dict[tuple[str, str], RawNode] = {}
    for node in nodes:
        if node.domain or not is_known(node.op_type):
            missing.setdefault((node.domain, node.op_type), node)
        elif "" not in node.opsets:
            raise ModelError(f"{node.title}: the model does not import the domain 'ai.onnx'")
        elif not OPSET_MIN <= node.opset <= OPSET_MAX:
            raise UnsupportedError(
                f"{node.title}: its function uses ONNX opset {node.opset}; "
                f"supported: {OPSET_MIN} to {OPSET_MAX}"
            )
    if missing:
        shown = "; ".join(
            f"{n.title} (domain '{n.domain or 'ai.onnx'}', opset {n.opset})"
            for n in missing.values()
        )
        known = {op for op in OPERATORS if schema_of(op, OPSET_MAX)} | REWRITTEN_AWAY
        supported = ", ".join(sorted(known))
        raise UnsupportedError(f"unsupported operators: {shown}. Supported: {supported}")
