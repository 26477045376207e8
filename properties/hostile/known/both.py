"""Where onnxruntime and onnx's evaluator alike do otherwise than we read ONNX, and why."""

from __future__ import annotations

from functools import partial

import ml_dtypes
import numpy as np

from engine.ir.types import FLOATS, INTEGERS, NARROW_FLOATS, NARROW_INTEGERS
from properties.hostile.asked import (
    Call,
    Disagreement,
    call,
    cast_to,
    is_finite,
    ones,
)


def _leaves_the_range(call: Call) -> bool:
    """Whether a float is no element of the integers that it is cast to."""
    if call.op_type == "Pow":
        return call.first.dtype.kind in "iu"
    to = cast_to(call)
    if to not in INTEGERS | NARROW_INTEGERS or call.first.dtype not in FLOATS | NARROW_FLOATS:
        return False
    limits, x = ml_dtypes.iinfo(to), call.first.astype(np.float64)
    return not bool(((x >= limits.min) & (x < float(limits.max) + 1)).all())


def _is_nearly_flat(x: np.ndarray) -> bool:
    """Whether numbers differ little, beside their size."""
    wide = x.astype(np.float64)
    return bool(x.size) and bool(wide.std() < 1e-3 * np.abs(wide.mean()))


def _without_variance(dtype: np.dtype) -> Call:
    """Equal numbers whose mean comes out otherwise when they are summed."""
    arrays = np.full((1, 1, 256), -1.94796558), np.ones(1), np.zeros(1)
    given = [array.astype(dtype) for array in arrays]
    return call("InstanceNormalization", 17, *given, epsilon=0.0)


_BY_BOTH = tuple(
    disagreement
    for witness in ("evaluator", "onnxruntime")
    for disagreement in (
        Disagreement(
            witness,
            frozenset({"LayerNormalization"}),
            "keeps the mean in float, as stash_type has it: far from zero its rounding is much of "
            "what is left",
            lambda c: bool((np.abs(c.first) > 100).any()) or _is_nearly_flat(c.first),
            lambda: call(
                "LayerNormalization",
                17,
                (1000 + 0.01 * np.sin(np.arange(1024))).astype(np.float32).reshape(64, 16),
                ones(16),
                epsilon=1e-12,
            ),
        ),
        Disagreement(
            witness,
            frozenset({"Pow"}),
            "takes the exponent as a floating-point number, of which none beyond 2**53 is odd; the "
            "specification has x to the power of the exponent",
            lambda c: any(
                x.dtype in (np.int64, np.uint64) and bool((np.abs(x.astype(float)) > 2**24).any())
                for x in c.arrays
            ),
            lambda: call("Pow", 13, np.array([-1], np.float32), np.array([2**62 - 1])),
        ),
        Disagreement(
            witness,
            frozenset({"ScatterElements", "ScatterND"}),
            "compares with NaN in whichever order elements come; docs/numerics.md has our rule",
            lambda c: c.attribute("reduction") in (b"min", b"max") and not is_finite(c),
            lambda: call(
                "ScatterElements",
                18,
                np.array([np.nan, 1], np.float32),
                np.array([0, 1]),
                np.array([2, np.nan], np.float32),
                reduction="min",
            ),
        ),
        Disagreement(
            witness,
            frozenset({"InstanceNormalization"}),
            "divides by what its rounded mean leaves of a variance of zero, where epsilon is 0 too",
            lambda c: c.attribute("epsilon") == 0,
            partial(_without_variance, np.dtype("f8" if witness == "evaluator" else "f4")),
        ),
        Disagreement(
            witness,
            frozenset({"InstanceNormalization"}),
            "takes mean and variance in the dtype of the data: far from zero little is left",
            lambda c: (
                bool((np.abs(c.first) > 100).any())
                or any(_is_nearly_flat(x) for instance in c.first for x in instance)
            ),
            lambda: call(
                "InstanceNormalization",
                6,
                np.full((1, 1, 7, 9), 1000.00287, np.float32),
                3 * ones(1),
                0 * ones(1),
            ),
        ),
        Disagreement(
            witness,
            frozenset({"QuantizeLinear"}),
            "makes of NaN what the processor does; docs/numerics.md has our rule",
            lambda c: not is_finite(c) or not c.input(1).all(),
            lambda: call(
                "QuantizeLinear", 21, ones(1), np.array(np.nan, np.float32), output_dtype=5
            ),
        ),
        Disagreement(
            witness,
            frozenset({"RoiAlign"}),
            "multiplies the first pixel by 0 for a sample beyond the image: NaN where that is not "
            "finite",
            lambda c: not np.isfinite(c.first[:, :, 0, 0]).all(),
            lambda: call(
                "RoiAlign",
                16,
                np.full((1, 1, 2, 2), np.inf, np.float32),
                np.array([[-9, -9, -8, -8]], np.float32),
                np.array([0]),
            ),
        ),
        Disagreement(
            witness,
            frozenset({"ReduceProd"}),
            "multiplies one by one: NaN where the product of the others vanishes before it meets "
            "an infinity, or is one before it meets a zero",
            lambda c: c.first.dtype.kind == "f" and not is_finite(c),
            lambda: call("ReduceProd", 13, np.array([1e-30, 1e-30, np.inf], np.float32)),
        ),
        Disagreement(
            witness,
            frozenset({"ConvTranspose"}),
            "pads or crops otherwise for SAME_* where taps are too few; output_shape is "
            "input_shape * strides, total padding is halved towards zero",
            lambda c: str(c.attribute("auto_pad", b"")).startswith("b'SAME"),
            lambda: call(
                "ConvTranspose",
                22,
                np.arange(8, dtype=np.float32).reshape(1, 1, 8),
                1 + np.arange(2, dtype=np.float32).reshape(1, 1, 2),
                strides=[3],
                auto_pad="SAME_UPPER",
            ),
        ),
    )
)
_CASTS = tuple(
    Disagreement(
        witness,
        frozenset({"Cast", "Pow"}),
        "casts a float beyond the range of an integer as the processor does; ONNX leaves it open, "
        "and docs/numerics.md has our rule",
        _leaves_the_range,
        lambda: call("Cast", 21, np.array([1e10, -1e10, np.nan], np.float32), to=5),
    )
    for witness in ("evaluator", "onnxruntime")
)
DISAGREEMENTS = (*_BY_BOTH, *_CASTS)
