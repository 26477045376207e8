"""The one JSON document of a command: `--json` prints it, `--output FILE` writes it."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from conformance.files import add_file, write
from conformance.report import jsonable
from engine.backends.protocol import DeviceInfo
from engine.version import VERSION

SCHEMA_VERSION = 1
"""Raised when a key changes its meaning or goes; keys may be added."""


def add_document(parser: Any, command: str) -> None:
    """The two options, and the name of the command for the document's head."""
    parser.set_defaults(command=command)
    parser.add_argument("--json", action="store_true", help="print one JSON document, no tables")
    add_file(parser, "--output", "FILE", "write the JSON document of --json into this file")


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
    args.is_delivered = True
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
        "tool": {"name": "parallax", "version": VERSION},
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "files": [{"path": str(path), "sha256": _sha256(Path(path))} for path in models],
        "devices": [
            {"platform": d.platform, "name": d.name, "driver": d.driver, "version": d.version}
            for d in dict.fromkeys(devices)
        ],
    }


def _sha256(path: Path) -> str | None:
    """None for a file that cannot be read: that is what a document of a failure is about."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()
