"""What onnxruntime reads differently, and why: convolutions and pools."""

from __future__ import annotations

import numpy as np

from properties.hostile.asked import (
    Disagreement,
    call,
    ones,
    pads,
)

DISAGREEMENTS = (
    Disagreement(
        "onnxruntime",
        frozenset({"MaxPool", "GlobalMaxPool"}),
        "skips NaN, or takes it for the lowest number; docs/numerics.md has our rule",
        lambda c: bool(np.isnan(c.first).any()),
        lambda: call(
            "MaxPool", 22, np.array([[[1, np.nan, 3]]], np.float32), kernel_shape=[1], strides=[1]
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"MaxPool", "GlobalMaxPool"}),
        "begins at the lowest finite float, which is what it gives for a window of -inf only",
        lambda c: c.first.dtype == np.float32 and bool(np.isneginf(c.first).any()),
        lambda: call("MaxPool", 22, np.array([[[-np.inf, 1]]], np.float32), kernel_shape=[1]),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"MaxPool", "AveragePool"}),
        "forgets dilations when it pads for SAME_*; outputs are ceil(input / stride)",
        lambda c: pads(c) and any(d != 1 for d in c.attribute("dilations", ())),
        lambda: call(
            "MaxPool",
            14,
            np.arange(7, dtype=np.float32).reshape(1, 1, 7),
            kernel_shape=[3],
            strides=[2],
            dilations=[2],
            auto_pad="SAME_UPPER",
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"MaxPool", "AveragePool"}),
        "rounds up for VALID with ceil_mode; the specification has ceil((input - span + 1) / "
        "stride), which is as without",
        lambda c: c.attribute("auto_pad") == b"VALID" and c.attribute("ceil_mode", 0) == 1,
        lambda: call(
            "AveragePool",
            22,
            ones(1, 1, 5),
            kernel_shape=[3],
            strides=[3],
            auto_pad="VALID",
            ceil_mode=1,
        ),
    ),
)
