"""The public API is complete, documented, and the installed wheel works away from the checkout."""

import importlib.metadata
import inspect
import os
import subprocess
import sys
from pathlib import Path

import engine
from engine import errors

ROOT = Path(__file__).resolve().parent.parent


def test_every_exception_is_public_and_drawn_in_the_tree():
    tree = errors.__doc__ or ""
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        assert issubclass(kind, errors.ParallaxError), name
        assert name in tree, f"{name} is missing in the drawing of engine/errors.py"
        assert name in engine.__all__, f"{name} is not exported by engine"


def test_every_public_name_has_a_docstring():
    for name in engine.__all__:
        item = getattr(engine, name)
        assert inspect.getdoc(item), name
        for method, function in inspect.getmembers(item, inspect.isfunction):
            if not method.startswith("_"):
                assert inspect.getdoc(function), f"{name}.{method}"


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


def test_importing_the_engine_does_not_import_pyopencl_or_the_harness():
    code = (
        "import sys, engine; "
        "bad = {'pyopencl', 'hypothesis', 'pytest', 'onnxruntime', 'rich'} & set(sys.modules); "
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
