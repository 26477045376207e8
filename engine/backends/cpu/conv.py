"""Conv and ConvTranspose over any number of spatial axes: one BLAS product per image and group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import as_strided

from engine.backends.cpu.scratch import scratch
from engine.backends.cpu.unary import activation
from engine.ir.graph import Node
from engine.ops.compose import epilogue_of
from engine.ops.conv_window import Window, conv_transpose_window, conv_window

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend, Function, Views

Array: TypeAlias = np.ndarray
Core = Callable[[Array, Array, Array], None]
"""`core(x, w, y)`: one image without the bias; x (C, *in), w as ONNX has it, y (M, *out)."""


def _columns(x: Array, window: Window) -> Array:
    """(C, *in) to (group, C / group * taps, outputs): what every output reads.

    A kernel of one tap at stride 1 without padding reads x itself.
    """
    group = window.group
    if window.taps == 1 and set(window.strides) == {1} and not any(window.begins + window.ends):
        return x.reshape(group, x.shape[0] // group, -1)
    padded = _padded(x, window)
    steps = padded.strides[1:]
    by_tap = tuple(s * d for s, d in zip(steps, window.dilations, strict=True))
    by_output = tuple(s * d for s, d in zip(steps, window.strides, strict=True))
    shape = (x.shape[0], *window.kernel, *window.outputs)
    columns = scratch("conv columns", shape, x.dtype)
    np.copyto(columns, as_strided(padded, shape, (padded.strides[0], *by_tap, *by_output)))
    return columns.reshape(group, x.shape[0] // group * window.taps, -1)


def _inside(*index: Any) -> tuple[Any, ...]:
    """An index behind the channel axis."""
    return (slice(None), *index)


def _padded(x: Array, window: Window) -> Array:
    if not any(window.begins + window.ends):
        return x
    extents = [b + n + e for b, n, e in zip(window.begins, x.shape[1:], window.ends, strict=True)]
    padded = scratch("conv padded", (x.shape[0], *extents), x.dtype)
    padded.fill(0)
    inner = tuple(slice(b, b + n) for b, n in zip(window.begins, x.shape[1:], strict=True))
    padded[_inside(*inner)] = x
    return padded


def _conv(window: Window) -> Core:
    def core(x: Array, w: Array, y: Array) -> None:
        weights = w.reshape(window.group, w.shape[0] // window.group, -1)
        np.matmul(weights, _columns(x, window), out=y.reshape(window.group, weights.shape[1], -1))

    return core


def _conv_transpose(window: Window) -> Core:
    """Every tap's products with all inputs, then added where they belong.

    `full` is the result before cropping, on at least the extents that y keeps.
    """

    def core(x: Array, w: Array, y: Array) -> None:
        group, inputs = window.group, x.shape[1:]
        channels, outputs = x.shape[0] // group, w.shape[1]
        weights = w.reshape(group, channels, -1).transpose(0, 2, 1)
        products = scratch(
            "conv products", (group, outputs * window.taps, int(np.prod(inputs))), x.dtype
        )
        np.matmul(weights, x.reshape(group, channels, -1), out=products)
        spread = products.reshape(group * outputs, *window.kernel, *inputs)
        reached = (
            s * (n - 1) + k for s, n, k in zip(window.strides, inputs, window.spans, strict=True)
        )
        kept = (b + o for b, o in zip(window.begins, window.outputs, strict=True))
        full = scratch("conv full", (group * outputs, *map(max, reached, kept)), x.dtype)
        full.fill(0)
        for tap in product(*map(range, window.kernel)):
            at = tuple(
                slice(t * d, t * d + (n - 1) * s + 1, s)
                for t, d, n, s in zip(tap, window.dilations, inputs, window.strides, strict=True)
            )
            full[_inside(*at)] += spread[_inside(*tap)]
        inner = tuple(slice(b, b + o) for b, o in zip(window.begins, window.outputs, strict=True))
        y[...] = full[_inside(*inner)]

    return core


def _make(backend: CpuBackend, node: Node) -> Function:
    x, w = (v.known_type for v in node.inputs[:2] if v is not None)
    if node.op_type == "Conv":
        core = _conv(conv_window(x.dims, w.dims, node.attributes))
    else:
        core = _conv_transpose(conv_transpose_window(x.dims, w.dims, node.attributes))
    operands = node.body[0].inputs if node.body else range(len(node.inputs))
    bias = operands[2] if len(operands) > 2 else None
    compute = backend.compute(x.dtype)
    epilogue = epilogue_of(node)
    end = activation(epilogue.activation, epilogue.alpha, epilogue.beta)

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x, w = inputs[0], inputs[1]
        assert x is not None
        assert w is not None
        b = None if bias is None else inputs[bias]
        residual = None if epilogue.residual is None else inputs[epilogue.residual]
        w = w.astype(compute, copy=False)
        for n in range(x.shape[0] if outputs[0].size else 0):
            y = outputs[0][n]
            image = y if y.dtype == compute else scratch("conv y", y.shape, compute)
            if x.size:
                core(x[n].astype(compute, copy=False), w, image)
            else:
                image.fill(0)
            if b is not None:
                image += b.reshape(-1, *[1] * (image.ndim - 1))
            if residual is not None:
                image += residual[n]
            if end is not None:
                end(image, image)
            if image is not y:
                y[...] = image

    return run


KERNELS = {"Conv": _make, "ConvTranspose": _make}
