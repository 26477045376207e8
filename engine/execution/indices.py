"""Indices that inputs of a plan give: looked at when they are written.

A kernel on a device cannot raise; it takes the nearest element. What the host sees on its way there
is checked instead, at the price of its smallest and its largest element.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from engine.errors import InputError
from engine.ir.graph import Node, Value
from engine.ops.gather import in_range
from engine.ops.operands import INDEX_DTYPES

ALONG_AN_AXIS = frozenset(("Gather", "GatherElements", "ScatterElements"))
BY_TUPLES = frozenset(("GatherND", "ScatterND"))
"""Their indices have one entry for each indexed axis, in the last one of their own."""
AS_THEY_ARE = frozenset(("Copy", "Identity", "Reorder"))
IN_ANOTHER_SHAPE = frozenset(("Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"))


@dataclass(frozen=True)
class Reader:
    """A node that takes an input for indices.

    Attributes:
        extents: of the axis that is indexed, or of one for each entry of a tuple.
    """

    node: Node
    extents: tuple[int, ...]

    def check(self, array: np.ndarray) -> None:
        """Raise InputError, in which node and place are named, for an index out of range."""
        tuples = self.node.op_type in BY_TUPLES
        parts = np.moveaxis(array, -1, 0) if tuples else array[None]
        for part, extent in zip(parts, self.extents, strict=True):
            if part.size and not -extent <= part.min() <= part.max() < extent:
                try:
                    in_range(self.node.op_type, part, extent)
                except InputError as error:
                    raise InputError(self.node.placed(str(error))) from None


def readers_of(value: Value) -> list[Reader]:
    """The nodes that take all elements of an input, and nothing else, for indices."""
    return list(_readers(value)) if value.known_type.dtype.kind in "iu" else []


def _readers(value: Value) -> Iterator[Reader]:
    open_ = [(value, True)]
    while open_:
        here, as_is = open_.pop()
        for node, positions in here.uses.items():
            if node.op_type in AS_THEY_ARE | IN_ANOTHER_SHAPE or _is_cast(node):
                open_.append((node.outputs[0], as_is and node.op_type not in IN_ANOTHER_SHAPE))
            elif 1 in positions and (extents := _extents(node, here, as_is)):
                yield Reader(node, extents)


def _is_cast(node: Node) -> bool:
    return node.op_type == "Cast" and node.outputs[0].known_type.dtype in INDEX_DTYPES


def _extents(node: Node, indices: Value, as_is: bool) -> tuple[int, ...]:
    """None of what is no reader, or whose tuples do not lie as they were written."""
    if node.op_type not in ALONG_AN_AXIS | BY_TUPLES or (node.op_type in BY_TUPLES and not as_is):
        return ()
    table = node.inputs[0]
    assert table is not None
    dims = table.known_type.dims
    if node.op_type in ALONG_AN_AXIS:
        return (dims[int(node.attributes.get("axis", 0))],)
    first = int(node.attributes.get("batch_dims", 0))
    return dims[first : first + indices.known_type.dims[-1]]
