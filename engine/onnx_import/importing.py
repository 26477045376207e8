"""import_model: all of a model that can be imported, and what cannot, each with its error.

One refusal does not end the import: what the refused part would have produced is assumed, so that
every other node is tried too, also those in the subgraphs of control flow.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

from onnx import GraphProto, ModelProto, ValueInfoProto

from engine import heap
from engine.errors import ModelError, ParallaxError, UnsupportedError
from engine.ir.graph import Graph
from engine.ir.names import Names
from engine.ir.verify import verify
from engine.onnx_import import control_flow
from engine.onnx_import.batched_scan import in_turn
from engine.onnx_import.build import Builder
from engine.onnx_import.facts import check_dtypes
from engine.onnx_import.functions import Inliner, refuse_references
from engine.onnx_import.gradients import gradient, is_gradient
from engine.onnx_import.raw_node import RawNode, opset_versions, raw_node, require_text
from engine.onnx_import.read_file import Origin, read_model
from engine.onnx_import.subgraphs import CONTROL_FLOW, names_outside
from engine.onnx_import.support import (
    OPSET_MAX,
    check_function_opset,
    check_known,
    check_opset,
    has_kernel,
)
from engine.onnx_import.topology import graph_names, sorted_nodes
from engine.onnx_import.widening import Widener
from engine.onnx_import.wire import Extent


def import_model(source: str | Path | bytes, name: str | None) -> tuple[ModelProto, Import]:
    """A model file and the import of it; raises ModelError where it is none, or is damaged."""
    is_path = isinstance(source, (str, Path))
    file = shlex.quote(str(source)) if is_path else "MODEL"
    try:
        with heap.enough_for(f"model file '{source!s}'" if is_path else "the model given as bytes"):
            model, origin = read_model(source)
            return model, Import(model, origin, name, file)
    except UnicodeDecodeError:
        raise ModelError("the model holds names that are not UTF-8 text: it is damaged") from None


@dataclass(frozen=True)
class Refusal:
    """A part of a model that cannot be imported.

    Attributes:
        subject: "Conv 'name'", "graph input 'x'", "the model".
        node: None where the part is no node.
    """

    subject: str
    error: ParallaxError
    node: RawNode | None = None


@dataclass(frozen=True)
class Place:
    """Where a node is written; both may be true."""

    in_function: bool = False
    in_subgraph: bool = False


@dataclass(frozen=True)
class Occurrence:
    """A node as the model's author sees it: functions of the model are expanded, ONNX's not.

    Attributes:
        refused: its function is.
    """

    node: RawNode
    place: Place
    refused: bool = False


class Import:
    """One model on its way.

    Args:
        file: what to call it on a command line.

    Attributes:
        graph: complete when `refusals` is empty; else nothing but a base for a report.
        occurrences: every node, also those in subgraphs.

    Raises:
        ModelError: the file is damaged where no part of it can be told from the rest.
    """

    def __init__(
        self, model: ModelProto, origin: Origin, name: str | None, file: str = "MODEL"
    ) -> None:
        self._file = file
        self.refusals: list[Refusal] = []
        self._wideners: dict[Builder, Widener] = {}
        self.occurrences: list[Occurrence] = []
        self._newest: set[str] = set()
        self._origin = origin
        proto = model.graph
        self._opsets = opset_versions(model.opset_import, "the model")
        self._taken = Names(graph_names(proto))
        self._inliner = Inliner(model.functions, self._taken, has_kernel, len(proto.node))
        builder = Builder(name or proto.name or "model", self._opsets.get("", 0), self._taken)
        self.graph: Graph = builder.graph
        with self._noting("the model"):
            check_opset(self._opsets)
        self._add_initialisers(builder, proto, origin.extents)
        self._add_inputs(builder, proto.input)
        self._add_nodes(builder, proto, self._opsets, Place())
        with self._noting("the model"):
            builder.set_outputs(proto.output)
        if not self.refusals:
            with self._noting("the model"):
                verify(self.graph)

    def error(self) -> ParallaxError:
        """The first refusal's; where it is an operator, with the number of all that are refused."""
        first = self.refusals[0]
        if first.node is None or not isinstance(first.error, UnsupportedError):
            return first.error
        nodes = [r.node for r in self.refusals if r.node is not None]
        types = {(node.domain, node.op_type) for node in nodes}
        one = len(nodes) == 1
        count = "one node" if one else f"{len(nodes)} nodes of {len(types)} operator types"
        return UnsupportedError(
            f"{first.error}; {count} cannot be imported, `parallax info {self._file}` lists all "
            "that is not supported"
        )

    def _refuse(self, subject: str | RawNode, error: ParallaxError) -> None:
        if isinstance(subject, str):
            self.refusals.append(Refusal(subject, error))
        else:
            self.refusals.append(Refusal(subject.title, error, subject))

    @contextmanager
    def _noting(self, subject: str) -> Iterator[None]:
        """An error inside becomes a refusal."""
        try:
            yield
        except ParallaxError as error:
            self._refuse(subject, error)

    # ----------------------------------------------------------------- values
    def _add_initialisers(
        self, builder: Builder, proto: GraphProto, extents: Sequence[Extent | None] = ()
    ) -> None:
        if len(proto.sparse_initializer):
            first = proto.sparse_initializer[0].values.name
            with self._noting(f"sparse initialiser '{first}'"):
                raise UnsupportedError(
                    f"sparse initialiser '{first}': only dense ones are supported"
                )
        for sparse in proto.sparse_initializer:
            builder.assume(sparse.values.name)
        for tensor, extent in zip_longest(proto.initializer, extents):
            with self._noting(f"initialiser '{tensor.name}'"):
                builder.add_initialiser(tensor, self._origin, extent)
            _assume(builder, [tensor.name])

    def _add_inputs(self, builder: Builder, infos: Sequence[ValueInfoProto]) -> None:
        taken = {d.dim_param for i in infos for d in i.type.tensor_type.shape.dim if d.dim_param}
        for info in infos:
            with self._noting(f"graph input '{info.name}'"):
                builder.add_input(info, taken)
            _assume(builder, [info.name])

    # ----------------------------------------------------------------- nodes
    def _add_nodes(
        self, builder: Builder, proto: GraphProto, opsets: dict[str, int], place: Place
    ) -> None:
        raw = _raw_nodes(proto, opsets)
        for node in raw:
            if self._newest.intersection(node.outputs[:1]):
                node.version = OPSET_MAX
        occurrences = [o for node in raw for o in self._expand(node, place, raw)]
        self.occurrences += occurrences
        nodes = [o.node for o in occurrences]
        with self._noting("the model"):
            builder.expect(nodes, (o.name for o in proto.output))
        of_node = {id(o.node): o for o in occurrences}
        with self._noting("the model"):
            nodes = sorted_nodes(nodes, builder.names)
        for node in nodes:
            self._add_node(builder, of_node[id(node)])

    def _expand(
        self, node: RawNode, place: Place, graph: Sequence[RawNode]
    ) -> Iterator[Occurrence]:
        """Calls of the model's functions replaced, and gradients of the graph it stands in."""
        try:
            _settle_references(node, place)
            if is_gradient(node):
                found = gradient(node, graph, self._taken)
            else:
                found = list(self._inliner.inline(node))
        except ParallaxError as error:
            self._refuse(node, error)
            yield Occurrence(node, place, refused=True)
            return
        is_call = all(here is not node for here in found)
        inside = replace(place, in_function=True) if is_call else place
        for here in found:
            yield Occurrence(here, inside)

    def _add_node(self, builder: Builder, occurrence: Occurrence) -> None:
        """The node, or the operators by which ONNX defines it."""
        node = occurrence.node
        _assume(builder, node.inputs)
        if occurrence.refused:
            _assume(builder, node.outputs)
            return
        try:
            for part in self._parts(builder, node):
                check_known(part)
                if part.opsets is not self._opsets:
                    check_function_opset(part)
                if part.op_type in CONTROL_FLOW:
                    self._add_control_flow(builder, part, occurrence)
                else:
                    builder.add_node(part)
        except ParallaxError as error:
            if node.title not in str(error):  # but a part of its body
                error.args = (f"{node.title} ({error})", *error.args[1:])
            self._refuse(node, error)
            _assume(builder, node.outputs)

    def _add_control_flow(self, builder: Builder, node: RawNode, owner: Occurrence) -> None:
        """An If, Loop or Scan; what is refused inside is noted.

        Args:
            owner: the node, or the operator that ONNX defines by it and others; then what is inside
                is not of the model, and the first refusal is raised.
        """
        is_own = owner.node is node
        if control_flow.is_batched(node):
            control_flow.settle(node)
            before, node, newest = in_turn(node, builder.fresh)
            self._newest |= newest
            for part in before:
                builder.add_node(part)
        graphs = control_flow.settle(node)
        outside = dict.fromkeys(name for graph in graphs.values() for name in names_outside(graph))
        _assume(builder, outside)
        captured = [name for name in outside if not builder.is_constant(name)]
        place = replace(owner.place, in_subgraph=True)
        noted, found = len(self.refusals), len(self.occurrences)
        bodies = {}
        for key, proto in graphs.items():
            body = bodies[key] = Builder(proto.name, node.opset, self._taken)
            for info, given in zip(proto.input, node.inputs, strict=False):  # an If passes none
                there = builder.find(given)
                lists = None if there is None else there.list_type
                body.add_formal(info, builder.dtype(there), lists)
            for name in outside:
                body.capture(name, builder)
            self._add_initialisers(body, proto)
            self._add_nodes(body, proto, node.opsets, place)
            body.set_results(proto)
        refused = self.refusals[noted:]
        self.occurrences[found:] = [o for o in self.occurrences[found:] if not o.node.version]
        if not is_own:
            del self.refusals[noted:], self.occurrences[found:]
            if refused:
                raise refused[0].error
        if refused:
            _assume(builder, node.outputs)
        else:
            builder.add_with_subgraphs(node, bodies, captured)

    def _parts(self, builder: Builder, node: RawNode) -> Iterator[RawNode]:
        """The node widened, then the operators by which ONNX defines it, these widened too."""
        if node.op_type not in CONTROL_FLOW:
            check_dtypes(node, lambda name: builder.dtype(builder.find(name)))
        widener = self._wideners.setdefault(builder, Widener(builder))
        for wide in widener.widen(node):
            for part in self._inliner.inline(wide, builder):
                yield from [part] if part is wide else widener.widen(part)


def _raw_nodes(proto: GraphProto, opsets: dict[str, int]) -> list[RawNode]:
    """The nodes of a graph; raises ModelError where the file is damaged."""
    require_text(proto.name, *graph_names(proto), *(o.name for o in proto.output))
    require_text(*(d.dim_param for i in proto.input for d in i.type.tensor_type.shape.dim))
    return [raw_node(node, opsets) for node in proto.node]


def _settle_references(node: RawNode, place: Place) -> None:
    """References of the subgraphs in a function stay unresolved, and count as not given.

    Raises:
        ModelError: a reference outside any function.
    """
    if place.in_function:
        node.attributes = {k: a for k, a in node.attributes.items() if not a.ref_attr_name}
    refuse_references([node])


def _assume(builder: Builder, names: Iterable[str]) -> None:
    for name in filter(None, names):
        if builder.find(name) is None:
            builder.assume(name)
