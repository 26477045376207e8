"""The plug-in of pytest: a test for each model, device and precision; errors are never skipped."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.command_line import save_relu
from tests.distributions import ROOT

pytestmark = pytest.mark.device_free

IS_INSTALLED = any(e.value == "pytest_parallax" for e in entry_points(group="pytest11"))
PLUGIN = () if IS_INSTALLED else ("-p", "pytest_parallax")
ALONE = ("-c", os.devnull, "--rootdir=.", "-p", "no:cacheprovider", "--import-mode=importlib")
ON_CPU = ("--parallax-device", "cpu")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model lies beside a test."""
    save_relu(tmp_path)
    (tmp_path / "test_own.py").write_text("def test_own(): pass\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ran(*argv: object) -> tuple[int, list[ElementTree.Element]]:
    """The exit code, and the tests of JUnit's file."""
    words = (*PLUGIN, *ALONE, "--junitxml=o.xml", *map(str, argv))
    code = pytest.main([*words])
    return int(code), [*ElementTree.parse("o.xml").iter("testcase")] if code < 2 else []


def outcomes(cases: list[ElementTree.Element]) -> Counter[str]:
    kinds = ("failure", "error", "skipped")
    return Counter(next((k for k in kinds if case.find(k) is not None), "passed") for case in cases)


def test_a_model_is_a_test_for_each_device_and_precision(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran("--parallax-model", "relu.onnx", "--parallax-device", "cpu,pocl", "--collect-only", "-q")
    devices = ["cpu-high", "pocl-high", "pocl-normal", "pocl-low"]
    expected = [*(f"relu.onnx::{d}" for d in devices), "test_own.py::test_own"]
    assert capsys.readouterr().out.split("\n\n")[0].splitlines() == expected
    _, cases = ran(".", folder / "relu.onnx", "--parallax-model", ".", *ON_CPU)  # as in a worker
    assert [c.get("name") for c in cases] == ["cpu-high", "test_own"]
    _, cases = ran("relu.onnx::cpu-high", "--parallax-model", ".", "--parallax-device", "cpu,pocl")
    assert [c.get("name") for c in cases] == ["cpu-high"]
    _, cases = ran("-m", "parallax", "--parallax-model", ".", *ON_CPU)
    assert [c.get("name") for c in cases] == ["cpu-high"]


def test_a_verdict_names_the_node_the_element_and_the_error(planting: Callable) -> None:
    argv = ("relu.onnx", *ON_CPU, "--parallax-shape", "x=3,4")
    code, (case,) = ran(*argv)
    facts = {p.get("name"): p.get("value") for p in case.iter("property")}
    assert (code, facts["effective_precision"], facts["verified"]) == (0, "high", "2")
    with planting("cpu-relu-is-abs"):
        code, (case,) = ran(*argv)
    first, *report = (case.findtext("failure") or "").splitlines()
    assert code == 1
    assert first.startswith("high: OUT OF BOUNDS: Relu 'first': 'r' at [")
    assert "expected 0:" in first
    assert first.endswith("x bound")
    assert "first node out of bounds: Relu 'first'" in report


def test_of_several_inputs_the_worst_is_told(folder: Path, planting: Callable) -> None:
    for name, x in {"a": 1, "b": -1}.items():
        np.savez(folder / f"{name}.npz", x=np.full((2, 4), x, np.float32))
    with planting("cpu-relu-is-abs"):
        code, _ = ran("relu.onnx", *ON_CPU, "--parallax-inputs", "a.npz")
        assert code == 0
        _, (given,) = ran("relu.onnx", *ON_CPU, "--parallax-inputs", ".")
        drawn = ("--parallax-inputs-from", "strategies", "--parallax-examples", "2")
        _, (hostile,) = ran("relu.onnx", *ON_CPU, *drawn)
    assert "OUT OF BOUNDS with inputs[1]: Relu" in (given.findtext("failure") or "")
    assert "OUT OF BOUNDS with seed 1: Relu" in (hostile.findtext("failure") or "")


def test_what_cannot_be_verified_is_an_error_and_no_skip(folder: Path) -> None:
    (folder / "bad.onnx").write_text("junk")
    (folder / "x.npz").write_text("junk")
    for argv, said in [
        (("bad.onnx", *ON_CPU), "is not an ONNX model"),
        (("relu.onnx", *ON_CPU, "--parallax-precision", "low"), "precision=LOW: the CPU"),
        (("relu.onnx", *ON_CPU, "--parallax-shape", "z=1"), "--shape: no input named 'z'"),
        (("relu.onnx", *ON_CPU, "--parallax-inputs", "x.npz"), "--inputs x.npz: "),
    ]:
        code, cases = ran(*argv)
        assert (code, outcomes(cases)) == (1, {"error": 1})
        text = cases[0].findtext("error") or ""
        assert said in text
        assert len(text.splitlines()) == 1


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--parallax-model", "none.onnx"), "none.onnx: no such file or folder"),
        (ON_CPU, "--parallax-device: no model: give --parallax-model"),
        (("relu.onnx", "--parallax-precision", "half"), "precision 'half': expected one of"),
        (("relu.onnx", "--parallax-seed", "x"), "--parallax-seed x: expected 0 or more"),
        (("relu.onnx", "--parallax-inputs", "x", "--parallax-seed", "1"), "exclude each other"),
        (("relu.onnx", "--parallax-examples", "3"), "give --parallax-inputs-from, too"),
        (("relu.onnx", "--parallax-inputs-from", "luck"), "expected strategies"),
        (("relu.onnx", "--parallax-device", "cpu,luck"), "device 'luck' matches no device"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    argv: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran(*argv) == (pytest.ExitCode.USAGE_ERROR, [])
    assert capsys.readouterr().err.count(said) == 1


def test_without_its_options_nothing_is_imported(folder: Path) -> None:
    code = (
        "import pytest, sys; code = pytest.main(['-p', 'pytest_parallax', '-q', '.']); "
        "sys.exit(f'{code:d} ' + str({'engine', 'numpy', 'parallax'} & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.strip() == "0 set()", done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_a_model_whose_name_pytest_takes_for_a_test_stops_no_folder(folder: Path) -> None:
    (folder / "relu.onnx").rename(folder / "re::lu.onnx")
    save_relu(folder)
    code, cases = ran("--parallax-model", ".", *ON_CPU)
    assert (code, outcomes(cases)) == (0, {"passed": 3})
    code, cases = ran("test_own.py", "--parallax-model", ".", *ON_CPU)
    assert (code, outcomes(cases)) == (0, {"passed": 3})
