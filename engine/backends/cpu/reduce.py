"""Reductions by NumPy's own (pairwise sums); half in float."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.ir.graph import Node
from engine.ops.reduce import Axes, reduced_axes

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views

Array = np.ndarray
Reduce = Callable[[Array, Axes], Any]
"""`reduce(x, axes)`, reduced axes kept as extents 1."""


def _sum(x: Array, axes: Axes) -> Array:
    """Pairwise: NumPy sums so along a contiguous last axis only, elsewhere one by one."""
    kept = tuple(a for a in range(x.ndim) if a not in axes)
    count = int(np.prod([x.shape[a] for a in axes], dtype=np.int64))
    rows = np.ascontiguousarray(np.transpose(x, (*kept, *axes)))
    rows = rows.reshape(*(x.shape[a] for a in kept), count)
    total = np.asarray(np.add.reduce(rows, axis=-1, dtype=x.dtype))
    return total.reshape([1 if a in axes else x.shape[a] for a in range(x.ndim)])


def _mean(x: Array, axes: Axes) -> Array:
    n = int(np.prod([x.shape[a] for a in axes], dtype=np.int64))
    total = _sum(x, axes)
    if x.dtype.kind == "f":
        mean: Array = total / x.dtype.type(n)
        return mean
    if n == 0:
        return np.zeros_like(total)
    down = total // n
    whole: Array = down + ((total % n != 0) & (total < 0))
    return whole


def _extreme(function: np.ufunc, sign: int) -> Reduce:
    def reduce(x: Array, axes: Axes) -> Array:
        if x.dtype.kind == "b":
            worst: Any = sign > 0
        elif x.dtype.kind == "f":
            worst = sign * np.inf
        else:
            worst = np.iinfo(x.dtype).max if sign > 0 else np.iinfo(x.dtype).min
        y: Array = function.reduce(x, axis=axes, keepdims=True, initial=worst)
        return y

    return reduce


def _log_sum_exp(x: Array, axes: Axes) -> Array:
    largest = np.maximum.reduce(x, axis=axes, keepdims=True, initial=-np.inf)
    shift = np.where(np.isfinite(largest), largest, x.dtype.type(0))
    y: Array = shift + np.log(_sum(np.exp(x - shift), axes))
    return y


_FUNCTIONS: dict[str, Reduce] = {
    "ReduceSum": _sum,
    "ReduceMean": _mean,
    "ReduceMax": _extreme(np.maximum, -1),
    "ReduceMin": _extreme(np.minimum, 1),
    "ReduceProd": lambda x, axes: np.multiply.reduce(x, axis=axes, dtype=x.dtype, keepdims=True),
    "ReduceL1": lambda x, axes: _sum(np.abs(x), axes),
    "ReduceL2": lambda x, axes: np.sqrt(_sum(np.square(x), axes)),
    "ReduceSumSquare": lambda x, axes: _sum(np.square(x), axes),
    "ReduceLogSum": lambda x, axes: np.log(_sum(x, axes)),
    "ReduceLogSumExp": _log_sum_exp,
}


def _make(backend: CpuBackend, node: Node) -> Function:
    function = _FUNCTIONS[node.op_type]
    source, axes_value = (*node.inputs, None)[:2]
    assert source is not None
    listed = axes_value.constant if axes_value is not None else None
    axes = reduced_axes(node.op_type, len(source.known_type.shape), listed, node.attributes)

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x, out = inputs[0], outputs[0]
        assert x is not None
        wide = x.astype(np.float32) if x.dtype == np.float16 else x
        out[...] = np.reshape(function(wide, axes), out.shape)

    return run


KERNELS = dict.fromkeys(_FUNCTIONS, _make)
