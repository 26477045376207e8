"""The source distribution and the wheel, built as an installer would, and an installation."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IGNORED = [".git", *(line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines())]


@dataclass(frozen=True)
class Distributions:
    """`tree` is what was built from, `source` the source distribution of it, unpacked."""

    tree: Path
    source: Path
    wheel: Path


def build(folder: Path) -> Distributions:
    """Both distributions of the tree, the wheel from the unpacked source distribution."""
    setuptools = importlib.metadata.version("setuptools")
    assert int(setuptools.split(".")[0]) >= 77, f"setuptools {setuptools}: pip install '.[test]'"
    tree, unpacked = folder / "tree", folder / "unpacked"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*IGNORED))
    with tarfile.open(_built("sdist", tree, folder)) as archive:
        # Python before 3.11.4 has no filters
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(unpacked)
    (source,) = unpacked.iterdir()
    return Distributions(tree, source, _built("wheel", source, folder))


def _built(kind: str, tree: Path, folder: Path) -> Path:
    """By the build backend of pyproject.toml, in a process and a copy of its own."""
    scratch, out = folder / f"{kind}-scratch", folder / kind
    shutil.copytree(tree, scratch)
    out.mkdir()
    run(
        sys.executable,
        "-c",
        f"from setuptools import build_meta as b; b.build_{kind}({str(out)!r})",
        cwd=scratch,
    )
    (file,) = out.iterdir()
    return file


def install(wheel: Path, folder: Path) -> Path:
    """The `python` of a new environment with the wheel; what it needs comes from this one."""
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=folder)
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder)
    (Path(site.strip()) / "needed.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return python


def run(*command: object, cwd: Path) -> str:
    """The output of a command, without the paths of this process; an AssertionError if it fails."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
