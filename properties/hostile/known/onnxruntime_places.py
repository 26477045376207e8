"""What onnxruntime reads differently, and why: indices, axes and order."""

from __future__ import annotations

from math import prod

import numpy as np

from engine.ir.types import STRING
from engine.ops.strings import strings
from properties.hostile.asked import (
    Disagreement,
    call,
    ones,
)

DISAGREEMENTS = (
    Disagreement(
        "onnxruntime",
        frozenset({"Gather"}),
        "copies the first string alone of every part that is gathered",
        lambda c: c.first.dtype == STRING and prod(c.first.shape[c.attribute("axis", 0) :][1:]) > 1,
        lambda: call("Gather", 13, strings("a", "b").reshape(1, 2), np.array([0])),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Unique"}),
        "orders by <, by which NaN is as any number: one of both is lost",
        lambda c: bool(np.isnan(c.first).any()),
        lambda: call("Unique", 11, np.array([0, np.nan], np.float32), constants=(0,), sorted=0),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"NonZero"}),
        "gives shape (1, N) for a scalar; 'for scalar input, NonZero produces output shape (0, N) "
        "instead of (1, N)'",
        lambda c: c.first.ndim == 0,
        lambda: call("NonZero", 13, np.array(0, np.int32)),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Squeeze"}),
        "takes an empty list of axes for none; none of them is removed, as the evaluator has it",
        lambda c: c.opset >= 13 and len(c.inputs) > 1 and c.input(1).size == 0,
        lambda: call("Squeeze", 16, ones(5, 1), np.zeros(0, np.int64), constants=(1,)),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Slice"}),
        "takes the largest integer as an end for the very end of steps backward too; the "
        "specification clamps ends to [-1, dims - 1] there, and has INT_MIN for it",
        lambda c: bool((c.input(4) < 0).any()) and bool((c.input(2) >= 2**31 - 1).any()),
        lambda: call(
            "Slice",
            13,
            ones(3, 2),
            *(np.array([n]) for n in (2**63 - 1, 2**63 - 1, 0, -1)),
            constants=(1, 2, 3, 4),
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"TensorScatter"}),
        "leaves 64 bits where it counts on from a huge index, as the evaluator and we do otherwise",
        lambda c: c.attribute("mode") == b"circular" and bool((c.input(2) > 2**62).any()),
        lambda: call(
            *("TensorScatter", 24, ones(1, 6, 2), 2 * ones(1, 3, 2), np.array([2**63 - 1])),
            mode="circular",
            axis=1,
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"TopK"}),
        "has another order where none is asked for; 'the order of returned values is undefined'",
        lambda c: c.attribute("sorted", 1) == 0,
        lambda: call(
            "TopK", 24, ones(33), np.array([3]), constants=(1,), outputs=2, largest=0, sorted=0
        ),
    ),
)
