"""Where onnxruntime contradicts the documentation of its own operators, or itself, and why.

Decision 0018 says what is meant instead.
"""

from __future__ import annotations

import numpy as np

from engine.onnx_import.microsoft.schemas import DOMAIN
from properties.hostile.asked import Array, Call, Disagreement, call, ones, squares_leave_the_range

MULTI_HEAD, GROUPED = f"{DOMAIN}::MultiHeadAttention", f"{DOMAIN}::GroupQueryAttention"
DYNAMIC, LSTM = f"{DOMAIN}::DynamicQuantizeMatMul", f"{DOMAIN}::DynamicQuantizeLSTM"
TO_FLOAT, PRODUCT = f"{DOMAIN}::MatMulIntegerToFloat", f"{DOMAIN}::FusedMatMul"
GEMM = f"{DOMAIN}::QGemm"
WEIGHTS = {DYNAMIC: 1, LSTM: 1, TO_FLOAT: 1, GEMM: 3}
"""Which input holds the weights of a product of bytes."""
MASKS = {f"{DOMAIN}::Attention": 3, MULTI_HEAD: 4}
"""Which input holds the mask."""
SKIP, EMBED = f"{DOMAIN}::SkipLayerNormalization", f"{DOMAIN}::EmbedLayerNormalization"
SKIP_SIMPLIFIED = f"{DOMAIN}::SkipSimplifiedLayerNormalization"
BIAS = {SKIP: 4, SKIP_SIMPLIFIED: 3}
"""Which input is added to the sum that is normalised."""
QUANTISED = frozenset(
    f"{DOMAIN}::QLinear{op}"
    for op in ("Add", "Mul", "LeakyRelu", "Sigmoid", "AveragePool", "GlobalAveragePool", "Concat")
)
LARGE, LEVEL = 1e3, 1e-5
BESIDE = 1e-3
"""Of a tie: quotients so near may be rounded to either side."""


def _given(call: Call, index: int) -> Array | None:
    """An input, None where it is left out."""
    inputs = call.inputs
    return inputs[index] if index < len(inputs) else None


def _pads_a_prompt(call: Call) -> bool:
    """Whether a sequence of a first prompt has fewer keys than are new."""
    lengths, total = call.input(5) + 1, int(call.input(6).reshape(-1)[0])
    return total == call.first.shape[1] and bool((lengths < total).any())


def _is_beside_a_tie(x: Array) -> bool:
    """Whether quantising by its own range may round an element to either side."""
    low, high = (float(end) for end in (x.min(initial=0), x.max(initial=0)))
    quotients = x.astype(np.float64) * 255 / (high - low) if high > low else np.zeros(1)
    return bool((np.abs(quotients % 1 - 0.5) < BESIDE).any())


def _may_saturate(call: Call) -> bool:
    """Whether two products of bytes may leave 16 bits."""
    largest = np.abs(call.input(WEIGHTS[call.op_type]).astype(int)).max(initial=0)
    return bool(2 * 255 * largest > 2**15)


def _has_steps(call: Call) -> bool:
    return call.first.shape[0] > 1 or _given(call, 5) is not None


def _heads(*shape: int) -> Array:
    return np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)


def _sees_ahead(call: Call) -> bool:
    """Whether there are more new keys than queries, in order."""
    keys = call.input(1)
    new = keys.shape[2 if keys.ndim == 4 else 1]
    return bool(call.attribute("unidirectional", 0)) and new > call.first.shape[1]


def _masks_whole_rows(call: Call) -> bool:
    """Whether a large number is added to all scores of a query."""
    mask, filtered = _given(call, MASKS[call.op_type]), call.attribute("mask_filter_value", -1e4)
    if mask is None or abs(filtered) < LARGE:
        return False
    if mask.ndim > 1:
        allowed = mask > 0
        return bool(
            not allowed.all() if call.attribute("unidirectional", 0) else _has_none(allowed)
        )
    batch = call.first.shape[0]
    begins = mask[batch:] if mask.size == 2 * batch else np.zeros(batch, int)
    return bool((begins >= mask[:batch]).any()) or bool(
        call.attribute("unidirectional", 0) and begins.any()
    )


def _has_none(allowed: Array) -> bool:
    return bool((~allowed).all(-1).any())


def _summed(call: Call) -> Array:
    """What is normalised."""
    given: list[Array | None] = [*call.inputs, *(None,) * 9]
    if call.op_type != EMBED:
        return sum((x for x in (given[1], given[BIAS[call.op_type]]) if x is not None), call.first)
    words, places, kinds = (np.asarray(table) for table in given[2:5])
    at = np.arange(call.first.shape[1]) if given[8] is None else given[8]
    x: Array = words[call.first] + places[at]
    return x if given[1] is None else x + kinds[given[1]]


def _is_level(call: Call) -> bool:
    """Whether what is normalised varies by less than its rounding."""
    x = _summed(call).astype(np.float64)
    return bool((x.var(-1) < LEVEL * (x**2).mean(-1)).any())


def _leaves_32_bits(call: Call) -> bool:
    """Whether scales are so far from 1 that bytes become what no int32 is."""
    scales = [float(x) for x in call.arrays if x.dtype.kind == "f" and x.ndim == 0]
    if not all(np.isfinite(x) and x for x in scales):
        return True
    return bool(np.abs(np.log2(np.abs(scales))).sum() > 31 - 2 * 8)


def _squares_leave_the_range(call: Call) -> bool:
    return squares_leave_the_range(_summed(call), np.dtype(np.float32))


DISAGREEMENTS = (
    Disagreement(
        "onnxruntime",
        frozenset({SKIP_SIMPLIFIED, SKIP, EMBED}),
        "takes squares in float, which leave its range; docs/numerics.md has our rule",
        _squares_leave_the_range,
        lambda: call(SKIP_SIMPLIFIED, 17, 1e30 * ones(1, 1, 8), 0 * ones(1, 1, 8), ones(8)),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({MULTI_HEAD}),
        "lets queries see keys that are ahead of them where there are more keys than queries",
        _sees_ahead,
        lambda: call(
            MULTI_HEAD,
            17,
            ones(1, 1, 8),
            _heads(1, 3, 8),
            _heads(1, 3, 8),
            num_heads=1,
            unidirectional=1,
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset(MASKS),
        "adds -10000 to scores in float, which loses their last digits, where nothing else is left",
        _masks_whole_rows,
        lambda: call(
            MULTI_HEAD,
            17,
            ones(1, 1, 8),
            _heads(1, 3, 8) / 8,
            _heads(1, 3, 8),
            np.full(24, 0.1, np.float32),
            np.zeros((1, 3), np.int32),
            num_heads=1,
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({SKIP, EMBED}),
        "sums in float, so of what is nearly level the deviation is that of the roundings",
        _is_level,
        lambda: call(SKIP, 17, 1000 + _heads(1, 1, 8) / 1e3, 0 * ones(1, 1, 8), ones(8)),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({GROUPED}),
        "gives anything for queries behind the end of a shorter sequence of a prompt; they are "
        "padding, and the documentation says nothing of them",
        _pads_a_prompt,
        lambda: call(
            GROUPED,
            17,
            *(_heads(2, 3, 16) for _ in range(3)),
            None,
            None,
            np.array([2, 0], np.int32),
            np.array(3, np.int32),
            num_heads=1,
            kv_num_heads=1,
            local_window_size=1,
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({GROUPED}),
        "keeps 32 bits of local_window_size",
        lambda c: c.attribute("local_window_size", -1) >= 2**31,
        lambda: call(
            GROUPED,
            17,
            *(_heads(1, 3, 16) for _ in range(3)),
            None,
            None,
            np.array([2], np.int32),
            np.array(3, np.int32),
            num_heads=1,
            kv_num_heads=1,
            local_window_size=2**40,
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({LSTM}),
        "quantises h anew in each step",
        _has_steps,
        lambda: call(
            LSTM,
            17,
            _heads(3, 1, 2),
            np.full((1, 2, 8), 100, np.int8),
            np.arange(16, dtype=np.int8).reshape(1, 2, 8),
            *(None,) * 5,
            *(ones(1) / 8, np.zeros(1, np.int8), ones(1) / 8, np.zeros(1, np.int8)),
            hidden_size=2,
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({DYNAMIC, LSTM}),
        "divides in float where it quantises the input: beside a tie its integer is the next one",
        lambda c: _is_beside_a_tie(c.first),
        lambda: call(
            DYNAMIC,
            17,
            np.array([[0, 255, 0.50000006]], np.float32),
            np.eye(3, dtype=np.int8),
            ones(1),
        ),
        everywhere=False,
    ),
    Disagreement(
        "onnxruntime",
        frozenset(WEIGHTS),
        "adds two products of bytes in 16 bits that saturate, as in MatMulInteger",
        _may_saturate,
        lambda: call(
            TO_FLOAT,
            17,
            np.full((1, 2), 255, np.uint8),
            np.full((2, 1), 127, np.int8),
            ones(1),
            ones(1),
        ),
        everywhere=False,
    ),
    Disagreement(
        "onnxruntime",
        frozenset({PRODUCT}),
        "types the product of a transposed matrix and a vector as such, and computes another one",
        lambda c: bool(c.attribute("transA", 0)) and c.first.ndim > 1 and c.input(1).ndim == 1,
        lambda: call(PRODUCT, 17, _heads(3, 3), _heads(3), transA=1),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({TO_FLOAT, DYNAMIC}),
        "reads behind a scale of one number and two axes, which it takes for one of columns",
        lambda c: c.input(3 if c.op_type == TO_FLOAT else 2).shape == (1, 1),
        lambda: call(
            TO_FLOAT,
            17,
            np.full((1, 9), 1, np.int8),
            np.full((9, 17), 1, np.int8),
            ones(1),
            ones(1, 1),
        ),
        everywhere=False,
    ),
    Disagreement(
        "onnxruntime",
        QUANTISED,
        "makes of NaN, infinities and what leaves 32 bits what the processor does; "
        "docs/numerics.md has our rule",
        _leaves_32_bits,
        lambda: call(
            f"{DOMAIN}::QLinearMul",
            17,
            *(np.full(1, 100, np.int8), np.array(1e30, np.float32), np.array(0, np.int8)),
            *(np.full(1, 100, np.int8), np.array(1, np.float32), np.array(0, np.int8)),
            *(np.array(1, np.float32), np.array(0, np.int8)),
        ),
        everywhere=False,
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Conv", f"{DOMAIN}::FusedConv"}),
        "shifts the window where SAME comes to negative padding; docs/numerics.md has our rule",
        lambda c: (
            c.attribute("auto_pad", b"").startswith(b"SAME")
            and any(s > k for s, k in zip(c.attribute("strides", ()), c.input(1).shape[2:]))
        ),
        lambda: call(
            f"{DOMAIN}::FusedConv",
            17,
            _heads(1, 1, 10, 4),
            ones(1, 1, 6, 2),
            auto_pad="SAME_UPPER",
            strides=[20, 2],
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({f"{DOMAIN}::{op}" for op in ("FusedConv", "FusedGemm")}),
        "subtracts 1 of the exponential in Elu: of arguments near 0 little is left",
        lambda c: c.attribute("activation") == b"Elu",
        lambda: call(
            f"{DOMAIN}::FusedGemm",
            17,
            np.full((1, 1), -5e-8, np.float32),
            ones(1, 1),
            activation="Elu",
            activation_alpha=0.3,
        ),
    ),
)
