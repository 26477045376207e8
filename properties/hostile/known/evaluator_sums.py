"""What onnx's reference evaluator reads differently, and why: what adds up many terms."""

from __future__ import annotations

import numpy as np

from properties.hostile.asked import (
    EXPANDED,
    Disagreement,
    call,
    far_from_zero,
    is_finite,
    ones,
    squares_leave_the_range,
)

SUMMING = frozenset(
    {
        *("InstanceNormalization", "LayerNormalization", "GroupNormalization", "CumSum", "LRN"),
        *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMean", "ReduceSum"),
        *("ReduceSumSquare", "AveragePool", "GlobalAveragePool", "Softmax", "LogSoftmax"),
        *("MatMul", "Gemm", "Conv", "ConvTranspose", "Mean", "Sum", "Attention"),
    }
)
"""Operators that add many terms."""

DISAGREEMENTS = (
    Disagreement(
        "evaluator",
        frozenset({"RMSNormalization"}),
        "takes squares in half, which leave its range, whatever stash_type says",
        lambda c: squares_leave_the_range(c.first, c.first.dtype, c.attribute("axis", -1)),
        lambda: call("RMSNormalization", 23, np.array([400, 1], "f2"), np.ones(2, "f2")),
    ),
    Disagreement(
        "evaluator",
        frozenset({"ReduceSumSquare"}),
        "squares integers of 32 bits as such of 64; T is one type for input and output",
        lambda c: c.first.dtype in (np.uint32, np.int32),
        lambda: call("ReduceSumSquare", 13, np.ones((2, 3), np.uint32)),
    ),
    Disagreement(
        "evaluator",
        frozenset({"ReduceMean"}),
        "takes the mean of integers in double, which holds no int64 beyond 2**53",
        lambda c: c.first.dtype.kind in "iu",
        lambda: call("ReduceMean", 13, np.full((1, 3), 2**60 + 1), axes=[1]),
    ),
    Disagreement(
        "evaluator",
        frozenset({"LayerNormalization"}),
        "gives Mean and InvStdDev in the dtype of the data; with stash_type=1 they are float",
        lambda c: c.first.dtype == np.float64,
        lambda: call("LayerNormalization", 17, np.ones((2, 3)), np.ones(3), outputs=2),
    ),
    Disagreement(
        "evaluator",
        frozenset({"LRN"}),
        "takes a window of size + 1 for an even size; the specification's is "
        "[c - floor((size - 1) / 2), c + ceil((size - 1) / 2)]",
        lambda c: c.attribute("size") % 2 == 0,
        lambda: call("LRN", 13, 100 * ones(1, 4, 1, 1), size=2),
    ),
    Disagreement(
        "evaluator",
        frozenset({"LRN"}),
        "takes a power of 0.5 as a square root, whose sign is that of -0; a power of -0 is +0",
        lambda c: c.attribute("beta") == 0.5 and c.attribute("bias") == 0,
        lambda: call("LRN", 13, ones(1, 1, 1, 1), size=1, alpha=-0.0, beta=0.5, bias=-0.0),
    ),
    Disagreement(
        "evaluator",
        frozenset({"LRN"}),
        "normalises only as many channels as there are batch entries",
        lambda c: c.first.ndim > 1 and c.first.shape[0] < c.first.shape[1],
        lambda: call("LRN", 13, 100 * ones(1, 4, 1, 1), size=3),
    ),
    Disagreement(
        "evaluator",
        frozenset({"GroupNormalization"}),
        EXPANDED,
        lambda c: True,
        lambda: call("GroupNormalization", 22, *far_from_zero(), num_groups=2),
    ),
    Disagreement(
        "evaluator",
        frozenset({"InstanceNormalization"}),
        "multiplies by the scale before it divides by the deviation, which may leave the range on "
        "the way",
        lambda c: any(bool((np.abs(x.astype(float)) > 1e36).any()) for x in c.arrays),
        lambda: call(
            "InstanceNormalization",
            17,
            np.array([[[-100, 0, 100]]], np.float32),
            np.array([1e37], np.float32),
            np.zeros(1, np.float32),
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Softmax", "LogSoftmax", "Hardmax"}),
        "knows the meaning of opset 13 only; before, all axes from `axis` on were one",
        lambda c: c.opset < 13,
        lambda: call("Softmax", 11, np.arange(8, dtype=np.float32).reshape(2, 2, 2), axis=1),
    ),
    Disagreement(
        "evaluator",
        frozenset({"LogSoftmax"}),
        "takes the logarithm of a softmax that may be 0; onnxruntime computes ours",
        lambda c: not is_finite(c) or bool(np.ptp(c.first.astype(np.float64)) > 10),
        lambda: call("LogSoftmax", 13, np.array([[0, 1000]], np.float32)),
    ),
    Disagreement(
        "evaluator",
        SUMMING,
        "sums half in half, term by term",
        lambda c: c.first.dtype == np.float16,
        lambda: call(
            "InstanceNormalization",
            22,
            np.linspace(990, 1000, 33000).astype(np.float16).reshape(1, 1, -1),
            np.ones(1, np.float16),
            np.zeros(1, np.float16),
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"BatchNormalization"}),
        "mixes the statistics of the data in, although one output means inference: the default of "
        "momentum, which its class of opset 9 takes for a request to train",
        lambda c: 7 <= c.opset < 14,
        lambda: call(
            "BatchNormalization",
            9,
            np.arange(12, dtype=np.float32).reshape(2, 2, 3),
            *[ones(2)] * 4,
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"ReduceLogSumExp"}),
        "takes the largest element off, NaN where that is infinite; the sum of exp(-inf) is 0",
        lambda c: not is_finite(c),
        lambda: call(
            "ReduceLogSumExp", 18, np.array([[-np.inf], [1]]), np.array([1]), constants=(1,)
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"CumProd"}),
        "multiplies in half, which overflows on the way",
        lambda c: c.first.dtype == np.float16,
        lambda: call(
            "CumProd", 26, np.array([300, 300, 0], np.float16), np.array(0), constants=(1,)
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"LpNormalization"}),
        "takes no absolute values for p = 1, divides by a sum that may be 0, and sums in half",
        lambda c: c.attribute("p", 2) == 1 or c.first.dtype == np.float16,
        lambda: call("LpNormalization", 18, np.array([[3, -1]], np.float32), p=1),
    ),
    Disagreement(
        "evaluator",
        frozenset({"RMSNormalization"}),
        "gives the dtype of X, where 'Y' is of 'V', which is that of scale",
        lambda c: c.first.dtype != c.input(1).dtype,
        lambda: call("RMSNormalization", 23, ones(2), ones(2).astype(np.float16)),
    ),
)
