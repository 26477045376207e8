"""`verify --against`: where a device and another engine part, and which of them is right."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest

import parallax as px
from conformance.engines import engine_of
from conformance.engines.against import Opponent
from parallax.cli import main
from tests.command_line import MLP, Captured, refused, save
from tests.model_writing import node

pytestmark = pytest.mark.device_free


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """y = Softmax(Relu(x) * c), of which nothing fuses."""
    nodes = [node("Relu", "x", "r"), node("Mul", "r c", "m"), node("Softmax", "m", "y")]
    return save(tmp_path / "m.onnx", nodes, {"x": [5, 7]}, ["y"], {"c": np.arange(7, dtype="f")})


class ReadsOtherwise:
    """onnxruntime, where it would take the axis of Softmax from the other end."""

    name, version, setting = "other", "1", "axis=0"

    def __init__(self) -> None:
        self._engine = engine_of("onnxruntime", {})

    def run(self, data: bytes, feeds: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        proto = onnx.load_from_string(data)
        for each in proto.graph.node:
            if each.op_type == "Softmax":
                each.attribute.append(onnx.helper.make_attribute("axis", 0))
        return self._engine.run(proto.SerializeToString(), feeds)


def test_witnesses_that_agree_are_counted(capsys: Captured) -> None:
    argv = [
        "verify",
        str(MLP),
        "--device",
        "cpu",
        "--no-latency",
        "--against",
        "onnxruntime",
    ]
    assert main([*argv, "--json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)["models"][0]["precisions"]
    assert report["against"]["engine"].startswith("onnxruntime ")
    assert report["against"]["compared"] == 4
    assert report["against"]["partings"] == []


def test_a_device_that_is_wrong_is_told_from_the_engine(
    model: Path, capsys: Captured, planting: Callable
) -> None:
    argv = ["verify", str(model), "--device", "cpu", "--no-latency", "--against", "onnxruntime"]
    with planting("cpu-relu-is-abs"):
        assert main(argv) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "they part first at Relu 'the_r': output 'r' at [" in shown
    assert "by the float64 reference onnxruntime is right" in shown
    assert "and at 2 behind it: Mul 'the_m', Softmax 'the_y'" in shown
    assert "on its own inputs" not in shown


def test_an_engine_that_reads_onnx_otherwise_is_told_by_its_node(model: Path) -> None:
    report = px.verify(model, device="cpu", against=Opponent(ReadsOtherwise(), model))
    assert (report.exit_code, report.verdict) == (1, "PARTS FROM other")
    against = report.precisions[0].against
    (parting,) = against.partings
    assert (parting.title, parting.right) == ("Softmax 'the_y'", "this device")
    assert parting.ours.beyond == 0 < parting.theirs.beyond
    assert against.failure.check.title == "Softmax 'the_y'"
    assert "on its own inputs other is wrong first at Softmax 'the_y'" in " ".join(
        str(report).split()
    )


def test_a_small_difference_in_a_single_node_is_seen_by_its_own_inputs(tmp_path: Path) -> None:
    """Within what rounding explains of the sums before it, but not of the node alone."""

    class OffByRoundings(ReadsOtherwise):
        def run(self, data: bytes, feeds: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
            found = dict(self._engine.run(data, feeds))
            if "r" in found:
                found["r"] = found["r"] * np.float32(1 + 2**-19)
            return found

    nodes = [node("MatMul", "x w", "h"), node("GlobalAveragePool", "h", "r"), node("Neg", "r", "y")]
    w = np.random.default_rng(0).standard_normal((256, 2)).astype(np.float32)
    model = save(tmp_path / "sums.onnx", nodes, {"x": [1, 3, 1, 256]}, ["y"], {"w": w})
    against = px.verify(model, device="cpu", against=Opponent(OffByRoundings(), model))
    first = against.precisions[0].against.partings[0]
    assert (first.output, first.right) == ("r", "this device")
    assert not first.theirs.beyond


def test_what_cannot_be_compared_is_refused(model: Path, capsys: Captured) -> None:
    on_cpu = "verify", model, "--device", "cpu"
    assert "expected one of onnxruntime" in refused(capsys, *on_cpu, "--against", "ort")
    argv = ("verify", model, "--engine", "onnxruntime", "--against", "onnxruntime")
    assert "--against onnxruntime: --engine onnxruntime has none" in refused(capsys, *argv)
    argv = (*on_cpu, "--against", "onnxruntime", "--engine-option", "x=1")
    assert "has the options optimization" in refused(capsys, *argv)
    assert "give --engine, too, or --against" in refused(capsys, *on_cpu, "--engine-option", "x=1")
    with pytest.raises(px.InputError, match="the path of the model, or its bytes"):
        px.verify(px.Interpreter.from_file(model), device="cpu", against="onnxruntime")
