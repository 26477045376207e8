"""What onnxruntime reads differently, and why: numbers one by one, and products."""

from __future__ import annotations

import numpy as np

from engine.onnx_import.microsoft.schemas import DOMAIN
from properties.hostile.asked import (
    Call,
    Disagreement,
    call,
    has_nan,
    is_finite,
    ones,
)


def _largest_byte_products(call: Call) -> float:
    """Of a MatMulInteger: two neighbours' products at most."""
    a, b = (float(np.abs(call.input(k).astype(int)).max(initial=0)) for k in (0, 1))
    return 2 * a * b


SURE_ARGUMENT = 10.0
"""Of a Sigmoid: up to here it is off by less than a thousandth of itself, and of 1 minus itself."""

DISAGREEMENTS = (
    Disagreement(
        "onnxruntime",
        frozenset({"Det"}),
        "eliminates in float, where most may cancel; docs/numerics.md has our rule",
        lambda c: c.first.dtype != np.float64,
        lambda: call("Det", 11, (1 / (1 + np.add.outer(*[np.arange(8)] * 2))).astype(np.float32)),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"DequantizeLinear", f"{DOMAIN}::DequantizeLinear"}),
        "takes the zero point off in int32, which may leave its range; (x - zero_point) * scale is "
        "a number",
        lambda c: any(
            x.dtype == np.int32 and bool((np.abs(x.astype(float)) > 2**30).any()) for x in c.arrays
        ),
        lambda: call(
            "DequantizeLinear",
            13,
            np.array([-(2**31)], np.int32),
            np.array(1, np.float32),
            np.array(5, np.int32),
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Sigmoid"}),
        "has an absolute error, and is 0 for arguments below -18 or so of float, -37 of double; "
        "the evaluator computes ours",
        lambda c: bool((c.first.astype(np.float64) < -SURE_ARGUMENT).any()),
        lambda: call("Sigmoid", 13, np.array([-30], np.float32)),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Swish"}),
        "multiplies by such a Sigmoid",
        lambda c: bool(
            (c.attribute("alpha", 1.0) * c.first.astype(np.float64) < -SURE_ARGUMENT).any()
        ),
        lambda: call("Swish", 24, np.array([-30], np.float32)),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Elu", "Selu", "Celu"}),
        "subtracts 1 of the exponential: of arguments near 0 little is left",
        lambda c: any(x.dtype.kind == "f" for x in c.arrays),
        lambda: call("Selu", 6, np.array([-3.4e-8], np.float32)),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Softplus"}),
        "has no kernel for half and double and expands the function body, whose exp overflows",
        lambda c: c.first.dtype != np.float32,
        lambda: call("Softplus", 18, np.array([89], np.float16)),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Sign"}),
        "gives 0 for NaN of half, and NaN for that of float; the evaluator computes ours",
        lambda c: c.first.dtype == np.float16 and has_nan(c),
        lambda: call("Sign", 13, np.array([np.nan], np.float16)),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"MatMulInteger"}),
        "adds two products of bytes in 16 bits that saturate, on a processor without dot products "
        "of bytes; its own documentation calls for weights of 7 bits there",
        lambda c: _largest_byte_products(c) > 2**15,
        lambda: call(
            "MatMulInteger", 10, np.full((1, 2), 255, np.uint8), np.full((2, 1), 127, np.int8)
        ),
        everywhere=False,
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Dropout"}),
        "gives a mask of False before opset 12, where the specification says nothing of it but "
        "that the output is a copy; the evaluator gives True",
        lambda c: c.opset < 12,
        lambda: call("Dropout", 11, ones(3), outputs=2),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Clip"}),
        "puts the largest finite numbers where no limit is given; the function body of the schema "
        "has no comparison then",
        lambda c: not is_finite(c),
        lambda: call("Clip", 11, np.array([-np.inf], np.float32)),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Range"}),
        "adds delta again and again, and the roundings add up; 'output[i] = start + (i * delta)'",
        lambda c: c.arrays[0].dtype == np.float32,
        lambda: call(
            "Range", 11, *(np.array(n, np.float32) for n in (-2, 18, 1e-5)), constants=(0, 1, 2)
        ),
    ),
)
