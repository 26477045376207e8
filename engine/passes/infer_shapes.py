"""infer_shapes: the type of every value, and the value of all that is known before a run."""

from __future__ import annotations

from collections.abc import Iterable

from engine.errors import GraphError, ParallaxError
from engine.ir.graph import Graph, Node, Value
from engine.passes.base import Pass, require_types
from engine.passes.bind_values import undecided_nodes
from engine.passes.evaluate import Folding, infer_node, is_computable
from engine.passes.expansion import Expansion
from engine.passes.inferences import Inference, Inferences
from engine.passes.inline_control_flow import Inlining
from engine.passes.lay_out_sequences import Sequences


class _Sweep:
    """One way through a graph in topological order.

    Values that turn out constant (shape arithmetic, mostly) become constants on the way, because
    later types depend on them; their producers stay until fold_constants removes them. Nodes with
    subgraphs, and those of sequences, are replaced by what they come to, which is part of the way.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph, self._folding = graph, Folding(graph)
        expansion = Expansion(graph, self.settle)
        self._inlining, self._sequences = Inlining(expansion), Sequences(expansion)

    def settle(self, node: Node, inferences: Inferences | None = None) -> None:
        """Make known what follows from what the node reads.

        Args:
            inferences: where the last answer may be found, and is left; none for nodes that are
                new in every sweep.
        """
        if node.subgraphs:
            self._inlining.expand(node)
            return
        if self._sequences.concern(node):
            self._sequences.lay_out(node)
            return
        if inferences is None:
            self._infer(node)
        elif (known := inferences.recall(node)) is not None:
            self._repeat(node, known)
        else:
            self._infer(node)
            inferences.note(node)

    def _infer(self, node: Node) -> None:
        types = infer_node(node)
        for out, type_ in zip(node.outputs, types, strict=True):
            out.type = type_
        if is_computable(node):
            arrays = self._folding.compute(node, types)
            for out, array in zip(node.outputs, arrays or (), strict=False):
                self._graph.make_constant(out, array)

    def _repeat(self, node: Node, known: Inference) -> None:
        for out, type_, contents in zip(node.outputs, known.types, known.contents, strict=True):
            out.type = type_
            if contents is not None:
                self._graph.make_constant(out, contents)

    def can_settle(self, node: Node) -> bool:
        """Whether what a node reads is known."""
        return are_typed(v for v in node.inputs if v not in self._sequences)

    def finish(self) -> None:
        """Leave nothing but tensors."""
        self._sequences.finish()


def infer_shapes(graph: Graph, inferences: Inferences | None = None) -> None:
    """The types of all values, and the course of all control flow.

    Args:
        inferences: what was inferred of other copies of the graph.

    Raises:
        ShapeError: an operator refuses its inputs; prefixed with the node's title.
        UnsupportedError: an operator without a spec, or control flow that data decide.
    """
    sweep = _Sweep(graph)
    for node in graph.nodes:
        sweep.settle(node, inferences)
    sweep.finish()


def infer_where_known(graph: Graph) -> dict[Node, ParallaxError]:
    """The same where some types stay unknown; returns the nodes that refuse their inputs.

    What the values of deciding inputs would make known stays unknown.
    """
    refusals: dict[Node, ParallaxError] = {}
    sweep = _Sweep(graph)
    undecided = undecided_nodes(graph)
    for node in graph.nodes:
        if sweep.can_settle(node) and node not in undecided:
            try:
                sweep.settle(node)
            except ParallaxError as error:
                refusals[node] = error
    return refusals


def infer_unfolded(graph: Graph) -> None:
    """The same, with what nodes compute left to them, also where it is known before a run."""
    infer_shapes(graph)
    for node in graph.nodes:
        for out in node.outputs:
            out.contents = None


def are_typed(values: Iterable[Value | None]) -> bool:
    """Whether the type of each value that is not omitted is known, with all dimensions."""
    return all(v is None or (v.type is not None and v.type.is_static) for v in values)


def _require_static_inputs(graph: Graph) -> None:
    for value in graph.inputs:
        if not value.known_type.is_static:
            raise GraphError(f"input '{value.name}' has type {value.type}: bind_shapes first")


def pass_recalling(inferences: Inferences | None) -> Pass:
    """The pass; what was inferred of other copies of the graph is not inferred again."""
    return Pass(
        "infer_shapes",
        lambda graph: infer_shapes(graph, inferences),
        _require_static_inputs,
        require_types,
    )


INFER_SHAPES = pass_recalling(None)
