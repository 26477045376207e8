"""Attributes that no operator here reads: harmless ones by name, all others only at their default.

What is accepted and not read is a wrong answer that nobody notices, since reference and kernels
read the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.errors import UnsupportedError

WITHOUT_EFFECT = frozenset(
    {
        ("BatchNormalization", "momentum"),  # of training
        ("Cast", "round_mode"),  # of 8-bit floats
        ("Cast", "saturate"),  # of 8-bit floats
        ("Dropout", "seed"),  # of training
        ("GroupNormalization", "stash_type"),  # how precise a mean is kept; ours is never less
        ("MaxPool", "storage_order"),  # of Indices, which is refused
        ("Range", "stash_type"),  # how precise a sum is kept
    }
)
"""(operator, attribute) that change no result of inference."""

ONLY = {
    ("Gelu", "approximate"): "none",
    ("IsInf", "detect_negative"): 1,
    ("IsInf", "detect_positive"): 1,
    ("SpaceToDepth", "mode"): "DCR",
}
"""The one value that kernels know."""


def check_unread(title: str, op_type: str, attributes: Mapping[str, Any]) -> None:
    """Raise UnsupportedError for a value that would not be heeded."""
    for name, value in attributes.items():
        key = op_type, name
        if key in ONLY and value != ONLY[key]:
            raise UnsupportedError(
                f"{title}: {name}={value!r} is not supported, only {ONLY[key]!r}"
            )
