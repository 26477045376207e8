"""The launches of a failing node, repeated without the engine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from conformance.bundles import run_cl
from conformance.bundles.arrays import arrays_of, npz
from conformance.bundles.bundle import Bundle, save
from conformance.bundles.failing import Case, Place, examine
from conformance.bundles.single import bundle_of_node
from engine.config import Precision
from engine.errors import CompileError
from engine.interpreter import Interpreter
from engine.runtime import Runtime
from properties.fault import kernel, spec
from tests.command_line import OPENCL
from tests.model_writing import model_bytes, node

pytestmark = pytest.mark.one_driver

WRONG_REFERENCE = spec("Relu", reference=lambda old: lambda *given: [y + 1 for y in old(*given)])
"""Of the end of a fused node, whose kernel is right."""


def case() -> Case:
    """A fused convolution whose input and output are laid out anew, and what it is fed."""
    random = np.random.default_rng(0)
    weights = {"w": random.standard_normal((5, 3, 3, 3), np.float32)}
    nodes = [node("Conv", "x w", "c"), node("Relu", "c", "r"), node("Exp", "r", "y")]
    model = model_bytes(nodes, {"x": [1, 3, 6, 6]}, ["r", "y"], weights)
    return Case(model, {"x": random.standard_normal((1, 3, 6, 6), np.float32)})


def failing_bundle(fault: object) -> Bundle:
    with Runtime() as runtime, fault:  # type: ignore[attr-defined]
        place = Place(runtime, OPENCL, Precision.NORMAL)
        failing = examine(case(), place)
        assert failing is not None
        assert failing.node is not None
        return bundle_of_node(failing.node, place, "a test")


def printed(folder: Path) -> tuple[int, str]:
    """The exit code and the output of `run_cl.py` in a process without our packages."""
    done = subprocess.run(
        [sys.executable, "-I", "-W", "ignore", str(folder / "run_cl.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout or done.stderr


def test_a_wrong_kernel_is_wrong_without_the_engine(tmp_path: Path) -> None:
    fault = kernel("unary", ("UNARY(Exp, exp(v))", "UNARY(Exp, exp(v) * C(1.01))"))
    bundle = failing_bundle(fault())
    save(bundle, tmp_path / "b")
    code, text = printed(tmp_path / "b")
    assert (code, text.splitlines()[-1]) == (1, "FAIL"), text
    assert "Exp: global" in text
    assert "exp(v) * C(1.01)" in bundle.files["cl/program0.cl"].decode()
    ours = r"^(?:from|import) (?:engine|conformance|properties|parallax)\b"
    for name, data in bundle.files.items():
        if name.endswith(".py"):
            assert re.findall(ours, data.decode(), re.MULTILINE) == [], name


def test_the_launches_of_a_right_kernel_give_what_is_expected(tmp_path: Path) -> None:
    """Here the reference is wrong; beside the right one, the launches are right."""
    bundle = failing_bundle(WRONG_REFERENCE())
    expected = arrays_of(bundle.files["expected.npz"])
    expected["expected"] -= 1
    save(Bundle({**bundle.files, "expected.npz": npz(expected)}), tmp_path / "b")
    code, text = printed(tmp_path / "b")
    assert (code, text.splitlines()[-1]) == (0, "PASS"), text


def test_a_fused_node_in_another_layout_is_written_down_by_the_names_of_the_model() -> None:
    bundle = failing_bundle(WRONG_REFERENCE())
    model = Interpreter.from_buffer(bundle.case.model)
    assert bundle.signature.operator == "Conv"
    assert list(model.operators.values()) == ["Conv", "Relu"]
    assert (list(model.inputs), model.outputs) == (["x"], ["r"])
    assert bundle.expected is not None


def test_outputs_hold_nan_before_the_launches() -> None:
    bundle = failing_bundle(WRONG_REFERENCE())
    place = json.loads(bundle.files["cl/launches.json"])["output"]
    buffer = arrays_of(bundle.files["cl/buffers.npz"])[f"buffer{place['buffer']}"]
    nbytes = place["size"] * np.dtype(place["storage"]).itemsize
    assert (buffer[place["offset_nbytes"] :][:nbytes] == 0xFF).all()


@pytest.mark.parametrize(
    ("got", "code", "word"),
    [
        ([1.0, np.inf, np.nan], 0, "PASS"),
        ([1.5, np.inf, np.nan], 0, "PASS"),
        ([2.5, np.inf, np.nan], 1, "SUSPECT"),
        ([4.5, np.inf, np.nan], 1, "FAIL"),
        ([np.nan, np.inf, np.nan], 1, "FAIL"),
        ([1.0, -np.inf, np.nan], 1, "FAIL"),
        ([1.0, np.inf, 1.0], 1, "FAIL"),
    ],
)
def test_the_judge_without_the_engine(
    capsys: pytest.CaptureFixture[str], got: list[float], code: int, word: str
) -> None:
    file = {
        "expected": np.array([1.0, 70000.0, np.nan]),
        "sigma": np.full(3, 0.2),
        "bound": np.full(3, 3.0),
    }
    assert run_cl.judge(np.array(got, np.float32), file, 65504.0) == code
    assert capsys.readouterr().out.splitlines()[-1] == word


def test_integers_that_no_double_tells_apart_differ() -> None:
    one = np.array([2**62], np.int64)
    file = {"expected": one, "sigma": np.zeros(1), "bound": np.zeros(1)}
    assert run_cl.judge(one, file, np.inf) == 0
    assert run_cl.judge(one + 1, file, np.inf) == 1


def test_a_kernel_that_does_not_compile_is_a_failure_with_its_operator() -> None:
    fault = kernel("unary", ("UNARY(Exp, exp(v))", "UNARY(Exp, nothing(v))"))
    with Runtime() as runtime, fault():
        failing = examine(case(), Place(runtime, OPENCL, Precision.HIGH))
    assert failing is not None
    assert (failing.signature.kind, failing.signature.operator) == (CompileError.__name__, "Exp")
