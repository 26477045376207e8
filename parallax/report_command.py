"""`parallax report`: one HTML page from the stored JSON of verify, bench, profile and others."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import shtab

from conformance.document import deliver
from conformance.files import write
from conformance.visible import visible
from engine.errors import ConfigError
from parallax.options import add_command
from parallax.output import console
from parallax.report.arranged import arrange
from parallax.report.documents import read
from parallax.report.page import page
from parallax.report.sections import SECTIONS

EPILOG = """\
The documents are those that --output wrote. The page loads nothing, has at most 2 MB, and follows
the light or dark theme of the reader.

examples:
  parallax report verify.json bench.json -o report.html
  parallax verify models/ --device pocl --output verify.json
  parallax profile models/a.onnx --device pocl --output profile.json
  parallax report verify.json profile.json faults.json -o report.html -q
"""


def add_parser(subparsers: Any) -> None:
    """Declare the sub-command."""
    parser = add_command(
        subparsers,
        "report",
        run,
        help="one HTML page from the JSON that other commands wrote",
        description=__doc__,
        epilog=EPILOG,
    )
    what = f"what --output of {', '.join(SECTIONS)} wrote"
    parser.add_argument("documents", nargs="+", metavar="RUN.json", help=what).complete = shtab.FILE  # type: ignore[attr-defined]
    where = parser.add_argument("-o", dest="html", metavar="REPORT.html", help="the page to write")
    where.complete = shtab.FILE  # type: ignore[attr-defined]


def run(args: argparse.Namespace) -> int:
    """Write the page; 0. Raises ParallaxError for bad input, before anything is written."""
    if args.html is None:
        raise ConfigError("-o REPORT.html: say where the page is to be written")
    documents = [read(Path(name)) for name in dict.fromkeys(args.documents)]
    html = page(arrange(documents))
    write(args.html, lambda file: file.write(html))
    shown = [{"path": d.path, "command": d.command, "date": d.date} for d in documents]
    deliver(args, {"documents": shown, "html": args.html, "nbytes": len(html)})
    console(silent=args.json).print(
        f"{visible(args.html)}: {len(documents)} documents, {len(html) / 1000:.0f} kB", markup=False
    )
    return 0
