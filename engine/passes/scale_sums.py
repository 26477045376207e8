"""scale_sums: integer sums of products are scaled in double, as half holds neither side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.ir.graph import Graph, Node, Value
from engine.ir.types import DOUBLE, FLOAT, TensorType
from engine.passes.base import Pass, replace_node, require_types

TO_FLOAT, TO_DOUBLE = 1, 11
"""Of Cast, as onnx.TensorProto numbers them."""
INT32 = np.dtype(np.int32)


def scale_sums(graph: Graph) -> None:
    """Cast(sums) * scale becomes Cast(Cast(sums) * scale), in double until the last Cast.

    So it is written where a model is quantised as it runs: sums of MatMulInteger or ConvInteger,
    and a scale that is a product itself. The sums reach beyond what half holds, the scale may lie
    below it, the result is an activation like others.
    """
    for node in list(graph.nodes):
        if not _is_product(node):
            continue
        for total, scale in (node.inputs, node.inputs[::-1]):
            sums = _integer_sums(total)
            if sums is not None and scale is not None:
                factors = [_cast(graph, sums, node), _wide(graph, scale, node)]
                product = _add(graph, "Mul", factors, node.outputs[0].known_type, node)
                replace_node(graph, node, "Cast", [product], {"to": TO_FLOAT}, name=node.name)
                break


def _is_product(node: Node | None) -> bool:
    """Whether it multiplies floats."""
    if node is None or node.op_type != "Mul" or node.body:
        return False
    return node.outputs[0].known_type.dtype == FLOAT


def _integer_sums(value: Value | None) -> Value | None:
    """What was cast to float, if a product of matrices or a convolution made it."""
    cast = None if value is None else value.producer
    if cast is None or cast.op_type != "Cast" or cast.outputs[0].known_type.dtype != FLOAT:
        return None
    (sums,) = cast.inputs
    assert sums is not None
    maker = sums.producer
    if maker is None or sums.known_type.dtype != INT32:
        return None
    if maker.op_type == "Cast" and maker.inputs[0] is not None:
        maker = maker.inputs[0].producer
    return sums if maker is not None and maker.op_type in ("MatMul", "Conv") else None


def _wide(graph: Graph, value: Value, before: Node) -> Value:
    """A float in double; a product factor by factor."""
    if not _is_product(value.producer):
        return _cast(graph, value, before)
    assert value.producer is not None
    factors = [_wide(graph, v, before) for v in value.producer.inputs if v is not None]
    return _add(graph, "Mul", factors, value.known_type, before)


def _cast(graph: Graph, value: Value, before: Node) -> Value:
    return _add(graph, "Cast", [value], value.known_type, before, to=TO_DOUBLE)


def _add(
    graph: Graph,
    op_type: str,
    inputs: Sequence[Value],
    like: TensorType,
    before: Node,
    **attributes: int,
) -> Value:
    """A node with an output in double, of the shape of `like`."""
    name = graph.unique(f"{before.outputs[0].name}_{op_type}")
    output = (name, TensorType(DOUBLE, like.shape))
    return graph.add_node(op_type, inputs, [output], attributes, before=before).outputs[0]


SCALE_SUMS = Pass("scale_sums", scale_sums, require_types)
"""The pass; what it computes otherwise stays where it is kept, and is removed as dead elsewhere."""
