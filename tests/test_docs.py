"""The documents are true: their links lead somewhere and their Python runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_to_files(document):
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_named_paths_exist(document):
    for path in re.findall(
        r"`((?:engine|conformance|properties|perf|tests)/[\w/.]+)`", document.read_text()
    ):
        assert (ROOT / path).exists(), path


def test_the_python_of_the_readme_runs():
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", block],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("0")


def test_every_sub_command_of_the_readme_has_help():
    commands = set(
        re.findall(r"^\| `parallax (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    )
    assert commands == {"devices", "run", "verify", "bench"}
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "parallax", command, "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0
        assert "usage: parallax" in done.stdout
