"""What is accepted and not read is a wrong answer that nobody notices: it is refused.

Reference and kernels would ignore it alike. Specs declare what they read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.errors import UnsupportedError
from engine.ops import OPERATORS
from engine.ops.sequence import LAID_OUT


def check_declared(title: str, op_type: str, attributes: Mapping[str, Any]) -> None:
    """Raise UnsupportedError for an attribute, of the newest opset, that would not be heeded."""
    if op_type in LAID_OUT:
        unread = [name for name in attributes if name not in LAID_OUT[op_type].reads]
        if unread:
            raise UnsupportedError(f"{title}: attribute {unread[0]!r} is not supported")
        return
    spec = OPERATORS[op_type]
    for name, value in attributes.items():
        if name in spec.reads or name in spec.ignores:
            continue
        if name not in spec.only:
            raise UnsupportedError(f"{title}: attribute {name!r} is not supported")
        if value != spec.only[name]:
            raise UnsupportedError(
                f"{title}: {name}={value!r} is not supported, only {spec.only[name]!r}"
            )
