"""What Python and NumPy freed goes back to the system: C libraries like to keep it for later."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any


def trim() -> None:
    """Return free memory of the C library's heap to the system, where that can be asked for.

    glibc keeps what was freed below its last allocation: tens of megabytes after a model was
    read, or its weights packed. Takes some milliseconds; nothing that is in use moves.
    """
    if (release := _malloc_trim()) is not None:
        release(0)


@cache
def _malloc_trim() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
