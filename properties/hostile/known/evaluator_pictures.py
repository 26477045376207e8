"""What onnx's reference evaluator reads differently, and why: pictures."""

from __future__ import annotations

from io import BytesIO

import numpy as np

from engine.ops.image_decoder import opened, portable
from properties.hostile.asked import (
    Disagreement,
    call,
    is_finite,
    ones,
)


def _has_three_bands(stream: np.ndarray) -> bool:
    """Whether an image is one of red, green and blue."""
    from PIL import Image

    if opened(stream, "RGB") is None:
        return False
    return bool(Image.open(BytesIO(stream.tobytes())).mode == "RGB")


DISAGREEMENTS = (
    Disagreement(
        "evaluator",
        frozenset({"Resize"}),
        "makes the largest finite numbers of infinities",
        lambda c: not is_finite(c),
        lambda: call(
            "Resize",
            18,
            np.array([[[[-np.inf, 4, 1, 2]]]], np.float32),
            np.zeros(0, np.float32),
            np.array([1, 1, 1, 2], np.float32),
            constants=(1, 2),
            mode="cubic",
            exclude_outside=1,
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Resize"}),
        "takes the pixel before where rounding leaves a place just below a pixel; interpolation is "
        "continuous there",
        lambda c: c.attribute("coordinate_transformation_mode") == b"half_pixel_symmetric",
        lambda: call(
            "Resize",
            20,
            np.array([[0, 9, 0, 0, 0, 0, 0, 0, 0]], np.float32),
            np.zeros(0, np.float32),
            np.array([1, 1.5], np.float32),
            constants=(1, 2),
            mode="cubic",
            coordinate_transformation_mode="half_pixel_symmetric",
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"RoiAlign"}),
        "shifts regions by half a pixel before opset 16 too, which brought that in; onnxruntime "
        "computes ours",
        lambda c: c.opset < 16,
        lambda: call(
            "RoiAlign",
            10,
            np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3),
            np.array([[0, 0, 2, 2]], np.float32),
            np.array([0]),
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"RoiAlign"}),
        "takes the largest by Python's max, which drops NaN unless it comes first",
        lambda c: c.attribute("mode") == b"max" and not is_finite(c),
        lambda: call(
            "RoiAlign",
            22,
            np.array([0] * 11 + [np.inf] + [0] * 16, np.float32).reshape(1, 1, 7, 4),
            np.array([[11, 11, 12, 12]], np.float32),
            np.array([0]),
            mode="max",
            output_height=2,
            output_width=4,
            spatial_scale=0.3,
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"GridSample"}),
        "interpolates half in half, and rounds positions of doubles to float",
        lambda c: c.first.dtype != np.float32,
        lambda: call(
            "GridSample",
            20,
            np.array([1000, -1000] * 50, np.float16).reshape(1, 1, 1, -1),
            np.array([[[[0.8, 0]]]], np.float16),
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"GridSample"}),
        "moves a position beyond the border to it before its cubic taps are; docs/numerics.md has "
        "our rule",
        lambda c: (
            c.attributes.get("mode") == "cubic" and c.attributes.get("padding_mode") == "border"
        ),
        lambda: call(
            "GridSample",
            20,
            np.array([1, 2, 4, 8], np.float32).reshape(1, 1, 1, 4),
            np.array([[[[1.5, 0]]]], np.float32),
            mode="cubic",
            padding_mode="border",
            align_corners=1,
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Resize", "Upsample"}),
        "interpolates integers in double, which holds no int64 beyond 2**53",
        lambda c: c.first.dtype.kind in "iu",
        lambda: call(
            "Resize",
            13,
            np.full((1, 1, 2, 2), 2**60 + 1),
            np.zeros(0, np.float32),
            np.array([1, 1, 2, 2], np.float32),
            constants=(1, 2),
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Resize"}),
        "takes exclude_outside for every mode; it is about the weights of cubic interpolation",
        lambda c: c.attribute("exclude_outside", 0) == 1 and c.attribute("mode") != b"cubic",
        lambda: call(
            "Resize",
            13,
            ones(1, 1, 1, 1),
            np.zeros(0, np.float32),
            np.array([1, 1, 1, 4], np.float32),
            constants=(1, 2),
            mode="nearest",
            nearest_mode="ceil",
            exclude_outside=1,
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"GridSample"}),
        "has no rule for positions that are NaN; docs/numerics.md has ours",
        lambda c: not np.isfinite(c.input(1).astype(np.float64)).all(),
        lambda: call(
            *("GridSample", 23, 1 + ones(1, 1, 4), np.array([[[np.nan]]], np.float32)),
            mode="nearest",
            align_corners=1,
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"ImageDecoder"}),
        "leaves pixels as the file has them: gray ones of rank 2, places in a palette; 'decoded "
        "images follow a channel-last layout: (Height, Width, Channels)'",
        lambda c: not _has_three_bands(c.first),
        lambda: call("ImageDecoder", 20, portable(np.zeros((2, 3), np.uint8)), constants=(0,)),
    ),
)
