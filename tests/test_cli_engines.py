"""`parallax verify --engine`: options, and what is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from parallax.cli import main

pytestmark = pytest.mark.device_free

MODELS = Path(__file__).parent.parent / "fixtures" / "models"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--engine", "ort"], "expected one of onnxruntime, openvino"),
        (["--engine", "onnxruntime", "--engine-option", "x=1"], "has the options optimization"),
        (["--engine", "onnxruntime", "--engine-option", "off"], "expected NAME=VALUE"),
        (["--engine", "onnxruntime", "--device", "cpu"], "--device cpu"),
        (["--engine-option", "optimization=off"], "give --engine, too"),
    ],
)
def test_bad_options_are_named(
    given: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(MODELS / "tiny_mlp_opset7.onnx"), *given]) == 2
    assert words in capsys.readouterr().err


def test_the_command_prints_what_was_judged(capsys: pytest.CaptureFixture[str]) -> None:
    model = str(MODELS / "tiny_mlp_opset7.onnx")
    assert main(["verify", model, "--engine", "onnxruntime"]) == 0
    out = capsys.readouterr().out
    assert "on onnxruntime" in out
    assert "float32: verified, 6 node outputs" in out
