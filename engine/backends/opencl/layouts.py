"""Which values are stored channels-last, and the Reorder nodes at the borders.

A node of `NEEDS_CHANNELS_LAST` wants its 3-D to 5-D tensors channels-last. A node of
`KEEPS_LAYOUT` accepts whatever its inputs have, as long as they agree (elementwise operators,
Concat: their kernels work on strides or on flat memory). Every other node wants plain tensors.
"""

from __future__ import annotations

from collections.abc import Collection

from engine.backends.opencl import unary
from engine.ir.graph import Graph, Node, Value

NEEDS_CHANNELS_LAST = frozenset(
    {
        "Conv",
        "ConvTranspose",
        "MaxPool",
        "AveragePool",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "LRN",
        "Resize",
    }
)
KEEPS_LAYOUT = frozenset(unary.KERNELS) | frozenset(
    {
        *("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean", "PRelu", "Where"),
        *("BatchNormalization", "BitCast", "Cast", "Identity"),
        *("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor"),
        *("Concat", "Pad", "Slice", "Split", "Mod"),
    }
)


def lower(graph: Graph, nodes: Collection[Node]) -> list[Node]:
    """Set `Value.layout` of what `nodes` produce and insert Reorder nodes; returns those."""
    mine = set(nodes)
    added: list[Node] = []
    reordered: dict[tuple[int, str], Value] = {}
    for node in list(graph.nodes):
        if node not in mine:
            continue
        layout = _wanted(node)
        inputs = []
        for value in node.inputs:
            if value is not None and _needs_reorder(value, layout):
                value = _reorder(graph, value, layout, node, reordered, added)
            inputs.append(value)
        if list(node.inputs) != inputs:
            graph.set_inputs(node, inputs)
        for out in node.outputs:
            out.layout = layout if _matters(out) else "plain"
    for i, value in enumerate(graph.outputs):
        if value.producer in mine and value.layout != "plain":
            graph.outputs[i] = _plain_output(graph, value, reordered, added)
    return added


def _needs_reorder(value: Value, layout: str) -> bool:
    return not value.is_constant and _matters(value) and value.layout != layout


def _matters(value: Value) -> bool:
    return len(value.known_type.shape) > 2


def _wanted(node: Node) -> str:
    first = next(v for v in (*node.inputs, *node.outputs) if v is not None)
    if node.op_type in NEEDS_CHANNELS_LAST and _matters(first):
        return "channels_last"
    if node.op_type in KEEPS_LAYOUT:
        return _common_layout(node)
    return "plain"


def _common_layout(node: Node) -> str:
    """channels_last when every varying input of the output's rank is stored so already."""
    rank = len(node.outputs[0].known_type.shape)
    tensors = [v for v in node.inputs if v is not None and not v.is_constant]
    same_rank = [v for v in tensors if len(v.known_type.shape) == rank and rank > 2]
    if len(same_rank) != len([v for v in tensors if v.known_type.size != 1]):
        return "plain"
    if any(v.layout == "channels_last" for v in same_rank):
        return "channels_last"
    return "plain"


def _reorder(
    graph: Graph,
    value: Value,
    layout: str,
    before: Node | None,
    reordered: dict[tuple[int, str], Value],
    added: list[Node],
) -> Value:
    key = (id(value), layout)
    if key not in reordered:
        name = graph.unique(f"{value.name}:{layout}")
        node = graph.add_node("Reorder", [value], [(name, value.known_type)], before=before)
        node.outputs[0].layout = layout
        added.append(node)
        reordered[key] = node.outputs[0]
    return reordered[key]


def _plain_output(
    graph: Graph, value: Value, reordered: dict[tuple[int, str], Value], added: list[Node]
) -> Value:
    plain = _reorder(graph, value, "plain", None, reordered, added)
    value.name, plain.name = plain.name, value.name
    return plain
