"""Builds: from what a user calls baseline or candidate to packages that a process can import.

A revision and the working tree are copied out, built into wheels and installed in the same way, in
folders whose paths have the same length; all else (Python, NumPy, drivers) is that of this process.
Nothing is written into the user's checkout.
"""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import engine
from engine.errors import ConfigError
from perf.gate.agent import fingerprint
from perf.gate.process import Build

SAID_MAX = 6
"""Lines of what a failed command said about errors."""


@dataclass(frozen=True)
class Revision:
    """A commit of a checkout."""

    checkout: Path
    name: str
    commit: str


@dataclass(frozen=True)
class Tree:
    """A source tree; of a checkout, the files that git does not ignore, as they are now."""

    path: Path


@dataclass(frozen=True)
class Wheel:
    """A wheel of parallax-engine."""

    path: Path


@dataclass(frozen=True)
class Packages:
    """A folder with the packages, as `pip install --target` leaves it; used where it is."""

    path: Path


@dataclass(frozen=True)
class Environment:
    """A virtual environment with all it needs, of whatever versions."""

    path: Path


Source = Revision | Tree | Wheel | Packages | Environment


def source(text: str, option: str) -> Source:
    """What a user means by `--baseline` or `--candidate`.

    Raises:
        ConfigError: it is none of those, or a stored result, which no run can be compared with.
    """
    path = Path(text)
    if path.suffix == ".json":
        raise ConfigError(
            f"{option} {text}: results of another run, hour or machine decide nothing: give a "
            "revision, a wheel or an environment, which is measured now; --replay reads results"
        )
    if path.suffix == ".whl":
        if not path.is_file():
            raise ConfigError(f"{option} {text}: there is no such wheel")
        return Wheel(path.resolve())
    if text and path.is_dir():
        return _folder(path.resolve(), f"{option} {text}")
    return revision(text, option)


def _folder(path: Path, what: str) -> Source:
    if (path / "bin" / "python").exists():
        return Environment(path)
    if (path / "pyproject.toml").is_file() and (path / "engine").is_dir():
        return Tree(path)
    if (path / "engine" / "__init__.py").is_file():
        return Packages(path)
    raise ConfigError(
        f"{what}: the folder is no virtual environment (bin/python), no source tree of Parallax "
        "(pyproject.toml) and holds no installed packages (engine/)"
    )


def checkout() -> Path | None:
    """The checkout of Parallax around the working directory, else around this code, else None."""
    for place in (Path.cwd(), Path(engine.__file__).parent.parent):
        try:
            top = Path(_git(place, "rev-parse", "--show-toplevel").decode().strip())
        except ConfigError:
            continue
        if (top / "engine" / "version.py").is_file():
            return top
    return None


def revision(text: str, option: str) -> Revision:
    """A commit by whatever name git knows it; raises ConfigError."""
    top = checkout()
    if top is None:
        raise ConfigError(
            f"{option} {text}: neither a wheel nor a folder, and for a revision there is no "
            "checkout of Parallax here; run the gate inside one"
        )
    try:
        words = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{text}^{{commit}}")
        commit = _git(top, *words).decode().strip()
    except ConfigError:
        raise ConfigError(
            f"{option} {text}: neither a wheel nor a folder nor a revision of {top}; a shallow "
            "clone has few of them (git fetch --unshallow)"
        ) from None
    return Revision(top, text, commit)


def this_one() -> Source:
    """The candidate where none is given: the working tree, or what is installed here."""
    top = checkout()
    return Tree(top) if top is not None else Packages(Path(engine.__file__).parent.parent)


def build(what: Source, folder: Path) -> Build:
    """Make it importable; `folder` is new, and of the same length for both arms.

    Raises:
        ConfigError: it does not build or install, with what was said; nothing is left outside
            `folder`.
    """
    folder.mkdir()
    name = name_of(what)
    if isinstance(what, Environment):
        return Build(name, python=str(what.path / "bin" / "python"), is_shared=False)
    if isinstance(what, Packages):
        return Build(name, path=str(what.path), sources=fingerprint(what.path / "engine"))
    if isinstance(what, Wheel):
        site = _install(what.path, folder, name)
        return Build(name, path=str(site), sources=fingerprint(site / "engine"))
    tree = folder / "tree"
    tree.mkdir()
    if isinstance(what, Revision):
        _check_out(what, tree)
    else:
        _copy(what.path, tree)
    if not (tree / "engine").is_dir():
        raise ConfigError(f"{name}: it has no package engine: it is not of Parallax")
    sources = fingerprint(tree / "engine")
    site = _install(_wheel(tree, folder / "wheels", name), folder, name)
    return Build(name, path=str(site), sources=sources)


def name_of(what: Source) -> str:
    """What the gate calls it."""
    if isinstance(what, Revision):
        return f"{what.name} ({what.commit[:12]})"
    kinds = {Tree: "working tree", Wheel: "wheel", Packages: "packages", Environment: "environment"}
    return f"{kinds[type(what)]} {what.path}"


def _check_out(what: Revision, tree: Path) -> None:
    archive = _git(what.checkout, "archive", "--format=tar", what.commit)
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        if sys.version_info >= (3, 12):
            members.extractall(tree, filter="data")
        else:
            members.extractall(tree)


def _copy(path: Path, tree: Path) -> None:
    try:
        listed = _git(path, "ls-files", "-coz", "--exclude-standard").decode().split("\0")
    except ConfigError:  # no checkout
        ignored = shutil.ignore_patterns("__pycache__", "build", "*.egg-info", ".*")
        shutil.copytree(path, tree, dirs_exist_ok=True, ignore=ignored)
        return
    for name in filter(None, listed):
        if (path / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path / name, tree / name)


def _wheel(tree: Path, into: Path, name: str) -> Path:
    """Build isolated, unless the build backend is here already: then without a network."""
    words = ["wheel", "--no-deps", "--wheel-dir", str(into)]
    if importlib.util.find_spec("setuptools") is not None:
        words.append("--no-build-isolation")
    _pip([*words, str(tree)], f"{name} does not build")
    (wheel,) = into.glob("*.whl")
    return wheel


def _install(wheel: Path, folder: Path, name: str) -> Path:
    site = folder / "site"
    _pip(["install", "--no-deps", "--target", str(site), str(wheel)], f"{name} cannot be installed")
    if not (site / "engine").is_dir():
        raise ConfigError(f"{name}: it has no package engine: it is not of Parallax")
    return site


def _pip(words: Sequence[str], failure: str) -> None:
    if importlib.util.find_spec("pip") is None:
        raise ConfigError(f"{failure}: {sys.executable} has no pip (python -m ensurepip)")
    command = [sys.executable, "-m", "pip", *words, "--quiet", "--disable-pip-version-check"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        raise ConfigError(f"{failure}:\n{_end(done.stdout)}")


def _git(place: Path, *words: str) -> bytes:
    try:
        done = subprocess.run(["git", "-C", place, *words], capture_output=True, check=False)
    except OSError as error:
        raise ConfigError(f"git cannot be run: {error.strerror}") from error
    if done.returncode:
        raise ConfigError(f"git {words[0]}: {_end(done.stderr)}")
    return done.stdout


def _end(said: bytes) -> str:
    lines = [line.strip() for line in said.decode(errors="replace").splitlines()]
    errors = [line for line in lines if "error" in line.lower() and not line.startswith("File ")]
    return "\n".join(errors[-SAID_MAX:] or lines[-1:])
