"""cut_path: the operators of one or several segments as a graph of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from engine.arguments import AnyShape
from engine.errors import ConfigError, InputError
from engine.ir.graph import Graph, Node, Value
from engine.ir.types import TensorType
from engine.passes.base import run_passes
from engine.passes.bind_shapes import bind_shapes, free_dimensions
from engine.passes.infer_shapes import INFER_SHAPES
from engine.passes.segment import (
    Segment,
    closure,
    extract,
    in_order,
    nodes_of,
    read_outside,
    shape_nodes,
    values_by_name,
)


@dataclass(frozen=True)
class Cut:
    """A graph cut out of another one.

    Attributes:
        default_shapes: of those inputs of `graph` whose shape is known: what the caller gave, or
            for a tensor that the model computes, what it has for those shapes.
    """

    graph: Graph
    default_shapes: dict[str, AnyShape]


def cut(graph: Graph, segments: Sequence[Segment], shapes: Mapping[str, AnyShape]) -> Cut:
    """The union of the segments' operators; constants are shared.

    A segment may read what earlier ones compute. Its other inputs become graph inputs: those of
    the model first, then tensors that the model computes, all of whose axes are free. An
    input that follows from shapes alone is not fed: what computes it belongs to the graph,
    and what it takes the shape of becomes an input. Outputs are those of the segments, except
    tensors that a later segment reads and that are no outputs of the model.

    Args:
        graph: as imported; left alone.
        shapes: of the model's inputs, or of inputs of the new graph, by name. Those of the model's
            inputs are needed where they are free and the new graph has other inputs.

    Raises:
        InputError: an unknown name in `shapes` or in a segment.
        ConfigError: segments share an operator, or one reads what no earlier one computes; shapes
            are needed and missing.
    """
    values = _checked(graph, segments)
    parts = [_Part(graph, index, segment, values) for index, segment in enumerate(segments)]
    inputs: dict[Value, None] = {}
    for index, part in enumerate(parts):
        part.check_apart(parts[:index])
        inputs.update(dict.fromkeys(part.fed(parts, inputs)))
    nodes = set[Node]().union(*(part.nodes for part in parts))
    fed, outputs = in_order(graph, inputs), _outputs(graph, parts)
    for value in (*fed, *outputs):
        if value.list_type is not None:
            raise ConfigError(
                f"path: {value.name!r} is {value.list_type}, and a path begins and ends at tensors"
            )
    types, defaults = _input_types(graph, fed, shapes)
    new = extract(graph, nodes, fed, outputs, types)
    return Cut(new, defaults)


def _checked(graph: Graph, segments: Sequence[Segment]) -> dict[str, Value]:
    values = values_by_name(graph)
    for name in (n for s in segments for n in (*s.inputs, *s.outputs)):
        if name not in values:
            raise InputError(f"path: graph {graph.name!r} has no value named {name!r}")
    if not segments:
        raise ConfigError("a cut needs at least one path")
    return values


class _Part:
    """One segment with its operators.

    Attributes:
        own: operators that no other segment may have. nodes: with those that follow from
            constants and shapes alone, of which several segments may need the same.
    """

    def __init__(
        self, graph: Graph, index: int, segment: Segment, values: dict[str, Value]
    ) -> None:
        self.title = f"path {index} ({segment})"
        self.number = f"path {index}"
        self.inputs = [values[name] for name in segment.inputs]
        self.outputs = [values[name] for name in segment.outputs]
        self.nodes = nodes_of(segment, values)
        self._graph = graph
        self._shape_nodes = shape_nodes(graph)
        self.own = self.nodes - self._shape_nodes

    def check_apart(self, others: Sequence[_Part]) -> None:
        """Raises ConfigError when an operator is in another part, too."""
        for other in others:
            both = self.own & other.own
            if both:
                shared = [n for n in self._graph.nodes if n in both]
                raise ConfigError(
                    f"{shared[-1].title} is in {other.title} and in {self.title}: paths of one "
                    f"session must not overlap, let one compute {self._borders(shared)} and the "
                    "other read that"
                )

    def _borders(self, shared: Sequence[Node]) -> str:
        """Names of what the rest of this part reads of some of its operators."""
        rest = self.own.difference(shared)
        results = [v for n in shared for v in n.outputs]
        read = [v for v in results if v in self.outputs or not rest.isdisjoint(v.uses)]
        return ", ".join(repr(v.name) for v in read)

    def fed(self, parts: Sequence[_Part], known: Mapping[Value, None]) -> Iterator[Value]:
        """The inputs that come from outside; adds the operators that give shapes."""
        at = parts.index(self)
        earlier = {n for p in parts[:at] for n in p.nodes}
        for value in self._from_shapes(earlier):
            if value.producer in earlier or value.is_constant:
                continue
            if value.producer is not None:
                later = next((p for p in parts[at + 1 :] if value.producer in p.own), None)
                if later is not None:
                    raise ConfigError(
                        f"{self.number} needs {value.name!r}, which {later.number} computes: put "
                        f"{later.title} before {self.title}"
                    )
                if at > 0 and value not in known:
                    raise ConfigError(
                        f"{self.number} needs {value.name!r}, which no earlier path computes; it "
                        f"is a result of {value.producer.title}"
                    )
            yield value

    def _from_shapes(self, earlier: set[Node]) -> list[Value]:
        """What the part reads, with shape arithmetic traced back to what has the shape."""
        derived = {
            v for v in self.inputs if v.producer in self._shape_nodes and v.producer not in earlier
        }
        added = closure(derived, [v for n in self._shape_nodes for v in _measured(n)])
        self.nodes = self.nodes | added
        return read_outside(self._graph, self.nodes)


def _measured(node: Node) -> list[Value]:
    """What a Shape or Size takes the shape of, where that is a matter of a run."""
    return [v for v in node.inputs[:1] if v is not None and not v.is_constant]


def _outputs(graph: Graph, parts: Sequence[_Part]) -> list[Value]:
    wanted: set[Value] = set()
    for part in reversed(parts):
        read_later = {v for p in parts[parts.index(part) + 1 :] for v in p.inputs}
        wanted.update(v for v in part.outputs if v in graph.outputs or v not in read_later)
    return in_order(graph, wanted)


# ----------------------------------------------------------------- types of inputs
def _input_types(
    graph: Graph, inputs: Sequence[Value], shapes: Mapping[str, AnyShape]
) -> tuple[dict[Value, TensorType], dict[str, AnyShape]]:
    """Types with free axes for what the model computes; shapes by name."""
    of_model = {v.name: v for v in graph.inputs}
    own = {v.name for v in inputs}
    for name in shapes:
        if name not in of_model and name not in own:
            raise InputError(f"shapes: {name!r} is no input of the model nor of its path")
    given = dict(shapes)
    types = {v: v.known_type for v in inputs if v.producer is None}
    inner = [v for v in inputs if v.producer is not None]
    inferred = _infer(graph, inner, {k: s for k, s in given.items() if k in of_model})
    taken = {d for v in graph.inputs for d in v.declared.shape or ()}
    for value, type_ in zip(inner, inferred, strict=True):
        axes = (_unused(f"{value.name}.axis{k}", taken) for k in range(len(type_.shape)))
        types[value] = replace(type_, shape=tuple(axes))
        given.setdefault(value.name, type_.dims)
    return types, {v.name: given[v.name] for v in inputs if v.name in given}


def _infer(
    graph: Graph, values: Sequence[Value], shapes: Mapping[str, AnyShape]
) -> list[TensorType]:
    """What the model makes of these shapes of its inputs."""
    if not values:
        return []
    types = {v: v.declared for v in graph.inputs}
    whole = extract(graph, closure(values), graph.inputs, values, types)
    try:
        bound = bind_shapes(whole, shapes)
    except InputError as error:
        free = ", ".join(free_dimensions(graph))
        raise ConfigError(
            f"shapes of the model's inputs are needed to type tensor {values[0].name!r}, at which "
            f"the path starts ({free} are free): {error}"
        ) from error
    run_passes(bound, [INFER_SHAPES])
    return [v.known_type for v in bound.outputs]


def _unused(name: str, taken: set[int | str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name
