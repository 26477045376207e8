"""The public API is complete, documented, and the installed wheel works away from the checkout."""

import importlib.metadata
import inspect
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import conformance
import engine
import parallax as px
from engine import errors
from parallax import cli

pytestmark = pytest.mark.one_driver

ROOT = Path(__file__).resolve().parent.parent


def test_every_exception_is_public_and_drawn_in_the_tree():
    tree = errors.__doc__ or ""
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        assert issubclass(kind, (errors.ParallaxError, errors.ParallaxWarning)), name
        assert name in tree, f"{name} is missing in the drawing of engine/errors.py"
        assert name in engine.__all__, f"{name} is not exported by engine"


def test_the_door_has_every_public_name_of_the_engine_and_the_harness():
    assert set(px.__all__) == {*engine.__all__, "verify", "VerifyReport", "__version__"}
    assert len(px.__all__) == len(set(px.__all__))
    assert set(px.__all__) <= set(dir(px))
    for name in engine.__all__:
        assert getattr(px, name) is getattr(engine, name)
    assert px.verify is conformance.verify
    assert px.VerifyReport is conformance.VerifyReport


def test_every_public_name_has_a_docstring():
    for name in set(px.__all__) - {"__version__"}:
        item = getattr(px, name)
        assert inspect.getdoc(item), name
        for method, function in inspect.getmembers(item, inspect.isfunction):
            if not method.startswith("_"):
                assert inspect.getdoc(function), f"{name}.{method}"


def test_no_file_of_the_command_line_hides_a_public_name():
    """Importing a module sets an attribute of its package."""
    files = {module.name for module in pkgutil.iter_modules(px.__path__)}
    assert "cli" in files
    assert files & set(px.__all__) == set()


def test_loggers_are_named_after_the_door_and_documented():
    folders = ("engine", "conformance", "properties", "perf", "parallax")
    sources = [p for folder in folders for p in (ROOT / folder).rglob("*.py")]
    named = {n for p in sources for n in re.findall(r"getLogger\((.*?)\)", p.read_text())}
    assert len(named) > 2
    documented = (ROOT / "docs" / "session-api.md").read_text()
    for name in named:
        assert name.startswith(('"parallax.', '"parallax"')), name
        assert f"`{name[1:-1]}`" in documented, name


def test_the_command_line_says_the_version_of_the_door(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"parallax {px.__version__}\n"


def test_the_installed_command_verifies_a_model_from_another_folder(tmp_path):
    """Runs the console script with the checkout off the path; fails if nothing is installed."""
    importlib.metadata.distribution("parallax-engine")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    script = Path(sys.executable).with_name("parallax")
    model = ROOT / "fixtures" / "models" / "tiny_mlp_opset7.onnx"
    done = subprocess.run(
        [script, "verify", model, "--device", "cpu", "--precision", "high"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_importing_the_door_does_not_import_pyopencl_or_tools_of_tests():
    code = (
        "import sys, parallax; parallax.verify; "
        "bad = {'pyopencl', 'hypothesis', 'pytest', 'onnxruntime', 'rich'} & set(sys.modules); "
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
