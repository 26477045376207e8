"""Expansion: operators that are put into a graph in place of a node, counted and named after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from engine.errors import UnsupportedError
from engine.ir.graph import Attributes, Graph, Node, Value

NODES_MAX = 200_000
"""Of more, in all that is put into one graph, planning would take minutes."""


class Expansion:
    """What is put into one graph.

    Args:
        settle: called with each new node, in order: it makes types and constants known as far as
            they are, and expands nodes itself.
    """

    def __init__(self, graph: Graph, settle: Callable[[Node], None]) -> None:
        self.graph, self.settle = graph, settle
        self._nodes_left = NODES_MAX

    def spend(self, node: Node, count: int) -> None:
        """Count what is about to be put in place of a node; raises UnsupportedError."""
        self.foresee(node, count)
        self._nodes_left -= count

    def foresee(self, node: Node, count: int) -> None:
        """Raise UnsupportedError where so many would be too many."""
        if count > self._nodes_left:
            raise UnsupportedError(
                f"{node.title}: it is laid out operator by operator, and comes to more than "
                f"{NODES_MAX} of them; supported: fewer iterations, or smaller bodies"
            )

    def constant(self, node: Node, array: np.generic | np.ndarray, name: str = "number") -> Value:
        """A new constant, `node/name`."""
        return self.graph.add_constant(f"{node.name}/{name}", np.asarray(array))

    def emit(
        self,
        node: Node,
        op_type: str,
        inputs: Sequence[Value],
        attributes: Attributes,
        outputs: int = 1,
    ) -> tuple[Value, ...]:
        """The outputs of a new node, `node/op_type`."""
        base = f"{node.name}/{op_type.lower()}"
        parts = [base] if outputs == 1 else [f"{base}/{k}" for k in range(outputs)]
        names = [self.graph.unique(part) for part in parts]
        self.graph.internal.update(names)
        new = self.graph.add_node(
            op_type, inputs, names, attributes, before=node, origin=node.origin
        )
        self.settle(new)
        return new.outputs

    def pass_on(self, node: Node, values: Sequence[Value]) -> None:
        """Put values in place of the outputs of a node, which is gone."""
        for copy in self.graph.pass_on(node, values):
            self.settle(copy)
