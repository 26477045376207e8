"""remove_identities: nodes whose output is their input."""

from __future__ import annotations

from collections.abc import Collection

from engine.ir.graph import Graph, Node
from engine.passes.base import Pass

_SAME_WHEN_TYPES_AGREE = frozenset(
    ("Cast", "CastLike", "Expand", "Flatten", "Reshape", "Squeeze", "Unsqueeze")
)
_SAME_OF_ONE = frozenset(("Concat", "Max", "Mean", "Min", "Sum"))
"""What they are given beside it may still be refused, so their types must be known too."""


def remove_identities(graph: Graph, keep: Collection[str] = ()) -> None:
    """Readers of the output read the input instead; graph outputs keep their names.

    Kept: where the removal would lose a name in `keep`, or leave a graph output without a value
    of its own (it is a graph input, a constant or a second output).
    """
    for node in list(graph.nodes):
        if not _is_identity(node) or not _is_removable(graph, node, keep):
            continue
        source, out = node.inputs[0], node.outputs[0]
        assert source is not None
        graph.replace_uses(out, source)
        graph.remove_node(node)


def _is_identity(node: Node) -> bool:
    if not node.inputs or node.inputs[0] is None or len(node.outputs) != 1 or node.body:
        return False
    source, out = node.inputs[0].type, node.outputs[0].type
    if node.op_type == "Identity":
        return True
    if source is None or source != out or not source.is_static:
        return False
    if node.op_type in _SAME_OF_ONE:
        return len(node.inputs) == 1
    if node.op_type == "Transpose":
        perm = node.attributes.get("perm")
        return perm is not None and tuple(perm) == tuple(range(len(perm)))
    return node.op_type in _SAME_WHEN_TYPES_AGREE


def _is_removable(graph: Graph, node: Node, keep: Collection[str]) -> bool:
    source, out = node.inputs[0], node.outputs[0]
    assert source is not None
    if out.name in keep:
        return False
    if out not in graph.outputs:
        return True
    own = source.producer is not None and not source.is_constant
    return own and source not in graph.outputs and source.name not in keep


def pass_keeping(keep: Collection[str]) -> Pass:
    """The pass; names in `keep` stay."""
    return Pass("remove_identities", lambda graph: remove_identities(graph, keep))
