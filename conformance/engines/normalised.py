"""Layer normalisations that a model spells out, which engines compute as one.

(x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon), by five or six nodes over the last axes. An
engine that computes them together has another mean and another deviation than those that it
reports, so that where x is near the mean the quotient is off by far more than one rounding.
"""

from __future__ import annotations

import numpy as np

from engine.ir.graph import Graph, Node, Value
from engine.ir.types import FLOATS

FUSED_NORMALISATION = "fused normalisation"


def normalisation_of(node: Node) -> tuple[Value, Node] | None:
    """What a Div normalises, and the LayerNormalization that it ends; None where it does not."""
    if node.op_type != "Div" or node.outputs[0].known_type.dtype not in FLOATS:
        return None
    centred, deviation = (_maker(value) for value in node.inputs)
    if centred is None or centred.op_type != "Sub" or (root := deviation) is None:
        return None
    x, mean = centred.inputs
    axis = _mean_of(_maker(mean), x)
    if x is None or axis is None or root.op_type != "Sqrt":
        return None
    shifted = _maker(root.inputs[0])
    if shifted is None or shifted.op_type != "Add":
        return None
    epsilon = [v.constant for v in shifted.inputs if v is not None and v.constant is not None]
    averaged = [m for v in shifted.inputs if (m := _maker(v)) is not None]
    if len(epsilon) != 1 or epsilon[0].size != 1 or len(averaged) != 1:
        return None
    square = _maker(averaged[0].inputs[0])
    if square is None or not _is_square(square, centred.outputs[0]):
        return None
    if _mean_of(averaged[0], square.outputs[0]) != axis:
        return None
    return x, _alone(x, axis, float(epsilon[0].reshape(())))


def _maker(value: Value | None) -> Node | None:
    return None if value is None else value.producer


def _mean_of(node: Node | None, x: Value | None) -> int | None:
    """The first of the last axes over which a node takes the mean of x, or None."""
    if node is None or node.op_type != "ReduceMean" or x is None or node.inputs[0] is not x:
        return None
    axes = node.inputs[1].constant if len(node.inputs) > 1 and node.inputs[1] is not None else None
    if axes is None or not int(node.attributes.get("keepdims", 1)):
        return None
    rank = len(x.known_type.dims)
    found = sorted(int(a) % rank for a in axes.reshape(-1))
    return found[0] if found == list(range(rank))[-len(found) :] else None


def _is_square(node: Node, x: Value) -> bool:
    if node.op_type == "Mul":
        return all(value is x for value in node.inputs)
    if node.op_type != "Pow" or node.inputs[0] is not x or node.inputs[1] is None:
        return False
    exponent = node.inputs[1].constant
    return exponent is not None and exponent.size == 1 and bool((exponent == 2).all())


def _alone(x: Value, axis: int, epsilon: float) -> Node:
    graph = Graph("normalisation")
    type_ = x.known_type
    scale = graph.add_constant("scale", np.ones(type_.dims[axis:], type_.dtype))
    return graph.add_node(
        "LayerNormalization",
        [graph.add_input("x", type_), scale],
        [("y", type_)],
        {"axis": axis, "epsilon": epsilon},
    )
