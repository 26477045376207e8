"""Conv and ConvTranspose over any number of spatial axes.

Source: https://onnx.ai/onnx/operators/onnx__Conv.html and onnx__ConvTranspose.html. Per spatial
axis, with i the input position, o the output position and t the tap:

    Conv:           i = o * stride - pad_begin + t * dilation
    ConvTranspose:  o = i * stride - pad_begin + t * dilation

Shapes: x (N, C, *spatial); w is (M, C / group, *kernel) for Conv and (C, M / group, *kernel) for
ConvTranspose; b (M,); y (N, M, *spatial_out).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from engine.errors import ShapeError
from engine.ir.types import FLOATS, TensorType
from engine.ops.broadcasting import same_dtype
from engine.ops.conv_draw import draw_image, grow_conv, grow_transpose
from engine.ops.conv_window import Ints, Window, conv_transpose_window, conv_window
from engine.ops.numerics import Error, Units, sum_of_products
from engine.ops.spec import (
    Arrays,
    Attributes,
    Call,
    ErrorModel,
    Law,
    Operand,
    OpSpec,
    Reference,
    Reject,
    example_by_growing,
)

Array: TypeAlias = np.ndarray


def _shapes(op: str, inputs: Sequence[Operand | None]) -> tuple[TensorType, TensorType]:
    x, w = inputs[0], inputs[1]
    if x is None or w is None:
        raise ShapeError(f"{op}: x and w are required")
    same_dtype(op, [given.type for given in inputs if given is not None], FLOATS)
    return x.type, w.type


def _check_bias(op: str, inputs: Sequence[Operand | None], channels: int) -> None:
    b = inputs[2] if len(inputs) > 2 else None
    if b is not None and b.type.shape != (channels,):
        raise ShapeError(f"{op}: bias is {b.type}, expected shape ({channels},)")


def _infer_conv(inputs: Sequence[Operand | None], attributes: Attributes) -> tuple[TensorType, ...]:
    x, w = _shapes("Conv", inputs)
    window = conv_window(x.dims, w.dims, attributes)
    _check_bias("Conv", inputs, w.dims[0])
    return (TensorType(x.dtype, (x.dims[0], w.dims[0], *window.outputs)),)


def _infer_transpose(
    inputs: Sequence[Operand | None], attributes: Attributes
) -> tuple[TensorType, ...]:
    x, w = _shapes("ConvTranspose", inputs)
    window = conv_transpose_window(x.dims, w.dims, attributes)
    channels = w.dims[1] * window.group
    _check_bias("ConvTranspose", inputs, channels)
    return (TensorType(x.dtype, (x.dims[0], channels, *window.outputs)),)


def _last(*index: Any) -> tuple[Any, ...]:
    """An index into the last axes."""
    return (..., *index)


def _tap_slice(tap: int, dilation: int, count: int, stride: int) -> slice:
    """The `count` positions that one tap touches, `stride` apart."""
    return slice(tap * dilation, tap * dilation + (count - 1) * stride + 1, stride)


def _convolve(x: Array, w: Array, window: Window) -> Array:
    """The sum over channels and taps of x * w, in float64.

    One group is one product of matrices, which BLAS computes several times faster than einsum;
    several groups go one tap at a time.
    """
    padded = np.pad(x, [(0, 0), (0, 0), *zip(window.begins, window.ends, strict=True)])
    if window.group == 1:
        return _product_over_windows(padded, w, window)
    padded = padded.reshape(x.shape[0], window.group, w.shape[1], *padded.shape[2:])
    y = np.zeros((x.shape[0], window.group, w.shape[0] // window.group, *window.outputs))
    for tap in product(*map(range, window.kernel)):
        at = tuple(map(_tap_slice, tap, window.dilations, window.outputs, window.strides))
        weights = w[_last(*tap)].reshape(window.group, w.shape[0] // window.group, w.shape[1])
        y += np.einsum("ngc...,gmc->ngm...", padded[_last(*at)], weights)
    return y.reshape(x.shape[0], w.shape[0], *window.outputs)


def _product_over_windows(padded: Array, w: Array, window: Window) -> Array:
    """sum over c and taps of padded[n, c, o * stride + tap * dilation] * w[m, c, tap]."""
    axes = tuple(range(2, padded.ndim))
    spans = [(k - 1) * d + 1 for k, d in zip(window.kernel, window.dilations, strict=True)]
    starts = map(_tap_slice, [0] * len(axes), window.dilations, window.outputs, window.strides)
    taps = (slice(None, None, dilation) for dilation in window.dilations)
    windows = sliding_window_view(padded, spans, axes)[_last(*starts, *taps)]
    tap_axes = tuple(range(padded.ndim, windows.ndim))
    y = np.tensordot(windows, w, ((1, *tap_axes), (1, *axes)))
    return np.ascontiguousarray(np.moveaxis(y, -1, 1))


def _spread(x: Array, w: Array, window: Window) -> Array:
    """Every input adds x * w to the outputs its taps reach, in float64, one tap at a time."""
    inputs = x.shape[2:]
    grouped = x.reshape(x.shape[0], window.group, x.shape[1] // window.group, *inputs)
    steps = zip(window.strides, inputs, window.spans, strict=True)
    reached = (stride * (extent - 1) + span for stride, extent, span in steps)
    kept = (b + o for b, o in zip(window.begins, window.outputs, strict=True))
    full = np.zeros((x.shape[0], window.group, w.shape[1], *map(max, reached, kept)))
    for tap in product(*map(range, window.kernel)) if x.size else ():
        at = tuple(map(_tap_slice, tap, window.dilations, inputs, window.strides))
        weights = w[_last(*tap)].reshape(window.group, w.shape[0] // window.group, w.shape[1])
        full[_last(*at)] += np.einsum("ngc...,gcm->ngm...", grouped, weights)
    inner = tuple(slice(b, b + o) for b, o in zip(window.begins, window.outputs, strict=True))
    y: Array = full[_last(*inner)]
    return y.reshape(x.shape[0], window.group * w.shape[1], *window.outputs)


def _linear(
    window_of: Callable[[Ints, Ints, Attributes], Window],
    apply: Callable[[Array, Array, Window], Array],
    channels: Callable[[Array, Window], int],
) -> tuple[Reference, ErrorModel]:
    """(reference, error_model) of y = apply(x, w) + b."""

    def total(x: Array, w: Array, b: Array | None, attributes: Attributes) -> Array:
        with np.errstate(all="ignore"):
            y = apply(x, w, window_of(x.shape, w.shape, attributes))
        return y if b is None else y + b.reshape(-1, *[1] * (x.ndim - 2))

    def split(inputs: Arrays) -> tuple[Array, Array, Array | None]:
        x, w, b = (*inputs, None)[:3]
        if x is None or w is None:
            raise AssertionError("x and w are required")
        return x, w, b

    def reference(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
        return (total(*split(inputs), attributes),)

    def error_model(inputs: Arrays, attributes: Attributes, units: Units) -> tuple[Error, ...]:
        """Channels * taps (+ 1 for the bias) products in any order: numerics.sum_of_products.

        Taps in the padding count as products of zero, which over-states the error there.
        """
        x, w, b = split(inputs)
        y = total(x, w, b, attributes)
        squares = total(x * x, w * w, None if b is None else b * b, attributes)
        sizes = total(abs(x), abs(w), None if b is None else abs(b), attributes)
        window = window_of(x.shape, w.shape, attributes)
        n = channels(w, window) * window.taps + (b is not None)
        return (sum_of_products(y, squares, sizes, n, units),)

    return reference, error_model


def _swap_batch(call: Call) -> Call | None:
    x, *rest = call.inputs
    return Call((x[::-1], *rest), call.attributes) if x is not None and len(x) > 1 else None


def _permute_inputs(call: Call) -> Call | None:
    """Reversing the input channels of x and of w changes only the order of the sums."""
    x, w, *rest = call.inputs
    if x is None or w is None or call.attributes.get("group", 1) != 1:
        return None
    return Call((x[:, ::-1], w[:, ::-1], *rest), call.attributes)


def _permute_transpose_inputs(call: Call) -> Call | None:
    x, w, *rest = call.inputs
    if x is None or w is None or call.attributes.get("group", 1) != 1:
        return None
    return Call((x[:, ::-1], w[::-1], *rest), call.attributes)


def _call(x: Ints, w: Ints, bias: int = 0, **attributes: object) -> Call:
    rng = np.random.default_rng(math.prod(x) + math.prod(w))
    arrays = [rng.standard_normal(s).astype(np.float32) for s in (x, w, (bias,))]
    return Call(tuple(arrays if bias else arrays[:2]), attributes)


def _infinite(call: Call) -> Call:
    """The same with an infinite weight, which 0 outside the image turns into NaN, or does not."""
    x, w, *bias = (np.array(a) for a in call.inputs)
    w.reshape(-1)[0] = np.inf
    return Call((x, w, *bias), call.attributes, "an infinite weight")


def _flops(inputs: Sequence[TensorType | None], outputs: Sequence[TensorType], _: object) -> int:
    """Two per product of a Conv (taps in the padding included)."""
    w = inputs[1]
    return 2 * outputs[0].size * math.prod(w.dims[1:]) if w else 0


def _transpose_flops(
    inputs: Sequence[TensorType | None], outputs: Sequence[TensorType], _: object
) -> int:
    """Two per product of a ConvTranspose (cropped results included)."""
    x, w = inputs[0], inputs[1]
    return 2 * x.size * math.prod(w.dims[1:]) if x and w else 0


_conv, _conv_error = _linear(conv_window, _convolve, lambda w, _: w.shape[1])
_transpose, _transpose_error = _linear(
    conv_transpose_window, _spread, lambda w, window: w.shape[0] // window.group
)
_reverse_batch = Law("batch entries are independent", _swap_batch, lambda _, y: y[::-1])

_IN_SPACE: Attributes = {"strides": [2, 1, 3], "dilations": [1, 3, 2], "pads": [2, 1, 0, 1, 2, 3]}
WINDOW = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
CONV = OpSpec(
    "Conv",
    (2, 3),
    _infer_conv,
    _conv,
    _conv_error,
    example_by_growing(grow_conv, draw_image),
    grow=grow_conv,
    is_exact=True,
    edges=(
        lambda: _call((1, 3, 5, 5), (64, 3, 7, 7), 64, pads=[3, 3, 3, 3], strides=[2, 2]),
        lambda: _call((1, 2, 7, 6), (3, 2, 3, 2), 3, auto_pad="SAME_UPPER", strides=[2, 3]),
        lambda: _call((1, 2, 7, 6), (3, 2, 2, 4), auto_pad="SAME_LOWER"),
        lambda: _call((2, 4, 9, 8), (5, 4, 2, 2), strides=[4, 3]),
        lambda: _call((1, 33, 7, 7), (66, 1, 3, 3), 66, group=33, pads=[1, 0, 2, 1]),
        lambda: _call((1, 12, 5, 4), (33, 4, 3, 3), 33, group=3, pads=[1, 1, 1, 1]),
        lambda: _call((1, 520, 3), (40, 520, 1), 40),
        lambda: _call((2, 3, 5, 4, 6), (34, 3, 3, 2, 3), 34, **_IN_SPACE),
        lambda: _call((2, 33, 5, 4, 6), (33, 1, 3, 2, 3), 33, group=33, **_IN_SPACE),
        lambda: _call((0, 3, 4, 4), (2, 3, 3, 3), 2),
        lambda: _infinite(_call((1, 33, 7, 7), (33, 1, 3, 3), 33, group=33, pads=[1, 1, 1, 1])),
        lambda: _infinite(_call((1, 3, 7, 7), (33, 3, 3, 3), 33, pads=[1, 1, 1, 1])),
    ),
    rejects=(
        Reject("wrong channels", lambda: _call((1, 3, 4, 4), (2, 4, 3, 3)), "3 channels"),
        Reject("kernel too large", lambda: _call((1, 1, 2, 2), (1, 1, 3, 3)), "fewer than"),
        Reject("group", lambda: _call((1, 4, 4, 4), (3, 2, 1, 1), group=2), "group=2"),
        Reject("bias", lambda: _call((1, 1, 2, 2), (4, 1, 1, 1), 3), "expected shape"),
        Reject("no kernel", lambda: _call((1, 1, 2, 2), (4, 1, 0, 1)), "at least 1"),
        Reject("pads", lambda: _call((1, 1, 2, 2), (4, 1, 1, 1), pads=[1, 1]), "pads=.1, 1."),
        Reject("stride", lambda: _call((1, 1, 2, 2), (4, 1, 1, 1), strides=[0, 1]), "at least 1"),
    ),
    laws=(
        _reverse_batch,
        Law("input channels commute", _permute_inputs, lambda _, y: y),
    ),
    flops=_flops,
    reads=WINDOW,
)

CONV_TRANSPOSE = OpSpec(
    "ConvTranspose",
    (2, 3),
    _infer_transpose,
    _transpose,
    _transpose_error,
    example_by_growing(grow_transpose, draw_image),
    grow=grow_transpose,
    is_exact=True,
    edges=(
        lambda: _call((1, 3, 3, 4), (3, 5, 2, 2), 5, strides=[2, 2]),
        lambda: _call((1, 3, 3, 4), (3, 5, 1, 2), 5, strides=[3, 4]),
        lambda: _call((1, 4, 3, 3), (4, 2, 3, 3), 4, group=2, strides=[2, 2], pads=[1, 1, 1, 1]),
        lambda: _call((1, 2, 3, 3), (2, 2, 3, 3), strides=[3, 2], output_shape=[10, 8]),
        lambda: _call((1, 2, 3, 3), (2, 2, 3, 3), strides=[2, 2], auto_pad="SAME_LOWER"),
        lambda: _call((1, 33, 4, 4), (33, 1, 4, 4), group=33, strides=[2, 2], pads=[1, 1, 1, 1]),
        lambda: _call(
            (2, 3, 2, 4, 3), (3, 5, 3, 2, 4), 5, strides=[2, 1, 3], pads=[1, 0, 2, 0, 1, 1]
        ),
        lambda: _infinite(_call((1, 33, 4, 4), (33, 1, 4, 4), group=33, strides=[2, 2])),
        lambda: _infinite(_call((2, 3, 9, 8), (3, 34, 3, 3), 34, strides=[2, 1])),
    ),
    rejects=(
        Reject("wrong channels", lambda: _call((1, 3, 4, 4), (2, 4, 3, 3)), "3 channels"),
        Reject("all cropped", lambda: _call((1, 1, 1), (1, 1, 2), pads=[1, 1]), "leave none"),
    ),
    laws=(
        _reverse_batch,
        Law("input channels commute", _permute_transpose_inputs, lambda _, y: y),
    ),
    flops=_transpose_flops,
    reads=(*WINDOW, "output_padding", "output_shape"),
)

SPECS = (CONV, CONV_TRANSPOSE)
