"""Inferences: what was last inferred of each node of a graph that is bound again and again.

Types and constants of a node follow from its operator, its attributes, and the types and constants
that it reads. So where all of these are as they were, as for most nodes of a decoder of which one
input grew by a token, the result is that of the last time: the same types, and the same constants,
of which devices have a copy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from weakref import ref

from engine.ir.constant import Constant
from engine.ir.graph import Node, Value
from engine.ir.types import TensorType

REMEMBERED_NBYTES_MAX = 4096
"""Of what one node computes; larger results would stay in memory when no plan needs them."""


@dataclass(frozen=True)
class Inference:
    """What a node read, and what followed.

    Attributes:
        read: for each input its type and its constant, which is not kept alive.
    """

    read: tuple[tuple[TensorType | None, Callable[[], Constant | None]], ...]
    types: tuple[TensorType | None, ...]
    contents: tuple[Constant | None, ...]

    def is_of(self, node: Node) -> bool:
        """Whether the node reads the same now."""
        if len(node.inputs) != len(self.read):
            return False
        for value, (type_, contents) in zip(node.inputs, self.read, strict=True):
            if value is None:
                if type_ is not None:
                    return False
            elif value.type != type_ or value.contents is not contents():
                return False
        return True


class Inferences:
    """The last inference of each node; copies of a node are one."""

    def __init__(self) -> None:
        self._last: dict[object, Inference] = {}

    def recall(self, node: Node) -> Inference | None:
        """What follows from what the node reads, if that was its last inference."""
        last = self._last.get(node.identity)
        return last if last is not None and last.is_of(node) else None

    def note(self, node: Node) -> None:
        """What its outputs have now follows from what it reads."""
        contents = tuple(out.contents for out in node.outputs)
        if sum(c.nbytes for c in contents if c is not None) <= REMEMBERED_NBYTES_MAX:
            types = tuple(out.type for out in node.outputs)
            self._last[node.identity] = Inference(tuple(map(_read, node.inputs)), types, contents)


def _read(value: Value | None) -> tuple[TensorType | None, Callable[[], Constant | None]]:
    if value is None or value.contents is None:
        return None if value is None else value.type, _nothing
    return value.type, ref(value.contents)


def _nothing() -> None:
    """The constant of a value that has none."""
