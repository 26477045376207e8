"""Elementwise functions of one tensor: flat kernels, one work-item per 1,024 elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.order import Order
from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.ir.graph import Node
from engine.ir.types import BOOL, FLOAT16, FLOATS

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend

CHUNK = 1024
"""Elements per work-item, as in kernels/unary.cl."""

INTEGER_KERNELS = ("Relu", "Neg", "Abs", "Sign", "Clip", "BitwiseNot")


def chunks(count: int) -> tuple[int]:
    """The global size of a flat kernel."""
    return (-(-count // CHUNK),)


_PARAMETERS: dict[str, tuple[tuple[str, float], ...]] = {
    "LeakyRelu": (("alpha", 0.01),),
    "HardSigmoid": (("alpha", 0.2), ("beta", 0.5)),
    "Elu": (("alpha", 1.0),),
    "Selu": (("alpha", 1.67326319217681884765625), ("gamma", 1.05070102214813232421875)),
    "Celu": (("alpha", 1.0),),
    "ThresholdedRelu": (("alpha", 1.0),),
    "Shrink": (("lambd", 0.5), ("bias", 0.0)),
    "Swish": (("alpha", 1.0),),
}
"""Attributes and their defaults, in the order in which kernels take them as alpha and beta."""
COMPARES_ALPHA = frozenset({"ThresholdedRelu", "Shrink"})
"""Kernels in which alpha decides between branches: rounded to half, it may not cross an x."""


def _why_not(backend: OpenCLBackend, node: Node) -> str | None:
    dtype = node.outputs[0].known_type.dtype
    if dtype not in FLOATS | {BOOL} and node.op_type not in INTEGER_KERNELS:
        return f"{node.op_type} has no OpenCL kernel for {dtype.name}"
    return None


def _parameters(node: Node) -> tuple[float, float]:
    """(alpha, beta) of the kernel; 0 where a function has none."""
    known = _PARAMETERS.get(node.op_type, ())
    values = [float(node.attributes.get(name, default)) for name, default in known]
    alpha, beta = (*values, 0.0, 0.0)[:2]
    return alpha, beta


def _half_below(number: float) -> float:
    """The largest half that is not above `number`: compared with halves, both decide alike."""
    nearest = np.float16(number)
    below = np.nextafter(nearest, np.float16(-np.inf))
    return float(nearest) if float(nearest) <= number else float(below)


def _prepare(backend: OpenCLBackend, node: Node) -> Kernel:
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    more = ("-DIS_PREDICATE",) if y.known_type.dtype == BOOL else ()
    program = backend.program("unary", backend.options(x.known_type.dtype, *more))
    alpha, beta = _parameters(node)
    if node.op_type in COMPARES_ALPHA and backend.compute(x.known_type.dtype) == FLOAT16:
        alpha = _half_below(alpha)

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        count = outputs[0].type.size
        return backend.command(
            program,
            node.op_type,
            chunks(count),
            (1,),
            inputs[0],
            outputs[0],
            np.int64(count),
            np.float32(alpha),
            np.float32(beta),
        )

    return BoundKernel(bind)


def _prepare_clip(backend: OpenCLBackend, node: Node) -> Kernel:
    program = backend.program("unary", backend.options(node.outputs[0].known_type.dtype))

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        x, low, high = (*inputs, None, None)[:3]
        count = outputs[0].type.size
        return backend.command(
            program,
            "Clip",
            chunks(count),
            (1,),
            x,
            low or x,
            high or x,
            outputs[0],
            np.int64(count),
            np.int32(low is not None),
            np.int32(high is not None),
        )

    return BoundKernel(bind)


def _order(backend: OpenCLBackend, node: Node) -> Order:
    """Every operation is rounded."""
    return Order(backend.compute(node.outputs[0].known_type.dtype))


_UNARY = (
    *("Relu", "Abs", "Neg", "Floor", "Ceil", "Round", "Sign", "IsNaN", "IsInf", "Sqrt"),
    *("Reciprocal", "Log", "Exp", "Sin", "Cos", "Tanh", "Erf", "Sigmoid", "LeakyRelu"),
    *("HardSigmoid", "HardSwish", "Gelu", "Not", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh"),
    *("Asinh", "Acosh", "Atanh", "Softplus", "Softsign", "Elu", "Selu", "Celu"),
    *("ThresholdedRelu", "Shrink", "Mish", "Swish", "BitwiseNot"),
)
KERNELS = {**dict.fromkeys(_UNARY, _prepare), "Clip": _prepare_clip}
WHY_NOT = dict.fromkeys(KERNELS, _why_not)
ORDERS = dict.fromkeys(("LeakyRelu", "HardSigmoid", "HardSwish", "Sigmoid"), _order)
