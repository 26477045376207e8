"""Standard output, as wide as the terminal."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from typing import IO, Any, TextIO, cast

from rich.console import Console

from conformance.visible import visible_lines

WIDTH = 100
"""Columns of a table where the output is no terminal and COLUMNS is not set."""


class _WithoutTrailingBlanks:
    """A text stream that drops the blanks with which tables fill their lines."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return self._file.write(re.sub(r"[ \t]+(?=\n)", "", text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _Console(Console):
    def print(self, *objects: Any, **options: Any) -> None:
        """Text without control characters but line breaks; `escape` sees to those of names."""
        shown = (visible_lines(x) if isinstance(x, str) else x for x in objects)
        super().print(*shown, **options)

    def on_broken_pipe(self) -> None:
        """Rich would exit with 1, which here means "out of bounds"."""
        raise BrokenPipeError


def console(*, silent: bool = False) -> Console:
    """Standard output: in colour and at the terminal's width where it is one.

    Elsewhere lines have COLUMNS columns, or 100, and no trailing blanks. Names are printed as they
    are: `:star:` is no picture.
    """
    if sys.stdout.isatty():
        return _Console(highlight=False, emoji=False, quiet=silent)
    width = None if "COLUMNS" in os.environ else WIDTH
    file = cast(IO[str], _WithoutTrailingBlanks(sys.stdout))
    return _Console(file=file, highlight=False, emoji=False, width=width, quiet=silent)


def complain(message: object, names: Iterable[str] = ()) -> None:
    """A line of ours on standard error.

    Args:
        names: what may stand in it as the user gave it, such as paths.
    """
    text = visible_lines(f"parallax: {message}", names)
    print(text, file=sys.stderr, flush=True)


def forget_impossible_width() -> None:
    """Unset a COLUMNS that is no width: in 0 columns, as some shells export, nothing is printed."""
    columns = os.environ.get("COLUMNS", "")
    if not (columns.isdecimal() and int(columns)):
        os.environ.pop("COLUMNS", None)
