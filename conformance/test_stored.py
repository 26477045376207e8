"""`verify(inputs=..., expected=...)`: stored outputs agree, or differ beyond rounding.

The stored outputs are onnxruntime's, an engine that shares no code with ours.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

from conformance import VerifyReport, verify
from conformance.report import OUT_OF_BOUNDS, VERIFIED, Agreement
from conformance.stored import LIMIT, distance_in, spread
from engine.errors import InputError
from fixtures.models.corpus import CORPUS, CorpusModel, by_name
from tests.model_writing import model_bytes, node

DEVICES = [d.strip() for d in os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",")]
OPENCL = next(d for d in DEVICES if d != "cpu")
Arrays = dict[str, np.ndarray]
RNG = np.random.default_rng(3)

SQUARE = model_bytes(
    [
        node("MatMul", "x w", "sums"),
        node("Sigmoid", "sums", "shares"),
        node("Relu", "sums", "parts"),
        node("ArgMax", "sums", "places", axis=1, keepdims=0),
    ],
    {"x": ("n", 32)},
    ["sums", "shares", "parts", "places"],
    {"w": RNG.standard_normal((32, 8), np.float32)},
)
X = {"x": RNG.standard_normal((8, 32), np.float32)}


def onnxruntime_outputs(model: bytes | Path, feeds: Arrays) -> Arrays:
    """By name."""
    source = str(model) if isinstance(model, Path) else model
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


STORED = onnxruntime_outputs(SQUARE, X)


def verdicts(report: VerifyReport) -> dict[str, Agreement]:
    """By output; the same at every precision."""
    first, *others = ({c.error.name: c.verdict for c in p.stored} for p in report.precisions)
    assert all(other == first for other in others)
    return first


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("model", [m for m in CORPUS if m.kind == "small"], ids=lambda m: m.name)
def test_the_outputs_of_another_engine_agree_at_every_precision(
    model: CorpusModel, device: str
) -> None:
    feeds = model.feeds(0)
    stored = onnxruntime_outputs(model.path, feeds)
    report = verify(model.path, device=device, inputs=feeds, expected=stored)
    assert report.exit_code == VERIFIED
    assert set(verdicts(report).values()) == {Agreement.AGREE}
    assert {c.error.name for c in report.precisions[0].stored} == stored.keys()


def bumped(name: str, at: tuple[int, ...]) -> Callable[[Arrays], Arrays]:
    """One element off by a part in ten thousand."""

    def change(stored: Arrays) -> Arrays:
        array = stored[name].copy()
        array[at] *= np.float32(1 + 1e-4)
        return {**stored, name: array}

    return change


WRONG: dict[str, tuple[set[str], Callable[[Arrays], Arrays]]] = {
    "one element": (
        {"sums"},
        bumped("sums", np.unravel_index(abs(STORED["sums"]).argmax(), (8, 8))),
    ),
    "one element that is not large": ({"shares"}, bumped("shares", (0, 0))),
    "two outputs swapped": (
        {"sums", "shares"},
        lambda s: {**s, "sums": s["shares"], "shares": s["sums"]},
    ),
    "transposed": ({"sums"}, lambda s: {**s, "sums": s["sums"].T.copy()}),
    "other inputs": (
        {"sums", "shares", "parts", "places"},
        lambda s: onnxruntime_outputs(SQUARE, {"x": X["x"][::-1].copy()}),
    ),
    "an integer": ({"places"}, lambda s: {**s, "places": (s["places"] + 1) % 8}),
    "not a number": (
        {"parts"},
        lambda s: {**s, "parts": np.where(s["parts"] > 1, np.nan, s["parts"])},
    ),
    "a rounding to half": ({"sums"}, lambda s: {**s, "sums": s["sums"].astype(np.float16)}),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_stored_output_is_found_at_every_precision(what: str, device: str) -> None:
    names, change = WRONG[what]
    stored = {k: v.astype(STORED[k].dtype) for k, v in change(STORED).items()}
    report = verify(SQUARE, device=device, inputs=X, expected=stored)
    assert report.exit_code == OUT_OF_BOUNDS
    assert not any(p.failures for p in report.precisions)
    assert {n for n, v in verdicts(report).items() if v is Agreement.DIFFER} == names
    for precision in report.precisions:
        for check in precision.differing:
            assert check.stored.beyond, check
            assert not check.ours.beyond, check


def test_some_outputs_are_enough() -> None:
    report = verify(SQUARE, device="cpu", inputs=X, expected={"parts": STORED["parts"]})
    assert verdicts(report) == {"parts": Agreement.AGREE}


def test_an_intermediate_that_overflows_half_differs_though_every_node_is_verified() -> None:
    model = model_bytes(
        [node("Mul", "x c", "huge"), node("Div", "huge c", "y")],
        {"x": (64,)},
        ["y"],
        {"c": np.float32([1e4])},
    )
    feeds = {"x": np.linspace(1, 20, 64, dtype=np.float32)}
    report = verify(
        model,
        device=OPENCL,
        precisions=["high", "normal"],
        inputs=feeds,
        expected={"y": feeds["x"]},
    )
    high, normal = report.precisions
    assert high.exit_code == VERIFIED
    assert normal.exit_code == OUT_OF_BOUNDS
    assert not normal.failures
    (check,) = normal.differing
    assert check.ours.beyond == normal.overflows > 0
    assert check.stored.beyond == 0


def test_nothing_is_told_where_rounding_decides_everything() -> None:
    model = model_bytes(
        [node("Add", "x c", "far"), node("Sub", "far c", "y")],
        {"x": (64,)},
        ["y"],
        {"c": np.float32([1e8])},
    )
    feeds = {"x": RNG.standard_normal(64, np.float32)}
    stored = onnxruntime_outputs(model, feeds)
    report = verify(model, device="cpu", inputs=feeds, expected=stored)
    assert verdicts(report) == {"y": Agreement.UNDECIDED}
    assert report.exit_code == VERIFIED


def test_what_every_precision_stores_as_it_is_gets_no_error() -> None:
    """A mask of ones times a large number would hide everything else."""
    model = model_bytes(
        [
            node("Div", "m m", "mask"),
            node("Sub", "one mask", "masked"),
            node("Mul", "masked low", "lowered"),
            node("Add", "x lowered", "logits"),
            node("Softmax", "logits", "y"),
        ],
        {"x": (4, 16), "m": (4, 16)},
        ["y"],
        {"one": np.float32(1), "low": np.float32(-6e4)},
    )
    feeds = {"x": X["x"][:4, :16].copy(), "m": np.full((4, 16), 3, np.float32)}
    stored = onnxruntime_outputs(model, feeds)
    report = verify(model, device=OPENCL, precisions=["normal"], inputs=feeds, expected=stored)
    assert verdicts(report) == {"y": Agreement.AGREE}


def test_what_is_only_moved_must_be_equal_to_the_last_bit() -> None:
    model = model_bytes([node("Transpose", "x", "y", perm=[1, 0])], {"x": (8, 32)}, ["y"])
    right = X["x"].T.copy()
    wrong = right.copy()
    wrong[3, 3] = np.nextafter(wrong[3, 3], np.float32(np.inf))
    for stored, verdict in ((right, Agreement.AGREE), (wrong, Agreement.DIFFER)):
        report = verify(model, device="cpu", inputs=X, expected={"y": stored})
        assert verdicts(report) == {"y": verdict}


# ---------------------------------------------------------------------- the rule
def test_an_honest_engine_may_be_on_the_other_side_of_a_threshold() -> None:
    before = np.concatenate([np.linspace(-1, 1, 999), [-1e-9]])
    honest = np.maximum(before + 1e-6 * RNG.standard_normal((5, 1000)), 0)
    truth = np.maximum(before, 0)
    assert truth[-1] == 0
    honest[0, -1] = 1e-6
    spreads = spread(truth, [*honest[1:]], 2.0**-24)
    assert distance_in(honest[0], truth, spreads).spreads < LIMIT / 2


def test_no_number_at_all_differs_even_where_rounding_may_make_any_number() -> None:
    anything, truth = np.full(3, np.inf), np.ones(3)
    found = distance_in(np.float32([2, np.nan, -np.inf]), truth, anything)
    assert (found.beyond, found.undecided) == (2, 3)


def test_a_few_runs_that_are_quiet_by_chance_do_not_make_an_element_suspicious() -> None:
    truth = np.linspace(1, 2, 1_000_000, endpoint=False)
    runs = [truth + 1e-6 * RNG.standard_normal(truth.size) for _ in range(5)]
    assert distance_in(runs[0], truth, spread(truth, runs[1:], 2.0**-24)).spreads < LIMIT / 2


# ---------------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    ("inputs", "expected", "words"),
    [
        ({}, None, ["inputs: no array named 'x', which the model needs: float32[n,32]"]),
        ({"x": X["x"][:, :9]}, None, ["'x' is float32[8,9], expected float32[n,32]"]),
        ({"X": X["x"]}, None, ["2 arrays", "no tensor named 'X'", "no array named 'x'"]),
        (None, STORED, ["expected outputs: give the inputs"]),
        (X, {"sum": STORED["sums"]}, ["no tensor named 'sum'; did you mean 'sums'?"]),
        (
            X,
            {"sums": STORED["sums"][:4], "parts": STORED["parts"].astype(np.float64)},
            ["float32[4,8], expected float32[8,8]", "float64[8,8], expected float32[8,8]"],
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused_all_at_once(
    inputs: Arrays | None, expected: Arrays | None, words: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        verify(SQUARE, device="cpu", inputs=inputs, expected=expected)
    assert all(w in str(caught.value) for w in words), caught.value


def test_free_dimensions_are_those_of_the_arrays() -> None:
    report = verify(SQUARE, device="cpu", inputs=X)
    assert (report.shapes, report.chosen_shapes, report.given) == ({"x": (8, 32)}, (), True)
    assert verify(by_name("tiny_mlp_opset7").path, device="cpu").given is False


@pytest.mark.parametrize("size", [1e-300, 1e300])
def test_the_size_of_doubles_changes_no_verdict(size: float) -> None:
    data = model_bytes(
        [node("Add", "x z", "y")], {"x": (9,), "z": (9,)}, ["y"], dtype=TensorProto.DOUBLE
    )
    inputs = {name: size * np.linspace(1, 2, 9) for name in "xz"}
    right = {"y": inputs["x"] + inputs["z"]}
    for expected, verdict in (
        (right, Agreement.AGREE),
        ({"y": right["y"] * 1.1}, Agreement.DIFFER),
    ):
        report = verify(data, device="cpu", inputs=inputs, expected=expected)
        (check,) = report.precisions[0].stored
        assert check.verdict is verdict
        assert check.error.cosine == pytest.approx(1)
