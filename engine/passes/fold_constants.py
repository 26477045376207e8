"""fold_constants: nodes whose results are known before any run are computed and removed."""

from __future__ import annotations

from collections.abc import Collection

from engine.ir.graph import Graph, Node
from engine.passes.base import Pass
from engine.passes.evaluate import Folding, infer_node, is_computable


def fold_constants(graph: Graph, keep: Collection[str] = ()) -> None:
    """Compute what depends on constants only (Shape and Size: on static types only).

    Works before and after shapes are bound. Results keep their logical dtype: integers are
    computed exactly, floating point once rounded from float64. Constants named in `keep` stay in
    the graph when nothing reads them any more, as `graph.kept`.

    Raises:
        ShapeError: a node of constants that no input could make valid.
    """
    folding = Folding(graph)
    known = [node for node in graph.nodes if _is_known(graph, node, folding)]
    named = graph.values() if keep else []
    graph.kept = [v for v in named if v.is_constant and v.name in keep]
    for node in known:
        graph.remove_node(node)


def _is_known(graph: Graph, node: Node, folding: Folding) -> bool:
    """Whether all outputs are constants, now that what can be computed is."""
    if all(out.is_constant for out in node.outputs):
        return True
    if not is_computable(node):
        return False
    arrays = folding.compute(node, infer_node(node))
    for out, array in zip(node.outputs, arrays or (), strict=False):
        graph.make_constant(out, array)
    return arrays is not None


def pass_keeping(keep: Collection[str]) -> Pass:
    """The pass; constants named in `keep` stay."""
    return Pass("fold_constants", lambda graph: fold_constants(graph, keep))
