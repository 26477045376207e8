"""MaxPool, AveragePool, GlobalMaxPool, GlobalAveragePool over any number of spatial axes.

Source: https://onnx.ai/onnx/operators/ (MaxPool-22, AveragePool-22).
x (N, C, *spatial), y (N, C, *outputs).
With ceil_mode the last window starts inside the input or its begin padding (PyTorch's rule, ONNX
issue 5711). An average with count_include_pad counts padding, not what lies beyond it. NaN in a
window is its maximum, which ONNX leaves open. Indices of a MaxPool say where the first maximum of
each window stands in all of x, in the order of `storage_order`; where a window holds no element
they are -1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import TypeAlias

import numpy as np

from engine.errors import ShapeError
from engine.ir.types import FLOAT, FLOAT16, FLOATS, INT64, TensorType
from engine.ops.conv_window import AUTO_PADS, Window, settled
from engine.ops.numerics import Error, Units, exact, sum_of_products, where_sums_fit
from engine.ops.operands import Ints, Operands, check_dtype, payload_of, tensor, zeros
from engine.ops.spec import (
    HERE,
    Arrays,
    Attributes,
    Call,
    Choose,
    ErrorModel,
    Growth,
    InferTypes,
    Law,
    OpSpec,
    Reference,
    Reject,
)

Array = np.ndarray
Dtypes: TypeAlias = frozenset[np.dtype]
MAX_DTYPES: Dtypes = FLOATS | {np.dtype(np.int8), np.dtype(np.uint8)}


def _entries(op: str, attributes: Attributes, name: str, count: int, default: int) -> Ints:
    values = tuple(int(v) for v in attributes.get(name) or (default,) * count)
    if len(values) != count or min(values, default=default) < default:
        raise ShapeError(
            f"{op}: {name}={list(values)}, expected {count} entries of at least {default}"
        )
    return values


def pool_window(op: str, x: Ints, attributes: Attributes) -> Window:
    """How the window of a MaxPool or AveragePool slides over x; raises ShapeError."""
    rank = len(x) - 2
    if rank < 1 or not attributes.get("kernel_shape"):
        raise ShapeError(f"{op}: x has shape {x}; expected rank 3 or more, and kernel_shape")
    kernel = _entries(op, attributes, "kernel_shape", rank, 1)
    strides = _entries(op, attributes, "strides", rank, 1)
    dilations = _entries(op, attributes, "dilations", rank, 1)
    pads = _entries(op, attributes, "pads", 2 * rank, 0)
    auto = attributes.get("auto_pad") or "NOTSET"
    if auto not in AUTO_PADS:
        raise ShapeError(f"{op}: auto_pad={auto!r} is not one of {', '.join(AUTO_PADS)}")
    begins, ends, outputs = [], [], []
    for axis, (size, step) in enumerate(zip(x[2:], strides, strict=True)):
        span = (kernel[axis] - 1) * dilations[axis] + 1
        begin, end = (pads[axis], pads[rank + axis]) if auto == "NOTSET" else (0, 0)
        if auto.startswith("SAME"):
            total = (-(-size // step) - 1) * step + span - size
            if total < 0 < size:
                raise ShapeError(
                    f"{op}: auto_pad={auto} would pad spatial axis {axis} of extent {size} by "
                    f"{total}, as windows span {span} at a stride of {step}; engines differ about "
                    "that: export with explicit pads"
                )
            total = max(0, total)
            begin = total // 2 if auto == "SAME_UPPER" else total - total // 2
            end = total - begin
        if max(begin, end) >= span or size + begin + end < span:
            raise ShapeError(
                f"{op}: spatial axis {axis} of extent {size} with padding ({begin}, {end}) "
                f"does not fit a window that spans {span}"
            )
        free = size + begin + end - span
        output = free // step + 1
        if attributes.get("ceil_mode") and auto == "NOTSET":
            output = -(-free // step) + 1
            output -= (output - 1) * step >= size + begin
        begins.append(begin)
        ends.append(end)
        outputs.append(output)
    window = Window(kernel, strides, dilations, tuple(begins), tuple(ends), tuple(outputs), 1)
    padded = tuple(map(sum, zip(begins, x[2:], ends, strict=True)))
    return settled(x, window, padded, window.outputs, f"{op}: the padded input")


def overhang(size: int, axis: int, window: Window) -> int:
    """Positions beyond the end padding that the last window reaches (ceil_mode)."""
    reach = (window.outputs[axis] - 1) * window.strides[axis] + window.spans[axis]
    return max(0, reach - size - window.begins[axis] - window.ends[axis])


def tap_slices(tap: Sequence[int], window: Window) -> tuple[slice, ...]:
    """What one tap of every window reads of the padded input's spatial axes."""
    return tuple(
        slice(t * d, t * d + (o - 1) * s + 1, s)
        for t, d, o, s in zip(tap, window.dilations, window.outputs, window.strides, strict=True)
    )


def _taps(x: Array, window: Window, fill: float, inside: float | None = None) -> Sequence[Array]:
    """One array of y's shape per tap: x padded with `inside` (default `fill`), then with `fill`."""
    padding = list(zip(window.begins, window.ends, strict=True))
    beyond = [(0, overhang(n, i, window)) for i, n in enumerate(x.shape[2:])]
    none = [(0, 0), (0, 0)]
    padded = np.pad(x, none + padding, constant_values=fill if inside is None else inside)
    padded = np.pad(padded, none + beyond, constant_values=fill)
    return [
        padded[(slice(None), slice(None), *tap_slices(t, window))]
        for t in product(*map(range, window.kernel))
    ]


def window_counts(x: Ints, window: Window, include_pad: bool) -> Array:
    """(1, 1, *outputs): how many positions every average divides by.

    Of n taps `dilation` apart from position p on, those in [low, high): n minus those in front and
    behind, axis by axis.
    """
    counts: Array = np.ones((1, 1))
    for axis, size in enumerate(x[2:]):
        n, dilation = window.kernel[axis], window.dilations[axis]
        low = -window.begins[axis] if include_pad else 0
        high = size + window.ends[axis] if include_pad else size
        first = np.arange(window.outputs[axis]) * window.strides[axis] - window.begins[axis]
        inside = np.clip(-((first - high) // dilation), 0, n) - np.clip(
            -((first - low) // dilation), 0, n
        )
        counts = counts[..., None] * inside
    return counts


def _max_pool(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    """(maxima, indices)."""
    x = inputs[0]
    assert x is not None
    window = pool_window("MaxPool", x.shape, attributes)
    lowest = -np.inf if x.dtype in FLOATS else np.iinfo(x.dtype).min
    values = np.stack(_taps(x, window, lowest))
    places = np.stack(_taps(_places(x.shape, attributes), window, -1))
    y = np.max(values, axis=0)
    is_largest = (places >= 0) & ((values == y) | np.isnan(values))
    first = np.argmax(is_largest, axis=0)[None]
    return y, np.take_along_axis(places, first, axis=0)[0]


def _places(shape: Ints, attributes: Attributes) -> Array:
    """The index of each element: images one after the other, each row by row or by columns."""
    spatial = shape[2:]
    within = np.arange(math.prod(spatial))
    by_columns = bool(attributes.get("storage_order", 0))
    image = within.reshape(spatial[::-1]).T if by_columns else within.reshape(spatial)
    first = np.arange(math.prod(shape[:2])).reshape(shape[:2]) * within.size
    return np.asarray(first.reshape(*shape[:2], *[1] * len(spatial)) + image)


def _average_pool(x: Array, attributes: Attributes) -> Array:
    window = pool_window("AveragePool", x.shape, attributes)
    counts = window_counts(x.shape, window, bool(attributes.get("count_include_pad", 0)))
    return np.asarray(np.sum(np.stack(_taps(x, window, 0)), axis=0) / np.maximum(counts, 1))


def _global_mean(x: Array, _: Attributes) -> Array:
    return np.asarray(np.mean(x, axis=tuple(range(2, x.ndim)), keepdims=True))


def _infer_pool(op: str, dtypes: Dtypes) -> InferTypes:
    def infer_types(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
        x = tensor(op, inputs, 0, "x")
        check_dtype(op, x.dtype, dtypes)
        if op.startswith("Global"):
            if len(x.dims) < 3 or 0 in x.dims[2:]:
                raise ShapeError(
                    f"{op}: x has shape {x.dims}; expected (N, C, spatial), none empty"
                )
            return (TensorType(x.dtype, (*x.dims[:2], *[1] * (len(x.dims) - 2))),)
        shape = (*x.dims[:2], *pool_window(op, x.dims, attributes).outputs)
        indices = (TensorType(INT64, shape),) if op == "MaxPool" else ()
        return (TensorType(x.dtype, shape), *indices)

    return infer_types


def _mean_error(mean: Callable[[Array, Attributes], Array], op: str) -> ErrorModel:
    """n terms summed in at least float on every device, then one division of 2.5 ULP."""

    def error_model(inputs: Arrays, attributes: Attributes, units: Units) -> tuple[Error, ...]:
        x = inputs[0]
        assert x is not None
        wide = replace(units, compute=FLOAT) if units.compute == FLOAT16 else units
        with np.errstate(all="ignore"):
            y = mean(x, attributes)
            size = mean(abs(x), attributes)
            n = math.prod(x.shape[2:] if op.startswith("Global") else attributes["kernel_shape"])
            squares = mean(x * x, attributes) / max(1, n)
            if not op.startswith("Global"):
                window = pool_window(op, x.shape, attributes)
                counts = window_counts(
                    x.shape, window, bool(attributes.get("count_include_pad", 0))
                )
                squares = squares * n / np.maximum(counts, 1)
        summed = sum_of_products(y, squares, size, n, wide)
        divided = 2 * wide.ulps("divide") * wide.u_compute * np.abs(np.nan_to_num(y))
        sigma = np.sqrt(summed.sigma**2 + divided**2 / 3)
        error = Error(sigma, summed.bound + divided * (1 + 1e-3))
        return (where_sums_fit(error, size * n, n, wide),)

    return error_model


def _draw_attributes(choose: Choose, op: str, spatial: Ints) -> dict[str, object]:
    kernel = [min(n, choose.one_of((2, 3, 1, 5))) for n in spatial]
    attributes: dict[str, object] = {"kernel_shape": tuple(kernel)}
    if choose.integer(0, 1):
        attributes["strides"] = tuple(choose.one_of((2, 1, 3)) for _ in spatial)
    if choose.integer(0, 2) == 2:
        fits = [n >= 2 * (k - 1) + 1 for n, k in zip(spatial, kernel, strict=True)]
        attributes["dilations"] = tuple(2 if f and choose.integer(0, 1) else 1 for f in fits)
    padding = choose.one_of(("none", "pads", "pads", "SAME_UPPER", "SAME_LOWER", "VALID"))
    if padding.startswith("SAME"):
        attributes["strides"] = _within_spans(attributes, kernel)
    if padding == "pads":
        attributes["pads"] = tuple(choose.integer(0, k - 1) for k in (*kernel, *kernel))
    elif padding != "none":
        attributes["auto_pad"] = padding
    if choose.integer(0, 1) and "auto_pad" not in attributes:
        attributes["ceil_mode"] = 1
    if op == "AveragePool" and choose.integer(0, 1):
        attributes["count_include_pad"] = 1
    if op == "MaxPool" and choose.integer(0, 1):
        attributes["storage_order"] = 1
    return attributes


def _within_spans(attributes: Attributes, kernel: Sequence[int]) -> Ints:
    """The drawn strides, none beyond what a window spans: padding is never negative."""
    ones = (1,) * len(kernel)
    steps, holes = attributes.get("strides", ones), attributes.get("dilations", ones)
    return tuple(min(s, (k - 1) * d + 1) for s, k, d in zip(steps, kernel, holes, strict=True))


def _grow(op: str) -> Callable[[Choose, TensorType], Growth | None]:
    def grow(choose: Choose, x: TensorType) -> Growth | None:
        dtypes = MAX_DTYPES if op == "MaxPool" else FLOATS
        if not 3 <= len(x.dims) <= 5 or 0 in x.dims or x.dtype not in dtypes:
            return None
        return Growth(
            (HERE,), {} if op.startswith("Global") else _draw_attributes(choose, op, x.dims[2:])
        )

    return grow


def _draw(op: str, dtypes: Dtypes) -> Callable[[Choose], Call]:
    def example(choose: Choose) -> Call:
        rank = choose.one_of((2, 1, 3))
        sides = (1, 2, 5, 8, 17) if rank < 3 else (1, 2, 5, 7)
        spatial = tuple(choose.one_of(sides) for _ in range(rank))
        channels = choose.one_of((1, 3, 16, 17, 33, 64))
        dtype = choose.one_of((FLOAT, *sorted(dtypes - {FLOAT}, key=str)))
        x = payload_of(choose, (choose.integer(1, 2), channels, *spatial), dtype)
        return Call((x,), {} if op.startswith("Global") else _draw_attributes(choose, op, spatial))

    return example


def _flipped_channels(call: Call) -> Call:
    return Call((np.flip(np.asarray(call.inputs[0]), 1).copy(),), call.attributes)


def _flipped(call: Call, y: Array) -> Array:
    """Channels of an output reversed; indices are of the channels that they stand in then."""
    if y.dtype != INT64:
        return np.flip(y, 1)
    x = np.asarray(call.inputs[0])
    size, channels = math.prod(x.shape[2:]), x.shape[1]
    image, channel, within = y // (size * channels), y // size % channels, y % size
    moved = (image * channels + channels - 1 - channel) * size + within
    return np.flip(np.where(y < 0, y, moved), 1)


def _window_flops(
    inputs: Sequence[TensorType | None], outputs: Sequence[TensorType], attributes: Attributes
) -> int:
    return outputs[0].size * math.prod(attributes["kernel_shape"])


def _whole_flops(
    inputs: Sequence[TensorType | None], outputs: Sequence[TensorType], _: Attributes
) -> int:
    return 0 if inputs[0] is None else inputs[0].size


_two = {"kernel_shape": (2, 2)}
_ceil = {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (0, 1, 1, 0), "ceil_mode": 1}


def _nan_somewhere(channels: int, dtype: np.dtype, attributes: Attributes) -> Call:
    """NaN at each position of a window and in every lane, beside infinities and numbers."""
    n = 7
    x = np.arange(channels * n * n).reshape(1, channels, n, n) % 50 - 25.0
    x.flat[3::11], x.flat[7::13], x.flat[9::17] = np.nan, np.inf, -np.inf
    return Call((x.astype(dtype),), attributes, "NaN")


def _negative_padding(auto: str) -> Call:
    """Two elements of every three are in no window, so that the last window ends too early."""
    return Call((zeros(1, 1, 5),), {"kernel_shape": (1,), "strides": (3,), "auto_pad": auto})


def _equal_elements(*shape: int, **attributes: object) -> Call:
    """Few values, so that most windows hold their maximum several times, or nothing but -inf."""
    x = np.arange(math.prod(shape)) % 3 - 1.0
    x[::7] = -np.inf
    return Call((x.reshape(shape).astype("f4"),), attributes)


_BETWEEN = {"kernel_shape": (2,), "dilations": (3,), "pads": (1, 2)}
"""Some windows of two elements have both taps in the padding."""
WINDOW = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")


def _spec(op: str, reference: Reference, error_model: ErrorModel, dtypes: Dtypes) -> OpSpec:
    windows = not op.startswith("Global")
    counting = {"count_include_pad": 1} if op == "AveragePool" else {}
    order = ("storage_order",) if op == "MaxPool" else ()
    rejects: tuple[Reject, ...] = (
        Reject("kernel", lambda: Call((zeros(1, 1, 1, 3),), _two), "does not fit"),
        Reject("rank", lambda: Call((zeros(1, 1),), _two), "rank 3 or more"),
        Reject(
            "pads", lambda: Call((zeros(1, 1, 4, 4),), {**_two, "pads": (2, 0, 0, 0)}), "not fit"
        ),
        *(
            Reject(f"negative {auto}", partial(_negative_padding, auto), "would pad .* by -1, as")
            for auto in ("SAME_UPPER", "SAME_LOWER")
        ),
    )
    edges: tuple[Callable[[], Call], ...] = (
        lambda: Call((np.arange(49, dtype="f4").reshape(1, 1, 7, 7),), _ceil),
        lambda: Call((np.arange(36, dtype="f4").reshape(1, 1, 6, 6),), {**_ceil, **counting}),
        lambda: Call((zeros(0, 3, 4, 4),), _two),
        *(partial(_nan_somewhere, c, dtype, _two) for c in (1, 17) for dtype in dtypes & FLOATS),
    )
    if op == "MaxPool":
        edges += (
            lambda: _equal_elements(2, 3, 7, kernel_shape=(3,), pads=(1, 2)),
            lambda: _equal_elements(2, 17, 5, 6, kernel_shape=(2, 3), storage_order=1),
            lambda: _equal_elements(1, 2, 3, 4, 5, kernel_shape=(2, 2, 3), storage_order=1),
            lambda: _equal_elements(1, 2, 2, **_BETWEEN),
            lambda: Call((np.full((1, 1, 4), -np.inf, "f4"),), {"kernel_shape": (2,)}),
        )
    if not windows:
        rejects = (Reject("empty", lambda: Call((zeros(1, 2, 0),)), "none empty"),)
        edges = (
            lambda: Call((zeros(0, 3, 4, 4),)),
            lambda: Call((zeros(1, 1, 1),)),
            *(partial(_nan_somewhere, c, dtype, {}) for c in (1, 17) for dtype in dtypes & FLOATS),
            lambda: Call((np.array([[[3e38, 3e38]]], "f4"),), note="huge"),
        )
    return OpSpec(
        op,
        (1, 1),
        _infer_pool(op, dtypes),
        reference,
        error_model,
        _draw(op, dtypes),
        grow=_grow(op),
        is_exact="Max" in op,
        reads=(*WINDOW, *counting, *order) if windows else (),
        edges=edges,
        rejects=rejects,
        laws=(Law("channels reversed", _flipped_channels, _flipped),),
        flops=_window_flops if windows else _whole_flops,
    )


def _global_max(inputs: Arrays, _: Attributes) -> tuple[Array, ...]:
    x = np.asarray(inputs[0])
    return (np.max(x, axis=tuple(range(2, x.ndim)), keepdims=True),)


SPECS: tuple[OpSpec, ...] = (
    _spec("MaxPool", _max_pool, lambda i, a, u: exact(*_max_pool(i, a)), MAX_DTYPES),
    _spec("GlobalMaxPool", _global_max, lambda i, a, u: exact(*_global_max(i, a)), FLOATS),
    _spec(
        "AveragePool",
        lambda i, a: (_average_pool(np.asarray(i[0]), a),),
        _mean_error(_average_pool, "AveragePool"),
        FLOATS,
    ),
    _spec(
        "GlobalAveragePool",
        lambda i, a: (_global_mean(np.asarray(i[0]), a),),
        _mean_error(_global_mean, "GlobalAveragePool"),
        FLOATS,
    ),
)
