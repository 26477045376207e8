"""Reductions, averages of windows, softmax and normalizations: sums of rows, then a formula."""

from __future__ import annotations

import math

import numpy as np

from conformance.mirrors.arithmetic import Arithmetic, Range
from conformance.mirrors.asked import Array, Asked, Places
from conformance.mirrors.sums import Adding, add_up
from engine.ops.pool import pool_window, window_counts
from engine.ops.reduce import normal_axis, reduced_axes


def _sum(asked: Asked, arithmetic: Arithmetic, terms: Range) -> Range:
    adding = Adding(arithmetic.add, arithmetic.add)
    return add_up(arithmetic, adding, asked.order.sums, terms)


def _sum_of_squares(asked: Asked, arithmetic: Arithmetic, terms: Range) -> Range:
    def step(total: Range, v: Range) -> Range:
        return arithmetic.multiply_add(v, v, total)

    return add_up(arithmetic, Adding(step, arithmetic.add), asked.order.sums, terms)


def _log(arithmetic: Arithmetic, x: Range) -> Range:
    with np.errstate(all="ignore"):
        return arithmetic.function("log", np.log, x)


def _exp_below(arithmetic: Arithmetic, x: Range, most: Range) -> Range:
    return arithmetic.function("exp", np.exp, arithmetic.subtract(x, most))


# ---------------------------------------------------------------------- reductions
def reduction(asked: Asked, arithmetic: Arithmetic) -> Range:
    """ReduceSum, ReduceMean, ReduceL1, ReduceL2, ReduceSumSquare, ReduceLogSum, ReduceLogSumExp."""
    op, rows = asked.node.op_type, _slices(asked)
    x = arithmetic.numbers(rows)
    if op == "ReduceLogSumExp":
        largest = rows.max(-1, initial=-np.inf)
        most = arithmetic.numbers(np.where(np.isfinite(largest), largest, 0))
        total = _sum(asked, arithmetic, _exp_below(arithmetic, x, most[..., None]))
        return arithmetic.add(most, _log(arithmetic, total))
    if op in ("ReduceL2", "ReduceSumSquare"):
        total = _sum_of_squares(asked, arithmetic, x)
        return arithmetic.function("sqrt", np.sqrt, total) if op == "ReduceL2" else total
    total = _sum(asked, arithmetic, x.each(np.abs) if op == "ReduceL1" else x)
    if op == "ReduceMean":
        return arithmetic.divide(total, arithmetic.numbers(rows.shape[-1]))
    return _log(arithmetic, total) if op == "ReduceLogSum" else total


def _slices(asked: Asked) -> Array:
    """The reduced elements of each place, row-major: (places, elements)."""
    node, x = asked.node, asked.array(0)
    listed = asked.arrays[1] if len(asked.arrays) > 1 else None
    axes = reduced_axes(node.op_type, x.ndim, listed, node.attributes)
    kept = [a for a in range(x.ndim) if a not in axes]
    turned = x.transpose(*kept, *sorted(axes))
    keeps = node.outputs[0].known_type.dims
    at = asked.at if len(keeps) == len(kept) else tuple(asked.at[a] for a in kept)
    return turned[at].reshape(asked.count, -1)


def window_mean(asked: Asked, arithmetic: Arithmetic) -> Range:
    """AveragePool: what lies outside the input adds nothing."""
    node, x = asked.node, asked.array(0)
    window = pool_window(node.op_type, x.shape, node.attributes)
    n, c, *position = asked.at
    rank, count = len(position), asked.count
    inside, places = np.ones((count,) + (1,) * rank, bool), []
    for axis in range(rank):
        tap = np.arange(window.kernel[axis])
        start = position[axis][:, None] * window.strides[axis] - window.begins[axis]
        found = start + tap * window.dilations[axis]
        shape = [count, *(window.kernel[axis] if a == axis else 1 for a in range(rank))]
        inside = inside & ((found >= 0) & (found < x.shape[2 + axis])).reshape(shape)
        places.append(np.clip(found, 0, x.shape[2 + axis] - 1).reshape(shape))
    first = (count,) + (1,) * rank
    values = np.where(inside, x[(n.reshape(first), c.reshape(first), *places)], 0)
    total = _sum(asked, arithmetic, arithmetic.numbers(values.reshape(count, -1)))
    padded = bool(node.attributes.get("count_include_pad", 0))
    counts = np.broadcast_to(window_counts(x.shape, window, padded), (1, 1, *window.outputs))
    here = counts[(0, 0, *position)]
    return arithmetic.divide(total, arithmetic.numbers(np.maximum(here, 1)))


def image_mean(asked: Asked, arithmetic: Arithmetic) -> Range:
    """GlobalAveragePool."""
    x = asked.array(0)
    rows = x.reshape(*x.shape[:2], -1)[asked.at[:2]]
    total = _sum(asked, arithmetic, arithmetic.numbers(rows))
    return arithmetic.divide(total, arithmetic.numbers(rows.shape[-1]))


def _rows(asked: Asked, x: Array, outer: Places) -> Array:
    """What has the same outer indices as each place: (places, elements)."""
    lead = x.shape[: len(outer)]
    row = np.ravel_multi_index(outer, lead) if outer else np.zeros(asked.count, np.intp)
    return np.asarray(x.reshape(math.prod(lead), -1)[row])


# ---------------------------------------------------------------------- softmax
def softmax(asked: Asked, arithmetic: Arithmetic) -> Range:
    """exp(x - m) / sum, and (x - m) - log(sum) for LogSoftmax."""
    node, x = asked.node, asked.array(0)
    axis = normal_axis(node.op_type, int(node.attributes.get("axis", -1)), x.ndim)
    others = tuple(i for a, i in enumerate(asked.at) if a != axis)
    rows = _rows(asked, np.moveaxis(x, axis, -1) if x.ndim else x[None], others)
    most = arithmetic.numbers(rows.max(-1))
    exponentials = _exp_below(arithmetic, arithmetic.numbers(rows), most[..., None])
    total = _sum(asked, arithmetic, exponentials)
    below = arithmetic.subtract(arithmetic.numbers(x[asked.at]), most)
    if node.op_type == "LogSoftmax":
        return arithmetic.subtract(below, _log(arithmetic, total))
    return arithmetic.divide(arithmetic.function("exp", np.exp, below), total)


# ---------------------------------------------------------------------- normalizations
def _inverse_root(arithmetic: Arithmetic, x: Range) -> Range:
    def inverse(v: Array) -> Array:
        return np.asarray(1 / np.sqrt(v))

    return arithmetic.function("rsqrt", inverse, x, falls=True)


def normalized_rows(asked: Asked, arithmetic: Arithmetic) -> Range:
    """Layer, Instance and Group: d = (x - m0) - c, y = d r scale + bias, or a statistic.

    m0 = sum x / n; c = sum (x - m0) / n; r = 1 / sqrt(sum (x - m0)^2 / n - c^2 + epsilon).
    """
    rows, parameter_at = _rows_of(asked)
    n = arithmetic.numbers(rows.shape[-1])
    x = arithmetic.numbers(rows)
    first = arithmetic.divide(_sum(asked, arithmetic, x), n)
    apart = arithmetic.subtract(x, first[..., None])
    c = arithmetic.divide(_sum(asked, arithmetic, apart), n)
    mean_square = arithmetic.divide(_sum_of_squares(asked, arithmetic, apart), n)
    spread = arithmetic.multiply_add(arithmetic.negative(c), c, mean_square)
    spread = spread.each(lambda v: np.maximum(v, v.dtype.type(0)))
    epsilon = arithmetic.numbers(np.float32(asked.node.attributes.get("epsilon", 1e-5)))
    r = _inverse_root(arithmetic, arithmetic.add(spread, epsilon))
    if asked.which:
        return arithmetic.add(first, c) if asked.which == 1 else r
    here = arithmetic.numbers(asked.array(0)[asked.at])
    scaled = arithmetic.multiply(arithmetic.subtract(arithmetic.subtract(here, first), c), r)
    return _scaled(asked, arithmetic, scaled, parameter_at)


def _rows_of(asked: Asked) -> tuple[Array, Array]:
    """What is normalized together with each place, and where its scale and bias stand."""
    node, x = asked.node, asked.array(0)
    if node.op_type == "LayerNormalization":
        axis = normal_axis(node.op_type, int(node.attributes.get("axis", -1)), x.ndim)
        rows = _rows(asked, x, asked.at[:axis])
        inner = asked.at[axis:]
        if asked.which:
            return rows, np.zeros(asked.count, np.intp)
        return rows, np.ravel_multi_index(inner, x.shape[axis:])
    n, channel = asked.at[:2]
    groups = int(node.attributes.get("num_groups", max(x.shape[1], 1)))
    rows = x.reshape(x.shape[0], groups, -1)[n, channel // (x.shape[1] // groups)]
    return rows, channel


def _scaled(asked: Asked, arithmetic: Arithmetic, scaled: Range, at: Array) -> Range:
    scale = arithmetic.numbers(asked.array(1).reshape(-1)[at])
    bias = asked.arrays[2] if len(asked.arrays) > 2 else None
    if bias is None:
        return arithmetic.multiply(scaled, scale)
    return arithmetic.multiply_add(scaled, scale, arithmetic.numbers(bias.reshape(-1)[at]))


def root_mean_square(asked: Asked, arithmetic: Arithmetic) -> Range:
    """RMSNormalization: x / sqrt(sum x^2 / n + epsilon) scale."""
    node, x = asked.node, asked.array(0)
    axis = normal_axis(node.op_type, int(node.attributes.get("axis", -1)), x.ndim)
    rows = _rows(asked, x, asked.at[:axis])
    total = _sum_of_squares(asked, arithmetic, arithmetic.numbers(rows))
    mean = arithmetic.divide(total, arithmetic.numbers(rows.shape[-1]))
    epsilon = arithmetic.numbers(np.float32(node.attributes.get("epsilon", 1e-5)))
    r = _inverse_root(arithmetic, arithmetic.add(mean, epsilon))
    scale = np.broadcast_to(asked.array(1), x.shape)[asked.at]
    here = arithmetic.multiply(arithmetic.numbers(x[asked.at]), r)
    return arithmetic.multiply(here, arithmetic.numbers(scale))


def normalized_batch(asked: Asked, arithmetic: Arithmetic) -> Range:
    """BatchNormalization: (x - mean) (scale / sqrt(variance + epsilon)) + bias."""
    x, scale, bias, mean, variance = (
        arithmetic.numbers(asked.array(i)[asked.at if i == 0 else asked.at[1]]) for i in range(5)
    )
    epsilon = arithmetic.numbers(np.float32(asked.node.attributes.get("epsilon", 1e-5)))
    r = _inverse_root(arithmetic, arithmetic.add(variance, epsilon))
    factor = arithmetic.multiply(scale, r)
    return arithmetic.multiply_add(arithmetic.subtract(x, mean), factor, bias)
