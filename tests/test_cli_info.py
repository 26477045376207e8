"""`parallax info`: the model and its support without a session; then what a session would be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from engine.backends.opencl.backend import OpenCLBackend
from engine.interpreter import Interpreter
from engine.ir.graph import Node
from parallax.cli import main
from tests.command_line import (
    DEVICES,
    MODELS,
    OPENCL,
    Captured,
    refused,
    save,
    save_chain,
    table_width,
)

pytestmark = pytest.mark.one_driver

RESNET = MODELS / "tiny_resnet.onnx"


def info(capsys: Captured, *argv: object) -> dict[str, Any]:
    """What `info` says in JSON."""
    capsys.readouterr()
    assert main(["info", *(str(a) for a in argv), "--json"]) == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    return data


def text(capsys: Captured, *argv: object) -> str:
    """What `info` says to people, in 100 columns where no single word is longer."""
    capsys.readouterr()
    assert main(["info", *(str(a) for a in argv)]) == 0
    return capsys.readouterr().out


@pytest.fixture
def no_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCL without one operator."""
    right = OpenCLBackend.why_not

    def why_not(self: OpenCLBackend, node: Node) -> str | None:
        return "no [kernel] here" if node.op_type == "Softmax" else right(self, node)

    monkeypatch.setattr(OpenCLBackend, "why_not", why_not)


# ---------------------------------------------------------------------- the model
def test_without_a_device_the_model_and_its_support_are_told_and_no_session_is_made(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Interpreter, "create_session")
    data = info(capsys, RESNET)
    assert data["session"] is None
    assert data["model"]["inputs"] == {"image": "float32[batch,3,32,32]"}
    assert list(data["model"]["outputs"]) == ["probabilities"]
    assert data["model"]["opsets"] == {"ai.onnx": 13}
    assert {o["type"]: o["count"] for o in data["model"]["operators"]}["Conv"] == 6
    assert data["model"]["parameter_nbytes"] == 4 * data["model"]["parameters"] > 0
    assert data["unsupported"] == []
    assert data["chosen_shapes"] == ["image"]
    assert [s["backend"] for s in data["support"]][-1] == "cpu"
    assert all(s["supported"] == s["operators"] == 11 for s in data["support"])
    shown = text(capsys, RESNET)
    assert "image float32[batch,3,32,32]" in shown
    assert "11 of 11 operators" in shown
    assert table_width(shown, data["explanations"]) <= 100


@pytest.mark.usefixtures("no_softmax")
def test_an_operator_that_a_backend_lacks_is_listed_with_the_reason(
    capsys: Captured, tmp_path: Path
) -> None:
    options = save_chain(tmp_path), "--device", OPENCL
    opencl, cpu = info(capsys, *options)["support"]
    assert opencl["missing"] == {"Softmax 'second'": "no [kernel] here"}
    assert (opencl["supported"], cpu["supported"]) == (1, 2)
    (row,) = info(capsys, *options)["unsupported"]
    assert (row["type"], row["lacking"], row["count"]) == ("Softmax", "opencl", 1)
    shown = text(capsys, *options)
    assert [" ".join(line.split()) for line in shown.splitlines() if "no [kernel]" in line][:1] == [
        "Softmax 1 opencl Softmax 'second' no [kernel] here"
    ]


def test_shapes_are_chosen_that_the_model_accepts(capsys: Captured, tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    weights = {"w": np.ones((4, 3), np.float32)}
    model = save(tmp_path / "product.onnx", [node], {"x": ["n", "k"]}, ["y"], weights)
    data = info(capsys, model)
    assert data["shapes"] == {"x": [1, 4]}
    assert data["chosen_because"].startswith("k=4 instead of 16, because of MatMul 'product': ")
    assert "k=4 instead of 16" in text(capsys, model)
    assert info(capsys, model, "--shape", "x=2,4")["chosen_because"] == ""
    assert info(capsys, model, "--device", "cpu")["session"]["inputs"] == ["x"]


def test_shapes_that_the_model_refuses_do_not_hide_the_rest(
    capsys: Captured, tmp_path: Path
) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "v"], ["h"], name="first"),
        helper.make_node("MatMul", ["h", "w"], ["y"], name="second"),
    ]
    weights = {"v": np.ones((4, 3), np.float32), "w": np.ones((5, 3), np.float32)}
    model = save(tmp_path / "products.onnx", nodes, {"x": ["n", "k"]}, ["y"], weights)
    data = info(capsys, model)
    assert "MatMul 'first'" in data["support_problem"]
    assert [(u["first"], u["lacking"]) for u in data["unsupported"]] == [
        ("MatMul 'first'", "shapes")
    ]
    assert [(s["operators"], s["undecided"]) for s in data["support"]][-1] == (2, 2)
    (row,) = info(capsys, model, "--shape", "x=2,4")["unsupported"]
    assert row["first"] == "MatMul 'second'"
    message = refused(capsys, "run", model, "--device", "cpu")
    assert "no values were found for the free dimensions of x; n=1, k=16: MatMul 'first'" in message
    assert "--shape" in message
    assert "rank 1" in refused(capsys, "info", model, "--shape", "x=2")


# ---------------------------------------------------------------------- the session
@pytest.mark.parametrize("device", DEVICES)
def test_a_session_is_described_with_what_was_asked_and_what_is_in_effect(
    capsys: Captured, device: str
) -> None:
    options = RESNET, "--device", device, "--precision", "normal", "--shape", "image=2,3,32,32"
    data = info(capsys, *options)
    session = data["session"]
    asked = {o["option"]: o for o in session["options"]}
    on_cpu = device == "cpu"
    assert asked["precision"]["effective"] == ("high" if on_cpu else "normal")
    assert bool(asked["precision"]["reason"]) == on_cpu
    assert asked["mode"]["effective"] == ("-" if on_cpu else "tuning_none+memory_buffer")
    assert asked["mode"]["reason"]
    assert asked["threads"]["reason"] == "all cores"
    assert data["shapes"] == {"image": [2, 3, 32, 32]}
    assert data["chosen_shapes"] == []
    assert sum(op["flops"] for op in session["operators"]) == session["flops"] > 0
    (placed,) = session["placement"].values()
    assert placed["operators"] == len(session["operators"])
    assert placed["flops"] == session["flops"]
    assert session["fallbacks"] == session["copies"] == []
    assert session["resize_status"]["ready"]
    shown = text(capsys, *options)
    assert f"operators, 10 of {len(session['operators'])} by work" in shown
    assert table_width(shown, data["explanations"]) <= 100
    every = text(capsys, *options, "--all")
    assert all(op["title"] in every for op in session["operators"])


@pytest.mark.parametrize("device", DEVICES)
def test_memory_adds_up_and_saved_tensors_cost_their_bytes(
    capsys: Captured, tmp_path: Path, device: str
) -> None:
    options = save_chain(tmp_path), "--device", device, "--precision", "high", "--shape"
    plain = info(capsys, *options, "x=1024,4")["session"]
    saving = info(capsys, *options, "x=1024,4", "--save", "hidden")["session"]
    name = "cpu" if device == "cpu" else "opencl"
    before, after = plain["memory"][name], saving["memory"][name]
    assert after["kept_nbytes"] - before["kept_nbytes"] == 1024 * 4 * 4
    for memory in (before, after):
        parts = ("weights_nbytes", "kept_nbytes", "arena_nbytes")
        assert memory["peak_nbytes"] == sum(memory[part] for part in parts)
        assert memory["lower_bound_nbytes"] <= memory["arena_nbytes"]
    assert plain["saved"] == []
    assert saving["saved"] == ["hidden"]
    total = saving["host_nbytes"] if device == "cpu" else saving["device_nbytes"]
    assert total >= after["kept_nbytes"]


@pytest.mark.usefixtures("no_softmax")
def test_fallbacks_and_the_bytes_copied_for_them_are_told(capsys: Captured, tmp_path: Path) -> None:
    options = save_chain(tmp_path), "--device", OPENCL, "--shape", "x=8,4"
    session = info(capsys, *options)["session"]
    assert {b: p["operators"] for b, p in session["placement"].items()} == {"opencl": 1, "cpu": 1}
    (fallback,) = session["fallbacks"]
    assert fallback["title"] == "Softmax 'second'"
    assert fallback["backend"] == "cpu"
    assert fallback["reason"] == "opencl: no [kernel] here"
    (copy,) = session["copies"]
    assert (copy["tensor"], copy["source"], copy["target"]) == ("hidden", "opencl", "cpu")
    assert (copy["nbytes"], copy["through_host"]) == (8 * 4 * 4, True)
    shown = text(capsys, *options)
    assert "fallback to cpu: Softmax 'second': opencl: no [kernel] here" in shown
    assert "copy of hidden from opencl to cpu: 128 B in every run, through the host" in shown
    assert main(["info", *(str(a) for a in options), "--strict"]) == 2
    assert "strict: no fallback allowed" in capsys.readouterr().err


def test_the_options_of_a_session_show_in_its_description(capsys: Captured, tmp_path: Path) -> None:
    model = save_chain(tmp_path)
    cpu = info(capsys, model, "--device", "cpu", "--threads", "1", "--memory", "high")["session"]
    asked = {o["option"]: o for o in cpu["options"]}
    assert (asked["threads"]["requested"], asked["threads"]["effective"]) == (1, 1)
    assert asked["memory"]["effective"] == "high"
    part = info(capsys, model, "--device", "cpu", "--from", "hidden", "--to", "file")["session"]
    assert (part["inputs"], part["outputs"]) == (["hidden"], ["file"])
    assert [op["type"] for op in part["operators"]] == ["Softmax"]


def test_any_option_of_a_session_describes_one_on_whichever_device_works(
    capsys: Captured, tmp_path: Path
) -> None:
    data = info(capsys, save_chain(tmp_path), "--precision", "high")
    assert data["session"]["choices"][0].startswith("AUTO chose ")
    assert data["explanations"] == data["session"]["choices"]


# ---------------------------------------------------------------------- what cannot run
def test_what_cannot_be_imported_is_counted_among_all(capsys: Captured, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Alien", ["r"], ["y"], domain="com.acme"),
    ]
    x, two = {"x": [4]}, {"": 17, "com.acme": 1}
    path = save(tmp_path / "alien.onnx", nodes, x, ["y"], {}, two)
    shown = text(capsys, path)
    assert "1 of 2 cannot run" in shown
    assert "1 of 1 of those that can be imported" in shown
    assert "AUTO chose" not in shown
    path = save(tmp_path / "late.onnx", nodes[:1], x, ["r"], {}, {"": 999})
    assert "none: the model as a whole cannot be imported" in text(capsys, path)


def test_one_reason_of_many_nodes_is_one_row(capsys: Captured, tmp_path: Path) -> None:
    nodes = [helper.make_node("Multinomial", ["x"], [f"q{i}"], name=f"d{i}") for i in range(3)]
    data = info(capsys, save(tmp_path / "q.onnx", nodes, {"x": [4]}, ["q0"], {}))
    assert [(u["type"], u["count"]) for u in data["unsupported"]] == [("Multinomial", 3)]
