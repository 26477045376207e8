"""Patterns of RegexFullMatch mean what they mean to RE2, and take no longer than they may."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest
from onnx import TensorProto

import parallax as px
from engine.errors import InputError, ParallaxError, ShapeError, UnsupportedError
from engine.ops import regex
from engine.ops.regex import compiled
from tests.model_writing import model_bytes, node
from tests.test_import import ort_outputs

pytestmark = pytest.mark.device_free

# fmt: off
ATOMS = (
    "a", "b", "A", "k", "0", " ", "\n", "é", "_", "-", ".", "^", "$", r"\b", r"\B", r"\A", r"\z",
    r"\d", r"\D", r"\w", r"\W", r"\s", r"\S", "[a-c]", "[^a]", "[]a]", "[a-]", r"[\d-z]",
    "[[:alpha:]]", "[[:^digit:]b]", r"[^\W]", r"\x41", r"\x{e9}", r"\101", r"\.", r"\_", r"\08",
    r"\Qa.b\E", "{", "}", "]", "x{", "(?i)", "(?s)", "(?m)", "(?-s)", r"\12", "[b-a]", r"\Z",
)
GROUPS = ("(", "(?:", "(?i:", "(?P<n>", "(?<q>", "(?s-i:", "(?m:")
COUNTS = ("*", "+", "?", "{2}", "{0,2}", "{1,}", "*?", "{3}?", "**", "{01}", "{1001}")
# fmt: on
CHARACTERS = "aabAkK0 _-\n\té\u212a]{}x"
DRAWN = 150


def a_pattern(rng: random.Random, depth: int = 2) -> str:
    def part() -> str:
        inner = depth and rng.random() < 0.3
        text = f"{rng.choice(GROUPS)}{a_pattern(rng, depth - 1)})" if inner else rng.choice(ATOMS)
        return text + (rng.choice(COUNTS) if rng.random() < 0.3 else "")

    return "|".join("".join(part() for _ in range(rng.randrange(4))) for _ in range(1 + depth % 2))


def a_model(pattern: str, count: int | str = "n") -> bytes:
    match = node("RegexFullMatch", "x", "y", pattern=pattern)
    return model_bytes([match], {"x": (count,)}, ["y"], opset=20, dtype=TensorProto.STRING)


def matched(pattern: str, *texts: str) -> list[bool]:
    given = np.array(texts, object)
    with px.Interpreter.from_buffer(a_model(pattern)).create_session(CPU) as session:
        found: list[bool] = session({"x": given})["y"].tolist()
    return found


CPU = px.ScheduleConfig(type=px.ForwardType.CPU)


def test_random_patterns_mean_what_they_mean_to_re2(capfd: pytest.CaptureFixture[str]) -> None:
    """onnxruntime has it; what it refuses is refused, too."""
    rng, ran = random.Random(7), 0
    for _ in range(DRAWN):
        pattern = a_pattern(rng)
        texts = [
            "".join(rng.choice(CHARACTERS) for _ in range(n)) for n in (0, 1, 1, 2, 2, 3, 4, 5)
        ]
        try:
            compiled(pattern)
        except UnsupportedError:
            continue
        except ShapeError as refusal:
            if "repetition of nothing" not in str(refusal):  # of flags: RE2 looks past them
                with pytest.raises(Exception, match=r"RE2|[Rr]egex"):
                    ort_outputs(a_model(pattern), {"x": np.array(texts, object)})
            continue
        (theirs,) = ort_outputs(a_model(pattern), {"x": np.array(texts, object)})
        assert matched(pattern, *texts) == theirs.tolist(), repr(pattern)
        ran += 1
    capfd.readouterr()  # RE2 prints what it refuses
    assert ran > DRAWN / 2


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(?=a)", "no RE2 syntax"),
        ("(?<!a)b", "no RE2 syntax"),
        (r"(a)\1", r"a back reference, \\1, is no RE2 syntax"),
        ("a++", "a repetition of a repetition"),
        ("(a{100}){100}", "more than 1000 repetitions"),
        ("a{" + "9" * 5000 + "}", "so large a number"),
        ("[[:foo:]]", "no RE2 syntax"),
        (r"\pL", r"\\p is not supported"),
        ("(?i)é", "beyond ASCII is not supported|beyond ASCII"),
        ("(" * 101 + ")" * 101, "more than 100 groups in groups"),
        (f"({'a' * 99}){{999}}", "too large"),
        ("[a", "its end"),
        ("a\\", "its end"),
        ("a)", "closes no group"),
    ],
)
def test_what_re2_refuses_is_refused_by_name(pattern: str, words: str) -> None:
    with pytest.raises(ParallaxError, match=f"RegexFullMatch 'the_y': .*({words})"):
        px.Interpreter.from_buffer(a_model(pattern)).create_session(CPU, shapes={"x": (1,)})


def test_no_pattern_takes_exponential_time() -> None:
    started = time.perf_counter()
    assert matched("(a|a)*(a*)*(a+a+)+b", "a" * 5_000) == [False]
    assert matched("(x+x+)+y", "x" * 5_000 + "y") == [True]
    assert time.perf_counter() - started < 10


def test_a_text_that_leads_through_too_many_states_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(regex, "WORK_MAX", 2**16)
    text = "".join(random.Random(0).choices("ab", k=2_000))
    with pytest.raises(InputError, match="more than 65536 states"):
        matched("(?:.*a.{0,30}){30}c", text)
