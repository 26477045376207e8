"""fold_constants: nodes whose results are known before any run are computed and removed."""

from __future__ import annotations

from engine.ir.graph import Graph
from engine.passes.base import Pass
from engine.passes.evaluate import compute, infer_node, is_computable


def fold_constants(graph: Graph) -> None:
    """Compute what depends on constants only (Shape and Size: on static types only).

    Works before and after shapes are bound. Results keep their logical dtype: integers are
    computed exactly, floating point once rounded from float64.

    Raises:
        ShapeError: a node of constants that no input could make valid.
    """
    for node in list(graph.nodes):
        if any(out.constant is None for out in node.outputs):
            if not is_computable(node):
                continue
            arrays = compute(node, infer_node(node))
            if arrays is None:
                continue
            for out, array in zip(node.outputs, arrays, strict=False):
                graph.make_constant(out, array)
        graph.remove_node(node)


FOLD_CONSTANTS = Pass("fold_constants", fold_constants)
