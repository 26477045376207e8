"""`parallax selftest`: what it tries, what it says of what is wrong, and how it exits."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conformance import onnx_suite
from conformance.onnx_suite import Case
from engine.backends.cpu import unary
from engine.config import ForwardType, Precision
from parallax.cli import main
from properties import selftest
from properties.devices import runtime
from properties.fault import attribute, kernel
from properties.selftest import (
    FAILED,
    PASSED,
    SEVERAL,
    SKIPPED,
    Device,
    Result,
    Trial,
    device_of,
    trials,
)
from tests.command_line import DEVICES, OPENCL, Captured, refused
from tests.model_writing import model_bytes, node

pytestmark = pytest.mark.one_driver

ROOT = Path(__file__).resolve().parents[1]
X = np.array([-1, 2, -3], np.float32)


def quick(device: str, *operators: str) -> list[str]:
    """A command line without ONNX's own cases."""
    named = [word for name in operators for word in ("--operator", name)]
    return ["selftest", "--device", device, "--quick", *named]


@pytest.mark.parametrize("device", DEVICES)
def test_operators_are_verified_and_their_worst_errors_shown(capsys: Captured, device: str) -> None:
    argv = quick(device, "Relu", "Softmax", "ArgMax")
    assert main(argv) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("selftest of ")
    assert lines[1].split()[:4] == ["operator", "high", "sigma", "bound"]
    assert [line.split()[0] for line in lines[2:5]] == ["ArgMax", "Softmax", "Relu"]
    assert lines[-1] == "selftest: verified"
    assert main([*argv, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["exit_code"], data["interrupted"], data["failures"]) == (0, False, [])
    rows = {(row["operator"], row["precision"]): row for row in data["operators"]}
    softmax = rows["Softmax", "high"]
    assert softmax["passed"] == 9  # two examples, five edges, two rejects
    assert 0 < softmax["bounds"] < 1
    assert rows["ArgMax", "high"]["sigmas"] == 0
    assert all(row["failed"] == 0 for row in data["operators"])


FAULTS = {
    "cpu": attribute(unary._FUNCTIONS, "Relu", lambda _: lambda x, out: np.abs(x, out=out)),
    OPENCL: kernel("unary", ("UNARY(Relu, v < ZERO ? ZERO : v)", "UNARY(Relu, fabs(v))")),
}
"""One that breaks the kernel of Relu on each device."""


@pytest.mark.parametrize("device", DEVICES)
def test_a_broken_kernel_is_named_with_a_command_that_runs_its_case_again(
    capsys: Captured, device: str
) -> None:
    argv = [*quick(device, "Relu", "Neg"), "--precision", "high"]
    with FAULTS[device]():
        assert main(argv) == 1
        lines = capsys.readouterr().out.splitlines()
        at = next(i for i, line in enumerate(lines) if line.startswith("FAIL "))
        assert lines[at].startswith("FAIL Relu at high, ")
        said = " ".join(" ".join(lines).split())
        assert re.search(r"got (inf|[\d.]+), expected 0\.0 \(", said)
        assert "selftest: OUT OF BOUNDS" in said
        row = next(line for line in lines if line.startswith("Relu "))
        assert row.split()[2:5] == ["FAIL", "inf", "inf"]
        again = next(line for line in lines if line.startswith("    parallax selftest"))
        words = shlex.split(again)[1:]
        assert main([*words, "--json"]) == 1
        (failure,) = json.loads(capsys.readouterr().out)["failures"]
        assert failure["command"] == again.strip()
        assert "expected 0.0" in failure["message"]
    assert main(words) == 0


def test_what_a_device_has_no_kernel_for_is_skipped_with_the_reason(capsys: Captured) -> None:
    argv = [*quick(OPENCL, "NonZero"), "--precision", "high"]
    assert main([*argv, "--case", "edge:0"]) == 3
    out = capsys.readouterr().out
    assert "1 skipped (NonZero): how many elements there are is known on the host" in out
    assert "selftest: NOTHING VERIFIED" in out


def test_a_precision_that_is_another_one_is_noted(capsys: Captured) -> None:
    if OPENCL not in ("portable", "pocl"):
        pytest.skip("the device computes at low precision")
    assert main([*quick(OPENCL, "Relu"), "--precision", "low"]) == 3
    assert "precision low is effectively normal" in capsys.readouterr().out


def test_names_of_nothing_are_refused(capsys: Captured) -> None:
    argv = quick("cpu")
    assert "did you mean 'Softmax'" in refused(capsys, *argv, "--operator", "Sotfmax")
    assert "--case: no case named 'edge:99'" in refused(
        capsys, *quick("cpu", "Relu"), "--case", "edge:99"
    )
    assert "--examples -1: expected 0 or more" in refused(capsys, *argv, "--examples", "-1")
    assert "precision=LOW" in refused(capsys, *argv, "--precision", "low")


def test_a_failure_is_printed_three_times_and_counted_for_ever(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("of a driver")

    monkeypatch.setattr(selftest, "judged_case", broken)
    assert main([*quick("cpu", "Relu"), "--examples", "9"]) == 1
    out = capsys.readouterr().out
    assert out.count("FAIL Relu at high, example:") == 3
    assert "ZeroDivisionError: of a driver" in out
    assert "high: 1 passed, 11 failed, 0 skipped" in out


def test_what_was_tried_before_an_interrupt_is_kept(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Trial.result

    def interrupted(trial: Trial, device: Device, backend: object) -> Result:
        if trial.case == "edge:1":
            raise KeyboardInterrupt
        return right(trial, device, backend)

    monkeypatch.setattr(Trial, "result", interrupted)
    assert main([*quick("cpu", "Relu"), "--json"]) == 130
    data = json.loads(capsys.readouterr().out)
    assert (data["exit_code"], data["interrupted"]) == (130, True)
    assert data["operators"][0]["passed"] == 3


@pytest.mark.device_free
def test_a_name_is_looked_for_in_what_is_left_out_and_in_any_case(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {
        "test_relu": relu(X),
        "test_multinomial": replace(relu(X, "Multinomial"), name="test_multinomial"),
    }
    monkeypatch.setattr(onnx_suite, "cases", lambda: found)
    for words, message in (
        (["--case", "onnx:test_relu"], "--case onnx:test_relu: only ONNX's own cases, which --qu"),
        (
            ["--operator", "Multinomial"],
            "--operator Multinomial: only ONNX's own cases, which --quick leaves out",
        ),
        (["--operator", "relu"], "no operator named 'relu'; did you mean 'Relu' or 'Selu'"),
        (["--operator", "CONV"], "no operator named 'CONV'; did you mean 'Conv'"),
    ):
        assert message in refused(capsys, *quick("cpu"), *words)


@pytest.mark.device_free
def test_no_test_dependency_is_needed() -> None:
    argv = quick("cpu", "Conv")
    absent = ["hypothesis", "pytest", "onnxruntime", "pyte"]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.modules.update(dict.fromkeys({absent}));"
            f"from parallax.cli import main; sys.exit(main({argv}))",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("selftest: verified\n")


# ---------------------------------------------------------------------- ONNX's own cases
def outcome(case: Case) -> selftest.Outcome:
    device, _ = device_of((ForwardType.CPU, None), [Precision.HIGH], runtime())
    return selftest._verified(case, device, device.backends[0])


def relu(y: np.ndarray, op_type: str = "Relu") -> Case:
    data = model_bytes([node(op_type, "x", "y")], {"x": (3,)}, ["y"])
    return Case("node", "test_relu", data, {"x": X}, {"y": y}, 1e-3, 1e-7)


@pytest.mark.device_free
def test_a_case_is_held_against_its_stored_outputs() -> None:
    assert outcome(relu(np.maximum(X, 0))).verdict == PASSED
    wrong = outcome(relu(np.abs(X)))
    assert wrong.verdict == FAILED
    assert "'y' differs from the stored one: at [" in wrong.said


@pytest.mark.device_free
def test_onnx_s_own_cases_stand_with_the_operator_that_they_show(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = model_bytes([node("Neg", "x", "t"), node("Abs", "t", "y")], {"x": (3,)}, ["y"])
    found = {
        "test_relu": relu(np.maximum(X, 0)),
        "test_relu_expanded": replace(relu(X), model=two, name="test_relu_expanded"),
        "test_two": replace(relu(np.abs(X)), model=two, name="test_two"),
        "test_multinomial": replace(relu(X, "Multinomial"), name="test_multinomial"),
    }
    monkeypatch.setattr(onnx_suite, "cases", lambda: found)
    theirs = {t.case: t.operator for t in trials([], suite=True) if t.case.startswith("onnx:")}
    assert theirs == {
        "onnx:test_relu": "Relu",
        "onnx:test_relu_expanded": "Relu",
        "onnx:test_two": SEVERAL,
        "onnx:test_multinomial": "Multinomial",
    }
    argv = [
        "selftest",
        "--device",
        "cpu",
        "--case",
        "onnx:test_two",
        "--case",
        "onnx:test_multinomial",
    ]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "1 skipped (Multinomial): Multinomial: there is no kernel for this operator" in out
    assert "high: 1 passed, 0 failed, 1 skipped" in out


@pytest.mark.device_free
def test_a_case_of_what_is_not_supported_is_skipped_with_the_sentence() -> None:
    skipped = outcome(relu(X, "Multinomial"))
    assert skipped.verdict == SKIPPED
    assert skipped.said == "Multinomial: there is no kernel for this operator"
