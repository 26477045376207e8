"""What is in the source distribution and in the wheel, and what a user finds there."""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.distributions import ROOT, Distributions, run

pytestmark = pytest.mark.one_driver

PACKAGES = ("conformance", "engine", "parallax", "perf", "properties")
PLUGIN = "pytest_parallax.py"

PROGRAM = """\
import numpy as np
import parallax as px
config = px.ScheduleConfig(type=px.ForwardType.OPENCL, num_threads=1)
with px.Interpreter.from_file("x.onnx") as model, model.create_session(config) as session:
    reveal_type(session)
    reveal_type(session({"x": np.zeros((1, 4), np.float32)}))
    reveal_type(session.info().flops)
report = px.verify("x.onnx", precisions=("high",))
reveal_type(report.ok)
session.no_such_method()
"""
REVEALED = [
    "engine.session.Session",
    "dict[str, Any]",  # arrays, but for sequences and optionals
    "int",
    "bool",
]


def files_in(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_the_source_distribution_is_the_whole_repository(distributions: Distributions):
    missing = files_in(distributions.tree) - files_in(distributions.source)
    assert missing == set()
    assert any(name.endswith(".onnx") for name in files_in(distributions.source))


def test_tests_run_from_the_source_distribution(distributions: Distributions):
    chosen = ("tests/test_ir.py", "tests/test_docs.py::test_links_lead_to_files")
    pytest = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert " passed" in run(*pytest, *chosen, cwd=distributions.source)


def test_the_wheel_is_the_packages_without_tests(distributions: Distributions):
    with zipfile.ZipFile(distributions.wheel) as wheel:
        installed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    own = {f for f in files_in(distributions.tree) if f.partition("/")[0] in PACKAGES}
    tests = {f for f in own if re.search(r"/(test_\w+|conftest)\.py$", f)}
    assert len(tests) > 5
    assert installed == own - tests | {PLUGIN}
    assert {f"{package}/py.typed" for package in PACKAGES} <= installed


def test_the_wheel_brings_the_plug_in_of_pytest(distributions: Distributions):
    with zipfile.ZipFile(distributions.wheel) as wheel:
        (name,) = (n for n in wheel.namelist() if n.endswith("/entry_points.txt"))
        entries = wheel.read(name).decode()
    assert "[pytest11]\nparallax = pytest_parallax\n" in entries


def test_the_page_of_the_package_has_no_link_into_a_source_tree(distributions: Distributions):
    with zipfile.ZipFile(distributions.wheel) as wheel:
        (name,) = (n for n in wheel.namelist() if n.endswith("/METADATA"))
        metadata = email.message_from_bytes(wheel.read(name))
    page = metadata.get_payload()
    assert "the session API, option by option (`docs/session-api.md`)" in page
    assert [link for link in re.findall(r"\]\((.*?)\)", page) if not link.startswith("http")] == []
    assert "Typing :: Typed" in metadata.get_all("Classifier")


def test_an_installation_compares_a_users_model_with_onnxruntime(installed: Path, tmp_path: Path):
    model = ROOT / "fixtures" / "models" / "tiny_mlp_opset7.onnx"
    short = ("--devices", "cpu", "--launches", "1", "--turns", "1", "--per-turn", "1")
    shown = run(installed, "-m", "perf.peers", "--models", model, *short, cwd=tmp_path)
    assert re.search(r"^tiny_mlp_opset7 *onnxruntime ", shown, re.MULTILINE)
    assert re.search(r"^tiny_mlp_opset7 *cpu ", shown, re.MULTILINE)


def test_an_installation_says_that_it_has_no_models_of_its_own(installed: Path, tmp_path: Path):
    command = [str(installed), "-m", "perf.peers", "--devices", "cpu"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("perf.peers: 'resnet50' is a name in")
    assert "--models FILE.onnx" in done.stderr


def test_an_installation_hunts_faults_without_what_only_tests_need(installed: Path, tmp_path: Path):
    names = ("reference-sigmoid-scaled", "closed-session-answers")
    code = (
        "import runpy, sys; sys.modules.update(dict.fromkeys(['hypothesis', 'pytest'])); "
        "runpy.run_module('properties.faults', run_name='__main__')"
    )
    only = [word for name in names for word in ("--only", name)]
    shown = run(installed, "-c", code, "--device", "cpu", *only, cwd=tmp_path)
    assert "killed 2/2 on cpu" in shown


def test_a_users_type_checker_sees_real_types(installed: Path, tmp_path: Path):
    (tmp_path / "program.py").write_text(PROGRAM)
    mypy = (sys.executable, "-m", "mypy", "--strict", "--python-executable", str(installed))
    done = subprocess.run(
        [*mypy, "program.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert re.findall('Revealed type is "(.*)"', done.stdout) == REVEALED, done.stdout + done.stderr
    (error,) = (line for line in done.stdout.splitlines() if ": error: " in line)
    assert 'program.py:10: error: "Session" has no attribute "no_such_method"' in error
