"""Silero's voice detectors over a stream: the state after a chunk is an input of the next.

The truth is a stream in float64. As for whole models (test_models), the error may be at most 4
times that of onnxruntime, or 64 units of roundoff of the size, at the worst of the stream so far.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import onnxruntime
import pytest

from conformance.devices import config_of, target_of
from conformance.truth import evaluation
from engine.interpreter import Interpreter
from engine.passes import bind_passes, run_passes
from engine.runtime import Runtime
from fixtures.models import feeds
from fixtures.models.corpus import VOICE, CorpusModel, by_name

pytestmark = pytest.mark.one_driver

DEVICES = [d.strip() for d in os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",")]
CHUNKS = 8
RATIO_MAX = 4.0
ROUNDOFFS_MAX = 64 * 2.0**-24
SAME_FUNCTION = 1e-4
"""How far onnxruntime may lie from the truth; probabilities are at most 1."""
STREAMS = [
    *((model, 16_000) for model in VOICE),
    *((by_name(name), 8_000) for name in ("silero_vad", "silero_vad_op18_ifless")),
]
Arrays = dict[str, np.ndarray]


def stream(
    run: Callable[[Arrays], Sequence[np.ndarray]], model: CorpusModel, rate_hz: int
) -> list[np.ndarray]:
    """Probability and state after every chunk, which follows the end of the one before it."""
    samples, before = (512, 64) if rate_hz == 16_000 else (256, 32)
    sound = feeds.sweep(np.random.default_rng(0), (1, before + CHUNKS * samples))
    shapes = model.shapes[0]
    state = {n: np.zeros(shapes[n], np.float32) for n in shapes if n not in ("input", "sr")}
    rate = {"sr": np.array(rate_hz)} if "sr" in shapes else {}
    heard = []
    for begin in range(0, CHUNKS * samples, samples):
        chunk = sound[:, begin : begin + before + samples]
        outputs = run({"input": chunk, **state, **rate})
        state = dict(zip(state, outputs[1:], strict=True))
        heard.append(np.concatenate([np.ravel(y) for y in outputs]))
    return heard


@cache
def truth_and_peer(model: CorpusModel, rate_hz: int) -> tuple[np.ndarray, np.ndarray]:
    """Streams in float64 and of onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    theirs = onnxruntime.InferenceSession(model.path, options, providers=["CPUExecutionProvider"])
    graph = Interpreter.from_file(model.path).graph

    def exactly(fed: Arrays) -> list[np.ndarray]:
        evaluate = evaluation(graph, fed, lambda bound: run_passes(bound, bind_passes()))
        return list(evaluate(None).values())

    return (
        np.array(stream(exactly, model, rate_hz)),
        np.array(stream(lambda fed: theirs.run(None, fed), model, rate_hz)),
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("model", "rate_hz"), STREAMS, ids=lambda p: getattr(p, "name", p))
def test_a_stream_is_heard_as_well_as_by_onnxruntime(
    model: CorpusModel, rate_hz: int, device: str
) -> None:
    truth, theirs = truth_and_peer(model, rate_hz)
    with (
        Runtime() as runtime,
        Interpreter.from_file(model.path) as read,
        read.create_session(config_of(target_of(device, runtime)), runtime) as session,
    ):
        ours = np.array(stream(lambda fed: list(session(fed).values()), model, rate_hz))
    assert ours.shape == truth.shape
    arrays = (ours - truth, theirs - truth, truth)
    error, peers, size = (np.maximum.accumulate(np.abs(a).max(axis=1)) for a in arrays)
    assert peers.max() < SAME_FUNCTION
    allowed = np.maximum(RATIO_MAX * peers, ROUNDOFFS_MAX * size)
    assert (error <= allowed).all(), (error, allowed)
