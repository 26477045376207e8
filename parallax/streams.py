"""Standard streams of a process of our own: closed ones, and characters they cannot write."""

from __future__ import annotations

import errno
import io
import os
import sys


class Nowhere(io.TextIOBase):
    """Standard output where whoever started this process closed it."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.was_written = False

    def write(self, text: str) -> int:
        """Note that something is lost; what else the command does goes on."""
        self.was_written |= bool(text)
        return len(text)


def prepare() -> None:
    """Have streams that take any text, and no file of ours where a library prints."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        """A closed descriptor of a standard stream is taken, for good."""
    os.close(descriptor)
    if sys.stdout is None:
        sys.stdout = Nowhere()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (it ends with the process)
    if isinstance(sys.stdout, io.TextIOWrapper) and not _takes_any_text(sys.stdout):
        sys.stdout.reconfigure(errors="backslashreplace")


def _takes_any_text(stream: io.TextIOWrapper) -> bool:
    """Paths can hold any character, and bytes that are none."""
    if stream.errors == "surrogateescape":
        return stream.encoding.lower().replace("-", "") == "utf8"
    return stream.errors != "strict"


def check_nothing_was_lost() -> None:
    """Raise OSError where a closed standard output was written to."""
    if isinstance(sys.stdout, Nowhere) and sys.stdout.was_written:
        raise OSError(errno.EBADF, "it is closed")
