"""Reproduction bundles: what fails is written down, fails again, and passes when it is repaired."""

from __future__ import annotations

import importlib
import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from conformance.bundles import bundle as bundles
from conformance.bundles import replay
from conformance.bundles.arrays import arrays_of, npz
from conformance.bundles.bundle import Bundle, read, save
from conformance.bundles.failing import Case, Place, examine
from conformance.bundles.single import bundle_of_node
from conformance.export import exported
from conformance.reduction.reducer import nodes_of
from engine.config import Precision
from engine.interpreter import Interpreter
from engine.ir.types import STRING
from engine.ops.spec import Call
from engine.runtime import Runtime
from parallax.cli import main
from properties import single
from properties.devices import Target
from properties.faults import select
from properties.graph_runs import check_nodes
from properties.graphs import decode, seeded_program
from properties.memory import Violation
from tests.command_line import Captured, refused, save_relu

pytestmark = pytest.mark.device_free

ROOT = Path(__file__).parents[1]
ON_CPU = ("--device", "cpu")
RELU_IS_ABS = "cpu-relu-is-abs"


@pytest.fixture
def place() -> Iterator[Place]:
    with Runtime() as runtime:
        yield Place(runtime, "cpu", Precision.HIGH)


@pytest.fixture
def bundle(place: Place, tmp_path: Path) -> Bundle:
    """Of the Relu of a model of two nodes, which is Abs."""
    case = Case(save_relu(tmp_path).read_bytes(), {"x": np.array([[-1, 2, -3, 4]], np.float32)})
    (fault,) = select([RELU_IS_ABS])
    with fault.plant():
        failing = examine(case, place)
        assert failing is not None
        assert failing.node is not None
        return bundle_of_node(failing.node, place, "a test")


# ------------------------------------------------------------------------- the form
@pytest.mark.parametrize("seed", range(12))
def test_an_exported_graph_computes_what_the_graph_computes(seed: int) -> None:
    model = decode(seeded_program(seed))
    again = Interpreter.from_buffer(exported(model.graph).SerializeToString())
    with (
        Interpreter(model.graph.copy()).create_session() as one,
        again.create_session() as other,
    ):
        expected, got = one(model.feeds()), other(model.feeds())
    assert {n: elements(y) for n, y in got.items()} == {n: elements(y) for n, y in expected.items()}


def elements(array: np.ndarray) -> object:
    """What equal arrays have in common: bytes, or texts."""
    return array.tolist() if array.dtype == STRING else array.tobytes()


@pytest.mark.parametrize("name", ["bundle", "bundle.zip"])
def test_what_is_read_is_what_was_written(bundle: Bundle, tmp_path: Path, name: str) -> None:
    save(bundle, tmp_path / name)
    again = read(tmp_path / name)
    assert again == bundle
    assert str(again.signature) == "Relu out of bounds at high"
    assert again.case.feeds["x"].tolist() == [[-1, 2, -3, 4]]
    assert again.expected is not None
    assert again.expected.array.tolist() == [[0, 2, 0, 4]]
    assert {p.name for p in tmp_path.iterdir()} == {"relu.onnx", name}


def test_strings_and_any_names_are_kept() -> None:
    arrays = {"s": np.array([["a", "bc"]], object), "x/y": np.arange(3, dtype=np.int8)}
    found = arrays_of(npz(arrays))
    assert {n: (a.dtype, a.tolist()) for n, a in found.items()} == {
        n: (a.dtype, a.tolist()) for n, a in arrays.items()
    }


def test_the_readme_of_a_bundle_names_every_file_in_it(bundle: Bundle) -> None:
    text = bundle.files["README.txt"].decode()
    assert {n for n in bundle.files if n not in text} == {"README.txt"}
    assert "'r' at [0, 0] is 1.0, expected 0.0" in text


DAMAGE: dict[str, Callable[[dict[str, bytes]], object]] = {
    "no facts": lambda files: files.pop("bundle.json"),
    "no text": lambda files: files.update({"bundle.json": b"{"}),
    "another file": lambda files: files.update({"bundle.json": b'{"form": "x"}'}),
    "no model": lambda files: files.pop("model.onnx"),
    "no archive": lambda files: files.update({"inputs.npz": b"x"}),
    "nothing expected": lambda files: files.pop("expected.npz"),
    "a list": lambda files: files.update({"bundle.json": b"[]"}),
    "a newer one": lambda files: _change(files, version=2),
    "no device": lambda files: _change(files, device={}),
    "an odd seed": lambda files: _change(files, seed="x"),
    "an odd signature": lambda files: _change(files, signature={"kind": "x"}),
    "an odd precision": lambda files: _change(
        files, signature={"kind": "x", "operator": "", "precision": "x"}
    ),
    "a signature that is a list": lambda files: _change(files, signature=[]),
    "a signature with escapes": lambda files: _change(
        files, signature={"kind": "\x1b[2J", "operator": "", "precision": "high"}
    ),
    "facts nested too deep": lambda files: files.update({"bundle.json": b"[" * 200_000}),
    "bounds that are words": lambda files: _expect(files, bound=np.array([["x"]])),
    "another shape": lambda files: _expect(files, sigma=np.ones((7, 7))),
    "a damaged model": lambda files: files.update({"model.onnx": b"\xff"}),
}


def _change(files: dict[str, bytes], **facts: object) -> None:
    files["bundle.json"] = json.dumps({**json.loads(files["bundle.json"]), **facts}).encode()


def _expect(files: dict[str, bytes], **arrays: np.ndarray) -> None:
    file = io.BytesIO()
    np.savez(file, **{**np.load(io.BytesIO(files["expected.npz"])), **arrays})
    files["expected.npz"] = file.getvalue()


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_bundle_is_refused(
    bundle: Bundle, tmp_path: Path, capsys: Captured, damage: str
) -> None:
    files = dict(bundle.files)
    DAMAGE[damage](files)
    with zipfile.ZipFile(tmp_path / "damaged.zip", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    message = refused(capsys, "replay", tmp_path / "damaged.zip")
    assert "internal error" not in message


def test_what_is_no_bundle_at_all_is_refused(tmp_path: Path, capsys: Captured) -> None:
    model = save_relu(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, model, tmp_path / "absent", tmp_path / "pipe", Path("/dev/zero")):
        assert f"{path}: is no bundle: " in refused(capsys, "replay", path)


def test_a_bundle_replaces_nothing(bundle: Bundle, tmp_path: Path, capsys: Captured) -> None:
    model = save_relu(tmp_path)
    before = model.read_bytes()
    for target in (tmp_path, model, tmp_path / "no" / "folder", "."):
        message = refused(capsys, "verify", model, *ON_CPU, "--bundle", target)
        assert "cannot write there" in message
        with pytest.raises(bundles.ConfigError):
            save(bundle, Path(target))
    here = tmp_path / "both.zip"
    message = refused(capsys, "verify", model, *ON_CPU, "--bundle", here, "--output", here)
    assert "it is what --output writes" in message
    assert model.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["relu.onnx"]


# ------------------------------------------------------------------------- verify and replay
def test_verify_writes_the_failing_node_and_replay_sees_it_repaired(
    tmp_path: Path, capsys: Captured, planting: Callable
) -> None:
    model, target = save_relu(tmp_path), tmp_path / "wrong"
    with planting(RELU_IS_ABS):
        assert main(["verify", str(model), *ON_CPU, "--no-latency", "--bundle", str(target)]) == 1
        assert f"wrote {target}" in capsys.readouterr().out
        assert main(["replay", str(target)]) == 1
        assert f"{target}: fails as before" in capsys.readouterr().out
    assert main(["replay", str(target), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["outcome"] == "does not fail"
    text = (ROOT / "docs" / "json.md").read_text()
    own = next(s for s in text.split("\n## ") if s.startswith("`parallax replay`"))
    head = text.partition("\n## ")[0]
    assert set(found) <= set(re.findall(r"`(\w+)`", head + own))
    assert Interpreter.from_file(target / "model.onnx").operators == {"first": "Relu"}


def test_what_passes_in_a_fresh_process_becomes_no_bundle(
    tmp_path: Path, capsys: Captured, planting: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, target = save_relu(tmp_path), tmp_path / "wrong"
    with planting(RELU_IS_ABS):
        monkeypatch.setattr(replay, "FRESH", ("-m", "parallax"))
        assert main(["verify", str(model), *ON_CPU, "--no-latency", "--bundle", str(target)]) == 1
    assert "in a fresh one: " in capsys.readouterr().err
    assert not target.exists()


def test_a_failure_of_no_node_is_told_from_one(
    tmp_path: Path, capsys: Captured, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, target = save_relu(tmp_path), tmp_path / "wrong"
    job = importlib.import_module("conformance.verify")._Job
    monkeypatch.setattr(job, "production", lambda *_: ["output 'y' differs"])
    assert main(["verify", str(model), *ON_CPU, "--no-latency", "--bundle", str(target)]) == 1
    assert "no bundle: it is no node that failed" in capsys.readouterr().err
    assert not target.exists()
    found = examine(Case(model.read_bytes(), {"x": np.ones((1, 4), np.float32)}), place)
    assert found is not None
    assert str(found.signature) == "production differs at high"


def test_replay_does_not_trust_the_reference_of_today(bundle: Bundle, place: Place) -> None:
    """A reference and a kernel that share a mistake agree; what was written down does not."""
    assert replay.replay(bundle, place).outcome is replay.Outcome.PASSES
    arrays = arrays_of(bundle.files["expected.npz"])
    arrays["expected"][0, 1] += 1
    other = Bundle({**bundle.files, "expected.npz": npz(arrays)})
    found = replay.replay(other, place)
    assert found.outcome is replay.Outcome.SAME
    assert "expected.npz has 3.0" in found.said


def test_another_failure_is_told_apart(bundle: Bundle, place: Place) -> None:
    files = dict(bundle.files)
    _change(files, signature={"kind": "out of bounds", "operator": "Abs", "precision": "high"})
    (fault,) = select([RELU_IS_ABS])
    with fault.plant():
        found = replay.replay(Bundle(files), place)
    assert found.outcome is replay.Outcome.OTHER


# ------------------------------------------------------------------------- failing properties
def test_a_failing_property_has_the_evidence_for_a_bundle(
    tmp_path: Path, place: Place, planting: Callable
) -> None:
    case = single.Case("Relu", Call((np.array([-1, 2], np.float32),), {}))
    with planting(RELU_IS_ABS), pytest.raises(Violation) as raised:
        single.check_case(place.backend, case)
    folder = tmp_path / "found"
    assert raised.value.evidence.keep(folder, "a test") == "no bundle: as a model it passes"
    with planting(RELU_IS_ABS):
        said = raised.value.evidence.keep(folder, "a test")
    (path,) = folder.iterdir()
    assert said == f"parallax replay {path}"
    assert nodes_of(read(path).case) == 1


def test_a_failing_graph_has_it_too(place: Place, planting: Callable) -> None:
    model = decode(seeded_program(28))
    target = Target("cpu", place.backend)
    with planting(RELU_IS_ABS), pytest.raises(Violation) as raised:
        check_nodes(model, model.graph, target, place.backend)
    assert raised.value.evidence.graph is model.graph
