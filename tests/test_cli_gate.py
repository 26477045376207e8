"""`parallax gate`: what is refused, what is built, and one real regression from end to end."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import engine
from conformance.inputs import random_inputs
from engine.errors import ConfigError
from engine.interpreter import Interpreter
from parallax import gate_command
from parallax.cli import main
from perf.arrays import save_arrays
from perf.gate import builds
from perf.gate.agent import fingerprint
from perf.gate.builds import Environment, Packages, Revision, Tree, Wheel, build, source
from perf.gate.findings import Findings
from perf.gate.launches import Bench, Work, launch, rehearse
from perf.gate.process import Arm, Processes
from perf.gate.records import ARMS, BASE, CAND
from perf.gate.statistics import Rule
from tests.command_line import MLP, Captured, refused
from tests.gate_simulation import Machine, Simulation, slower

pytestmark = pytest.mark.device_free

PACKAGES = Path(engine.__file__).parent
ON_CPU = ("gate", MLP, "--device", "cpu")
SLOW = """

import time

_enqueue = CpuCommand.enqueue


def _slow(self):
    started = time.perf_counter_ns()
    _enqueue(self)
    if self.function.__module__.endswith(".matmul"):
        until = 5 * time.perf_counter_ns() - 4 * started
        while time.perf_counter_ns() < until:
            pass


CpuCommand.enqueue = _slow
"""
"""Makes matrix products take five times as long."""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the engine."""
    folder = tmp_path_factory.mktemp("packages")
    shutil.copytree(PACKAGES, folder / "engine", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkout whose only revision, `broken`, does not build; the working directory."""
    place = tmp_path / "checkout"
    (place / "engine").mkdir(parents=True)
    (place / "engine" / "version.py").write_text('VERSION = "0"\n')
    (place / "pyproject.toml").write_text('[build-system]\nrequires = ["setuptools"]\n[project\n')
    who = ("-c", "user.name=n", "-c", "user.email=e")
    for words in (("init", "-q"), ("add", "."), (*who, "commit", "-qm", "m"), ("tag", "broken")):
        subprocess.run(["git", *words], cwd=place, check=True)
    monkeypatch.chdir(place)
    yield place
    status = subprocess.run(["git", "status", "--short"], cwd=place, capture_output=True, text=True)
    assert status.stdout == ""


# ------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("argv", "word"),
    [
        ((), "no baseline"),
        (("--baseline", "x.whl"), "no such wheel"),
        (("--baseline", "old.json"), "decide nothing"),
        (("--baseline", "no-such-revision"), "nor a revision"),
        (("--baseline", os.devnull), "nor a revision"),
        (("--baseline", "HEAD", "--launches", "1"), "expected at least 2"),
        (("--baseline", "HEAD", "--confirm", "1"), "expected at least 2"),
        (("--baseline", "HEAD", "--margin", "5"), "margin < detect"),
        (("--baseline", "HEAD", "--quads", "1"), "at least 2"),
        (("--baseline", "HEAD", "--threads", "0"), "at least 1"),
        (("--baseline", "HEAD", "--seed", "-1"), "--seed"),
        (("--baseline", "HEAD", "--inputs", "no.npz"), "no.npz"),
        (("--baseline", "HEAD", "--device", "no such device"), "no such device"),
        (("--baseline", "HEAD", "--output", "/no/such/folder/x.json"), "cannot write there"),
        (("--replay", "gate.json"), "measures nothing"),
    ],
)
def test_bad_arguments_are_one_sentence(capsys: Captured, argv: tuple[str, ...], word: str) -> None:
    assert word in refused(capsys, *ON_CPU, *argv)


def test_a_gate_without_a_model_is_refused(capsys: Captured) -> None:
    assert "no model" in refused(capsys, "gate", "--baseline", "HEAD")


def test_a_gate_beside_other_tests_or_disabled_is_refused(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "-q --benchmark-disable")
    assert "disabled" in refused(capsys, *ON_CPU, "--baseline", "HEAD")
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    assert "xdist" in refused(capsys, *ON_CPU, "--baseline", "HEAD")


def test_a_gate_without_scipy_says_how_to_get_it(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    from perf.gate import statistics

    monkeypatch.setattr(statistics.importlib.util, "find_spec", lambda name: None)
    assert 'pip install "parallax-engine[gate]"' in refused(capsys, *ON_CPU)


def test_a_revision_that_does_not_build_is_one_error_and_leaves_nothing(
    capsys: Captured, repository: Path, tmp_path: Path
) -> None:
    report, model = tmp_path / "gate.json", shutil.copy(MLP, tmp_path)
    argv = ("gate", model, "--device", "cpu", "--baseline", "broken", "--output", report)
    message = refused(capsys, *argv)
    assert "broken (" in message
    assert "does not build" in message
    assert "TOML" in message  # what pip said
    assert json.loads(report.read_text())["exit_code"] == 2


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('{"schema": "parallax.gate/1", "rule"', "cut off"),
        ('{"schema": "parallax.gate/2"}', "this version of parallax reads parallax.gate/1"),
        ('{"schema": "parallax.bench/1"}', "not of parallax gate"),
        ('{"schema": "parallax.gate/1"}', "no 'rule'"),
        ('{"schema": "parallax.gate/1", "error": "no baseline"}', "failed: no baseline"),
        ('{"schema": "parallax.gate/1", "rule": {"margins": 1}}', "does not hold"),
        ("[]", "no JSON document of parallax"),
        ("", "cut off"),
    ],
)
def test_a_document_that_is_none_is_not_judged(
    capsys: Captured, tmp_path: Path, text: str, word: str
) -> None:
    path = tmp_path / "gate.json"
    path.write_text(text)
    assert word in refused(capsys, "gate", "--replay", path)
    assert path.read_text() == text


def test_a_document_is_not_written_over_the_one_it_judges(capsys: Captured, tmp_path: Path) -> None:
    path = tmp_path / "gate.json"
    path.write_text('{"schema": "parallax.gate/1"}')
    assert "an input" in refused(capsys, "gate", "--replay", path, "--output", path)


# ------------------------------------------------------------------------------- builds
def test_what_a_baseline_is_follows_from_what_is_there(
    tmp_path: Path, packages: Path, repository: Path
) -> None:
    wheel = tmp_path / "parallax_engine-1-py3-none-any.whl"
    wheel.touch()
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").touch()
    assert source(str(wheel), "--baseline") == Wheel(wheel)
    assert source(str(tmp_path / "venv"), "--baseline") == Environment(tmp_path / "venv")
    assert source(str(packages), "--baseline") == Packages(packages)
    assert source(str(repository), "--baseline") == Tree(repository)
    found = source("broken", "--baseline")
    assert isinstance(found, Revision)
    assert (found.checkout, len(found.commit)) == (repository, 40)
    assert builds.this_one() == Tree(repository)
    with pytest.raises(ConfigError, match="no virtual environment"):
        source(str(tmp_path), "--baseline")


def test_a_fingerprint_is_of_sources_and_kernels_and_not_of_tests(
    packages: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "engine"
    shutil.copytree(packages / "engine", copy)
    before = fingerprint(copy)
    assert before == fingerprint(packages / "engine")
    (copy / "test_nothing.py").write_text("")
    assert fingerprint(copy) == before
    kernel = next(copy.rglob("*.cl"))
    kernel.write_text(kernel.read_text() + "\n")
    assert fingerprint(copy) != before


def test_a_wheel_that_is_none_is_an_error(tmp_path: Path) -> None:
    wheel = tmp_path / "parallax_engine-1-py3-none-any.whl"
    wheel.write_text("no archive")
    with pytest.raises(ConfigError, match="cannot be installed"):
        build(Wheel(wheel), tmp_path / "arm")


# ------------------------------------------------------------------------------- end to end
def test_a_regression_is_printed_written_and_judged_again(
    capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command on simulated arms."""
    simulation = Simulation(Machine(), slower(Path(MLP).name, "matmul", 0.1))
    clock, hello = simulation.machine.clock, {arm: {} for arm in ARMS}
    bench = Bench(simulation.arms, simulation.start, hello, clock)
    monkeypatch.setattr(gate_command, "_bench", lambda args, folder: ([], bench))
    report = tmp_path / "gate.json"
    argv = [str(a) for a in (*ON_CPU, "--baseline", "HEAD", "--quads", 4, "--output", report)]
    monkeypatch.setattr("sys.argv", ["parallax", *argv])
    assert main(argv) == 1
    shown = capsys.readouterr().out
    assert "REGRESSION tiny_mlp_opset7.onnx: more than 2% slower, confirmed on fresh" in shown
    assert re.search(r"stage 1: \d of 6 launches slower.*\bstage 2: \d+ of", shown, re.DOTALL)
    named = [line for line in shown.splitlines() if line.startswith("  kernel ")]
    assert re.match(r"  kernel matmul: (2\.9|3\.0)\d -> 3\.\d+ ms \(\+2\d\.\d%\)", named[0])
    assert "where: +0." in shown
    assert "Make / believe, driver 1.0, high" in shown
    again = " ".join(shown.split())
    assert f"judge again: parallax gate --replay {report}" in again
    assert f"measure again: parallax gate {MLP} --device cpu" in again
    data: dict[str, Any] = json.loads(report.read_text())
    assert (data["schema"], data["outcome"], data["exit_code"]) == (
        "parallax.gate/1",
        "REGRESSION",
        1,
    )
    assert main(["gate", "--replay", str(report), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["verdicts"] == data["verdicts"]
    assert "rule of the file" in refused(capsys, "gate", "--replay", report, "--margin", "1")
    for damage, word in DAMAGES:
        damaged = json.loads(json.dumps(data))
        damage(damaged)
        report.write_text(json.dumps(damaged))
        assert word in refused(capsys, "gate", "--replay", report)


DAMAGES: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda d: _first_slot(d).update(synced_ns=-5), "expected nanoseconds"),
    (lambda d: _first_slot(d).update(enqueue_ns=math.nan), "expected nanoseconds"),
    (lambda d: _first_slot(d).update(cpu_ns=10**400), "expected nanoseconds"),
    (lambda d: _first_slot(d).update(started_ns=None), "expected nanoseconds"),
    (lambda d: d["launches"].extend([*d["launches"]]), "each number once"),
    (lambda d: d["rule"].update(alpha=None), "does not hold"),
    (lambda d: d["rule"].update(margin=-1), "is none"),
    (lambda d: d["rule"].pop("detect"), "no 'detect'"),
    (lambda d: d.update(errors={"x": "y"}), "does not hold"),
]


def _first_slot(data: dict[str, Any]) -> dict[str, Any]:
    slot: dict[str, Any] = next(iter(data["launches"][0]["series"].values()))["quads"][0]["slots"][
        0
    ]
    return slot


def slow_matmul(packages: Path, folder: Path) -> Path:
    """A copy in which the CPU backend's matrix products take five times as long."""
    shutil.copytree(packages, folder)
    with (folder / "engine" / "backends" / "cpu" / "backend.py").open("a") as file:
        file.write(SLOW)
    return folder


def test_real_processes_run_what_was_built_and_a_slow_node_shows(
    tmp_path: Path, packages: Path
) -> None:
    slow = slow_matmul(packages, tmp_path / "slow")
    sources = {BASE: Packages(packages), CAND: Packages(slow)}
    arms = {a: Arm(build(sources[a], tmp_path / a), "cpu", "high") for a in ARMS}
    processes = Processes(arms, None, tmp_path)
    bench = Bench(arms, processes.start, {arm: processes.hello(arm) for arm in ARMS})
    feeds = tmp_path / "feeds"
    save_arrays(feeds, random_inputs(Interpreter.from_file(MLP)))
    work = Work({"mlp": ("mlp",)}, {"mlp": Path(MLP)}, {"mlp": [feeds]}, 2, tmp_path)
    found = Findings.of(Rule(), 0, work, bench, rehearse(bench, work))
    assert found.invalid == ()
    assert found.errors == {"mlp": 0.0}
    assert not found.is_same_build
    found.launches.append(launch(bench, work, 1, 1, 1))
    assert found.launches[0].series["mlp"].effect > 0.3
    assert "Gemm" in found.where("mlp").nodes[0].name


@pytest.mark.nightly
def test_a_real_regression_is_found_named_and_judged_again(
    capsys: Captured, tmp_path: Path, packages: Path
) -> None:
    slow = slow_matmul(packages, tmp_path / "slow")
    report = tmp_path / "gate.json"
    few = ("--launches", "2", "--confirm", "3", "--quads", "2", "--output", report)
    argv = (*ON_CPU, "--baseline", packages, "--candidate", slow, *few)
    assert main([str(a) for a in argv]) == 1
    shown = capsys.readouterr().out
    assert "REGRESSION tiny_mlp_opset7.onnx" in shown
    named = [line for line in shown.splitlines() if line.startswith("  node ")]
    assert "Gemm" in named[0]
    assert all("Softmax" not in line for line in named[:2])
    for build_ in (packages, slow):
        assert f"packages {build_}" in shown
    assert f"parallax gate --replay {report}" in " ".join(shown.split())
    data: dict[str, Any] = json.loads(report.read_text())
    (verdict,) = data["verdicts"]
    assert verdict["interval"][0] > 1
    assert main(["gate", "--replay", str(report), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["verdicts"] == data["verdicts"]
