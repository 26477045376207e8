"""What the attributes of a Scan say of its axes.

Source: https://github.com/onnx/onnx/blob/main/docs/Operators.md#Scan.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.errors import ShapeError
from engine.ir.graph import Node


def axes_of(node: Node, name: str, ranks: Sequence[int]) -> list[int]:
    """Axes of a Scan, counted from the first."""
    given = _numbers(node, name, len(ranks))
    for axis, rank in zip(given, ranks, strict=True):
        if not -rank <= axis < rank:
            raise ShapeError(f"{node.title}: {name}={list(given)}: {axis} is no axis of {rank}")
    return [axis % rank for axis, rank in zip(given, ranks, strict=True)]


def directions_of(node: Node, name: str, count: int) -> list[bool]:
    """Which are scanned or written from the end."""
    given = _numbers(node, name, count)
    if not {*given} <= {0, 1}:
        raise ShapeError(f"{node.title}: {name}={list(given)}, expected 0 or 1 for each")
    return [d == 1 for d in given]


def _numbers(node: Node, name: str, count: int) -> Sequence[int]:
    given: Sequence[int] = node.attributes.get(name) or [0] * count
    if len(given) != count:
        raise ShapeError(f"{node.title}: {name}={list(given)}, expected {count} numbers")
    return given
