"""Strangers that have the names of our packages do no harm."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from parallax import packages
from tests.distributions import run

pytestmark = pytest.mark.one_driver

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "fixtures" / "models" / "tiny_mlp_opset7.onnx"
RAN = "the stranger ran"
STRANGERS = (
    "engine.py",
    "engine/__init__.py",
    "conformance.py",
    "properties/__init__.py",
    "perf/__init__.py",
)
SCRIPT = "import sys\nfrom parallax.cli import main\nsys.exit(main())\n"
"""What an installer writes for `parallax`."""


def python(*arguments: object, cwd: Path, path: str = str(ROOT)) -> subprocess.CompletedProcess:
    """A process of its own, in which our folder is on the path as an installed one would be."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def put(folder: Path, *files: str) -> Path:
    """Strangers of our names, which say so when they run."""
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(f"print({RAN!r})\n")
    return folder


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("how", ["script", "prompt", "after it was imported"])
def test_importing_beside_a_stranger_is_one_error_with_both_places(tmp_path, stranger, how):
    theirs, name = put(tmp_path, stranger) / stranger, Path(stranger).parts[0].removesuffix(".py")
    program = f"import {name}, parallax" if how.startswith("after") else "import parallax"
    (tmp_path / "script.py").write_text(program)
    done = python(*(["-c", program] if how == "prompt" else ["script.py"]), cwd=tmp_path)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert str(theirs) in last
    assert str(ROOT / name) in last
    assert "rename or move" in last
    assert done.stderr.count("Traceback") == 1
    assert done.stdout.count(RAN) == how.startswith("after")


def test_an_imported_module_without_a_file_is_named_too(tmp_path):
    program = "import sys, types; sys.modules['perf'] = types.ModuleType('perf'); import parallax"
    done = python("-c", program, cwd=tmp_path)
    assert "ImportError: " in done.stderr
    assert "<module 'perf'>" in done.stderr.splitlines()[-1]


def test_a_folder_of_data_is_no_stranger(tmp_path):
    for name in packages.NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.csv").touch()
    done = python("-c", "import parallax as px; px.Interpreter; px.verify", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_folder_of_data_that_was_imported_is_named(tmp_path):
    (tmp_path / "perf").mkdir()
    program = "import sys; all = sys.path[:]; sys.path[:] = ['']; import perf; "
    program += f"sys.path[:] = [*all, {str(ROOT)!r}]; import parallax"
    done = python("-c", program, cwd=tmp_path)
    assert f"Python takes {tmp_path / 'perf'}: " in done.stderr.splitlines()[-1]


def test_a_program_that_imports_parallax_keeps_its_path(tmp_path):
    """As `python -m tool` while Python looks for it, where `sys.argv` is the same as for ours."""
    (tmp_path / "tool").mkdir()
    (tmp_path / "tool" / "__init__.py").write_text("import sys, parallax, beside; sys.exit(7)")
    (tmp_path / "beside.py").touch()
    done = python("-m", "tool", "parallax", cwd=tmp_path)
    assert done.returncode == 7, done.stderr


ARGUMENTS = [
    ("run", MODEL, "--device", "cpu"),
    ("bench", MODEL, "--device", "cpu", "--runs", "1"),
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=lambda a: a[0])
@pytest.mark.parametrize("start", ["python -m parallax", "parallax"])
def test_the_command_never_looks_into_the_working_directory(tmp_path, start, arguments):
    strangers = put(tmp_path / "here", *STRANGERS, "psutil.py", "rich/__init__.py")
    if start == "parallax":
        (tmp_path / "parallax").write_text(SCRIPT)
        # an empty entry is the working directory
        done = python(tmp_path / "parallax", *arguments, cwd=strangers, path=f":{ROOT}")
    else:
        done = python("-m", "parallax", *arguments, cwd=strangers)
    assert done.returncode == 0, done.stderr
    assert RAN not in done.stdout + done.stderr


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=lambda a: a[0])
def test_an_installed_command_never_looks_into_the_working_directory(
    tmp_path, installed, arguments
):
    strangers = put(tmp_path, *STRANGERS, "psutil.py", "rich/__init__.py")
    for start in ([installed, "-m", "parallax"], [installed.with_name("parallax")]):
        assert RAN not in run(*start, *arguments, cwd=strangers)


@pytest.mark.parametrize("stranger", STRANGERS)
def test_an_installed_parallax_names_a_stranger(tmp_path, installed, stranger):
    put(tmp_path, stranger)
    program = """if True:
        try:
            import parallax
        except ImportError as error:
            print(error)
    """
    printed = run(installed, "-c", program, cwd=tmp_path)
    assert str(tmp_path / stranger) in printed
    assert str(installed.parents[1]) in printed
    assert RAN not in printed


def test_the_command_of_a_checkout_runs_without_an_installation(tmp_path):
    for folder in (*packages.NAMES, "parallax"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    code = "import parallax, engine; print(parallax.__file__, engine.__file__)"
    for arguments in (["-c", code], ["-m", "parallax", "run", MODEL, "--device", "cpu"]):
        done = python(*arguments, cwd=tmp_path, path="")
        assert done.returncode == 0, done.stderr
        assert arguments[0] == "-m" or done.stdout.count(str(tmp_path)) == 2


def test_the_command_runs_in_a_folder_that_is_gone(tmp_path):
    code = f"import os; os.rmdir({str(tmp_path)!r}); import sys; sys.argv = ['parallax']; "
    done = python("-c", code + "import parallax", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
