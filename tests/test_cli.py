"""The command line: bad input gives one clear message and exit code 2, a wrong kernel 1."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from engine.backends.cpu.backend import CpuBackend
from engine.backends.opencl import context as opencl_context
from engine.backends.opencl.backend import OpenCLBackend
from engine.errors import PlanError
from engine.ir.graph import Node
from parallax.cli import main
from tests.command_line import MLP, OPENCL, Captured, refused, save, save_relu, table_width

pytestmark = pytest.mark.one_driver

RELU, WRONG_RELU = "UNARY(Relu, v < ZERO ? ZERO : v)", "UNARY(Relu, v > ZERO ? ZERO : v)"
"""A line of kernels/unary.cl, and a seeded fault in its place."""


@pytest.fixture
def relu_model(tmp_path: Path) -> Path:
    return save_relu(tmp_path)


# ---------------------------------------------------------------------- bad models
def test_a_missing_file_is_named(capsys: Captured, tmp_path: Path) -> None:
    for command in ("run", "info", "verify", "bench"):
        assert "absent.onnx" in refused(capsys, command, tmp_path / "absent.onnx")


@pytest.mark.parametrize(
    ("name", "reason"), [("x" * 5000, "too long"), ("fifo", "neither a file nor a folder")]
)
def test_what_cannot_be_a_model_is_refused_with_the_reason(
    capsys: Captured, tmp_path: Path, name: str, reason: str
) -> None:
    os.mkfifo(tmp_path / "fifo")
    for command in ("run", "info", "verify", "bench"):
        assert reason in refused(capsys, command, tmp_path / name)


def test_a_folder_without_models_is_named(capsys: Captured, tmp_path: Path) -> None:
    for command in ("run", "info", "verify", "bench"):
        assert "no .onnx file" in refused(capsys, command, tmp_path)


@pytest.mark.parametrize("kept", [0, 1, 1000])
def test_a_cut_file_is_refused(capsys: Captured, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes(MLP.read_bytes()[:kept])
    for command in ("run", "info", "verify"):
        assert "cut.onnx" in refused(capsys, command, path, "--device", "cpu")


def test_an_unknown_operator_is_named_with_its_node(capsys: Captured, tmp_path: Path) -> None:
    node = helper.make_node("Frobnicate", ["x"], ["y"], name="odd one")
    path = save(tmp_path / "odd.onnx", [node], {"x": [2]}, ["y"], {})
    message = refused(capsys, "verify", path, "--device", "cpu")
    assert "Frobnicate" in message
    assert "odd one" in message


# ---------------------------------------------------------------------- bad inputs
def test_wrong_inputs_are_explained(capsys: Captured, relu_model: Path, tmp_path: Path) -> None:
    good = np.ones((2, 4), np.float32)
    for wrong, words in (
        ({"z": good}, "no tensor named 'z'"),
        ({}, "no array named 'x'"),
        ({"x": good.astype(np.float64)}, "float64"),
        ({"x": np.ones((2, 5), np.float32)}, "'x'"),
        ({"x": np.ones(4, np.float32)}, "'x'"),
    ):
        np.savez(tmp_path / "x.npz", **wrong)
        arguments = ("run", relu_model, "--device", "cpu", "--inputs", tmp_path / "x.npz")
        assert words in refused(capsys, *arguments)


def test_an_unreadable_inputs_file_is_named(
    capsys: Captured, relu_model: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.ones(3))
    (tmp_path / "junk.npz").write_bytes(b"junk")
    for name in ("absent.npz", "x.npy", "junk.npz"):
        path = tmp_path / name
        assert name in refused(capsys, "run", relu_model, "--device", "cpu", "--inputs", path)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ("x=-1,4", "negative"),
        ("x=two,4", "NAME=DIMS"),
        ("x", "NAME=DIMS"),
        ("z=1,4", "'z'"),
        ("x=1,5", "'x'"),
        ("x=1000000000000,4", "'x'"),
    ],
)
def test_a_bad_shape_is_explained(
    capsys: Captured, relu_model: Path, shape: str, words: str
) -> None:
    for command in ("run", "info", "verify"):
        assert words in refused(capsys, command, relu_model, "--device", "cpu", "--shape", shape)


# ---------------------------------------------------------------------- bad options
def test_an_unknown_device_lists_the_candidates(capsys: Captured, relu_model: Path) -> None:
    for command in ("run", "info", "verify"):
        message = refused(capsys, command, relu_model, "--device", "no such device")
        assert "matches no device" in message
        assert "cpu  the NumPy backend" in message


def test_an_ambiguous_device_lists_the_candidates(
    capsys: Captured, relu_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = opencl_context.discovery.devices()
    monkeypatch.setattr(opencl_context.discovery, "devices", lambda: [*found, *found])
    message = refused(capsys, "verify", relu_model, "--device", OPENCL)
    assert "is ambiguous" in message


def test_a_bad_precision_is_explained(capsys: Captured, relu_model: Path) -> None:
    for command in ("run", "info", "verify", "bench"):
        assert "high, normal, low" in refused(capsys, command, relu_model, "--precision", "half")


def test_low_precision_is_refused_where_the_cpu_computes(
    capsys: Captured, relu_model: Path
) -> None:
    options = "--device", "cpu", "--precision"
    for command, names in (
        ("run", "low"),
        ("info", "low"),
        ("verify", "high,low"),
        ("bench", "high,low"),
    ):
        models = (relu_model, MLP) if command in ("verify", "bench") else (relu_model,)
        message = refused(capsys, command, *models, *options, names)
        assert "precision=LOW: the CPU backend computes in float32 only" in message
        assert message.count("\n") == 1


def test_a_negative_seed_is_refused(capsys: Captured, relu_model: Path) -> None:
    for command in ("run", "verify"):
        assert "--seed -1" in refused(capsys, command, relu_model, "--seed", "-1")


def test_usage_errors_exit_with_2(capsys: Captured) -> None:
    for argv in ([], ["verify"], ["nonsense"], ["run", "a", "--no-such-option"]):
        assert "usage:" in refused(capsys, *argv)


def test_an_unwritable_output_is_refused_before_any_work(
    capsys: Captured, relu_model: Path, tmp_path: Path
) -> None:
    for target in (tmp_path, tmp_path / "absent" / "y.npz"):
        options = "--device", "cpu"
        assert "cannot write" in refused(capsys, "run", relu_model, *options, "--outputs", target)
        assert "cannot write" in refused(capsys, "verify", relu_model, *options, "--output", target)
    assert [p.name for p in tmp_path.iterdir()] == ["relu.onnx"]


# ---------------------------------------------------------------------- what works
def test_run_writes_what_it_computes_and_prints_the_seed(
    capsys: Captured, relu_model: Path, tmp_path: Path
) -> None:
    x = np.array([[-1, 2, -3, 4]], np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    paths = "--inputs", str(tmp_path / "x.npz"), "--outputs", str(tmp_path / "y.npz")
    assert main(["run", str(relu_model), "--device", "cpu", *paths]) == 0
    with np.load(tmp_path / "y.npz") as outputs:
        np.testing.assert_array_equal(outputs["y"], np.maximum(x, 0) + np.arange(4))
    capsys.readouterr()
    assert main(["run", str(relu_model), "--device", "cpu", "--seed", "7"]) == 0
    assert "seed 7" in capsys.readouterr().out


def test_run_and_devices_print_json(capsys: Captured, relu_model: Path) -> None:
    assert main(["run", str(relu_model), "--device", "cpu", "--shape", "x=3,4", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["outputs"][0]["shape"] == [3, 4]
    assert data["seed"] == 0
    assert main(["devices", "--json"]) == 0
    devices = json.loads(capsys.readouterr().out)["devices"]
    assert devices[-1]["selector"] == "cpu"
    assert main(["devices"]) == 0
    assert "--device cpu" in capsys.readouterr().out


@pytest.mark.parametrize("device", ["cpu", OPENCL])
def test_verify_passes_and_writes_strict_json(
    capsys: Captured, relu_model: Path, tmp_path: Path, device: str
) -> None:
    target = tmp_path / "report.json"
    options = "--device", device, "--output", str(target)
    assert main(["verify", str(relu_model), str(MLP), *options]) == 0
    out = capsys.readouterr().out
    assert "2 of 2 models verified" in out
    assert out.count("latency, ms") == 2
    assert table_width(out) <= 100
    data = json.loads(target.read_text(), parse_constant=pytest.fail)
    assert data["exit_code"] == 0
    asked = ["high"] if device == "cpu" else ["high", "normal", "low"]
    assert [p["requested"] for p in data["models"][0]["precisions"]] == asked
    assert data["models"][0]["precisions"][0]["verified"] == 2
    assert "high" in data["models"][0]["latency"]


def test_a_bad_model_in_a_folder_does_not_hide_the_others(
    capsys: Captured, relu_model: Path
) -> None:
    relu_model.with_name("broken.onnx").write_bytes(b"")
    code = main(["verify", str(relu_model.parent), "--device", "cpu", "--no-latency"])
    captured = capsys.readouterr()
    assert code == 2
    assert "broken.onnx" in captured.err
    assert "1 of 2 models verified" in captured.out


def test_the_module_runs_as_a_program_without_a_terminal(relu_model: Path) -> None:
    command = [sys.executable, "-m", "parallax", "verify", str(relu_model), "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout


# ---------------------------------------------------------------------- verdicts
def test_a_wrong_kernel_is_found_by_name_and_exits_with_1(
    capsys: Captured, relu_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = opencl_context.source
    assert RELU in right("unary"), "the seeded fault needs another anchor"
    monkeypatch.setattr(
        opencl_context, "source", lambda family: right(family).replace(RELU, WRONG_RELU)
    )
    assert main(["verify", str(relu_model), "--device", OPENCL, "--no-latency"]) == 1
    out = capsys.readouterr().out
    assert "OUT OF BOUNDS" in out
    assert "first node out of bounds: Relu 'first'" in out
    assert "input 0 'x'" in out


def test_a_compiler_that_fails_shows_its_build_log(
    capsys: Captured, relu_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = opencl_context.source
    monkeypatch.setattr(
        opencl_context, "source", lambda family: right(family) + "\n#error this driver is broken"
    )
    for command in ("run", "verify"):
        message = refused(capsys, command, relu_model, "--device", OPENCL)
        assert "cannot build kernels/" in message
        assert "this driver is broken" in message


def test_an_empty_batch_verifies_nothing(capsys: Captured, relu_model: Path) -> None:
    options = "--device", "cpu", "--no-latency", "--shape", "x=0,4"
    assert main(["verify", str(relu_model), *options]) == 3
    assert "NOTHING VERIFIED" in capsys.readouterr().out


def test_where_nothing_is_finite_no_distance_is_claimed(
    capsys: Captured, relu_model: Path, tmp_path: Path
) -> None:
    np.savez(tmp_path / "x.npz", x=np.full((1, 4), np.nan, np.float32))
    options = "--device", "cpu", "--no-latency", "--inputs", str(tmp_path / "x.npz")
    main(["verify", str(relu_model), *options])
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("y float32")]
    assert line.split()[2:5] == ["nan", "nan", "nan"]


def test_nothing_verified_exits_with_3(
    capsys: Captured, relu_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenCLBackend, "why_not", lambda *_: "switched off by this test")
    assert main(["verify", str(relu_model), "--device", OPENCL, "--no-latency"]) == 3
    out = capsys.readouterr().out
    assert "NOTHING VERIFIED" in out
    assert "switched off by this test" in out


def test_an_unexpected_exception_is_reported_and_not_swallowed(
    capsys: Captured, relu_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(CpuBackend, "prepare", broken)
    assert main(["run", str(relu_model), "--device", "cpu"]) == 70
    captured = capsys.readouterr()
    assert "internal error, please report: RuntimeError: a bug" in captured.err
    assert "Traceback" not in captured.err
    assert main(["run", str(relu_model), "--device", "cpu", "--debug"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_a_wrong_plan_is_an_error_of_ours_and_no_bad_input(
    capsys: Captured, relu_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = CpuBackend.prepare

    def broken(self: CpuBackend, node: Node) -> object:
        if node.name == "first":
            raise PlanError("two values overlap")
        return prepare(self, node)

    monkeypatch.setattr(CpuBackend, "prepare", broken)
    for command in ("run", "verify", "profile"):
        assert main([command, str(relu_model), "--device", "cpu", "--json"]) == 70
        captured = capsys.readouterr()
        failure = json.loads(captured.out)
        assert failure["exit_code"] == 70
        assert failure["error"].startswith("internal error, please report: PlanError: Relu 'first'")
        assert f"parallax: {failure['error']}" in captured.err
    argv = ["verify", str(relu_model), str(MLP), "--device", "cpu", "--no-latency", "--json"]
    assert main(argv) == 70
    found = json.loads(capsys.readouterr().out)
    assert [Path(m["model"]).name for m in found["models"]] == [MLP.name]
    assert (list(found["errors"]), found["exit_code"]) == ([str(relu_model)], 70)
