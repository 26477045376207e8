"""What is in the source distribution and in the wheel, and what a user finds there."""

from __future__ import annotations

import email
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.distributions import Distributions, run

PACKAGES = ("conformance", "engine", "parallax", "perf", "properties")

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
    "dict[str, numpy.ndarray[tuple[Any, ...], numpy.dtype[Any]]]",
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
    chosen = ("tests/test_ir.py", "tests/test_docs.py", "-k", "not readme")
    pytest = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert " passed" in run(*pytest, *chosen, cwd=distributions.source)


def test_the_wheel_is_the_packages_without_tests(distributions: Distributions):
    with zipfile.ZipFile(distributions.wheel) as wheel:
        installed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    own = {f for f in files_in(distributions.tree) if f.partition("/")[0] in PACKAGES}
    tests = {f for f in own if re.search(r"/(test_\w+|conftest)\.py$", f)}
    assert len(tests) > 5
    assert installed == own - tests
    assert {f"{package}/py.typed" for package in PACKAGES} <= installed


def test_the_page_of_the_package_has_no_link_into_a_source_tree(distributions: Distributions):
    with zipfile.ZipFile(distributions.wheel) as wheel:
        (name,) = (n for n in wheel.namelist() if n.endswith("/METADATA"))
        metadata = email.message_from_bytes(wheel.read(name))
    page = metadata.get_payload()
    assert "the session API, option by option (`docs/session-api.md`)" in page
    assert [link for link in re.findall(r"\]\((.*?)\)", page) if not link.startswith("http")] == []
    assert "Typing :: Typed" in metadata.get_all("Classifier")


def test_a_users_type_checker_sees_real_types(installed: Path, tmp_path: Path):
    (tmp_path / "program.py").write_text(PROGRAM)
    mypy = (sys.executable, "-m", "mypy", "--strict", "--python-executable", str(installed))
    done = subprocess.run(
        [*mypy, "program.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert re.findall('Revealed type is "(.*)"', done.stdout) == REVEALED, done.stdout + done.stderr
    (error,) = (line for line in done.stdout.splitlines() if ": error: " in line)
    assert 'program.py:10: error: "Session" has no attribute "no_such_method"' in error
