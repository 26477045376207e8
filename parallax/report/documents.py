"""Reading the stored JSON: what is no document, or not as its schema says, is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from conformance.document import SCHEMA_VERSION
from engine.errors import InputError
from parallax.report.facts import Document
from parallax.report.fields import text
from parallax.report.sections import SECTIONS


def read(path: Path) -> Document:
    """A document.

    Raises:
        InputError: it cannot be read, is cut off, is no report of ours, is of a later version, or
            does not hold what its schema promises.
    """
    data = _json(path)
    command = _command(path, data)
    if command not in SECTIONS:
        shown = ", ".join(SECTIONS)
        raise InputError(f"{path}: a report shows {shown}; this is of parallax {text(command)}")
    try:
        return _document(path, command, data)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"{path}: it does not hold what a document of parallax.{command} does: {text(what)}"
        ) from error


def read_json(path: Path, command: str) -> dict[str, Any]:
    """The data of a document of one command, of a run that did not fail.

    Raises:
        InputError: as `read`; it is of another command, or of a failure.
    """
    data = _json(path)
    found = _command(path, data)
    if found != command:
        raise InputError(f"{path}: it is of parallax {text(found)}, not of parallax {command}")
    if "error" in data:
        raise InputError(f"{path}: it is of a run that failed: {text(data['error'])}")
    return dict(data)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except json.JSONDecodeError as error:
        cut = error.pos >= len(error.doc.rstrip()) or "Unterminated" in error.msg
        reason = "it is cut off" if cut else f"{error.msg} in line {error.lineno}"
        raise InputError(f"{path}: it is not JSON: {reason}") from error
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InputError(f"{path}: it is not JSON of parallax: {type(error).__name__}") from error


def _command(path: Path, data: Any) -> str:
    schema = data.get("schema") if isinstance(data, dict) else None
    name, slash, version = str(schema).partition("/")
    if not name.startswith("parallax.") or not slash:
        raise InputError(f"{path}: it is no JSON document of parallax; --output writes one")
    command = name.removeprefix("parallax.")
    if version != str(SCHEMA_VERSION):
        raise InputError(
            f"{path}: its schema is {text(schema)}, and this version of parallax reads "
            f"parallax.{text(command)}/{SCHEMA_VERSION}"
        )
    return command


def _problems(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What could not be done, by model; also known failures that are over."""
    yield from ((text(k), text(v)) for k, v in dict(data.get("errors", {})).items())
    for model in data.get("models", ()):
        yield from ((text(model["model"]), text(entry)) for entry in model.get("stale", ()))


def _document(path: Path, command: str, data: Mapping[str, Any]) -> Document:
    failed = "error" in data
    devices = [f"{text(d['platform'])} / {text(d['name'])}" for d in data["devices"]]
    return Document(
        path=text(str(path)),
        command=command,
        date=text(data["date"]),
        version=text(data["tool"]["version"]),
        devices=tuple(devices),
        error=text(data["error"]) if failed else "",
        interrupted=bool(data.get("interrupted", False)),
        errors=tuple(_problems(data)),
        **({} if failed else SECTIONS[command](data)),
    )
