"""DeformConv: a convolution whose taps read where offsets move them, between pixels.

Source: https://onnx.ai/onnx/operators/onnx__DeformConv.html and onnx's reference evaluator.
Inputs: x, w, offset, b, mask. Beyond the image, and where a position is no number, zeros are read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from engine.errors import ShapeError, UnsupportedError
from engine.ir.types import DOUBLE, FLOAT, FLOAT16, FLOATS, TensorType, dtype_name
from engine.ops.conv_window import Window, conv_window
from engine.ops.numerics import Error, Units, finite, quadrature, sum_of_products, where_settled
from engine.ops.operands import Ints, Operands, check_dtype, input_at, tensor, zeros
from engine.ops.spec import Arrays, Attributes, Call, Choose, OpSpec, Reject

Array = np.ndarray
OF_THE_WINDOW = ("dilations", "group", "kernel_shape", "pads", "strides")


def window_of(x: Ints, w: Ints, attributes: Attributes) -> Window:
    """How the kernel slides, as that of a Conv; raises ShapeError."""
    given = {name: attributes.get(name) for name in OF_THE_WINDOW}
    return conv_window(x, w, {k: v for k, v in given.items() if v is not None}, "DeformConv")


def _infer(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    op, names = "DeformConv", ("X", "W", "offset", "B", "mask")
    given = [
        tensor(op, inputs, i, name)
        for i, name in enumerate(names)
        if i < 3 or (i < len(inputs) and inputs[i] is not None)
    ]
    x, w, *_ = given
    for t in given:
        check_dtype(op, t.dtype, FLOATS)
        if t.dtype != x.dtype:
            raise ShapeError(
                f"{op}: inputs of dtypes {dtype_name(x.dtype)} and {dtype_name(t.dtype)}"
            )
    if len(x.dims) != 4:
        raise UnsupportedError(f"{op}: an input of rank {len(x.dims)} is not supported, only 4")
    window = window_of(x.dims, w.dims, attributes)
    groups = int(attributes.get("offset_group", 1))
    if groups < 1 or x.dims[1] % groups:
        raise ShapeError(f"{op}: offset_group={groups} does not divide {x.dims[1]} channels")
    each = groups * window.taps
    expected = {
        2: (x.dims[0], 2 * each, *window.outputs),
        3: (w.dims[0],),
        4: (x.dims[0], each, *window.outputs),
    }
    for i, shape in expected.items():
        if i < len(inputs) and inputs[i] is not None:
            found = tensor(op, inputs, i).dims
            if found != shape:
                raise ShapeError(f"{op}: {names[i]} has shape {found}, expected {shape}")
    return (TensorType(x.dtype, (x.dims[0], w.dims[0], *window.outputs)),)


def positions(offset: Array, window: Window, groups: int) -> tuple[Array, Array]:
    """Where each tap reads, rows and columns: (N, groups, taps, oH, oW) in the offsets' dtype."""
    n = offset.shape[0]
    moved = offset.reshape(n, groups, window.taps, 2, *window.outputs)
    kernel = np.indices(window.kernel).reshape(2, -1)
    found = []
    for axis in range(2):
        tap = kernel[axis] * window.dilations[axis] - window.begins[axis]
        place = np.arange(window.outputs[axis]) * window.strides[axis]
        base = tap[:, None, None] + place.reshape((-1, 1) if axis == 0 else (1, -1))
        found.append(moved[:, :, :, axis] + base.astype(offset.dtype))
    return found[0], found[1]


def columns(x: Array, offset: Array, window: Window, groups: int) -> Array:
    """What each tap reads of each channel, (N, C, taps, oH, oW): four pixels, weighted."""
    n, channels, height, width = x.shape
    flat = x.reshape(n, groups, channels // groups, height * width)
    rows, across = positions(offset, window, groups)
    shape = (n, groups, channels // groups, *rows.shape[2:])
    y = np.zeros(shape, x.dtype)
    if not y.size or not flat.size:
        return y.reshape(n, channels, *rows.shape[2:])
    inside = (rows > -1) & (rows < height) & (across > -1) & (across < width)
    r, c = (np.where(inside, v, 0).astype(x.dtype) for v in (rows, across))
    top, left = np.floor(r), np.floor(c)
    for down in (0, 1):
        for right in (0, 1):
            weight = (r - top if down else 1 - (r - top)) * (c - left if right else 1 - (c - left))
            i, j = top.astype(np.int64) + down, left.astype(np.int64) + right
            is_pixel = inside & (i >= 0) & (i < height) & (j >= 0) & (j < width)
            index = np.where(is_pixel, i * width + j, 0).reshape(n, groups, 1, -1)
            pixels = np.take_along_axis(flat, index, 3).reshape(shape)
            y += np.where(is_pixel[:, :, None], pixels * weight[:, :, None], 0)
    return y.reshape(n, channels, *rows.shape[2:])


def combined(read: Array, w: Array, window: Window) -> Array:
    """(N, oC, oH, oW): the sum over the channels of a group and taps."""
    n, group, depth = read.shape[0], window.group, math.prod(w.shape[1:])
    lines = read.reshape(n, group, depth, math.prod(window.outputs))
    y = w.reshape(group, w.shape[0] // group, depth) @ lines
    return np.asarray(y.reshape(n, w.shape[0], *window.outputs))


def masked(read: Array, mask: Array | None, groups: int) -> Array:
    """Each tap times its mask."""
    if mask is None:
        return read
    n, channels, *rest = read.shape
    factors = mask.reshape(n, groups, *rest)
    return np.asarray(read * np.repeat(factors, channels // groups, axis=1))


def deformed(inputs: Sequence[Any], attributes: Attributes) -> Array:
    """The whole convolution, in the dtype of x."""
    x, w, offset = (np.asarray(v) for v in inputs[:3])
    window, groups = window_of(x.shape, w.shape, attributes), _groups(attributes)
    read = masked(columns(x, offset, window, groups), input_at(inputs, 4), groups)
    y, b = combined(read, w, window), input_at(inputs, 3)
    return y if b is None else y + b.reshape(-1, 1, 1)


def _groups(attributes: Attributes) -> int:
    return int(attributes.get("offset_group", 1))


def _reference(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    with np.errstate(all="ignore"):
        return (deformed(inputs, attributes),)


def _error(inputs: Arrays, attributes: Attributes, units: Units) -> tuple[Error, ...]:
    """A sum of C/group x taps products, in float at least: mask, weight and what a tap reads.

    That is off by e = 12u V + (8 + 2 r) u M: V the sum of the weighted absolute pixels (products
    and sums), M the largest pixel of the channel, 8 for four rounded weights (two differences
    each), and r the magnitudes of both positions, each rounded once, where the slope is at most 2M.
    Between other pixels a position may come to lie by that, one of which may be no number.
    """
    x, w, offset = (np.asarray(v) for v in inputs[:3])
    mask, b = input_at(inputs, 4), input_at(inputs, 3)
    (y,) = _reference(inputs, attributes)
    wide = replace(units, compute=FLOAT) if units.compute == FLOAT16 else units
    window, groups = window_of(x.shape, w.shape, attributes), _groups(attributes)
    with np.errstate(all="ignore"):
        sizes, factors = np.abs(finite(x)), None if mask is None else finite(mask)
        v = columns(sizes, offset, window, groups)
        reach = sum(finite(p) + 1 for p in positions(offset, window, groups))
        reach = np.repeat(reach, x.shape[1] // groups, axis=1)
        largest = sizes.max((2, 3), initial=0.0)[:, :, None, None, None]
        off = wide.u_compute * (12 * v + (8 + 2 * reach) * largest)
        magnitudes = combined(masked(v, factors, groups), finite(w), window)
        squares = combined(masked(v, factors, groups) ** 2, w * w, window)
        if b is not None:
            bias = finite(b).reshape(-1, 1, 1)
            magnitudes, squares = magnitudes + bias, squares + bias**2
        terms = math.prod(w.shape[1:]) + 3
        summed = sum_of_products(y, squares, magnitudes, terms, wide)
        read = masked(off, factors, groups)
        moved = combined(read, finite(w), window) * (1 + terms * wide.u_compute)
        spread = np.sqrt(combined(read**2, w * w, window))
    error = Error(quadrature(summed.sigma, spread), summed.bound + moved)
    if np.isfinite(x).all():
        return (error,)
    return (where_settled(error, _beside(inputs, attributes, wide.compute)),)


def _beside(inputs: Arrays, attributes: Attributes, compute: np.dtype) -> Iterator[Array]:
    """The result, and those with every position as far to either side as rounding moves it."""
    x, w, offset = (np.asarray(v) for v in inputs[:3])
    window, groups = window_of(x.shape, w.shape, attributes), _groups(attributes)
    places = np.stack(positions(offset, window, groups), 3)
    with np.errstate(all="ignore"):
        off = np.abs(places.astype(compute) - places)
    step = 2 * np.where(np.isfinite(off), off, 0.0)
    for down, right in sorted(product((-1, 0, 1), repeat=2), key=lambda s: s != (0, 0)):
        aside = step * np.reshape((down, right), (2, 1, 1))
        moved = offset + aside.reshape(offset.shape)
        yield _reference((x, w, moved, *inputs[3:]), attributes)[0]


def _example(choose: Choose) -> Call:
    """Offsets of whole and broken pixels, some of them far beyond the image."""
    dtype = choose.one_of((FLOAT, FLOAT16, DOUBLE))
    group, groups = choose.one_of((1, 2)), choose.one_of((1, 2))
    channels, out = 2 * choose.integer(1, 2), 2 * choose.one_of((1, 2, 9))
    kernel = (choose.one_of((2, 1, 3)), choose.one_of((2, 1, 3)))
    attributes: dict[str, Any] = {"group": group, "offset_group": groups}
    if choose.integer(0, 1):
        attributes |= {"strides": (2, 1), "dilations": (1, 2), "pads": (1, 0, 0, 2)}
    x = choose.tensor((choose.integer(1, 2), channels, 7, choose.one_of((6, 9))), dtype)
    w = choose.tensor((out, channels // group, *kernel), dtype, -1.0, 1.0)
    window = window_of(x.shape, w.shape, attributes)
    each, reach = groups * window.taps, choose.one_of((0.0, 2.0, 20.0))
    offset = choose.tensor((x.shape[0], 2 * each, *window.outputs), dtype, -reach, reach)
    b = choose.tensor((out,), dtype) if choose.integer(0, 1) else None
    mask = (x.shape[0], each, *window.outputs)
    return Call(
        (x, w, offset, b, choose.tensor(mask, dtype, 0.0, 1.0) if choose.integer(0, 1) else None),
        attributes,
    )


def _edge(*offsets: float) -> Call:
    """One tap, at the corner of an image of whole numbers."""
    x = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3) + 1
    moved = np.resize(np.array(offsets, np.float32), (1, 2, 2, 3))
    return Call((x, np.ones((1, 1, 1, 1), np.float32), moved))


def _beside_nan() -> Call:
    """In float an offset vanishes beside its place, and the pixel that is no number not read."""
    x = np.ones((1, 1, 1, 9), np.float32)
    x[..., 7] = np.nan
    offset = np.zeros((1, 2, 1, 9), np.float32)
    offset[0, 1] = -(2.0**-24)
    return Call((x, np.ones((1, 1, 1, 1), np.float32), offset))


def _call(*shapes: tuple[int, ...], **attributes: Any) -> Call:
    return Call(tuple(zeros(*shape) for shape in shapes), attributes)


_PIXELS = ((1, 1, 3, 3), (1, 1, 1, 1), (1, 2, 3, 3))
"""Shapes of x, w and offset that go together."""

SPECS: tuple[OpSpec, ...] = (
    OpSpec(
        "DeformConv",
        (3, 5),
        _infer,
        _reference,
        _error,
        _example,
        is_exact=True,
        edges=(
            lambda: _edge(-1, -0.5, 0.25, 1, 2, -2, 1e30),
            lambda: _edge(np.nan, 0, np.inf, -np.inf, 0.5),
            _beside_nan,
            lambda: _call((0, 2, 3, 3), (1, 2, 1, 1), (0, 2, 3, 3)),
            lambda: _call((1, 2, 3, 3), (0, 2, 1, 1), (1, 2, 3, 3)),
            lambda: _call((1, 0, 3, 3), (2, 0, 1, 1), (1, 2, 3, 3)),
        ),
        rejects=(
            Reject("rank", lambda: _call((1, 1, 3), (1, 1, 1), (1, 1, 3)), "rank 3"),
            Reject(
                "offset", lambda: _call((1, 1, 3, 3), (1, 1, 1, 1), (1, 1, 3, 3)), "offset has sh"
            ),
            Reject(
                "groups",
                lambda: _call((1, 3, 3, 3), (1, 3, 1, 1), (1, 4, 3, 3), offset_group=2),
                "offset_group=2",
            ),
            Reject("no group", partial(_call, *_PIXELS, offset_group=0), "offset_group=0"),
            Reject("channels", partial(_call, *_PIXELS, group=2), "DeformConv: x has 1 channels"),
            Reject("kernel", partial(_call, *_PIXELS, kernel_shape=[2, 2]), "kernel_shape="),
            Reject("stride", partial(_call, *_PIXELS, strides=[0, 1]), "DeformConv: strides="),
            Reject("pads", partial(_call, *_PIXELS, pads=[0, 1]), "DeformConv: pads="),
            Reject("bias", partial(_call, *_PIXELS, (2,)), "B has shape"),
            Reject("mask", partial(_call, *_PIXELS, (1,), (1, 2, 3, 3)), "mask has shape"),
            Reject("images", lambda: _call(*_PIXELS[:2], (2, 2, 3, 3)), "offset has shape"),
        ),
        flops=lambda inputs, outputs, _: (
            2 * outputs[0].size * (inputs[1].size // max(1, inputs[1].dims[0]) if inputs[1] else 0)
        ),
        reads=(*OF_THE_WINDOW, "offset_group"),
    ),
)
