"""Normalizations in the tensor's own dtype (half in float), mean and variance in two passes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from engine.ir.graph import Node
from engine.ops.normalization import epsilon_of
from engine.ops.reduce import normal_axis

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views

Array = np.ndarray


def _wide(array: Array) -> Array:
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _mean(rows: Array) -> Array:
    """(rows, 1) in the dtype of the rows; np.mean would warn of empty ones."""
    mean: Array = np.add.reduce(rows, axis=1, keepdims=True)
    mean /= rows.dtype.type(rows.shape[1])
    return mean


def normalize_rows(x: Array, out: Array, epsilon: float) -> tuple[Array, Array]:
    """(x - mean) / sqrt(variance + epsilon) of every row of x (rows, n) into `out`.

    Returns (mean, 1 / sqrt(...)), each (rows, 1).
    """
    first = _mean(x)
    np.subtract(x, first, out=out)
    rest = _mean(out)
    out -= rest
    variance = _mean(np.square(out))
    inverse = 1 / np.sqrt(variance + x.dtype.type(epsilon))
    out *= inverse
    return first + rest, inverse


def _make_layer(backend: CpuBackend, node: Node) -> Function:
    epsilon = epsilon_of(node.attributes)

    def run(inputs: Views, outputs: Sequence[Array]) -> None:
        x, scale, bias = (*inputs, None)[:3]
        assert x is not None
        assert scale is not None
        axis = normal_axis(node.op_type, int(node.attributes.get("axis", -1)), x.ndim)
        shape = (prod(x.shape[:axis]), prod(x.shape[axis:]))
        wide = _wide(x).reshape(shape)
        y = outputs[0] if outputs[0].dtype == wide.dtype else np.empty(x.shape, wide.dtype)
        mean, inverse = normalize_rows(wide, y.reshape(shape), epsilon)
        y *= scale
        if bias is not None:
            y += bias
        if y is not outputs[0]:
            outputs[0][...] = y
        for statistic, out in zip((mean, inverse), outputs[1:], strict=False):
            out[...] = statistic.reshape(out.shape)

    return run


def _make_rms(backend: CpuBackend, node: Node) -> Function:
    epsilon = epsilon_of(node.attributes)

    def run(inputs: Views, outputs: Sequence[Array]) -> None:
        x, scale = inputs
        assert x is not None
        assert scale is not None
        axis = normal_axis(node.op_type, int(node.attributes.get("axis", -1)), x.ndim)
        rows = _wide(x).reshape(prod(x.shape[:axis]), prod(x.shape[axis:]))
        y = outputs[0] if outputs[0].dtype == rows.dtype else np.empty(x.shape, rows.dtype)
        root = np.sqrt(_mean(np.square(rows)) + rows.dtype.type(epsilon))
        np.multiply(rows, 1 / root, out=y.reshape(rows.shape))
        y *= scale
        if y is not outputs[0]:
            outputs[0][...] = y

    return run


def _make_by_channel(backend: CpuBackend, node: Node) -> Function:
    epsilon = epsilon_of(node.attributes)
    groups = node.attributes.get("num_groups")

    def run(inputs: Views, outputs: Sequence[Array]) -> None:
        x, scale, bias = inputs
        assert x is not None
        assert scale is not None
        assert bias is not None
        n, channels, pixels = x.shape[0], x.shape[1], prod(x.shape[2:])
        parts = max(channels, 1) if groups is None else int(groups)
        wide = _wide(x)
        y = outputs[0] if outputs[0].dtype == wide.dtype else np.empty(x.shape, wide.dtype)
        shape = (n * parts, channels // parts * pixels)
        normalize_rows(wide.reshape(shape), y.reshape(shape), epsilon)
        column = (-1, *[1] * (x.ndim - 2))
        y *= scale.reshape(column)
        y += bias.reshape(column)
        if y is not outputs[0]:
            outputs[0][...] = y

    return run


def _make_batch(backend: CpuBackend, node: Node) -> Function:
    epsilon = epsilon_of(node.attributes)

    def run(inputs: Views, outputs: Sequence[Array]) -> None:
        x, *parameters = inputs
        assert x is not None
        known = [_wide(p) for p in parameters if p is not None]
        wide = _wide(x).astype(np.result_type(_wide(x), *known), copy=False)
        column = (-1, *[1] * (x.ndim - 2))
        scale, bias, mean, variance = (p.astype(wide.dtype, copy=False) for p in known)
        factor = scale / np.sqrt(variance + wide.dtype.type(epsilon))
        y = outputs[0] if outputs[0].dtype == wide.dtype else np.empty(x.shape, wide.dtype)
        np.subtract(wide, mean.reshape(column), out=y)
        y *= factor.reshape(column)
        y += bias.reshape(column)
        if y is not outputs[0]:
            outputs[0][...] = y

    return run


KERNELS = {
    "BatchNormalization": _make_batch,
    "LayerNormalization": _make_layer,
    "RMSNormalization": _make_rms,
    "InstanceNormalization": _make_by_channel,
    "GroupNormalization": _make_by_channel,
}
