"""What onnxruntime reads differently, and why: pictures."""

from __future__ import annotations

import numpy as np

from engine.ops.grid_sample import FURTHEST
from properties.hostile.asked import (
    Call,
    Disagreement,
    call,
    is_finite,
    ones,
)


def _is_uneven(scales: np.ndarray) -> bool:
    """Whether there are scales that no few bits hold."""
    if scales.dtype != np.float32 or scales.ndim != 1:
        return False
    return bool((scales * 1024 % 1 != 0).any())


def _has_fractional_lengths(call: Call) -> bool:
    """Whether scales of a Resize ask for lengths that are no whole numbers."""
    x = call.first
    axes = call.attribute("axes", range(x.ndim))
    return any(s * x.shape[axis] % 1 for s, axis in zip(call.input(2), axes, strict=False))


DISAGREEMENTS = (
    Disagreement(
        "onnxruntime",
        frozenset({"GridSample"}),
        "reflects positions however far out they are, where float does not tell pixels apart; "
        "docs/numerics.md has our rule",
        lambda c: bool((np.abs(c.input(1).astype(np.float64)) > FURTHEST).any()),
        lambda: call(
            "GridSample",
            20,
            np.array([1, -1, 1] * 3, np.float32).reshape(1, 1, 3, 3),
            np.array([[[[1e10, 0]]]], np.float32),
            mode="nearest",
            padding_mode="reflection",
            align_corners=1,
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Resize"}),
        "computes coordinates in float, which may come out on the other side of a whole number; "
        "the evaluator computes ours",
        lambda c: c.attribute("mode", b"nearest") == b"nearest" and any(map(_is_uneven, c.arrays)),
        lambda: call(
            "Resize",
            12,
            np.arange(4, dtype=np.float32),
            np.zeros(0, np.float32),
            np.array([0.6], np.float32),
            constants=(1, 2),
            mode="nearest",
            nearest_mode="floor",
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Resize"}),
        "aligns the corners of the output as it is rounded; ONNX's own test "
        "(resize_downsample_scales_linear_align_corners) has the length that scales ask for",
        lambda c: (
            c.attribute("coordinate_transformation_mode") == b"align_corners"
            and _has_fractional_lengths(c)
        ),
        lambda: call(
            "Resize",
            18,
            np.arange(1, 9, dtype=np.float32).reshape(1, 1, 2, 4),
            np.zeros(0, np.float32),
            np.array([1, 1, 0.6, 0.6], np.float32),
            constants=(1, 2),
            mode="linear",
            coordinate_transformation_mode="align_corners",
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Resize"}),
        "finds no sizes of axes that are counted from the end where it keeps the aspect ratio; "
        "ONNX's shape inference has ours",
        lambda c: (
            any(axis < 0 for axis in c.attribute("axes", ()))
            and c.attribute("keep_aspect_ratio_policy", b"stretch") != b"stretch"
        ),
        lambda: call(
            *("Resize", 20, ones(1, 33, 7), None, None, np.array([14])),
            constants=(3,),
            axes=[-2],
            keep_aspect_ratio_policy="not_smaller",
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Upsample", "Resize"}),
        "multiplies a neighbour of weight 0 all the same: NaN where it is infinite",
        lambda c: not is_finite(c),
        lambda: call(
            "Upsample",
            8,
            np.array([[[1, np.inf, 2, 3]]], np.float32),
            scales=[1.0, 1.0, 2.0],
            mode="linear",
        ),
    ),
)
