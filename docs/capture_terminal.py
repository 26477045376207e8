"""Writes docs/terminal.md: what the main commands look like in terminals of several widths.

    python docs/capture_terminal.py [--columns 80,100,160] [--only WORD] [--output docs/terminal.md]

Each command runs in a pseudo-terminal, and a terminal emulator (pyte) makes of its bytes what a
person would see at the end: lines that are too long wrap, progress that is erased is gone.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import shlex
import struct
import subprocess
import sys
import termios
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyte

ROOT = Path(__file__).resolve().parents[1]
ROWS, ROWS_KEPT = 50, 5000
"""What the program is told, and how much of what scrolls out of sight is kept."""
COMMANDS = (
    "parallax --help",
    "parallax devices",
    "parallax info fixtures/models/tiny_resnet.onnx",
    "parallax info fixtures/models/tiny_resnet.onnx --device pocl",
    "parallax run fixtures/models/tiny_resnet.onnx --device pocl --precision high",
    "parallax run fixtures/models/tiny_resnet.onnx --device pocl --precision high --trace",
    "parallax verify fixtures/models/tiny_resnet.onnx --device pocl",
    "parallax verify fixtures/models --device pocl",
    "parallax bench fixtures/models/tiny_mlp_opset7.onnx --device pocl,cpu --launches 2",
    "parallax info no-such-model.onnx",
)
HEAD = """\
# What it looks like in a terminal

Captured on {day} by `python docs/capture_terminal.py` in terminals of {columns} columns.
Names, drivers and times are those of one machine; no test compares them.
"""


@dataclass(frozen=True)
class Capture:
    """The lines on the screen when a command has ended, and its exit code."""

    lines: list[str]
    code: int


def capture(command: str, columns: int) -> Capture:
    """Run a command line of `parallax` in a terminal of so many columns."""
    words = [sys.executable, "-m", *shlex.split(command)]
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    hidden = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")
    env = {k: v for k, v in os.environ.items() if k not in hidden}
    env |= {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(words, cwd=ROOT, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    screen = pyte.Screen(columns, ROWS_KEPT)
    stream = pyte.ByteStream(screen)
    while data := _read(ours):
        stream.feed(data)
    os.close(ours)
    lines = [line.rstrip() for line in screen.display]
    while lines and not lines[-1]:
        lines.pop()
    return Capture(lines, child.wait())


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # EIO: the last program has closed its side
        return b""


def section(command: str, columns: list[int]) -> str:
    """One heading, and what each width shows."""
    parts = [f"## `{command}`"]
    for width in columns:
        shown = capture(command, width)
        ended = f", exit code {shown.code}" if shown.code else ""
        parts.append(f"{width} columns{ended}:\n```text\n" + "\n".join(shown.lines) + "\n```")
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Capture and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--columns", default="80,100,160")
    parser.add_argument("--only", default="", metavar="WORD", help="commands that contain it")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "terminal.md")
    options = parser.parse_args()
    columns = [int(c) for c in options.columns.split(",")]
    chosen = [command for command in COMMANDS if options.only in command]
    if not chosen:
        parser.error(f"no command contains {options.only!r}")
    head = HEAD.format(day=date.today(), columns=options.columns.replace(",", ", "))
    sections = []
    for command in chosen:
        print(command, file=sys.stderr, flush=True)
        sections.append(section(command, columns))
    options.output.write_text("\n".join([head, *sections]))


if __name__ == "__main__":
    main()
