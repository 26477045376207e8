"""Where onnxruntime contradicts the documentation of its own operators, or itself, and why.

Decision 0018 says what is meant instead.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from engine.onnx_import.microsoft.schemas import DOMAIN
from properties.hostile.asked import Array, Call, Disagreement, call, ones

MULTI_HEAD, GROUPED = f"{DOMAIN}::MultiHeadAttention", f"{DOMAIN}::GroupQueryAttention"
DYNAMIC, LSTM = f"{DOMAIN}::DynamicQuantizeMatMul", f"{DOMAIN}::DynamicQuantizeLSTM"
TO_FLOAT, PRODUCT = f"{DOMAIN}::MatMulIntegerToFloat", f"{DOMAIN}::FusedMatMul"
GEMM = f"{DOMAIN}::QGemm"
WEIGHTS = {DYNAMIC: 1, LSTM: 1, TO_FLOAT: 1, GEMM: 3}
"""Which input holds the weights of a product of bytes."""
BESIDE = 1e-3
"""Of a tie: quotients so near may be rounded to either side."""
PAST = {MULTI_HEAD: 6, GROUPED: 3}
"""Which input holds the past keys."""


def _given(call: Call, index: int) -> Array | None:
    """An input, None where it is left out."""
    inputs = call.inputs
    return inputs[index] if index < len(inputs) else None


def _forgets_the_past(call: Call) -> bool:
    outputs = call.model.graph.node[call.node].output
    presents = [name for name in outputs[1:3] if name]
    return _given(call, PAST[call.op_type]) is not None and len(presents) < 2


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


def _continued(op_type: str) -> Call:
    """A past, and no output for what it becomes."""
    x, past = ones(1, 1, 16), _heads(1, 2, 3, 8)
    if op_type == MULTI_HEAD:
        given = (x, x, x, None, None, None, past, past)
        return call(op_type, 17, *given, num_heads=2)
    lengths = np.array([3], np.int32), np.array(4, np.int32)
    return call(op_type, 17, x, x, x, past, past, *lengths, num_heads=2, kv_num_heads=2)


def _of_the_past() -> Iterator[Disagreement]:
    for op_type in PAST:
        yield Disagreement(
            "onnxruntime",
            frozenset({op_type}),
            "joins keys and values to the past where they are given out alone; without these "
            "outputs it reads what lies behind them",
            _forgets_the_past,
            lambda op_type=op_type: _continued(op_type),  # type: ignore[misc]
            everywhere=False,
        )


OF_OWN = (
    *_of_the_past(),
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
)
