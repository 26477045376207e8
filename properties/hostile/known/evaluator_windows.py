"""What onnx's reference evaluator reads differently, and why: convolutions and pools."""

from __future__ import annotations

import numpy as np

from properties.hostile.asked import (
    Call,
    Disagreement,
    call,
    is_finite,
    ones,
    pads,
)


def _overhangs(call: Call) -> bool:
    """Whether the last window of an axis, rounded up, ends two elements or more after it."""
    lengths, kernel = call.first.shape[2:], call.attribute("kernel_shape")
    ones = [1] * len(kernel)
    strides, dilations = call.attribute("strides", ones), call.attribute("dilations", ones)
    return any(
        ((k - 1) * d + 1 - n) % s > 1 for n, k, s, d in zip(lengths, kernel, strides, dilations)
    )


DISAGREEMENTS = (
    Disagreement(
        "evaluator",
        frozenset({"GlobalMaxPool"}),
        "reduces other axes than the spatial ones of maps that are not 2-D; the output keeps the "
        "rank of the input ('the first two dimensions of output shape are the same as the input')",
        lambda c: c.first.ndim != 4,
        lambda: call("GlobalMaxPool", 22, ones(1, 3, 5)),
    ),
    Disagreement(
        "evaluator",
        frozenset({"AveragePool"}),
        "leaves NaN out of a mean, because it pads with NaN",
        lambda c: not is_finite(c),
        lambda: call("AveragePool", 10, np.array([[[1, np.nan, 2]]], np.float32), kernel_shape=[2]),
    ),
    Disagreement(
        "evaluator",
        frozenset({"AveragePool"}),
        "counts the padding before opset 7, where the sum 'is divided by the number of elements "
        "exclude pad'",
        lambda c: c.opset < 7 and pads(c),
        lambda: call("AveragePool", 1, ones(1, 1, 4), kernel_shape=[2], pads=[1, 0]),
    ),
    Disagreement(
        "evaluator",
        frozenset({"ConvTranspose"}),
        "adds the bias wrongly where group is not 1; onnxruntime computes ours",
        lambda c: c.attribute("group", 1) != 1,
        lambda: call(
            "ConvTranspose",
            18,
            np.arange(18, dtype=np.float32).reshape(1, 2, 3, 3),
            np.arange(12, dtype=np.float32).reshape(2, 1, 3, 2),
            np.array([1, 2], np.float32),
            group=2,
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Conv"}),
        "stuffs a dilated kernel with zeros and multiplies by those too: NaN where no tap is",
        lambda c: any(d != 1 for d in c.attribute("dilations", ())) and not is_finite(c),
        lambda: call(
            "Conv",
            11,
            np.array([[[1, np.inf, 2]]], np.float32),
            ones(1, 1, 2),
            dilations=[2],
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"MaxPool"}),
        "pads nothing for SAME_LOWER; outputs are ceil(input / stride)",
        lambda c: c.attribute("auto_pad") == b"SAME_LOWER",
        lambda: call(
            "MaxPool",
            22,
            np.arange(8, dtype=np.float32).reshape(1, 1, 8),
            kernel_shape=[3],
            strides=[3],
            auto_pad="SAME_LOWER",
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"AveragePool"}),
        "forgets dilations where auto_pad is given",
        lambda c: (
            c.attribute("auto_pad", b"NOTSET") != b"NOTSET"
            and any(d != 1 for d in c.attribute("dilations", ()))
        ),
        lambda: call(
            "AveragePool",
            22,
            np.arange(5, dtype=np.float32).reshape(1, 1, 5),
            kernel_shape=[3],
            dilations=[2],
            auto_pad="VALID",
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"ConvTranspose"}),
        "takes pads beside auto_pad=VALID, which 'cannot be used simultaneously'",
        lambda c: c.attribute("auto_pad") == b"VALID" and any(c.attribute("pads", ())),
        lambda: call(
            "ConvTranspose", 11, ones(1, 1, 5), ones(1, 1, 2), auto_pad="VALID", pads=[0, 1]
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"MaxPool"}),
        "gives 0 where a window lies wholly in the padding, whose elements are -inf",
        lambda c: pads(c) and any(d != 1 for d in c.attribute("dilations", ())),
        lambda: call(
            "MaxPool",
            22,
            -ones(1, 1, 2),
            kernel_shape=[2],
            strides=[2],
            dilations=[4],
            auto_pad="SAME_UPPER",
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"AveragePool"}),
        "moves the windows of ceil_mode beside uneven padding; onnxruntime computes ours",
        lambda c: pads(c) and c.attribute("ceil_mode", 0) == 1,
        lambda: call(
            "AveragePool",
            10,
            np.arange(8.0).reshape(1, 1, 8),
            kernel_shape=[5],
            strides=[3],
            pads=[4, 0],
            ceil_mode=1,
            count_include_pad=1,
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"AveragePool"}),
        "moves all windows where ceil_mode lets the last reach two elements over the end or more, "
        "as if that were padding to be halved; onnxruntime computes ours",
        lambda c: c.attribute("ceil_mode", 0) == 1 and _overhangs(c),
        lambda: call(
            "AveragePool",
            22,
            np.arange(7, dtype=np.float32).reshape(1, 1, 7),
            kernel_shape=[2],
            strides=[3],
            dilations=[2],
            ceil_mode=1,
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"MaxPool"}),
        "takes padding for another axis, and loses it with ceil_mode; onnxruntime computes ours",
        pads,
        lambda: call("MaxPool", 12, ones(1, 1, 7), kernel_shape=[2], pads=[1, 1], ceil_mode=1),
    ),
    Disagreement(
        "evaluator",
        frozenset({"MaxPool"}),
        "counts indices from the first element of each image, with its padding; ONNX says of all "
        "of x, without padding; onnxruntime computes ours",
        lambda c: len(c.model.graph.node[c.node].output) == 2,
        lambda: call(
            "MaxPool",
            22,
            np.arange(6, dtype=np.float32).reshape(1, 2, 3),
            kernel_shape=[2],
            outputs=2,
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"MaxPool"}),
        "skips NaN but for one that comes first; docs/numerics.md has our rule",
        lambda c: bool(np.isnan(c.first).any()),
        lambda: call("MaxPool", 8, np.array([[[1, np.nan, 3]]], np.float32), kernel_shape=[3]),
    ),
    Disagreement(
        "evaluator",
        frozenset({"DeformConv"}),
        "interpolates half in half, and adds up in half",
        lambda c: c.first.dtype == np.float16,
        lambda: call(
            "DeformConv",
            19,
            np.resize(np.array([1000, -1000], np.float16), (1, 1, 2, 100)),
            np.ones((1, 1, 1, 1), np.float16),
            np.full((1, 2, 2, 100), 0.3, np.float16),
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"MaxPool"}),
        "counts indices anew in each map; 'the values in indices are in "
        "[0, N x C x D1 x ... x Dn)'",
        lambda c: len(c.model.graph.node[c.node].output) > 1,
        lambda: call("MaxPool", 12, ones(1, 2, 2, 2), kernel_shape=[2, 2], outputs=2),
    ),
)
