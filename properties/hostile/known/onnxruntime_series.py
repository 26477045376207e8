"""What onnxruntime reads differently, and why: series in time, and attention."""

from __future__ import annotations

import numpy as np

from engine.ops.recurrent import evaluate
from engine.ops.running import Doubles, Function
from properties.hostile.asked import (
    Call,
    Disagreement,
    call,
    is_finite,
    ones,
)
from properties.hostile.known.onnxruntime_numbers import SURE_ARGUMENT


class _Watched(Doubles):
    """Keeps the largest argument of each activation."""

    def __init__(self) -> None:
        self.largest = [0.0]

    def apply(self, function: Function, x: np.ndarray) -> np.ndarray:
        self.largest.append(float(np.nanmax(np.abs(x), initial=0.0)))
        return super().apply(function, x)


def _largest_arguments(call: Call) -> list[float]:
    """Of each activation of a recurrent operator."""
    watched = _Watched()
    inputs = [x if x is None else x.astype(np.float64) for x in call.inputs]
    evaluate(call.op_type, inputs, call.attributes, watched)
    return watched.largest


def _heads(*shape: int) -> np.ndarray:
    return np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)


NEARLY_NOTHING = 1e-3
"""Of a recurrent operator: where all arguments of a Tanh are below it, its error shows."""

DISAGREEMENTS = (
    Disagreement(
        "onnxruntime",
        frozenset({"Attention"}),
        "hides no key from a single query, whatever is_causal says; the evaluator does",
        lambda c: bool(c.attribute("is_causal", 0)) and c.first.shape[-2] == 1,
        lambda: call(
            *("Attention", 23, ones(1, 1, 1, 2), _heads(1, 1, 3, 2), _heads(1, 1, 3, 2), None),
            *(_heads(1, 1, 2, 2), _heads(1, 1, 2, 2)),
            outputs=3,
            is_causal=1,
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"LSTM", "GRU", "RNN"}),
        "computes Tanh with an absolute error, so that of nearly 0 is another number",
        lambda c: any(0 < x < NEARLY_NOTHING for x in _largest_arguments(c)),
        lambda: call(
            "RNN", 14, ones(1, 1, 1), ones(1, 1, 1), ones(1, 1, 1), clip=1e-5, hidden_size=1
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"LSTM", "GRU"}),
        "computes Sigmoid with an absolute error, of arguments cut at 18 or so: what is nearly 0 "
        "or 1 is another number",
        lambda c: max(_largest_arguments(c)) > SURE_ARGUMENT,
        lambda: call(
            "LSTM",
            14,
            ones(1, 1, 1),
            np.array([[[1], [-20], [1], [1]]], np.float32),
            ones(1, 4, 1),
            hidden_size=1,
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"LSTM", "GRU", "RNN"}),
        "takes 0 for the alpha of a ThresholdedRelu where none is given; 'default values are the "
        "same as of corresponding ONNX operators', which is 1",
        lambda c: b"ThresholdedRelu" in c.attribute("activations", ()),
        lambda: call(
            "GRU",
            14,
            ones(1, 1, 1),
            ones(1, 3, 1) * 0.5,
            ones(1, 3, 1),
            activations=["Sigmoid", "ThresholdedRelu"],
            hidden_size=1,
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"LSTM", "GRU", "RNN"}),
        "makes 0 of a Relu of NaN; Relu is max(0, x), and docs/numerics.md has our rule",
        lambda c: b"Relu" in c.attribute("activations", ()) and not is_finite(c),
        lambda: call(
            "RNN",
            14,
            np.full((1, 1, 1), np.nan, np.float32),
            ones(1, 1, 1),
            ones(1, 1, 1),
            activations=["Relu"],
            hidden_size=1,
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"LSTM", "GRU", "RNN"}),
        "takes the exponential of the large arguments of a Softplus, which overflows",
        lambda c: b"Softplus" in c.attribute("activations", ()) and max(_largest_arguments(c)) > 80,
        lambda: call(
            "RNN",
            14,
            100 * ones(1, 1, 1),
            ones(1, 1, 1),
            ones(1, 1, 1),
            activations=["Softplus"],
            hidden_size=1,
        ),
    ),
)
