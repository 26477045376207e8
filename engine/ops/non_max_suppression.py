"""NonMaxSuppression: the boxes of the highest scores that no better one overlaps too much.

Source: https://onnx.ai/onnx/operators/onnx__NonMaxSuppression.html; as onnxruntime has it, a box
without area overlaps nothing, and of equal scores the first box is taken first. How many boxes come
out depends on all that goes in, so the host computes it between two stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from engine.errors import ShapeError
from engine.ir.types import FLOAT, INT64, TensorType, dtype_name
from engine.ops.numerics import exact
from engine.ops.operands import Operands, known, tensor, zeros
from engine.ops.spec import Arrays, Attributes, Call, Choose, OpSpec, Reject

Array = np.ndarray
OP = "NonMaxSuppression"
Corners = tuple[float, float, float, float]


def corners(box: Array, center_point_box: int) -> Corners:
    """(y1, x1, y2, x2), the lower ones first, in float64."""
    a, b, c, d = (float(v) for v in box)
    if center_point_box:
        return b - d / 2, a - c / 2, b + d / 2, a + c / 2
    return min(a, c), min(b, d), max(a, c), max(b, d)


def overlap(one: Corners, other: Corners) -> float:
    """Intersection over union; 0 where a box has no area."""
    height = min(one[2], other[2]) - max(one[0], other[0])
    width = min(one[3], other[3]) - max(one[1], other[1])
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)]
    shared = max(height, 0.0) * max(width, 0.0)
    return shared / (sum(areas) - shared) if min(areas) > 0 and shared > 0 else 0.0


def limits(inputs: Arrays) -> tuple[int, float, float | None]:
    """Boxes for each class at most, IoU and score that must not be exceeded, and must be."""
    most, iou, score = (
        *(None if x is None else np.asarray(x).item() for x in inputs[2:]),
        *(None,) * 3,
    )[:3]
    return int(most or 0), float(iou or 0.0), score


def _chosen(
    boxes: list[Corners], scores: Array, most: int, iou: float, least: float | None
) -> list[int]:
    order = sorted(range(len(boxes)), key=lambda i: (np.isnan(scores[i]), -scores[i], i))
    chosen: list[int] = []
    for i in order:
        is_candidate = len(chosen) < most and (least is None or scores[i] > least)
        if is_candidate and not any(overlap(boxes[i], boxes[j]) > iou for j in chosen):
            chosen.append(i)
    return chosen


def _reference(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    boxes, scores = np.asarray(inputs[0]), np.asarray(inputs[1])
    most, iou, least = limits(inputs)
    rows = []
    for batch in range(scores.shape[0]):
        found = [corners(b, attributes.get("center_point_box", 0)) for b in boxes[batch]]
        for kind in range(scores.shape[1]):
            chosen = _chosen(found, scores[batch, kind], most, iou, least)
            rows += [(batch, kind, i) for i in chosen]
    return (np.array(rows, np.int64).reshape(len(rows), 3),)


def check_shapes(boxes: Sequence[int], scores: Sequence[int]) -> None:
    """Raise ShapeError unless each batch has boxes of four numbers, and a score for each."""
    if len(boxes) != 3 or len(scores) != 3 or boxes[2] != 4 or boxes[:2] != scores[::2]:
        raise ShapeError(
            f"{OP}: boxes of shape {tuple(boxes)} and scores of shape {tuple(scores)}, expected "
            "(batch, boxes, 4) and (batch, classes, boxes)"
        )


def check_limits(limits_: Arrays) -> None:
    """Raise ShapeError unless each is one number, and the IoU between 0 and 1, or left out."""
    dtypes = {"max_output_boxes_per_class": INT64, "iou_threshold": FLOAT, "score_threshold": FLOAT}
    for (name, dtype), value in zip(dtypes.items(), limits_, strict=False):
        if value is not None and value.size != 1:
            raise ShapeError(f"{OP}: {name} has shape {value.shape}, expected one number")
        if value is not None and value.dtype != dtype:
            raise ShapeError(
                f"{OP}: {name} is {dtype_name(value.dtype)}, expected {dtype_name(dtype)}"
            )
        if value is not None and name == "iou_threshold" and not 0 <= value.item() <= 1:
            raise ShapeError(f"{OP}: iou_threshold={value.item():g}, expected 0 to 1")


def _infer(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    check_shapes(tensor(OP, inputs, 0, "boxes").dims, tensor(OP, inputs, 1, "scores").dims)
    names = ("boxes", "scores", "max_output_boxes_per_class", "iou_threshold", "score_threshold")
    values = [known(OP, inputs, i, name) for i, name in enumerate(names)]
    check_limits(values[2:])
    if attributes.get("center_point_box", 0) not in (0, 1):
        raise ShapeError(
            f"{OP}: center_point_box={attributes['center_point_box']}, expected 0 or 1"
        )
    wide = [x.astype(np.float64) if i != 2 and x is not None else x for i, x in enumerate(values)]
    return (TensorType(INT64, _reference(wide, attributes)[0].shape),)


def _limited(*limits_: Array) -> Call:
    return Call((zeros(1, 2, 4), zeros(1, 1, 2), *limits_))


def _example(choose: Choose) -> Call:
    batches, kinds, count = choose.integer(1, 2), choose.integer(1, 3), choose.integer(0, 9)
    boxes = choose.tensor((batches, count, 4), FLOAT, 0, 4)
    scores = choose.tensor((batches, kinds, count), FLOAT, 0, 1)
    inputs: list[Array | None] = [boxes, scores, np.array([choose.integer(0, 5)], np.int64)]
    inputs.append(np.array([choose.one_of((0.5, 0.0, 0.125))], np.float32))
    inputs.append(
        np.array([choose.one_of((0.25, -1.0))], np.float32) if choose.integer(0, 1) else None
    )
    while inputs[-1] is None:
        inputs.pop()
    return Call(tuple(inputs), {"center_point_box": choose.integer(0, 1)})


def _boxes(*boxes: Corners, center_point_box: int = 0) -> Call:
    """Scores that fall but for the last, which is the first's; at most 3 boxes."""
    scores = np.linspace(1, 0, len(boxes), dtype=np.float32)
    scores[-1:] = scores[:1]
    limits_ = np.array([3], np.int64), np.array([0.5], np.float32)
    given = np.array(boxes, np.float32).reshape(1, len(boxes), 4), scores[None, None]
    return Call((*given, *limits_), {"center_point_box": center_point_box})


A, B, FLAT = (0.0, 0.0, 1.0, 1.0), (0.0, 0.1, 1.0, 1.1), (0.5, 0.0, 0.5, 1.0)
HALF = (0.0, 0.0, 1.0, 0.5)


def _scored(*scores: float, least: float | None = None) -> Call:
    """Boxes apart with these scores; those that are no numbers come last."""
    corners_ = [(2.0 * i, 2.0 * i, 2.0 * i + 1, 2.0 * i + 1) for i in range(len(scores))]
    boxes = np.array(corners_, np.float32)[None]
    inputs = [boxes, np.array(scores, np.float32)[None, None], np.array([9]), zeros(1)]
    return Call((*inputs, *([] if least is None else [np.array([least], np.float32)])))


SPECS: tuple[OpSpec, ...] = (
    OpSpec(
        OP,
        (2, 5),
        _infer,
        _reference,
        lambda inputs, attributes, units: exact(*_reference(inputs, attributes)),
        _example,
        constant_inputs=frozenset(range(5)),
        is_exact=True,
        edges=(
            partial(_boxes),
            partial(_boxes, A, B, (1.0, 1.0, 0.0, 0.0), FLAT, FLAT),
            partial(_boxes, A, HALF, A),
            partial(_boxes, A, B, (5.0, 5.0, 1.0, 1.0), center_point_box=1),
            partial(_scored, np.nan, 1, np.nan, 2, -np.inf),
            partial(_scored, -np.inf, 0, np.nan, 1, least=-np.inf),
        ),
        rejects=(
            Reject(
                "scores for other boxes", lambda: Call((zeros(1, 2, 4), zeros(1, 1, 3))), "batch"
            ),
            Reject(
                "a count that is a float",
                lambda: Call((*_boxes(A, B).inputs[:2], np.array([3], np.float32))),
                "max_output_boxes_per_class is float32",
            ),
            Reject(
                "boxes of 3 numbers", lambda: Call((zeros(1, 2, 3), zeros(1, 1, 2))), "boxes, 4"
            ),
            Reject("rank", lambda: Call((zeros(2, 4), zeros(1, 2))), "batch, boxes, 4"),
            *(
                Reject(f"several {name}", partial(_limited, *limits_), f"{name}.* has shape")
                for name, *limits_ in (
                    ("max_output", np.array([1, 1])),
                    ("iou", np.array([1]), zeros(2)),
                    ("score", np.array([1]), zeros(1), zeros(2)),
                )
            ),
            *(
                Reject(
                    f"IoU of {iou}",
                    partial(_limited, np.array([1]), np.array([iou], "f4")),
                    "expected 0 to 1",
                )
                for iou in (-0.5, 1.5, np.nan)
            ),
        ),
        flops=lambda inputs, outputs, _: (
            16 * inputs[1].size * inputs[1].dims[-1] if inputs[1] else 0
        ),
        reads=("center_point_box",),
    ),
)
