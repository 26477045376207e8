"""Models that onnxruntime quantised, or optimised and saved, give what they give there."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime import GraphOptimizationLevel, quantization
from onnxruntime.quantization import QuantFormat

from conformance import verify
from engine.interpreter import Interpreter
from engine.runtime import Runtime
from fixtures.models.corpus import CorpusModel, by_name
from tests.model_writing import model_bytes, node
from tests.test_microsoft import HIDDEN, STEPS, error_of_a_rounded_h

pytestmark = pytest.mark.one_driver

DEVICES = [d.strip() for d in os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",")]
RUNTIME = Runtime()


class Samples(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Inputs of the corpus to calibrate by."""

    def __init__(self, model: CorpusModel) -> None:
        self._left = [model.feeds(seed) for seed in (1, 2, 3)]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self._left.pop() if self._left else None


def newer(model: CorpusModel, folder: Path) -> Path:
    """In opset 13 at least, without which the quantiser does not know axes."""
    proto = onnx.load(model.path)
    if proto.opset_import[0].version < 13:
        proto = onnx.version_converter.convert_version(proto, 13)
    onnx.save(proto, folder / "newer.onnx")
    return folder / "newer.onnx"


def optimised(path: Path, feeds: dict[str, np.ndarray]) -> tuple[Path, dict]:
    """What onnxruntime saves of a model, and the outputs that it gives."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(path.with_suffix(".optimised.onnx"))
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, feeds), strict=True))
    return Path(options.optimized_model_filepath), outputs


def own_operators(path: Path) -> set[str]:
    return {n.op_type for n in onnx.load(path).graph.node if n.domain == "com.microsoft"}


def assert_verified(path: Path, device: str, feeds: dict, expected: dict) -> None:
    report = verify(path, device=device, inputs=feeds, expected=expected, runtime=RUNTIME)
    assert report.precisions[0].exit_code == 0, str(report)
    for precision in report.precisions:
        assert not precision.failures, str(report)
        assert precision.verified


OPTIMISED = {
    "tiny_mlp_opset7": {"FusedGemm"},
    "tiny_audio": {"FusedConv"},
    "tiny_transformer": {"FusedMatMul", "BiasGelu"},
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", OPTIMISED)
def test_a_model_that_onnxruntime_optimised_verifies(
    name: str, device: str, tmp_path: Path
) -> None:
    model = by_name(name)
    feeds, copy = model.feeds(0), tmp_path / "model.onnx"
    copy.write_bytes(model.path.read_bytes())
    path, expected = optimised(copy, feeds)
    assert own_operators(path) >= OPTIMISED[name]
    assert_verified(path, device, feeds, expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("name", "by_channel", "found"),
    [
        ("tiny_transformer", False, {"DynamicQuantizeMatMul", "MatMulIntegerToFloat"}),
        ("tiny_mlp_opset7", True, {"DynamicQuantizeMatMul", "FusedGemm"}),
    ],
)
def test_a_model_that_is_quantised_while_it_runs_verifies(
    name: str, by_channel: bool, found: set[str], device: str, tmp_path: Path
) -> None:
    model = by_name(name)
    feeds, target = model.feeds(0), tmp_path / "quantised.onnx"
    more = {"per_channel": by_channel, "reduce_range": True}
    quantization.quantize_dynamic(newer(model, tmp_path), target, **more)
    path, expected = optimised(target, feeds)
    assert own_operators(path) >= found
    assert_verified(path, device, feeds, expected)


STATIC = {
    ("tiny_transformer", "QDQ", True): {"QLinearSoftmax"},
    ("tiny_transformer", "QOperator", False): {"QLinearAdd", "QLinearMul", "QLinearSoftmax"},
    ("tiny_resnet", "QDQ", False): {"QLinearAdd", "QGemm", "QLinearGlobalAveragePool"},
    ("tiny_resnet", "QOperator", True): {"QLinearAdd", "QGemm", "QLinearSoftmax"},
    ("tiny_audio", "QOperator", True): {"QLinearAdd", "QLinearMul"},
}
"""Model, how it is quantised, whether by channels: operators that onnxruntime saves of it."""
STEPS_MAX, SHARE_MAX = 2, 0.1
"""onnxruntime scales in float: where that is next to a tie its integer is another."""


@pytest.mark.device_free
@pytest.mark.parametrize(("name", "way", "by_channel"), STATIC)
def test_a_model_that_is_all_integers_gives_the_same_integers_but_at_ties(
    name: str, way: str, by_channel: bool, tmp_path: Path
) -> None:
    model = by_name(name)
    feeds, source, target = model.feeds(0), newer(model, tmp_path), tmp_path / "quantised.onnx"
    more = {"per_channel": by_channel, "reduce_range": True, "quant_format": QuantFormat[way]}
    quantization.quantize_static(source, target, Samples(model), **more)
    path, expected = optimised(target, feeds)
    assert own_operators(path) >= STATIC[name, way, by_channel]
    report = verify(path, device="cpu", inputs=feeds, runtime=RUNTIME)
    assert report.precisions[0].exit_code == 0, str(report)
    with Interpreter.from_file(path).create_session() as session:
        ours = session(feeds)
    for output, theirs in expected.items():
        differs = np.abs(ours[output] - theirs)
        assert differs.max() <= STEPS_MAX * np.ptp(theirs) / 127
        assert (differs > 1e-6 * np.ptp(theirs)).mean() <= SHARE_MAX


@pytest.mark.device_free
@pytest.mark.parametrize("by_channel", [False, True])
def test_an_lstm_that_is_quantised_while_it_runs(by_channel: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    weights = {
        name: (rng.normal(size=(2, 4 * HIDDEN, n)) / 4).astype(np.float32)
        for name, n in (("w", 5), ("r", HIDDEN))
    }
    lstm = node("LSTM", "x w r", "y", hidden_size=HIDDEN, direction="bidirectional")
    source, target = tmp_path / "lstm.onnx", tmp_path / "quantised.onnx"
    source.write_bytes(model_bytes([lstm], {"x": (STEPS, 2, 5)}, ["y"], weights))
    quantization.quantize_dynamic(source, target, per_channel=by_channel, reduce_range=True)
    assert own_operators(target) == {"DynamicQuantizeLSTM"}
    x = rng.normal(size=(STEPS, 2, 5)).astype(np.float32)
    (theirs,) = onnxruntime.InferenceSession(target).run(None, {"x": x})
    with Interpreter.from_file(target).create_session() as session:
        (ours,) = session({"x": x}).values()
    reach = float(np.abs(weights["r"]).sum(2).max()) * ROUNDED_WEIGHTS
    assert np.abs(ours - theirs).max() <= error_of_a_rounded_h(
        reach, 0, float(np.abs(theirs).max())
    )


ROUNDED_WEIGHTS = 1 + 1 / 64
"""What rounding to seven bits may add to the sum of a row."""
