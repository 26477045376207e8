"""A decoder with a cache: a prompt and then single tokens are one pass over all of them."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest

from conformance.devices import config_of, target_of
from conformance.report import Agreement
from conformance.stored import Stored
from conformance.truth import evaluation
from engine.config import ForwardType
from engine.interpreter import Interpreter
from engine.passes import bind_passes, run_passes
from engine.runtime import Runtime
from fixtures.models.corpus import CACHE, by_name

pytestmark = pytest.mark.one_driver

DEVICES = [d.strip() for d in os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",")]
PATH = by_name("tiny_decoder").path
PROMPT, STEPS = 5, 32
LENGTH = PROMPT + STEPS
IDS = np.random.default_rng(0).integers(0, 100, (1, LENGTH))
Arrays = dict[str, np.ndarray]


def tokens(begin: int, end: int, cache: Arrays) -> Arrays:
    """The feeds for some of the tokens."""
    return {"ids": IDS[:, begin:end], "positions": np.arange(begin, end)[None], **cache}


EMPTY = {name: np.zeros((1, 2, 0, 8), np.float32) for name in CACHE}
WHOLE = tokens(0, LENGTH, EMPTY)


def by_steps(run: Callable[[Arrays], Arrays]) -> Arrays:
    """The outputs of the whole pass, from one pass over the prompt and one for every token."""
    ends = range(PROMPT, LENGTH + 1)
    cache, logits = EMPTY, []
    for begin, end in zip((0, *ends), ends, strict=False):
        outputs = dict(run(tokens(begin, end, cache)))
        logits.append(outputs.pop("logits"))
        cache = {name.replace("present", "past"): array for name, array in outputs.items()}
    return {"logits": np.concatenate(logits, axis=1), **outputs}


@pytest.mark.parametrize("device", DEVICES)
def test_a_prompt_and_single_tokens_are_one_pass_as_near_as_rounding_explains(device: str) -> None:
    theirs = onnxruntime.InferenceSession(PATH, providers=["CPUExecutionProvider"])
    names = [output.name for output in theirs.get_outputs()]
    whole = dict(zip(names, theirs.run(names, WHOLE), strict=True))
    with Runtime() as runtime, Interpreter.from_file(PATH) as model:
        evaluate = evaluation(model.graph, WHOLE, lambda bound: run_passes(bound, bind_passes()))
        cpu = runtime.backend(ForwardType.CPU, config_of((ForwardType.CPU, None)))
        stored = Stored(whole, evaluate, cpu, 0, lambda done, total: None)
        target = target_of(device, runtime)
        backend = runtime.backend(target[0], config_of(target))
        with model.create_session(config_of(target), runtime) as session:
            for check in stored.check(by_steps(session), backend):
                assert check.verdict is Agreement.AGREE, check
