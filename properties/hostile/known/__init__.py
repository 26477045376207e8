"""Where one outside engine is known to read ONNX differently, and why: data, not excuses.

One file for each witness and family; every module in this folder has `DISAGREEMENTS`, and `KNOWN`
is all of them. Each entry carries a call that shows it: one that no longer holds fails
`test_hostile.py`.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from properties.hostile.asked import Disagreement


def _all_of(name: str) -> tuple[Disagreement, ...]:
    found: tuple[Disagreement, ...] = import_module(f"{__name__}.{name}").DISAGREEMENTS
    return found


KNOWN = tuple(known for module in iter_modules(__path__) for known in _all_of(module.name))
