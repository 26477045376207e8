"""What onnx's reference evaluator reads differently, and why: numbers one by one, and products."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from engine.ir.types import FLOAT8E8M0, FLOATS8, NARROW_FLOATS
from properties.hostile.asked import (
    Call,
    Disagreement,
    call,
    cast_to,
    has_factors_out_of_range,
    has_large_integers,
    is_finite,
    ones,
)


def _is_rounded_on_the_way(call: Call) -> bool:
    """Whether a number is cast to a narrow one that float does not hold."""
    wide = call.first.dtype == np.float64 or call.first.dtype.kind in "iu"
    return cast_to(call) in NARROW_FLOATS and wide


DISAGREEMENTS = (
    Disagreement(
        "evaluator",
        frozenset({"Cast"}),
        "rounds twice, first to float; ONNX rounds to nearest, ties to even",
        _is_rounded_on_the_way,
        lambda: call("Cast", 21, np.array([1 + 2.0**-4 + 2.0**-40]), to=17),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Cast"}),
        "makes NaN of infinities and the smallest number of 0 whatever saturate says, and takes "
        "subnormal numbers for normal ones; ONNX has a table",
        lambda c: cast_to(c) == FLOAT8E8M0,
        lambda: call("Cast", 24, np.array([0, np.inf], np.float32), to=24, saturate=0),
    ),
    Disagreement(
        "evaluator",
        frozenset({"RandomNormalLike", "RandomUniformLike"}),
        "draws other numbers without a seed, as every engine does",
        lambda c: c.attribute("seed") is None,
        lambda: call("RandomNormalLike", 22, ones(8, 8)),
    ),
    Disagreement(
        "evaluator",
        frozenset({"RandomNormalLike", "RandomUniformLike"}),
        "rounds numbers to half before it scales and moves them; docs/numerics.md has our rule",
        lambda c: c.attribute("dtype", 0) == 10 or c.first.dtype == np.float16,
        lambda: call(
            "RandomUniformLike", 22, np.ones((32, 15), np.float16), seed=366.0, low=-1.0, high=0.5
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"PRelu"}),
        "multiplies 0 by the slope too, NaN where that is infinite; the specification has x for "
        "x >= 0",
        lambda c: not is_finite(c),
        lambda: call("PRelu", 16, np.zeros(1, np.float32), np.array([np.inf], np.float32)),
    ),
    Disagreement(
        "evaluator",
        frozenset({"PRelu"}),
        "lets the slope widen the output, and takes a vector for the last axis; it is broadcast to "
        "the input, before opset 7 one number for each channel",
        lambda c: (
            c.model.opset_import[0].version < 7
            or np.broadcast_shapes(*(x.shape for x in c.arrays)) != c.first.shape
        ),
        lambda: call("PRelu", 6, -ones(2, 3, 1), ones(3)),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Gelu", "Erf"}),
        "rounds erf to float: 1 + erf of a double is zero early",
        lambda c: c.first.dtype == np.float64,
        lambda: call("Gelu", 20, np.array([-6.6])),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Clip"}),
        "lets a limit that is NaN make everything NaN; the function body of the schema compares, "
        "and no comparison with NaN holds",
        lambda c: any(np.isnan(limit).any() for limit in c.limits),
        lambda: call("Clip", 13, ones(2), np.array(np.nan, np.float32)),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Clip"}),
        "broadcasts a limit that is a vector of one number, and a scalar becomes one; the output "
        "has the input's shape",
        lambda c: any(np.ndim(limit) > 0 for limit in c.limits),
        lambda: call("Clip", 12, np.array(3, np.int16), ones(1).astype(np.int16)),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Gemm"}),
        "multiplies integers by a float alpha or beta before opset 7 and leaves them floats; T is "
        "one type for input and output",
        lambda c: c.first.dtype.kind in "iu" and c.opset < 7,
        lambda: call("Gemm", 6, *[np.ones((2, 2), np.uint64)] * 3, alpha=0.5),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Gemm"}),
        "forgets beta before opset 7 where nothing is broadcast; Y = alpha * A * B + beta * C",
        lambda c: c.opset < 7 and c.attribute("beta", 1.0) != 1 and not c.attribute("broadcast", 0),
        lambda: call("Gemm", 6, *[ones(2, 2)] * 3, beta=3.0),
    ),
    Disagreement(
        "evaluator",
        frozenset({*("Add", "Sub", "Mul", "Div", "And", "Or", "Xor", "Equal", "Greater", "Less")}),
        "knows NumPy's broadcasting only; before opset 7, `axis` says where the axes of B begin",
        lambda c: c.opset < 7 and c.attribute("axis") is not None,
        lambda: call("Add", 6, 0 * ones(2, 2), np.array([1, 2], np.float32), axis=0, broadcast=1),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Gemm"}),
        "multiplies integers by alpha as doubles, which hold no int64 beyond 2**53, and casts "
        "what is out of range as the processor does; T is one type",
        lambda c: has_large_integers(c) or has_factors_out_of_range(c),
        lambda: call("Gemm", 12, np.full((1, 1), 2**60 + 1), np.ones((1, 1), np.int64)),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Gelu"}),
        "rounds erf to half: of 1 + erf little is left where that is nearly -1",
        lambda c: c.first.dtype == np.float16,
        lambda: call("Gelu", 20, np.array([-2.86], np.float16)),
    ),
    Disagreement(
        "evaluator",
        frozenset({"BitCast"}),
        "keeps the byte of a boolean constant that is neither 0 nor 1",
        lambda c: bool(c.first.dtype == np.bool_ and (c.first.view(np.uint8) > 1).any()),
        lambda: call(
            "BitCast", 26, np.array([0, 1, 4], np.uint8).view(np.bool_), constants=(0,), to=2
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"QuantizeLinear"}),
        "adds no zero point of an 8-bit float; 'the quantization formula remains the same for "
        "consistency'",
        lambda c: c.input(2).dtype in FLOATS8 and bool(c.input(2).astype(np.float32).any()),
        lambda: call(
            "QuantizeLinear",
            21,
            ones(1),
            np.array(1, np.float32),
            np.array(1, np.float32).astype(ml_dtypes.float8_e4m3fn),
            constants=(1, 2),
        ),
    ),
)
