"""Cases in a process of their own: a crash and a hang are failures, made smaller like any other."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from conformance.bundles import worker
from conformance.bundles.bundle import read
from conformance.bundles.bundle import save as save_bundle
from conformance.bundles.failing import Case, NothingVerified, Place, Signature
from conformance.bundles.worker import Worker
from conformance.reduction.reducer import nodes_of
from engine.config import Precision
from engine.errors import ParallaxError
from engine.runtime import Runtime
from fixtures.bundles import deadly, planted
from parallax import reduce_command
from parallax.cli import main
from properties import fuzz
from tests.command_line import Captured, save
from tests.graph_cases import by_seed, chain
from tests.model_writing import model_bytes, node

pytestmark = pytest.mark.device_free

X = np.array([[-1, 2, -3, 4]], np.float32)


def case(*operators: str) -> Case:
    nodes = [node(op, f"t{i}", f"t{i + 1}") for i, op in enumerate(operators)]
    return Case(model_bytes(nodes, {"t0": [1, 4]}, [f"t{len(operators)}"]), {"t0": X})


@pytest.fixture
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """The CPU in a process with the fault of the parameter; a try may take 2 s."""
    plant = deadly.plant if request.param in deadly.DEADLY else planted.Planted
    monkeypatch.setattr(worker, "PREPARE", partial(plant, request.param))
    with Runtime() as runtime, Worker(2.0) as other:
        yield Place(runtime, "cpu", Precision.HIGH, other)


@pytest.mark.parametrize("place", ["relu-crashes"], indirect=True)
def test_a_crash_is_a_failure_and_the_next_case_runs(place: Place) -> None:
    assert place.worker is not None
    for _ in range(2):
        failing = place.worker.examine(case("Neg", "Relu"), place)
        assert failing is not None
        assert failing.signature == Signature("crash: SIGSEGV", "", "high")
        assert "ended: SIGSEGV in engine/backends/cpu/" in failing.said
        assert place.worker.examine(case("Neg"), place) is None


@pytest.mark.parametrize("place", ["relu-hangs"], indirect=True)
def test_a_hang_is_a_failure_and_the_next_case_runs(place: Place) -> None:
    assert place.worker is not None
    failing = place.worker.examine(case("Relu"), place)
    assert failing is not None
    assert (failing.signature.kind, failing.said) == ("hang", "the process hung: no answer in 2 s")
    assert place.worker.examine(case("Neg"), place) is None


@pytest.mark.parametrize("place", ["cpu-relu-is-abs"], indirect=True)
def test_what_is_found_there_is_what_would_be_found_here(place: Place) -> None:
    assert place.worker is not None
    failing = place.worker.examine(case("Neg", "Relu"), place)
    assert failing is not None
    assert failing.node is not None
    assert failing.signature == Signature("out of bounds", "Relu", "high")
    np.testing.assert_array_equal(failing.node.got, [[1, 2, 3, 4]])
    first = place.worker._process.pid
    tensors = place.worker.tensors(case("Neg", "Relu"), place)
    np.testing.assert_array_equal(tensors["t1"], -X)
    with pytest.raises(ParallaxError, match="'t0'"):
        place.worker.examine(Case(case("Neg").model, {}), place)
    empty = Case(model_bytes([node("Neg", "x", "y")], {"x": [0]}, ["y"]), {"x": X[0, :0]})
    with pytest.raises(NothingVerified):
        place.worker.examine(empty, place)
    assert place.worker._process.pid == first
    os.kill(first, signal.SIGKILL)  # between two cases: nobody's failure
    place.worker._process.join()
    assert place.worker.examine(case("Neg"), place) is None


@pytest.fixture
def net(tmp_path: Path) -> Path:
    operators = ("Neg", "Relu", "Exp")
    nodes = [node(op, f"t{i}", f"t{i + 1}") for i, op in enumerate(operators)]
    return save(tmp_path / "net.onnx", nodes, {"t0": [1, 3]}, ["t3"], {})


def test_a_crash_is_reduced_to_a_bundle_that_is_replayed(
    net: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(worker, "PREPARE", partial(deadly.plant, "relu-crashes"))
    monkeypatch.setattr(reduce_command, "keep", save_bundle)  # replayed below
    assert main(["reduce", str(net), "--device", "cpu", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["signature"] == {"kind": "crash: SIGSEGV", "operator": "", "precision": "high"}
    assert found["after"] == {"nodes": 1, "elements": 1}
    bundle = read(tmp_path / "net.bundle")
    assert nodes_of(bundle.case) == 1
    assert main(["replay", "net.bundle"]) == 1
    monkeypatch.setattr(worker, "PREPARE", None)
    assert main(["replay", "net.bundle"]) == 0


def test_a_crash_ends_no_fuzz_run(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "PREPARE", partial(deadly.plant, "relu-crashes"))
    monkeypatch.setattr(fuzz, "REDUCTION_S", 0.0)
    monkeypatch.setattr(fuzz, "keep", save_bundle)
    argv = ["fuzz", "--device", "cpu", "--seed", "3", "--count", "3", "--json"]
    assert main([*argv, "--bundles", str(tmp_path / "found")]) == 1
    found = json.loads(capsys.readouterr().out)
    (finding,) = found["findings"]
    assert (found["graphs"], finding["signature"]["kind"]) == (3, "crash: SIGSEGV")
    assert read(Path(finding["bundle"])).signature.kind == "crash: SIGSEGV"


@pytest.mark.parametrize(("fault", "hangs"), [("relu-is-slow", False), ("relu-hangs", True)])
def test_a_hang_is_a_finding_where_a_fresh_process_hangs_too(
    fault: str, hangs: bool, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "PREPARE", partial(deadly.plant, fault))
    monkeypatch.setattr(fuzz, "case_of", by_seed([chain()], 3))
    monkeypatch.setattr(fuzz, "REDUCTION_S", 0.0)
    monkeypatch.setattr(fuzz, "HANGS", 0)
    monkeypatch.setattr(fuzz, "keep", save_bundle)
    monkeypatch.setattr(fuzz, "SECONDS", 3.0 if hangs else 60.0)
    argv = ["fuzz", "--device", "cpu", "--seed", "3", "--count", "1", "--timeout", "0.5s"]
    argv += ["--bundles", str(tmp_path / "found"), "--output", str(tmp_path / "fuzz.json")]
    assert main(argv) == int(hangs)
    found = json.loads((tmp_path / "fuzz.json").read_text())
    assert [f["signature"]["kind"] for f in found["findings"]] == ["hang"] * hangs
    assert (found["verified"], found["slow"]) == (1, 1 - hangs)
    assert ("took longer than --timeout" in capsys.readouterr().out) != hangs


@pytest.mark.parametrize("text", ["0s", "soon"])
def test_a_timeout_that_is_none_is_refused(text: str, capsys: Captured) -> None:
    assert main(["fuzz", "--device", "cpu", "--timeout", text]) == 2
    assert "--timeout" in capsys.readouterr().err
