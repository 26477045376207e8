"""Elementwise functions of several tensors: NumPy's broadcasting ufuncs into the output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.cpu.cast import to_integers
from engine.ir.graph import Node

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views

Into = Callable[[np.ndarray, np.ndarray, np.ndarray], None]


def _divide(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """Integers truncate towards zero; dividing by 0 gives 0."""
    if a.dtype.kind == "f":
        np.divide(a, b, out=out)
        return
    floor = np.floor_divide(a, b)
    floor += (floor * b != a) & ((a < 0) != (b < 0))
    out[...] = np.where(b == 0, 0, floor)


def _modulo(fmod: bool) -> Into:
    def into(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
        (np.fmod if fmod else np.remainder)(a, b, out=out)

    return into


HELD_BY_FLOATS = 2**24
"""Integers below it are floats."""


def _power(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """In the wider float dtype; half in float. Integer powers wrap, 1 / a ** |b| truncates."""
    if a.dtype.kind == "f":
        wide = np.result_type(a, np.float64 if b.dtype == np.float64 else np.float32)
        exponent = b.astype(wide)
        if b.dtype.kind == "f" or np.abs(exponent).max(initial=0) < HELD_BY_FLOATS:
            _real_power(a.astype(wide, copy=False), exponent, out)
        else:  # a float may lose the parity of the exponent
            real = np.empty(out.shape)
            _real_power(np.abs(a).astype(np.float64), b.astype(np.float64), real)
            np.negative(real, out=real, where=np.signbit(a) & (b & 1 == 1))
            out[...] = real
    elif b.dtype.kind == "f":
        real = np.empty(out.shape)
        _real_power(a.astype(np.float64), b.astype(np.float64), real)
        to_integers(real, out)
    else:
        exponent = np.maximum(b, 0).astype(np.uint64)  # it may be wider than the base
        whole = np.power(a.astype(np.uint64), exponent).astype(a.dtype)
        unit = np.where(b % 2 == 0, 1, a)
        below = np.where((a == 1) | (a + 1 == 0), unit, 0)
        out[...] = np.where(b < 0, below, whole)


def _real_power(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """C's pow, but a square is a product.

    The exponent is spread out first: where a stride of 0 repeats it, NumPy takes shortcuts, of
    which sqrt makes (-inf) ** 0.5 NaN and (-0) ** 0.5 -0.
    """
    if b.size == 1 and b.flat[0] == 2:
        out[...] = a * a
        return
    y = np.array(np.broadcast_to(b, out.shape))
    squares = y == 2
    np.power(a, y, out=y)
    out[...] = np.multiply(a, a, out=y, where=squares)


def _prelu(x: np.ndarray, slope: np.ndarray, out: np.ndarray) -> None:
    np.multiply(x, slope, out=out)
    np.copyto(out, x, where=~(x < 0))


def _ufunc(function: np.ufunc) -> Into:
    return lambda a, b, out: function(a, b, out=out)


_FUNCTIONS: dict[str, Into] = {
    "Add": _ufunc(np.add),
    "Sub": _ufunc(np.subtract),
    "Mul": _ufunc(np.multiply),
    "Div": _divide,
    "Pow": _power,
    "PRelu": _prelu,
    "Equal": _ufunc(np.equal),
    "Greater": _ufunc(np.greater),
    "GreaterOrEqual": _ufunc(np.greater_equal),
    "Less": _ufunc(np.less),
    "LessOrEqual": _ufunc(np.less_equal),
    "And": _ufunc(np.logical_and),
    "Or": _ufunc(np.logical_or),
    "Xor": _ufunc(np.logical_xor),
    "BitwiseAnd": _ufunc(np.bitwise_and),
    "BitwiseOr": _ufunc(np.bitwise_or),
    "BitwiseXor": _ufunc(np.bitwise_xor),
}


def _by_attribute(node: Node) -> Into:
    """NumPy's shifts are ONNX's beyond the width too."""
    if node.op_type == "BitShift":
        return _ufunc(np.left_shift if node.attributes["direction"] == "LEFT" else np.right_shift)
    return _modulo(bool(node.attributes.get("fmod", 0)))


def _make(backend: CpuBackend, node: Node) -> Function:
    into = _FUNCTIONS.get(node.op_type) or _by_attribute(node)

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        a, b = inputs
        assert a is not None
        assert b is not None
        into(a, b, outputs[0])

    return run


_VARIADIC = {"Max": np.maximum, "Min": np.minimum, "Sum": np.add, "Mean": np.add}


def _make_variadic(backend: CpuBackend, node: Node) -> Function:
    """From left to right; Mean divides every term first, as its error model says."""
    function, mean = _VARIADIC[node.op_type], node.op_type == "Mean"

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        (out,), (first, *rest) = outputs, inputs
        assert first is not None
        half = out.dtype == np.float16
        total = np.empty(out.shape, np.float32) if half else out
        count = total.dtype.type(len(inputs))
        if mean:
            np.divide(first, count, out=total)
        else:
            total[...] = first
        for other in rest:
            assert other is not None
            function(total, other / count if mean else other, out=total)
        if half:
            out[...] = total

    return run


def _make_where(backend: CpuBackend, node: Node) -> Function:
    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        condition, a, b = inputs
        assert condition is not None
        assert a is not None
        assert b is not None
        out = outputs[0]
        out[...] = b
        np.copyto(out, a, where=condition)

    return run


KERNELS = {
    **dict.fromkeys((*_FUNCTIONS, "Mod", "BitShift"), _make),
    **dict.fromkeys(_VARIADIC, _make_variadic),
    "Where": _make_where,
}
