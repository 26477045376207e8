"""docs/capture_terminal.py shows what a person at a terminal sees."""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from parallax.cli import parser

pytestmark = pytest.mark.device_free
SCRIPT = Path(__file__).parents[1] / "docs" / "capture_terminal.py"
PROGRAM = """
import os, sys
print(sys.stdout.isatty(), os.get_terminal_size().columns)
print("x" * 50)
print("half done", end="\\r")
print("\\x1b[2K\\x1b[1mdone\\x1b[0m")
sys.exit(3)
"""


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("capture_terminal", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("columns", [40, 60])
def test_long_lines_wrap_and_what_is_erased_is_gone(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, columns: int
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    shown = tool.capture("program", columns)
    wrapped = ["x" * 50] if columns > 50 else ["x" * 40, "x" * 10]
    assert shown.lines == [f"True {columns}", *wrapped, "done"]
    assert shown.code == 3


def test_every_captured_command_exists(tool: ModuleType) -> None:
    for command in tool.COMMANDS:
        name, *words = shlex.split(command)
        assert name == "parallax"
        if "--help" not in words:
            parser().parse_args(words)


def test_one_command_writes_the_document(tmp_path: Path) -> None:
    target = tmp_path / "terminal.md"
    options = "--columns", "80,100", "--only", "no-such-model", "--output", str(target)
    subprocess.run([sys.executable, SCRIPT, *options], check=True, capture_output=True)
    text = target.read_text()
    assert text.count("columns, exit code 2:\n```text\nparallax: ") == 2
    assert "## `parallax info no-such-model.onnx`" in text
