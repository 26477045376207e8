"""Where in our code something happened: from a traceback, or from what faulthandler wrote."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = ("engine", "parallax", "conformance")
"""The packages under attack; `properties` is the attacker."""

_DUMPED = re.compile(r'^  File "(.+)", line \d+ in (\S+)$')


def place_of(error: BaseException, *, everywhere: bool = False) -> str:
    """The innermost function of ours (or of anybody's) that an exception went through, or ""."""
    frames = traceback.extract_tb(error.__traceback__)
    if everywhere and frames:
        return f"{Path(frames[-1].filename).name}:{frames[-1].name}"
    return next(filter(None, (_shown(f.filename, f.name) for f in reversed(frames))), "")


def place_in_dump(text: str) -> str:
    """The same of the thread that faulthandler calls the current one, or else of the last."""
    threads = re.split(r"^(?=(?:Current thread|Thread) )", text, flags=re.MULTILINE)
    ordered = sorted(threads, key=lambda t: not t.startswith("Current thread"))
    for thread in ordered:
        for line in thread.splitlines():
            found = _DUMPED.match(line)
            if found and (shown := _shown(*found.groups())):
                return shown
    return ""


def place_in_text(text: str) -> str:
    """The same of a traceback as Python prints it."""
    frames = re.findall(r'^  File "(.+)", line \d+, in (\S+)$', text, flags=re.MULTILINE)
    return next(filter(None, (_shown(*frame) for frame in reversed(frames))), "")


def _shown(filename: str, function: str) -> str:
    try:
        path = Path(filename).resolve().relative_to(ROOT)
    except ValueError:
        return ""
    return f"{path}:{function}" if path.parts[0] in OURS else ""
