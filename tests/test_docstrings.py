"""Examples in docstrings run: every indented block after a line that ends with `::`."""

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import parallax as px
from parallax import compat, onnx_backend
from tests.command_line import OPENCL, save_relu

pytestmark = pytest.mark.one_driver

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("engine", "conformance", "properties", "perf", "parallax")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)


def blocks(docstring: str) -> list[str]:
    """The code of each block, without its indentation."""
    found = re.findall(r"::\n\n((?:(?:[ ]{4}.*)?\n)+)", f"{docstring}\n")
    return [textwrap.dedent(block) for block in found]


def examples() -> Iterator[object]:
    """(package.module.name, code) of every docstring with blocks; its blocks are one program."""
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for item in ast.walk(ast.parse(path.read_text())):
            if isinstance(item, DOCUMENTED) and (found := blocks(ast.get_docstring(item) or "")):
                title = f"{module}.{getattr(item, 'name', '')}".rstrip(".")
                yield pytest.param("\n".join(found), id=title)


EXAMPLES = list(examples())


@pytest.mark.parametrize("code", EXAMPLES)
def test_the_examples_of_a_docstring_run(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_relu(tmp_path).rename(tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    here = {"array": np.ones((2, 4), np.float32)}
    exec(compile(code.replace('"pocl"', repr(OPENCL)), "docstring", "exec"), here)
    doors = [v for v in here.values() if v is px or v is onnx_backend or v is compat]
    assert doors, "examples go through the public doors"


def test_what_a_stranger_reads_first_has_examples() -> None:
    titles = {example.id for example in EXAMPLES}
    assert {
        "parallax",
        "conformance",
        "engine.session.Session",
        "engine.module.Module",
    } <= titles


def test_a_block_is_what_is_indented_after_two_colons() -> None:
    text = "A sentence::\n\n    a = 1\n\n    b = 2\n\nAnother: no block.\n\n    c = 3\n"
    assert blocks(text) == ["a = 1\n\nb = 2\n\n"]
    assert blocks(f"{text}\nMore::\n\n    d = 4") == ["a = 1\n\nb = 2\n\n", "d = 4\n"]
    assert blocks("Nothing::\n\nhere") == []
