"""What onnx's reference evaluator reads differently, and why: series in time, and attention."""

from __future__ import annotations

import numpy as np

from properties.hostile.asked import (
    Call,
    Disagreement,
    call,
    ones,
)

RECURRENT = frozenset({"LSTM", "GRU", "RNN"})


def _is_more_than_it_knows(call: Call) -> bool:
    """Of a recurrent operator."""
    inputs = call.model.graph.node[call.node].input
    has_lengths = len(inputs) > 4 and bool(inputs[4])
    names = ("activations", "clip", "input_forget")
    return has_lengths or any(call.attribute(name) is not None for name in names)


def _doubles_beyond_the_range(call: Call) -> bool:
    """Whether twice the sum of all that a DFT takes leaves the range of its dtype."""
    dtype = call.first.dtype
    return bool(2 * np.abs(call.first.astype(np.float64)).sum() > np.finfo(dtype).max)


def _repeats_a_causal_row(call: Call) -> bool:
    """Whether an Attention is causal and its mask has one row for many queries."""
    mask = (*call.inputs, *[None] * 4)[3]
    is_causal = call.attribute("is_causal", 0) == 1
    return is_causal and mask is not None and mask.shape[-2:-1] in ((), (1,))


DISAGREEMENTS = (
    Disagreement(
        "evaluator",
        RECURRENT,
        "knows no sequence_lens, no clip, no input_forget, and of activations a part: 'TODO: "
        "support overridden attributes'; onnxruntime computes ours",
        _is_more_than_it_knows,
        lambda: call("RNN", 14, ones(1, 1, 1), ones(1, 1, 1), ones(1, 1, 1), clip=0.25),
    ),
    Disagreement(
        "evaluator",
        RECURRENT,
        "rounds sums and states of half to half; docs/numerics.md has our rule",
        lambda c: c.first.dtype == np.float16,
        lambda: call(
            "RNN",
            14,
            np.array([[[1024, 0.5]]], np.float16),
            np.ones((1, 1, 2), np.float16),
            np.zeros((1, 1, 1), np.float16),
            np.array([[-1024, 0]], np.float16),
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"DFT"}),
        "divides by the length after it has added up what leaves the range",
        lambda c: c.attribute("inverse", 0) == 1 and _doubles_beyond_the_range(c),
        lambda: call("DFT", 20, np.full((1, 4, 2), 2e38, np.float32), inverse=1, onesided=1),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Attention"}),
        "takes every query for the first where it is causal and the mask has one row for all; "
        "ONNX's own definition counts the queries",
        _repeats_a_causal_row,
        lambda: call(
            "Attention",
            23,
            *(ones(1, 1, 2, 1), ones(1, 1, 2, 1)),
            np.array([[[[0], [1]]]], np.float32),
            np.zeros((1, 2), np.float32),
            is_causal=1,
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"MelWeightMatrix"}),
        "computes bins of frequencies in half, where they are given so",
        lambda c: any(x.dtype == np.float16 for x in c.arrays),
        lambda: call(
            "MelWeightMatrix",
            18,
            *(np.array(n) for n in (6, 33, 8192)),
            *(np.array(n, np.float16) for n in (0, 3500)),
            constants=(0, 1, 2, 3, 4),
        ),
    ),
)
