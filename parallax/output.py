"""Where results go: tables for people, one JSON document for machines."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any, TextIO, cast

from rich.console import Console

from conformance.report import jsonable
from engine.backends.protocol import DeviceInfo
from parallax import __version__
from parallax.files import write

WIDTH = 100
"""Columns of a table where the output is no terminal and COLUMNS is not set."""

SCHEMA_VERSION = 1
"""Of the JSON documents: raised when a key changes its meaning or goes; keys may be added."""


class _WithoutTrailingBlanks:
    """A text stream that drops the blanks with which tables fill their lines."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return self._file.write(re.sub(r"[ \t]+(?=\n)", "", text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Rich would exit with 1, which here means "out of bounds"."""
        raise BrokenPipeError


def console(*, silent: bool = False) -> Console:
    """Standard output: in colour and at the terminal's width where it is one.

    Elsewhere lines have COLUMNS columns, or 100, and no trailing blanks.
    """
    if sys.stdout.isatty():
        return _Console(highlight=False, quiet=silent)
    width = None if "COLUMNS" in os.environ else WIDTH
    file = cast(IO[str], _WithoutTrailingBlanks(sys.stdout))
    return _Console(file=file, highlight=False, width=width, quiet=silent)


# ---------------------------------------------------------------------- JSON
def deliver(
    args: argparse.Namespace,
    data: dict[str, Any],
    *,
    models: Iterable[str | Path] = (),
    devices: Iterable[DeviceInfo] = (),
) -> None:
    """Print the JSON document of a command where `--json` asks for it, and write `--output`.

    Args:
        models: the files that were read. devices: those that were used.
    """
    if not args.json and args.output is None:
        return
    document = {**_envelope(args, models, devices), **jsonable(data)}
    text = json.dumps(document, allow_nan=False, indent=1)
    if args.output is not None:
        write(args.output, lambda file: file.write(f"{text}\n".encode()))
    if args.json:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def _envelope(
    args: argparse.Namespace, models: Iterable[str | Path], devices: Iterable[DeviceInfo]
) -> dict[str, Any]:
    """What every document begins with; see docs/json.md."""
    return {
        "schema": f"parallax.{args.command}/{SCHEMA_VERSION}",
        "tool": {"name": "parallax", "version": __version__},
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "files": [{"path": str(path), "sha256": _sha256(Path(path))} for path in models],
        "devices": [
            {"platform": d.platform, "name": d.name, "driver": d.driver, "version": d.version}
            for d in dict.fromkeys(devices)
        ],
    }


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
