"""Reference and error model of any node, fused ones by composition of what they replace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.errors import UnsupportedError
from engine.ir.graph import Node
from engine.ops import OPERATORS, unary
from engine.ops.numerics import Error, Units, propagate, rounded
from engine.ops.spec import Arrays, Attributes, OpSpec

ACTIVATIONS = ("Relu", "LeakyRelu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish")
"""Operators that may end a fused node; each has a `slope`."""


def spec_of(op_type: str) -> OpSpec:
    """The OpSpec; raises UnsupportedError with what exists."""
    try:
        return OPERATORS[op_type]
    except KeyError:
        raise UnsupportedError(
            f"operator {op_type!r} is not supported; supported: {', '.join(sorted(OPERATORS))}"
        ) from None


@dataclass(frozen=True)
class Epilogue:
    """What a fused node does after its core.

    Attributes:
        residual: index into `node.inputs` of a tensor of the output's shape to add, or None.
        activation: "" or one of ACTIVATIONS.
        alpha, beta: LeakyRelu: slope, 0. Clip: low, high (infinite where absent or NaN).
            HardSigmoid: alpha, beta. Others: 0, 0.
    """

    residual: int | None = None
    activation: str = ""
    alpha: float = 0.0
    beta: float = 0.0


def epilogue_of(node: Node) -> Epilogue:
    """The epilogue of a node in the fixed form core [+ Add] [+ activation]."""
    residual, activation, alpha, beta = None, "", 0.0, 0.0
    for op in node.body[1:]:
        if op.op_type == "Add":
            residual = next(i for i in op.inputs if i is not None and i < len(node.inputs))
            continue
        activation = op.op_type
        alpha, beta = _activation_parameters(node, op.op_type, dict(op.attributes), op.inputs)
    return Epilogue(residual, activation, alpha, beta)


def _activation_parameters(
    node: Node, op_type: str, attributes: dict[str, Any], inputs: tuple[int | None, ...]
) -> tuple[float, float]:
    if op_type != "Clip":
        values = unary.parameters_of(op_type, attributes)
        return values.get("alpha", 0.0), values.get("beta", 0.0)
    limits = [-np.inf, np.inf]
    for k, i in enumerate(inputs[1:3]):
        value = node.inputs[i] if i is not None else None
        if value is not None and value.constant is not None:
            number = float(value.constant.reshape(()))
            limits[k] = limits[k] if np.isnan(number) else number
    return limits[0], limits[1]


def reference_of(node: Node, inputs: Arrays) -> tuple[np.ndarray, ...]:
    """The float64 result of a node, fused or not."""
    if not node.body:
        return spec_of(node.op_type).reference(inputs, node.attributes)
    values: list[np.ndarray | None] = list(inputs)
    for op in node.body:
        args = [None if i is None else values[i] for i in op.inputs]
        values.append(spec_of(op.op_type).reference(args, op.attributes)[0])
    return (_array(values[-1]),)


def error_of(node: Node, inputs: Arrays, units: Units) -> tuple[Error, ...]:
    """The error model of a node; in a fused one storage is charged once, at the end.

    Each epilogue operator adds its own error to the propagated one: |dy/dx| times the error of
    what it reads from inside the node (slopes are global bounds, so the composition is safe). There
    is no bound where an inner result may overflow and the activation makes a number of it.
    """
    if not node.body:
        return spec_of(node.op_type).error_model(inputs, node.attributes, units)
    values: list[np.ndarray | None] = list(inputs)
    errors: list[Error | None] = [None] * len(inputs)
    inside = units.without_storage()
    for op in node.body:
        spec = spec_of(op.op_type)
        args = [None if i is None else values[i] for i in op.inputs]
        local = spec.error_model(args, op.attributes, inside)[0]
        errors.append(_with_inherited(spec, local, args, op.attributes, op.inputs, errors))
        values.append(spec.reference(args, op.attributes)[0])
    last = errors[-1]
    assert last is not None
    stored = rounded(_array(values[-1]), units, roundings=0)
    error = propagate(stored, (1 + units.u_storage, last))
    lost = _is_lost(node, values, errors, inside.largest)
    return (Error(error.sigma, np.where(lost, np.inf, error.bound)),)


def _is_lost(
    node: Node, values: Arrays, errors: Sequence[Error | None], largest: float
) -> np.ndarray:
    """Where the result would be another one if what may overflow on the way had."""
    first = len(node.inputs)
    overflown = list(values[: first + 1])
    for k, following in enumerate(node.body[1:]):
        y, error = _array(values[first + k]), errors[first + k]
        assert error is not None
        may = np.isfinite(y) & (np.abs(y) + error.bound > largest)
        overflown[first + k] = np.where(may, np.copysign(np.inf, y), overflown[first + k])
        args = [None if i is None else overflown[i] for i in following.inputs]
        overflown.append(spec_of(following.op_type).reference(args, following.attributes)[0])
    y, other = _array(values[-1]), _array(overflown[-1])
    stored = np.where(np.abs(y) > largest, np.copysign(np.inf, y), y)
    return np.asarray((other != y) & (other != stored) & np.isfinite(y))


def _with_inherited(
    spec: OpSpec,
    local: Error,
    args: Arrays,
    attributes: Attributes,
    sources: Sequence[int | None],
    errors: Sequence[Error | None],
) -> Error:
    inherited = [(k, errors[i]) for k, i in enumerate(sources) if i is not None]
    if spec.slope is None or all(e is None for _, e in inherited):
        return local
    slopes = spec.slope(args, attributes)
    return propagate(local, *((slopes[k], e) for k, e in inherited if e is not None))


def _array(value: np.ndarray | None) -> np.ndarray:
    assert value is not None
    return value


def flops_of(node: Node) -> int:
    """Arithmetic operations of one run of a node, fused ones included; types must be known."""
    given = [None if v is None else v.known_type for v in node.inputs]
    outputs = [v.known_type for v in node.outputs]
    if not node.body:
        return spec_of(node.op_type).flops(given, outputs, node.attributes)
    types = [*given, *(op.type for op in node.body)]
    return sum(
        spec_of(op.op_type).flops(
            [None if i is None else types[i] for i in op.inputs], [op.type], op.attributes
        )
        for op in node.body
    )


def nbytes_of(node: Node) -> int:
    """Bytes that a node reads and writes once, at the logical dtypes."""
    return sum(v.known_type.nbytes for v in (*node.inputs, *node.outputs) if v is not None)
