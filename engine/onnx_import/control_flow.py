"""If, Loop and Scan: whether their subgraphs go together with the node.

Source: https://github.com/onnx/onnx/blob/main/docs/Operators.md.
"""

from __future__ import annotations

from onnx import GraphProto

from engine.errors import ModelError
from engine.onnx_import.attributes import check_against_schema
from engine.onnx_import.raw_node import RawNode

OPSET_OF_SCAN = 9
"""Before, it has a batch axis, and lengths of sequences for its first input."""


def is_batched(node: RawNode) -> bool:
    """Whether it is a Scan of opset 8."""
    return node.op_type == "Scan" and node.opset < OPSET_OF_SCAN


def settle(node: RawNode) -> dict[str, GraphProto]:
    """The subgraphs, by attribute; the node is made to list all inputs that it must have.

    Raises:
        ModelError: it is not as ONNX has it.
    """
    least = {"If": 1, "Loop": 2, "Scan": 1}[node.op_type]
    node.inputs += [""] * (least - len(node.inputs))
    omitted = [i for i, name in enumerate(node.inputs) if not name]
    counts = len(node.inputs), len(node.outputs)
    check_against_schema(node.title, node.op_type, node.opset, counts, node.attributes, omitted)
    names = ("then_branch", "else_branch") if node.op_type == "If" else ("body",)
    graphs = {name: node.attributes[name].g for name in names}
    for name, graph in graphs.items():
        _check_counts(node, name, graph)
    return graphs


def _check_counts(node: RawNode, name: str, graph: GraphProto) -> None:
    """The subgraph takes and gives as many values as the node passes."""
    if node.op_type == "If":
        inputs, states, extra = 0, 0, 0
    elif node.op_type == "Loop":
        inputs, states, extra = len(node.inputs), len(node.inputs) - 2, 1
    else:
        scanned = node.attributes["num_scan_inputs"].i
        inputs = len(node.inputs) - is_batched(node)
        states, extra = inputs - scanned, 0
        if not 1 <= scanned <= inputs:
            raise ModelError(f"{node.title}: num_scan_inputs={scanned}, it has {inputs} inputs")
    if len(graph.input) != inputs:
        raise ModelError(
            f"{node.title}: '{name}' has {len(graph.input)} inputs, the node gives it {inputs}"
        )
    least = max(states, len(node.outputs)) + extra
    if len(graph.output) < least:
        raise ModelError(
            f"{node.title}: '{name}' has {len(graph.output)} outputs, the node needs {least}"
        )
