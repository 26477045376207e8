"""Resize: nearest, linear and cubic resampling of any axes (onnx's Upsample arrives as Resize).

Source: https://onnx.ai/onnx/operators/onnx__Resize.html. Inputs: x, roi, scales, sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from engine.errors import ShapeError
from engine.ir.types import ALL_DTYPES, FLOAT, FLOAT16, FLOATS, INT64, TensorType
from engine.ops.numerics import Error, Units, exact, magnified, saturated
from engine.ops.operands import (
    Ints,
    Operands,
    check_dtype,
    input_at,
    known,
    payload,
    payload_of,
    tensor,
    zeros,
)
from engine.ops.resize_taps import (
    COORDINATES,
    MODES,
    NEAREST,
    AxisTaps,
    resize_taps,
    resized_shape,
)
from engine.ops.spec import HERE, Arrays, Attributes, Call, Choose, Growth, Law, OpSpec, Reject

Array = np.ndarray


def _infer(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    x = tensor("Resize", inputs, 0, "x", ALL_DTYPES)
    mode = attributes.get("mode", "nearest")
    if mode not in MODES:
        raise ShapeError(f"Resize: mode={mode!r}, expected one of {', '.join(MODES)}")
    if mode != "nearest":
        check_dtype("Resize", x.dtype, FLOATS, f"x for mode={mode!r}")
    names = ((1, "roi"), (2, "scales"), (3, "sizes"))
    roi, scales, sizes = (known("Resize", inputs, i, name) for i, name in names)
    return (TensorType(x.dtype, resized_shape(x.dims, roi, scales, sizes, attributes)),)


def _shape_and_taps(
    inputs: Sequence[Array | None], shape: Sequence[int], attributes: Attributes
) -> tuple[Ints, tuple[AxisTaps, ...]]:
    roi, scales, sizes = (input_at(inputs, i) for i in (1, 2, 3))
    return resize_taps(tuple(shape), roi, scales, sizes, attributes)


def taps_of(
    inputs: Sequence[Array | None], shape: Sequence[int], attributes: Attributes
) -> tuple[AxisTaps, ...]:
    """`resize_taps` from the arrays of inputs 1 to 3."""
    return _shape_and_taps(inputs, shape, attributes)[1]


def extrapolation(attributes: Attributes, dtype: np.dtype) -> Array:
    """What tf_crop_and_resize puts beyond the input, of y's dtype; integers saturate."""
    value = np.array(attributes.get("extrapolation_value", 0.0), np.float64)
    if dtype.kind in "iu":
        return saturated(value, dtype)
    with np.errstate(over="ignore"):
        return value.astype(dtype)


def resample(x: Array, taps: Sequence[AxisTaps], absolute: bool = False) -> Array:
    """Axis after axis, one tap at a time, those that shrink first; `absolute`: weights are |w|."""
    for t in sorted(taps, key=lambda t: len(t.indices) / max(x.shape[t.axis], 1)):
        shape = [-1 if axis == t.axis else 1 for axis in range(x.ndim)]
        if t.weights.shape[1] == 1:
            x = np.take(x, t.indices[:, 0], t.axis)
            continue
        w = np.abs(t.weights) if absolute else t.weights
        x = sum(
            np.take(x, t.indices[:, k], t.axis) * w[:, k].reshape(shape) for k in range(w.shape[1])
        )
    return x


def outside_of(y: Sequence[int], taps: Sequence[AxisTaps]) -> Array | None:
    """Bool mask of y: where tf_crop_and_resize extrapolates; None where nowhere."""
    if not any(t.outside.any() for t in taps):
        return None
    mask = np.zeros(y, np.bool_)
    for t in taps:
        mask |= t.outside.reshape([-1 if axis == t.axis else 1 for axis in range(len(y))])
    return mask


def _reference(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    x = inputs[0]
    assert x is not None
    shape, taps = _shape_and_taps(inputs, x.shape, attributes)
    if 0 in shape:
        return (np.zeros(shape, x.dtype),)
    with np.errstate(all="ignore"):
        y = np.asarray(resample(x, taps))
    mask = outside_of(y.shape, taps)
    if mask is not None:
        y = np.where(mask, extrapolation(attributes, y.dtype), y)
    return (y,)


def _error(inputs: Arrays, attributes: Attributes, units: Units) -> tuple[Error, ...]:
    """Per axis of K taps, on |w||x|: a rounded weight, a product, K - 1 sums; float at least."""
    (y,) = _reference(inputs, attributes)
    x = inputs[0]
    assert x is not None
    taps = taps_of(inputs, x.shape, attributes)
    steps = sum(t.weights.shape[1] + 2 for t in taps if t.weights.shape[1] > 1)
    if not steps:
        return exact(y)
    wide = replace(units, compute=FLOAT) if units.compute == FLOAT16 else units
    with np.errstate(all="ignore"):
        size = np.asarray(resample(np.abs(x), taps, absolute=True))
    return (magnified(y, steps * size, wide),)


def _draw(
    choose: Choose, shape: Sequence[int], mode: str, dtype: np.dtype
) -> tuple[tuple[Array | None, ...], dict[str, object]]:
    """Inputs 1 to 3 and attributes that resize up to three neighbouring axes, often the last."""
    rank = len(shape)
    count = min(rank, choose.one_of((2, 1, 3)))
    end = choose.one_of((rank, rank, max(count, rank - 1)))
    axes = tuple(range(end - count, end))
    attributes: dict[str, object] = {"mode": mode}
    how = choose.one_of(COORDINATES[:-1])
    attributes["coordinate_transformation_mode"] = how
    if mode == "nearest":
        attributes["nearest_mode"] = choose.one_of(NEAREST)
    elif choose.integer(0, 3) == 3:
        attributes["exclude_outside"] = 1
    if choose.integer(0, 1):
        sizes = [
            max(1, choose.one_of((2 * shape[a], shape[a] + 1, shape[a] // 2, 7))) for a in axes
        ]
        if how == "align_corners" and 1 in sizes:
            sizes = [2] * count
        attributes["axes"] = axes
        return (None, None, np.array(sizes, np.int64)), attributes
    scales = [1.0] * rank
    for axis in axes:
        scale = choose.one_of((2.0, 1.0, 3.0, 1.5, 0.6))
        scales[axis] = 2.0 if scale * shape[axis] < 2 else scale
    if any(shape[axis] == 1 for axis in axes) and how == "align_corners":
        attributes["coordinate_transformation_mode"] = "half_pixel"
    return (np.zeros(0, np.float32), np.array(scales, np.float32)), attributes


def _grow(choose: Choose, x: TensorType) -> Growth | None:
    if not 3 <= len(x.dims) <= 5 or 0 in x.dims or x.size > 1 << 16 or x.dtype not in ALL_DTYPES:
        return None
    mode = choose.one_of(MODES[:2]) if x.dtype in FLOATS else "nearest"
    inputs, attributes = _draw(choose, x.dims, mode, x.dtype)
    return Growth((HERE, *inputs), attributes)


def _example(choose: Choose) -> Call:
    mode = choose.one_of(MODES)
    shape: tuple[int, ...] = (choose.integer(1, 2), choose.one_of((1, 3, 16, 17, 33)))
    shape += tuple(choose.one_of((4, 1, 2, 3, 7, 9)) for _ in range(choose.one_of((2, 1, 3))))
    x = payload(choose, shape) if mode == "nearest" else payload_of(choose, shape, FLOAT)
    inputs, attributes = _draw(choose, shape, mode, x.dtype)
    return Call((x, *inputs), attributes)


def _ramp(*shape: int) -> Array:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def _flipped_channels(call: Call) -> Call | None:
    x = call.inputs[0]
    assert x is not None
    if any(t.axis == 1 for t in taps_of(call.inputs, x.shape, call.attributes)):
        return None
    return Call((np.flip(x, 1).copy(), *call.inputs[1:]), call.attributes)


_MIRRORED = {
    "floor": "ceil",
    "ceil": "floor",
    "round_prefer_floor": "round_prefer_ceil",
    "round_prefer_ceil": "round_prefer_floor",
}


def _mirrored(call: Call) -> Call | None:
    """All axes turned round, and with them what the nearest pixel is."""
    x, a = call.inputs[0], call.attributes
    how, mode = a.get("coordinate_transformation_mode"), a.get("mode", MODES[0])
    if how != "half_pixel_symmetric" or mode != "nearest" or a.get("antialias", 0):
        return None
    assert x is not None
    other = _MIRRORED[str(a.get("nearest_mode", NEAREST[0]))]
    return Call((np.flip(x).copy(), *call.inputs[1:]), {**a, "nearest_mode": other})


def _on_pixels(size: int, *inputs: Array | None) -> Call:
    """Some places of these are pixels, which `ceil` takes where nothing is rounded."""
    attributes = {
        "coordinate_transformation_mode": "half_pixel_symmetric",
        "nearest_mode": "ceil",
    }
    return Call((_ramp(size), None, *inputs), attributes)


_twice = np.array([1, 1, 2, 2], np.float32)
_crop = {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 10.0}
_roi = np.array([0, 0, 0.4, -0.2, 1, 1, 1.2, 0.8], np.float32)
_sizes = np.array([1, 1, 3, 5], np.int64)

SPECS: tuple[OpSpec, ...] = (
    OpSpec(
        "Resize",
        (2, 4),
        _infer,
        _reference,
        _error,
        _example,
        grow=_grow,
        constant_inputs=frozenset({1, 2, 3}),
        edges=(
            lambda: Call((_ramp(3, 5), None, np.array([2, 0.6], np.float32)), {"mode": "cubic"}),
            lambda: Call(
                (_ramp(2, 5, 3, 4, 18), None, None, np.array([7, 3])),
                {"mode": "linear", "axes": (1, 0)},
            ),
            lambda: Call(
                (_ramp(2, 3, 2, 2, 2, 3).astype(np.int8), None, None, np.array([5, 1, 3])),
                {"axes": (1, 5, 3)},
            ),
            lambda: Call(
                (zeros(0, 3), None, None, np.array([0, 2_000_000_000])), {"mode": "linear"}
            ),
            lambda: Call(
                (_ramp(2, 3, 3).astype(np.uint8), _roi[:6], None, np.array([4, 5, 3])),
                {**_crop, "extrapolation_value": 300.0},
            ),
            lambda: Call((_ramp(1, 1, 4, 4), _roi, None, _sizes), {**_crop, "mode": "linear"}),
            lambda: Call((_ramp(1, 1, 4, 4), _roi, None, _sizes), {**_crop, "mode": "nearest"}),
            lambda: Call(
                (_ramp(1, 1, 9, 7), None, None, np.array([1, 1, 4, 3])),
                {"mode": "linear", "antialias": 1},
            ),
            lambda: Call(
                (_ramp(1, 2, 9, 7), None, None, np.array([3, 9])),
                {"mode": "cubic", "axes": (3, 2), "keep_aspect_ratio_policy": "not_larger"},
            ),
            lambda: _on_pixels(7, np.array([0.5], np.float32)),
            lambda: _on_pixels(14, None, np.array([18])),
            lambda: Call((zeros(0, 1, 2, 2), None, _twice), {"mode": "linear"}),
            lambda: Call(
                (zeros(1, 1, 2, 2), None, np.array([1, 1, 1e5, 1e-5], np.float32)),
                {"mode": "linear"},
            ),
            lambda: Call((np.arange(4, dtype=INT64).reshape(1, 1, 2, 2) + 2**60, None, _twice)),
        ),
        rejects=(
            Reject("neither", lambda: Call((zeros(1, 1, 2, 2), None, zeros(0))), "exactly one"),
            Reject("count", lambda: Call((zeros(1, 1, 2), None, _twice)), "expected 3"),
            Reject(
                "mode", lambda: Call((zeros(1, 1, 2, 2), None, _twice), {"mode": "area"}), "'area'"
            ),
        ),
        laws=(
            Law("channels reversed", _flipped_channels, lambda c, y: np.flip(y, 1)),
            Law("mirrored", _mirrored, lambda c, y: np.flip(y), bitwise=True),
        ),
        flops=lambda inputs, outputs, a: (
            outputs[0].size * (0 if a.get("mode", "nearest") == "nearest" else 8)
        ),
        reads=(
            "antialias",
            "axes",
            "coordinate_transformation_mode",
            "cubic_coeff_a",
            "exclude_outside",
            "extrapolation_value",
            "keep_aspect_ratio_policy",
            "mode",
            "nearest_mode",
        ),
    ),
)
