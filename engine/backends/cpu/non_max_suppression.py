"""NonMaxSuppression: one row of overlaps for each box that is chosen."""

from __future__ import annotations

import numpy as np

from engine.backends.cpu.computed import Arrays, kernel_of
from engine.ir.node import Attributes
from engine.ops.non_max_suppression import check_limits, check_shapes


def _edges(boxes: np.ndarray, is_center: bool) -> np.ndarray:
    """Rows top, left, bottom, right."""
    first, second = boxes[:, :2].T, boxes[:, 2:].T
    if is_center:
        middle, extent = first[::-1], second[::-1]
        return np.concatenate([middle - extent / 2, middle + extent / 2])
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)])


def _suppress(
    edges: np.ndarray, scores: np.ndarray, most: int, iou: float, least: float | None
) -> list[int]:
    area = (edges[2] - edges[0]) * (edges[3] - edges[1])
    left = np.argsort(-scores, kind="stable")
    left = left if least is None else left[scores[left] > least]
    chosen: list[int] = []
    while left.size and len(chosen) < most:
        best, left = int(left[0]), left[1:]
        chosen.append(best)
        low = np.maximum(edges[:2, left], edges[:2, best, None])
        high = np.minimum(edges[2:, left], edges[2:, best, None])
        shared = np.clip(high - low, 0, None).prod(0)
        with np.errstate(all="ignore"):
            ratio = shared / (area[best] + area[left] - shared)
        overlaps = (area[left] > 0) & (area[best] > 0) & (shared > 0) & (ratio > iou)
        left = left[~overlaps]
    return chosen


def _compute(arrays: Arrays, attributes: Attributes) -> list[np.ndarray]:
    boxes, scores, most, iou, least = (*arrays, *(None,) * 3)[:5]
    assert boxes is not None
    assert scores is not None
    check_shapes(boxes.shape, scores.shape)
    check_limits((most, iou, least))
    rows: list[tuple[int, int, int]] = []
    for batch, (some, lines) in enumerate(zip(boxes, scores, strict=True)):
        edges = _edges(some.astype(np.float64), bool(attributes.get("center_point_box", 0)))
        for kind, line in enumerate(lines):
            chosen = _suppress(
                edges,
                line.astype(np.float64),
                0 if most is None else int(most.item()),
                0.0 if iou is None else float(iou.item()),
                None if least is None else float(least.item()),
            )
            rows += [(batch, kind, i) for i in chosen]
    return [np.array(rows, np.int64).reshape(len(rows), 3)]


COMPUTED = {"NonMaxSuppression": _compute}
KERNELS = {op_type: kernel_of(compute) for op_type, compute in COMPUTED.items()}
