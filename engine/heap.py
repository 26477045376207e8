"""The host's memory: where it does not suffice, and what was freed goes back to the system."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

from engine.errors import DeviceMemoryError


class enough_for:
    """A MemoryError inside becomes a DeviceMemoryError that names `what`.

    Args:
        what: a text or a node; a function gives a text that takes time to write.
    """

    __slots__ = ("_what",)

    def __init__(self, what: object) -> None:
        self._what = what

    def __enter__(self) -> None:
        """Nothing is asked for."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, MemoryError):
            what = self._what() if callable(self._what) else self._what
            raise DeviceMemoryError(
                f"{what}: the host's memory does not suffice: "
                f"{str(error) or 'an allocation failed'}"
            ) from None


def trim() -> None:
    """Return free memory of the C library's heap to the system, where that can be asked for.

    glibc keeps what was freed below its last allocation: tens of megabytes after a model was
    read, or its weights packed. Takes milliseconds, and in a heap with millions of holes a share of
    a second; nothing that is in use moves.
    """
    if (release := _malloc_trim()) is not None:
        release(0)


@cache
def _malloc_trim() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
