"""What onnxruntime reads differently, and why: what adds up many terms."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from properties.hostile.asked import (
    EXPANDED,
    Call,
    Disagreement,
    call,
    far_from_zero,
    has_nan,
    is_finite,
    ones,
)


def _may_overflow(call: Call) -> bool:
    """Whether integers are summed or multiplied that are as large as to leave what float holds.

    Also where another node computes them, so that nothing is known of them.
    """
    if not call.knows_first:
        return True
    given = [np.abs(x.astype(np.float64)) for x in call.arrays if x.dtype.kind in "iu"]
    with np.errstate(over="ignore"):
        of_products = [np.maximum(x, 1).prod() for x in given]
        of_sums = np.prod([max(x.sum(), 1) for x in given])
        of_squares = [np.square(x).sum() for x in given]
    return bool(given) and max(*of_products, *of_squares, of_sums) >= 2**24


def _has_large_scores(call: Call) -> bool:
    """Whether queries and keys in half may have a product above 8."""
    q, k = (call.input(i) for i in (0, 1))
    ends = float(np.abs(q).max(initial=0)) * float(np.abs(k).max(initial=0))
    return q.dtype == np.float16 and ends * np.sqrt(k.shape[-1]) > LARGE_SCORE


def _large_scores() -> Call:
    """Two scores that are 0.703 apart, and 0.5 in half."""
    q, v = np.full((1, 1, 1, 1), 45, np.float16), np.array([[[[0], [1]]]], np.float16)
    k = np.array([[[[20.03125], [20.046875]]]], np.float16)
    return call("Attention", 23, q, k, v)


LARGE_SCORE = 8.0

DISAGREEMENTS = (
    Disagreement(
        "onnxruntime",
        frozenset({"RMSNormalization"}),
        "computes in float where stash_type asks for bfloat16",
        lambda c: c.attribute("stash_type", 1) == TensorProto.BFLOAT16,
        lambda: call(
            *("RMSNormalization", 23, np.array([1.003, 0.5], np.float32), ones(2)),
            stash_type=TensorProto.BFLOAT16,
        ),
    ),
    *(
        Disagreement(
            witness,
            frozenset({"Attention"}),
            "computes scores in half, of which a large one has no fractions",
            _has_large_scores,
            _large_scores,
        )
        for witness in ("onnxruntime", "evaluator")
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"ReduceSumSquare"}),
        "saturates int32; sums wrap, as its own ReduceSum does",
        lambda c: c.first.dtype == np.int32 and bool((np.abs(c.first.astype(float)) > 2**12).any()),
        lambda: call("ReduceSumSquare", 13, np.full((1, 2), 50000, np.int32)),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"ReduceMean"}),
        "takes the mean of integers through a float, which does not hold all of them",
        lambda c: c.first.dtype.kind in "iu",
        lambda: call("ReduceMean", 13, np.full((1, 3), 2**60 + 1), axes=[1]),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"GroupNormalization"}),
        EXPANDED,
        lambda c: True,
        lambda: call("GroupNormalization", 22, *far_from_zero(), num_groups=2),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"LRN"}),
        "keeps one running sum over the channels: what a large one leaves when it is taken off "
        "again stays in those behind it",
        lambda c: bool((np.abs(c.first) > 100).any()) or c.attribute("bias", 1.0) < 1e-3,
        lambda: call(
            "LRN",
            13,
            np.array([1e5, 1, 1, 1], np.float32).reshape(1, 4, 1, 1),
            size=1,
            alpha=1.0,
            bias=1e-3,
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"ReduceLogSumExp"}),
        "has no kernel at opset 28 or for half and expands the function body, whose exp overflows",
        lambda c: (
            (c.opset >= 28 or c.first.dtype == np.float16) and bool((np.abs(c.first) > 10).any())
        ),
        lambda: call("ReduceLogSumExp", 28, np.array(1e10)),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"ArgMax", "ArgMin", "ReduceMax", "ReduceMin", "Hardmax"}),
        "skips NaN unless it comes first; docs/numerics.md has our rule, which is the evaluator's",
        has_nan,
        lambda: call("ReduceMax", 12, np.array([1, np.nan, 2], np.float16)),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Softmax", "LogSoftmax"}),
        "skips NaN where it looks for the largest, and gives other numbers than NaN",
        lambda c: not is_finite(c),
        lambda: call("LogSoftmax", 13, np.array([[1, np.nan]])),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"InstanceNormalization"}),
        "takes mean * scale off at the end, NaN where the scale is infinite; the evaluator "
        "computes ours",
        lambda c: not is_finite(c),
        lambda: call(
            "InstanceNormalization",
            6,
            np.arange(4, dtype=np.float32).reshape(1, 1, 4),
            np.array([np.inf], np.float32),
            ones(1),
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset(
            {
                *("ReduceL1", "ReduceL2", "ReduceSum", "ReduceProd", "ReduceSumSquare", "Einsum"),
                *("ReduceLogSum", "ReduceLogSumExp"),
            }
        ),
        "sums integers in a float, which neither holds all nor wraps; the evaluator computes ours",
        lambda c: c.arrays[0].dtype.kind in "iu" and _may_overflow(c),
        lambda: call("ReduceSum", 11, np.array([2**63 - 1, 1])),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"ReduceMean"}),
        "has 0 for the mean of nothing; docs/numerics.md has our rule, which is the evaluator's",
        lambda c: c.first.size == 0,
        lambda: call("ReduceMean", 14, ones(5, 0)),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"BatchNormalization"}),
        "takes mean * scale / deviation off at the end, NaN where that is infinite",
        lambda c: not is_finite(c) or bool((c.input(4) == 0).any()),
        lambda: call(
            "BatchNormalization",
            9,
            2 * ones(1, 1, 1),
            *(n * ones(1) for n in (1, 0, 1, 0)),
            epsilon=0.0,
        ),
    ),
)
