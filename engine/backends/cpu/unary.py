"""Elementwise functions of one tensor, in the tensor's own dtype (half in float)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.ir.graph import Node

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views

Into = Callable[[np.ndarray, np.ndarray], object]
"""`into(x, out)`: computes f(x) into `out`, which may be `x` itself."""


def _sigmoid(x: np.ndarray, out: np.ndarray) -> None:
    np.negative(x, out=out)
    np.exp(out, out=out)
    out += 1
    np.reciprocal(out, out=out)


def _hard_sigmoid(alpha: float, beta: float) -> Into:
    def into(x: np.ndarray, out: np.ndarray) -> None:
        np.multiply(x, x.dtype.type(alpha), out=out)
        out += out.dtype.type(beta)
        np.clip(out, 0, 1, out=out)

    return into


def _hard_swish(x: np.ndarray, out: np.ndarray) -> None:
    gate = np.empty_like(x)
    _hard_sigmoid(1 / 6, 0.5)(x, gate)
    np.multiply(x, gate, out=out)


def _leaky_relu(alpha: float) -> Into:
    def into(x: np.ndarray, out: np.ndarray) -> None:
        scaled = np.multiply(x, x.dtype.type(alpha), out=np.empty_like(x))
        np.copyto(scaled, x, where=~(x < 0))
        out[...] = scaled

    return into


# W. J. Cody, "Rational Chebyshev approximation for the error function", Math. Comp. 23 (1969).
_ERF_NUMERATOR = (
    3.16112374387056560e00,
    1.13864154151050156e02,
    3.77485237685302021e02,
    3.20937758913846947e03,
    1.85777706184603153e-1,
)
_ERF_DENOMINATOR = (
    2.36012909523441209e01,
    2.44024637934444173e02,
    1.28261652607737228e03,
    2.84423683343917062e03,
)
_ERFC_NUMERATOR = (
    5.64188496988670089e-1,
    8.88314979438837594e00,
    6.61191906371416295e01,
    2.98635138197400131e02,
    8.81952221241769090e02,
    1.71204761263407058e03,
    2.05107837782607147e03,
    1.23033935479799725e03,
    2.15311535474403846e-8,
)
_ERFC_DENOMINATOR = (
    1.57449261107098347e01,
    1.17693950891312499e02,
    5.37181101862009858e02,
    1.62138957456669019e03,
    3.29079923573345963e03,
    4.36261909014324716e03,
    3.43936767414372164e03,
    1.23033935480374942e03,
)


def _erf(x: np.ndarray, out: np.ndarray) -> None:
    """Cody's two middle intervals in float64; |x| >= 4 gives +-1 in float, far beyond in double."""
    a = np.abs(x.astype(np.float64))
    z = a * a
    small = _ERF_NUMERATOR[4] * z
    below = z.copy()
    for n, d in zip(_ERF_NUMERATOR[:3], _ERF_DENOMINATOR[:3], strict=True):
        small = (small + n) * z
        below = (below + d) * z
    small = a * (small + _ERF_NUMERATOR[3]) / (below + _ERF_DENOMINATOR[3])
    large = _ERFC_NUMERATOR[8] * a
    below = a.copy()
    for n, d in zip(_ERFC_NUMERATOR[:7], _ERFC_DENOMINATOR[:7], strict=True):
        large = (large + n) * a
        below = (below + d) * a
    large = (large + _ERFC_NUMERATOR[7]) / (below + _ERFC_DENOMINATOR[7])
    large = 1 - np.exp(-z) * large
    result = np.where(a <= 0.46875, small, np.where(a < 6, large, 1.0))
    out[...] = np.copysign(np.where(np.isnan(a), a, result), x)


def _gelu(x: np.ndarray, out: np.ndarray) -> None:
    gate = np.multiply(x, x.dtype.type(math.sqrt(0.5)), out=np.empty_like(x))
    _erf(gate, gate)
    gate += 1
    gate *= 0.5
    np.multiply(x, gate, out=out)


def _softplus(x: np.ndarray, out: np.ndarray) -> None:
    tail = np.abs(x, out=np.empty_like(x))
    np.negative(tail, out=tail)
    np.exp(tail, out=tail)
    np.log1p(tail, out=tail)
    np.maximum(x, 0, out=out)
    out += tail


def _softsign(x: np.ndarray, out: np.ndarray) -> None:
    below = np.abs(x, out=np.empty_like(x))
    below += 1
    np.divide(x, below, out=out)


def _elu(alpha: float, gamma: float = 1.0, width: float = 1.0) -> Into:
    """gamma (x < 0 ? alpha expm1(x / width) : x): Elu, Selu (gamma), Celu (width = alpha)."""

    def into(x: np.ndarray, out: np.ndarray) -> None:
        number = x.dtype.type
        below = np.minimum(x, 0, out=np.empty_like(x))
        if width != 1:
            below /= number(width)
        np.expm1(below, out=below)
        below *= number(alpha)
        np.copyto(below, x, where=~(x < 0))
        np.multiply(below, number(gamma), out=out) if gamma != 1 else np.copyto(out, below)

    return into


def _thresholded_relu(alpha: float) -> Into:
    def into(x: np.ndarray, out: np.ndarray) -> None:
        out[...] = np.where(x > x.dtype.type(alpha), x, x.dtype.type(0))

    return into


def _shrink(lambd: float, bias: float) -> Into:
    def into(x: np.ndarray, out: np.ndarray) -> None:
        threshold, step = x.dtype.type(lambd), x.dtype.type(bias)
        above = np.where(x > threshold, x - step, x.dtype.type(0))
        out[...] = np.where(x < -threshold, x + step, above)

    return into


def _mish(x: np.ndarray, out: np.ndarray) -> None:
    gate = np.empty_like(x)
    _softplus(x, gate)
    np.tanh(gate, out=gate)
    np.multiply(x, gate, out=out)


def _swish(alpha: float) -> Into:
    def into(x: np.ndarray, out: np.ndarray) -> None:
        below = np.multiply(x, x.dtype.type(-alpha), out=np.empty_like(x))
        np.exp(below, out=below)
        below += 1
        np.divide(x, below, out=out)

    return into


def activation(op_type: str, alpha: float, beta: float) -> Into | None:
    """The in-place function of an epilogue activation, None for ""."""
    if op_type == "Clip":
        return lambda x, out: np.clip(x, x.dtype.type(alpha), x.dtype.type(beta), out=out)
    attributes = {"LeakyRelu": {"alpha": alpha}, "HardSigmoid": {"alpha": alpha, "beta": beta}}
    return function_of(op_type, attributes.get(op_type, {})) if op_type else None


def function_of(op_type: str, attributes: dict[str, Any]) -> Into:
    """`into(x, out)` of a unary operator."""
    if op_type in _WITH_PARAMETERS:
        make, defaults = _WITH_PARAMETERS[op_type]
        return make(*(float(np.float32(attributes.get(k, v))) for k, v in defaults.items()))
    return _FUNCTIONS[op_type]


_WITH_PARAMETERS: dict[str, tuple[Callable[..., Into], dict[str, float]]] = {
    "LeakyRelu": (_leaky_relu, {"alpha": 0.01}),
    "HardSigmoid": (_hard_sigmoid, {"alpha": 0.2, "beta": 0.5}),
    "Elu": (_elu, {"alpha": 1.0}),
    "Selu": (_elu, {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875}),
    "Celu": (lambda alpha: _elu(alpha, width=alpha), {"alpha": 1.0}),
    "ThresholdedRelu": (_thresholded_relu, {"alpha": 1.0}),
    "Shrink": (_shrink, {"lambd": 0.5, "bias": 0.0}),
    "Swish": (_swish, {"alpha": 1.0}),
}
"""Operators with attributes: what makes the function, and the attributes in its order."""

_FUNCTIONS: dict[str, Into] = {
    "Relu": lambda x, out: np.maximum(x, 0, out=out),
    "Abs": lambda x, out: np.abs(x, out=out),
    "Neg": lambda x, out: np.negative(x, out=out),
    "Floor": lambda x, out: np.floor(x, out=out),
    "Ceil": lambda x, out: np.ceil(x, out=out),
    "Round": lambda x, out: np.rint(x, out=out),
    "Sign": lambda x, out: np.sign(x, out=out),
    "IsNaN": lambda x, out: np.isnan(x, out=out),
    "IsInf": lambda x, out: np.isinf(x, out=out),
    "Sqrt": lambda x, out: np.sqrt(x, out=out),
    "Reciprocal": lambda x, out: np.reciprocal(x, out=out),
    "Log": lambda x, out: np.log(x, out=out),
    "Exp": lambda x, out: np.exp(x, out=out),
    "Sin": lambda x, out: np.sin(x, out=out),
    "Cos": lambda x, out: np.cos(x, out=out),
    "Tanh": lambda x, out: np.tanh(x, out=out),
    "Erf": _erf,
    "Sigmoid": _sigmoid,
    "HardSwish": _hard_swish,
    "Gelu": _gelu,
    "Not": lambda x, out: np.logical_not(x, out=out),
    "BitwiseNot": lambda x, out: np.invert(x, out=out),
    "Tan": lambda x, out: np.tan(x, out=out),
    "Asin": lambda x, out: np.arcsin(x, out=out),
    "Acos": lambda x, out: np.arccos(x, out=out),
    "Atan": lambda x, out: np.arctan(x, out=out),
    "Sinh": lambda x, out: np.sinh(x, out=out),
    "Cosh": lambda x, out: np.cosh(x, out=out),
    "Asinh": lambda x, out: np.arcsinh(x, out=out),
    "Acosh": lambda x, out: np.arccosh(x, out=out),
    "Atanh": lambda x, out: np.arctanh(x, out=out),
    "Softplus": _softplus,
    "Softsign": _softsign,
    "Mish": _mish,
}


def _make(backend: CpuBackend, node: Node) -> Function:
    into = function_of(node.op_type, node.attributes)

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        (x, *_), (out,) = inputs, outputs
        assert x is not None
        if x.ndim == 0:  # arithmetic on rank 0 gives scalars, which `out=` refuses
            x, out = x.reshape(1), out.reshape(1)
        if x.dtype == np.float16 and out.dtype == np.float16:
            wide = x.astype(np.float32)
            into(wide, wide)
            out[...] = wide
        else:
            into(x, out)

    return run


def _is_none(limit: np.ndarray | None) -> bool:
    """Absent, or NaN."""
    return limit is None or bool(np.isnan(limit).any())


def _make_clip(backend: CpuBackend, node: Node) -> Function:
    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x, low, high = (*inputs, None, None)[:3]
        y = x if _is_none(low) else np.maximum(x, low.reshape(()))
        outputs[0][...] = y if _is_none(high) else np.minimum(y, high.reshape(()))

    return run


KERNELS = {
    **dict.fromkeys((*_FUNCTIONS, *_WITH_PARAMETERS), _make),
    "Clip": _make_clip,
}
