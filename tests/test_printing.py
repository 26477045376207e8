"""What is printed of models, sessions and tensors says what a reader wants to know first."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import parallax as px
from engine.backends.opencl.backend import OpenCLBackend
from tests.features.subjects import CHAIN, CONVOLUTIONS, OPENCL, config, rows_of

pytestmark = pytest.mark.one_driver


def test_models_sessions_and_tensors_show_names_types_and_state():
    model = px.Interpreter.from_buffer(CHAIN)
    assert repr(model) == "<Interpreter 'model': x float32[n,4] -> y>"
    with px.Runtime() as runtime:
        assert repr(runtime) == "<Runtime: nothing made yet; 0 sessions>"
        session = model.create_session(runtime=runtime)
        assert repr(session) == "<Session of 'model' on cpu: x float32[n,4] -> y, no plan yet>"
        session.run({"x": rows_of(2)})
        assert repr(session) == "<Session of 'model' on cpu: x float32[2,4] -> y, ready>"
        tensor = session.input()
        assert repr(runtime).startswith("<Runtime: cpu high on ")
        assert repr(runtime).endswith("; 1 session>")
        session.close()
        assert repr(session) == "<Session of 'model' on cpu: x float32[n,4] -> y, closed>"
        assert repr(tensor) == "<Tensor 'x': float32[2,4]>"
    assert repr(runtime) == "<Runtime: closed; 0 sessions>"
    model.close()
    assert repr(model) == "<Interpreter 'model': x float32[n,4] -> y, released>"
    assert repr(px.Var(np.zeros((1, 2)))) == "<Var float64[1,2], of the user>"


def test_the_info_of_a_model_prints_its_interface_operators_and_weights():
    printed = str(px.Interpreter.from_buffer(CONVOLUTIONS).info).splitlines()
    assert printed[0].startswith("model, opset ")
    assert printed[1:3] == ["inputs: x float32[n,3,h,w]", "outputs: y"]
    assert printed[3].startswith("operators: 7: Conv 2, ")
    assert printed[4].startswith("weights: ")


def test_the_info_of_a_session_prints_what_is_in_effect_and_why(monkeypatch: pytest.MonkeyPatch):
    right = OpenCLBackend.why_not
    monkeypatch.setattr(
        OpenCLBackend,
        "why_not",
        lambda self, n: "switched off here" if n.op_type == "Softmax" else right(self, n),
    )
    settings = dataclasses.replace(config(OPENCL), save_tensors=("r",))
    model = px.Interpreter.from_buffer(CHAIN)
    with model.create_session(settings, shapes={"x": (2, 4)}) as session:
        info = session.info()
        printed = str(info).splitlines()
        device = f"{info.device.platform} / {info.device.name}"
    for line in (
        f"opencl on {device}: x -> y",
        "  backups: cpu",
        "  precision: high",
        "  power: normal",
        "fallback: Softmax 'the_s' on cpu: opencl: switched off here",
        "copy in every run: r from opencl to cpu, 32 B through the host",
        "saved: r",
    ):
        assert line in printed
    (mode,) = (line for line in printed if line.startswith("  mode: "))
    assert mode.startswith("  mode: tuning_none+memory_buffer (TUNING_NONE: no tuning level was")
    assert sum(line.startswith("memory of ") for line in printed) == 2


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        (px.Choice(None, 2, "all cores"), "2 (all cores)"),
        (px.Choice(4096, 2, "as many as there are cores"), "2, asked for 4096 (as many as there"),
        (px.Choice(px.Precision.LOW, px.Precision.LOW), "low"),
        (px.Choice(px.Precision.LOW, px.Precision.NORMAL), "normal, asked for low"),
        (px.Choice(None, px.GpuMode.TUNING_NONE), "tuning_none"),
    ],
)
def test_a_choice_prints_what_is_in_effect_first(choice: px.Choice, text: str):
    assert str(choice).startswith(text)
