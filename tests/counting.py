"""How much work a call is, in lines of the engine that run: the same on every machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import engine

ENGINE = str(Path(engine.__file__).parent)


class LinesExceeded(BaseException):
    """A call ran more lines than it may; no handler of the engine's catches it."""


def lines_run(call: Callable[[], object], most: float = float("inf")) -> int:
    """How many lines of the engine a call runs; each round of a loop counts.

    Raises:
        LinesExceeded: more than `most`.
    """
    count = 0

    def line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        count += 1
        if count > most:
            raise LinesExceeded(f"more than {most} lines, at {frame.f_code.co_name}")
        return line

    def enter(frame: FrameType, event: str, _: Any) -> Any:
        return line if frame.f_code.co_filename.startswith(ENGINE) else None

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        call()
    finally:
        sys.settrace(before)
    return count
