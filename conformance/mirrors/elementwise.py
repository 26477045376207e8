"""Elementwise operators of several operations: each of them rounded."""

from __future__ import annotations

import numpy as np

from conformance.mirrors.arithmetic import Arithmetic, Range
from conformance.mirrors.asked import Asked
from conformance.mirrors.epilogues import activated
from engine.ops.compose import Epilogue
from engine.ops.unary import parameters_of


def activation(asked: Asked, arithmetic: Arithmetic) -> Range:
    """LeakyRelu, HardSigmoid, HardSwish, Sigmoid, as at the end of a fused kernel."""
    op = asked.node.op_type
    values = parameters_of(op, dict(asked.node.attributes))
    epilogue = Epilogue(None, op, values.get("alpha", 0.0), values.get("beta", 0.0))
    x = arithmetic.numbers(asked.array(0)[asked.at])
    return activated(arithmetic, epilogue, x, asked.storage)


def binary(asked: Asked, arithmetic: Arithmetic) -> Range:
    """Add, Sub, Mul, Div."""
    shape = asked.node.outputs[0].known_type.dims
    a, b = (arithmetic.numbers(np.broadcast_to(asked.array(i), shape)[asked.at]) for i in range(2))
    operation = {
        "Add": arithmetic.add,
        "Sub": arithmetic.subtract,
        "Mul": arithmetic.multiply,
        "Div": arithmetic.divide,
    }[asked.node.op_type]
    return operation(a, b)
