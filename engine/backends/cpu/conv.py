"""Conv and ConvTranspose over any number of spatial axes: BLAS products of gathered columns."""

from __future__ import annotations

import math
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
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views
    from engine.backends.cpu.team import Team

Array: TypeAlias = np.ndarray
Finish = Callable[[int, int, int], None]
"""`finish(rows, start, stop)`: bias, residual and activation on a part of y.

y counts as (M, rows, -1), and the part is [:, start:stop].
"""
Core = Callable[[Array, Array, Array, Finish], None]
"""`core(x, w, y, finish)`: one image; x (C, *in), w as ONNX has it, y (M, *out)."""

PART_FLOPS = 2_000_000
"""Work that is worth a second thread."""


def _conv(window: Window, team: Team) -> Core:
    """Rows of the output are shared out; each part gathers its columns and multiplies them."""
    group, strides = window.group, set(window.strides)
    is_pointwise = window.taps == 1 and strides == {1} and not any(window.begins + window.ends)

    def core(x: Array, w: Array, y: Array, finish: Finish) -> None:
        weights = w.reshape(group, w.shape[0] // group, -1)
        rows = math.prod(y.shape[1:]) if is_pointwise else y.shape[1]
        source = x.reshape(group, -1, rows) if is_pointwise else _padded(x, window)
        sums = y.reshape(group, weights.shape[1], rows, -1)

        def part(start: int, stop: int) -> None:
            out = sums[:, :, start:stop].reshape(*sums.shape[:2], -1)
            if is_pointwise:
                columns = source[:, :, start:stop]
            else:
                columns = _columns(source, window, start, stop)
            np.matmul(weights, columns, out=out)
            finish(rows, start, stop)

        flops_per_row = 2 * w.size * sums.shape[3]
        team.split(rows, part, PART_FLOPS // max(flops_per_row, 1) + 1)

    return core


def _columns(padded: Array, window: Window, start: int, stop: int) -> Array:
    """What the output rows [start, stop) read: (group, C / group * taps, outputs)."""
    steps = padded.strides[1:]
    by_tap = tuple(s * d for s, d in zip(steps, window.dilations, strict=True))
    by_output = tuple(s * d for s, d in zip(steps, window.strides, strict=True))
    shape = (padded.shape[0], *window.kernel, stop - start, *window.outputs[1:])
    columns = scratch("conv columns", shape, padded.dtype)
    first = padded[:, start * window.strides[0] :]
    np.copyto(columns, as_strided(first, shape, (padded.strides[0], *by_tap, *by_output)))
    return columns.reshape(window.group, padded.shape[0] // window.group * window.taps, -1)


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


def _conv_transpose(window: Window, team: Team) -> Core:
    """Outputs of a group are shared out: every tap's products are added where they belong.

    `full` is the result before cropping, on at least the extents that y keeps.
    """
    group = window.group

    def core(x: Array, w: Array, y: Array, finish: Finish) -> None:
        inputs, outputs = x.shape[1:], w.shape[1]
        weights = w.reshape(group, -1, outputs, window.taps)
        sums = y.reshape(group, outputs, *window.outputs)

        def part(start: int, stop: int) -> None:
            some = weights[:, :, start:stop].reshape(group, weights.shape[1], -1).swapaxes(1, 2)
            shape = (*some.shape[:2], math.prod(inputs))
            products = scratch("conv products", shape, x.dtype)
            np.matmul(some, x.reshape(group, -1, shape[2]), out=products)
            spread = products.reshape(group, stop - start, *window.kernel, *inputs)
            sums[:, start:stop] = _gathered(spread, window)

        team.split(outputs, part, PART_FLOPS // max(2 * x.size * window.taps, 1) + 1)
        finish(1, 0, 1)

    return core


def _gathered(spread: Array, window: Window) -> Array:
    """(group, outputs, *kernel, *in) to (group, outputs, *out): the sums of what meets there."""
    inputs = spread.shape[2 + len(window.kernel) :]
    steps = zip(window.strides, inputs, window.spans, strict=True)
    reached = (stride * (extent - 1) + span for stride, extent, span in steps)
    kept = (b + o for b, o in zip(window.begins, window.outputs, strict=True))
    full = scratch("conv full", (*spread.shape[:2], *map(max, reached, kept)), spread.dtype)
    full.fill(0)
    for tap in product(*map(range, window.kernel)):
        at = tuple(
            slice(t * d, t * d + (n - 1) * s + 1, s)
            for t, d, n, s in zip(tap, window.dilations, inputs, window.strides, strict=True)
        )
        full[_inside(slice(None), *at)] += spread[_inside(slice(None), *tap)]
    inner = (slice(b, b + o) for b, o in zip(window.begins, window.outputs, strict=True))
    result: Array = full[_inside(slice(None), *inner)]
    return result


def _make(backend: CpuBackend, node: Node) -> Function:
    x, w = (v.known_type for v in node.inputs[:2] if v is not None)
    make, window_of = (
        (_conv, conv_window) if node.op_type == "Conv" else (_conv_transpose, conv_transpose_window)
    )
    core = make(window_of(x.dims, w.dims, node.attributes), backend.team)
    operands = node.body[0].inputs if node.body else range(len(node.inputs))
    bias = operands[2] if len(operands) > 2 else None
    compute = backend.compute(x.dtype)
    epilogue = epilogue_of(node)
    activate = activation(epilogue.activation, epilogue.alpha, epilogue.beta)

    def image(x: Array, w: Array, b: Array | None, residual: Array | None, y: Array) -> None:
        def finish(rows: int, start: int, stop: int) -> None:
            part = y.reshape(y.shape[0], rows, -1)[:, start:stop]
            if b is not None:
                part += b[:, None, None]
            if residual is not None:
                part += residual.reshape(y.shape[0], rows, -1)[:, start:stop]
            if activate is not None:
                activate(part, part)

        if x.size:
            core(x, w, y, finish)
        else:
            y.fill(0)
            finish(1, 0, 1)

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x, w = inputs[0], inputs[1]
        assert x is not None
        assert w is not None
        b = None if bias is None else inputs[bias]
        residual = None if epilogue.residual is None else inputs[epilogue.residual]
        w = w.astype(compute, copy=False)
        for n in range(x.shape[0] if outputs[0].size else 0):
            y = outputs[0][n]
            sums = y if y.dtype == compute else scratch("conv y", y.shape, compute)
            added = None if residual is None else residual[n]
            image(x[n].astype(compute, copy=False), w, b, added, sums)
            if sums is not y:
                y[...] = sums

    return run


KERNELS = {"Conv": _make, "ConvTranspose": _make}
