"""A bundle as files, in a folder or in a .zip, and the checks of what was read."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from conformance.bundles.arrays import arrays_of
from conformance.bundles.failing import Case, Signature
from conformance.files import write
from engine.errors import ConfigError, InputError
from engine.interpreter import Interpreter
from engine.ir.types import NARROW, TensorType
from engine.ops.numerics import Error

FORM, VERSION = "parallax bundle", 1
"""VERSION rises when an older reader would misread what is written; entries may be added."""
FACTS = "bundle.json"
MEMBER_NBYTES_MAX = 1 << 30
"""Of one file of an archive: a bundle is minimised, and an archive may lie."""


@dataclass(frozen=True)
class Expected:
    """The tensor that was wrong: what a float64 reference gives, and what an honest kernel may."""

    name: str
    array: np.ndarray
    error: Error


@dataclass(frozen=True)
class Bundle:
    """Everything about one failure; docs/bundles.md describes the files.

    Attributes:
        files: contents by name, with "/" between folders.
    """

    files: Mapping[str, bytes]

    @property
    def facts(self) -> dict[str, Any]:
        """bundle.json."""
        facts: dict[str, Any] = json.loads(self.files[FACTS])
        return facts

    @property
    def signature(self) -> Signature:
        """How it fails."""
        return Signature(**self.facts["signature"])

    @property
    def case(self) -> Case:
        """The model, and what to feed it."""
        return _case(self.files["model.onnx"], self.files["inputs.npz"])

    @property
    def passing(self) -> Case | None:
        """The nearest neighbour that passes, where one is known."""
        if "passing/model.onnx" not in self.files:
            return None
        return _case(self.files["passing/model.onnx"], self.files["passing/inputs.npz"])

    @property
    def expected(self) -> Expected | None:
        """Of the output that was wrong; None where it depends on more than the inputs."""
        failing = self.facts["failing"]
        if failing is None or not failing["alone"]:
            return None
        arrays = arrays_of(self.files["expected.npz"])
        error = Error(arrays["sigma"], arrays["bound"])
        return Expected(failing["output"], arrays["expected"], error)


def _case(model: bytes, inputs: bytes) -> Case:
    types = Interpreter.from_buffer(model).inputs
    found = arrays_of(inputs)
    return Case(model, {name: _typed(array, types.get(name)) for name, array in found.items()})


def _typed(array: np.ndarray, type_: Any) -> np.ndarray:
    """Formats that .npz does not know are kept as bytes."""
    if isinstance(type_, TensorType) and type_.dtype in NARROW:
        return np.ascontiguousarray(array).reshape(array.shape).view(type_.dtype)
    return array


# ---------------------------------------------------------------------- reading
def read(path: Path) -> Bundle:
    """The bundle in a folder or an archive; raises InputError for what is none."""
    try:
        files = _files_in(path) if path.is_dir() else _members_of(path)
        bundle = Bundle(files)
        _check(bundle)
    except OSError as error:
        raise InputError(f"{path}: is no bundle: {error.strerror or error}") from error
    except KeyError as error:
        raise InputError(f"{path}: is no bundle: there is no {error.args[0]}") from error
    except Exception as error:  # whatever a damaged file makes of what reads it
        said = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise InputError(f"{path}: is no bundle: {said}") from error
    return bundle


def _files_in(folder: Path) -> dict[str, bytes]:
    if not (folder / FACTS).is_file():
        raise ValueError(f"the folder holds no {FACTS}")
    found = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in found}


def _members_of(path: Path) -> dict[str, bytes]:
    if path.exists() and not path.is_file():
        raise ValueError("it is neither a folder nor a regular file")
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.file_size > MEMBER_NBYTES_MAX:
                raise ValueError(f"{info.filename!r} says that it has {info.file_size} bytes")
        if FACTS not in archive.namelist():
            raise ValueError(f"the archive holds no {FACTS}")
        return {i.filename: archive.read(i) for i in archive.infolist() if not i.is_dir()}


def _check(bundle: Bundle) -> None:
    facts = bundle.facts
    if not isinstance(facts, dict) or facts.get("form") != FORM:
        raise ValueError(f"{FACTS} does not say that it is one")
    if facts["version"] != VERSION:
        raise ValueError(f"it is of version {facts['version']}, and this reads version {VERSION}")
    for name in ("model.onnx", "inputs.npz"):
        if name not in bundle.files:
            raise ValueError(f"there is no {name}")
    texts = (facts["device"]["selector"], *facts["signature"].values())
    if not all(isinstance(text, str) and text.isprintable() for text in texts):
        raise ValueError(f"{FACTS} has something else where text of a line is expected")
    _check_engine(facts.get("engine"))
    if not isinstance(facts["seed"], int):
        raise ValueError(f"{FACTS} has another type where a number is expected")
    _ = bundle.signature, arrays_of(bundle.files["inputs.npz"])
    if (expected := bundle.expected) is not None:
        _check_expected(expected)


def _check_engine(engine: object) -> None:
    if engine is None:
        return
    if not isinstance(engine, dict) or not isinstance(engine["options"], dict):
        raise ValueError(f"{FACTS} describes no engine")
    texts = (engine["name"], *engine["options"], *engine["options"].values())
    if not all(isinstance(text, str) and text.isprintable() for text in texts):
        raise ValueError(f"{FACTS} has something else where the name of an engine is expected")


def _check_expected(expected: Expected) -> None:
    arrays = (expected.array, expected.error.sigma, expected.error.bound)
    if len({array.shape for array in arrays}) > 1 or any(
        a.dtype.kind not in "fiub" for a in arrays
    ):
        raise ValueError("expected.npz has no numbers, or not of one shape")


# ---------------------------------------------------------------------- writing
def check_place(path: Path, option: str) -> None:
    """Raise ConfigError where no bundle can be written: nothing that exists is replaced."""
    refusal = _refusal(path)
    if refusal:
        raise ConfigError(f"{option} {path}: cannot write there: {refusal}")


def _refusal(path: Path) -> str:
    if str(path) in ("", ".", "-") or "\0" in str(path):
        return "the name of a folder or of a .zip is expected"
    try:
        if not path.resolve().parent.is_dir():
            return f"there is no folder {path.parent}"
        if not os.access(path.resolve().parent, os.W_OK):
            return f"the folder {path.parent} is not writable"
        if path.is_dir() and not any(path.iterdir()):
            return ""
        if path.exists() or path.is_symlink():
            return "it exists; choose another name, or remove it"
    except (OSError, RuntimeError) as error:
        return getattr(error, "strerror", None) or str(error)
    return ""


def save(bundle: Bundle, path: Path) -> None:
    """Write a folder, or an archive where the name ends in .zip, whole or not at all.

    Raises:
        ConfigError: it cannot be written.
    """
    check_place(path, "bundle")
    if path.suffix == ".zip":
        write(str(path), lambda file: _archive(bundle, file))
        return
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        for name, data in bundle.files.items():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            (part / name).write_bytes(data)
        part.rename(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _archive(bundle: Bundle, file: Any) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in bundle.files.items():
            archive.writestr(name, data)
