"""What a model's outputs should be: its imported graph in float64, with bounds carried along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ml_dtypes
import numpy as np

from conformance.judge import float64_inputs, units_for
from engine.backends.protocol import Backend
from engine.ir.graph import Graph, Node, Value
from engine.ir.types import BFLOAT16, FLOATS, NARROW_FLOATS
from engine.ops.compose import error_of, reference_of, spec_of
from engine.ops.numerics import Units, finite

Arrays = Mapping[str, np.ndarray]
STEPS = frozenset({"Ceil", "Floor", "Round", "Sign"})
"""Functions that never fall and jump: an error may carry an argument over a jump."""


@dataclass(frozen=True)
class Expected:
    """One output.

    Attributes:
        reference: float64 for floating-point tensors, else of its own dtype.
        bound: worst case of an honest engine, per element; infinite where none is derived.
        units: of the node that computes it. dtype: as the graph types it.
        op_type: of the node that computes it, by the newest name.
    """

    reference: np.ndarray
    bound: np.ndarray
    units: Units
    dtype: np.dtype
    op_type: str


def expect(graph: Graph, feeds: Arrays, backend: Backend) -> dict[str, Expected]:
    """By output name.

    Args:
        graph: as imported, bound to shapes and typed; nothing folded or fused, so that whatever
            passes do to it shows.
    """
    values: dict[Value, np.ndarray] = {}
    bounds: dict[Value, np.ndarray] = {}
    makers: dict[Value, tuple[Node | None, Units]] = {}
    nothing = Units(np.dtype(np.float32), np.dtype(np.float32))
    for value in graph.inputs:
        values[value] = _wide(feeds[value.name])
    for node in graph.nodes:
        arrays = [None if v is None else _value(v, values) for v in node.inputs]
        units = units_for(backend, node)
        with np.errstate(all="ignore"):
            results = [np.asarray(y) for y in reference_of(node, arrays)]
            inherited = [None if v is None else bounds.get(v) for v in node.inputs]
            found = _bounds(node, arrays, results, inherited, units)
        for out, y, bound in zip(node.outputs, results, found, strict=False):
            values[out], makers[out] = y, (node, units)
            if np.any(bound):
                bounds[out] = bound
    outputs = {}
    for value in graph.outputs:
        y, (maker, units) = _value(value, values), makers.get(value, (None, nothing))
        name = maker.op_type if maker is not None else "no node"
        bound = bounds.get(value, np.zeros(y.shape))
        outputs[value.name] = Expected(y, bound, units, value.known_type.dtype, name)
    return outputs


def _bounds(
    node: Node,
    inputs: Sequence[np.ndarray | None],
    outputs: Sequence[np.ndarray],
    inherited: Sequence[np.ndarray | None],
    units: Units,
) -> list[np.ndarray]:
    """The node's own bound, and what the errors of its inputs become in it.

    Elementwise operators magnify them by their slope, or jump; what moves, repeats or selects
    elements does to errors what it does to elements; of anything else no bound is known.
    """
    errors = [
        np.broadcast_to(e.bound, y.shape) for e, y in zip(error_of(node, inputs, units), outputs)
    ]
    if all(b is None for b in inherited):
        return errors
    spec = spec_of(node.op_type)
    if spec.slope is not None:
        slopes = spec.slope(inputs, node.attributes)
        parts = [np.asarray(s) * b for s, b in zip(slopes, inherited) if b is not None]
        return [errors[0] + sum(parts)]
    if node.op_type in STEPS:
        (x,), (b,), (y,) = inputs, inherited, outputs
        assert x is not None
        assert b is not None
        ends = (reference_of(node, [end])[0] for end in (x - b, x + b))
        off = [np.where((end == y) | np.isnan(y), 0.0, np.abs(end - y)) for end in ends]
        return [np.max(np.nan_to_num(off, nan=np.inf, posinf=np.inf), axis=0)]
    if node.op_type == "Cast" and (to := node.outputs[0].known_type.dtype) in NARROW_FLOATS:
        step = float(ml_dtypes.finfo(to).eps) * finite(outputs[0])  # rounded to a neighbour
        floor = float(ml_dtypes.finfo(to).smallest_subnormal)
        return [b + step + floor for b in inherited if b is not None]
    if any(e.any() for e in errors) or outputs[0].dtype != np.float64:
        return [np.full(y.shape, np.inf) for y in outputs]
    moved = [
        x if x is None or x.dtype != np.float64 else np.zeros(x.shape) if b is None else b
        for x, b in zip(inputs, inherited)
    ]
    return [np.abs(y) for y in reference_of(node, moved)]


def _value(value: Value, values: Mapping[Value, np.ndarray]) -> np.ndarray:
    return values[value] if value.constant is None else _wide(value.constant)


def _wide(array: np.ndarray) -> np.ndarray:
    (wide,) = float64_inputs([array])
    assert wide is not None
    return wide


def is_float(dtype: np.dtype) -> bool:
    """Whether a dtype is one that rounds."""
    return dtype in FLOATS | {BFLOAT16}
