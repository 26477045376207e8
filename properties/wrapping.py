"""Random graphs as models whose course, shapes and values are known only when they run.

The model of a decoded graph computes the same with other means: parts stand in the branches of an
If, in the body of a Loop or of a Scan; axes have names instead of extents; numbers that decide
shapes are fed, or computed of data. What comes out must not change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto, helper, numpy_helper

from conformance.bundles.failing import Case
from conformance.export import exported
from engine.config import ScheduleConfig
from engine.interpreter import Interpreter
from engine.ir import TensorType
from engine.ir.types import ALL_DTYPES, BOOL, INT64
from engine.ops.spec import Choose
from engine.runtime import Runtime
from properties.choose import SeededChoose
from properties.graphs import Model
from properties.memory import Violation

LONGEST_PART = 5
"""Nodes that are moved into a subgraph."""
Part = tuple[Sequence[NodeProto], Sequence[str]]
"""Nodes that follow one another, and names of what others read of them."""


def plain_case(model: Model) -> Case:
    """The model of a graph as it is."""
    return Case(exported(model.graph).SerializeToString(), model.feeds())


def wrapped_case(model: Model, choose: Choose) -> Case:
    """The model of a graph, computed with other means."""
    proto = exported(model.graph)
    types = {v.name: v.known_type for v in model.graph.values()}
    wrapper = _Wrapper(choose, proto.graph, types, model.feeds())
    for _ in range(choose.integer(0, 2)):
        wrapper.put_into_a_subgraph()
    for _ in range(choose.integer(0, 2)):
        wrapper.reshape_by_data()
    for _ in range(choose.integer(0, 2)):
        wrapper.feed_a_number()
    if choose.integer(0, 1):
        wrapper.name_axes()
    return Case(_finished(proto, wrapper.nodes).SerializeToString(), wrapper.feeds)


def check_wrapped(model: Model, seed: int, runtime: Runtime, config: ScheduleConfig) -> None:
    """An exact graph computes the same with other means.

    Raises:
        Violation: an output differs.
    """
    assert model.program.exact
    if not model.graph.outputs:  # no model
        return
    plain, wrapped = plain_case(model), wrapped_case(model, SeededChoose(seed))
    expected, got = (_outputs(case, runtime, config) for case in (plain, wrapped))
    for name, y in expected.items():
        if y.shape != got[name].shape or y.tolist() != got[name].tolist():
            text = helper.printable_graph(onnx.load_from_string(wrapped.model).graph)
            raise Violation(f"{name!r} differs where the model is wrapped:\n{text}\nof {model!r}")


def _outputs(case: Case, runtime: Runtime, config: ScheduleConfig) -> dict[str, Any]:
    with Interpreter.from_buffer(case.model).create_session(config, runtime) as session:
        return dict(session(case.feeds))


def _finished(proto: ModelProto, nodes: Sequence[NodeProto]) -> ModelProto:
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto


@dataclass
class _Wrapper:
    """Changes a model, one means at a time.

    Attributes:
        types: of every tensor of the graph, by name. feeds: grows with the inputs.
    """

    choose: Choose
    graph: GraphProto
    types: Mapping[str, TensorType]
    feeds: dict[str, np.ndarray]
    nodes: list[NodeProto] = field(init=False)
    count: int = 0

    def __post_init__(self) -> None:
        self.nodes = list(self.graph.node)

    # ------------------------------------------------------------------ control flow
    def put_into_a_subgraph(self) -> None:
        """Some nodes become an If, a Loop or a Scan."""
        if not self.nodes:
            return
        start = self.choose.integer(0, len(self.nodes) - 1)
        end = min(start + self.choose.integer(1, LONGEST_PART), len(self.nodes))
        moved = self.nodes[start:end]
        made = [name for node in moved for name in node.output if name]
        elsewhere = [*self.nodes[:start], *self.nodes[end:]]
        read = {name for node in elsewhere for name in _names_read(node)}
        read |= {v.name for v in self.graph.output}
        left = [name for name in made if name in read]
        is_plain = all(n in self.types and self.types[n].dtype in ALL_DTYPES for n in left)
        if not left or not is_plain:
            return
        put = self.choose.one_of((self._if, self._loop, self._scan))
        self.nodes[start:end] = put((moved, left))

    def _if(self, part: Part) -> list[NodeProto]:
        """Both branches compute the same."""
        nodes: list[NodeProto] = []
        condition = self._condition(nodes)
        then, other = (self._inside(part, f"{self._name('b')}_") for _ in range(2))
        node = helper.make_node("If", [condition], list(part[1]), name=self._name("if"))
        node.attribute.append(helper.make_attribute("then_branch", then))
        node.attribute.append(helper.make_attribute("else_branch", other))
        return [*nodes, node]

    def _loop(self, part: Part) -> list[NodeProto]:
        """Every round computes the same; the last counts."""
        rounds = self.choose.integer(1, 2)
        trips = self._number(np.array(rounds, np.int64))
        number, going = self._name("i"), self._name("go")
        body = self._inside(part, f"{self._name('b')}_")
        on = f"{going}_on"
        body.node.append(helper.make_node("Identity", [going], [on], name=on))
        body.input.extend([_info(number, INT64, ()), _info(going, BOOL, ())])
        results = list(body.output)
        del body.output[:]
        body.output.extend([_info(on, BOOL, ()), *results])
        rows = [self._name("rows") for _ in part[1]]
        last = self._constant(np.array(rounds - 1, np.int64))
        loop = helper.make_node("Loop", [trips, ""], rows, name=self._name("loop"), body=body)
        return [loop, *(self._node("Gather", (r, last), n) for r, n in zip(rows, part[1]))]

    def _scan(self, part: Part) -> list[NodeProto]:
        """Along an axis of one, which is there for that alone."""
        given = self._name("once")
        axis, rows = self._constant(np.array([0])), [self._name("rows") for _ in part[1]]
        body = self._inside(part, f"{self._name('b')}_")
        body.input.append(_info(self._name("one"), INT64, ()))
        self._feed(given, np.array([0]))
        node = helper.make_node(
            "Scan", [given], rows, name=self._name("scan"), body=body, num_scan_inputs=1
        )
        return [node, *(self._node("Squeeze", (r, axis), n) for r, n in zip(rows, part[1]))]

    def _inside(self, part: Part, prefix: str) -> GraphProto:
        """The nodes as a graph; what they make has other names there."""
        nodes, left = part
        renamed = {name: f"{prefix}{name}" for node in nodes for name in node.output if name}
        inner = []
        for node in nodes:
            twin = NodeProto()
            twin.CopyFrom(node)
            _rename(twin, renamed)
            twin.name = f"{prefix}{node.name}"
            inner.append(twin)
        outs = [_info(renamed[n], self.types[n].dtype, self.types[n].dims) for n in left]
        return helper.make_graph(inner, prefix, [], outs)

    def _condition(self, nodes: list[NodeProto]) -> str:
        """A boolean: fed, or of how many elements some input has."""
        if not self.graph.input or self.choose.integer(0, 1):
            return self._number(np.array(bool(self.choose.integer(0, 1))))
        size, limit = self._name("size"), self._constant(np.array(self.choose.integer(0, 64)))
        nodes.append(self._node("Size", (self.graph.input[0].name,), size))
        nodes.append(self._node("Greater", (size, limit), self._name("larger")))
        return str(nodes[-1].output[0])

    # ------------------------------------------------------------------ shapes and values
    def reshape_by_data(self) -> None:
        """A tensor is reshaped to its own shape, which depends on how many zeros it has."""
        names = [
            n
            for node in self.nodes
            for n in node.output
            if n in self.types and self.types[n].dims and self.types[n].dtype in ALL_DTYPES
        ]
        names = [n for n in names if 0 not in self.types[n].dims]
        if not names:
            return
        name = self.choose.one_of(names)
        at = next(i for i, node in enumerate(self.nodes) if name in node.output)
        inner, places, count, none, shape = (self._name(n) for n in ("t", "nz", "n", "none", "s"))
        _rename(self.nodes[at], {name: inner})
        dims, zero = (self._constant(np.array(x)) for x in (self.types[name].dims, [0]))
        self.nodes[at + 1 : at + 1] = [
            self._node("NonZero", (inner,), places),
            self._node("Shape", (places,), count, start=1),
            self._node("Min", (count, zero), none),
            self._node("Add", (dims, none), shape),
            self._node("Reshape", (inner, shape), name),
        ]

    def feed_a_number(self) -> None:
        """An initializer of whole numbers, which may decide a shape, becomes an input."""
        whole = [t for t in self.graph.initializer if numpy_helper.to_array(t).dtype == np.int64]
        if not whole:
            return
        chosen = self.choose.one_of(whole)
        array = numpy_helper.to_array(chosen).copy()
        self.graph.initializer.remove(chosen)
        self._feed(chosen.name, array)

    def name_axes(self) -> None:
        """No axis of an input has a known extent."""
        for value in self.graph.input:
            for k, dim in enumerate(value.type.tensor_type.shape.dim):
                dim.dim_param = f"{value.name}_{k}"

    # ------------------------------------------------------------------ parts
    def _name(self, what: str) -> str:
        self.count += 1
        return f"w_{what}{self.count}"

    def _node(self, op: str, inputs: Sequence[str], output: str, **attributes: int) -> NodeProto:
        name = self._name(op.lower())
        return helper.make_node(op, list(inputs), [output], name=name, **attributes)

    def _constant(self, array: np.ndarray) -> str:
        name = self._name("c")
        self.graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def _number(self, array: np.ndarray) -> str:
        """A constant, or fed."""
        if self.choose.integer(0, 1):
            return self._constant(array)
        name = self._name("fed")
        self._feed(name, array)
        return name

    def _feed(self, name: str, array: np.ndarray) -> None:
        self.graph.input.append(_info(name, array.dtype, array.shape))
        self.feeds[name] = array


def _info(name: str, dtype: np.dtype, dims: Sequence[int]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), dims)


def _subgraphs(node: NodeProto) -> list[GraphProto]:
    return [a.g for a in node.attribute if a.HasField("g")]


def _names_read(node: NodeProto) -> set[str]:
    """By a node and by what is inside it."""
    inside = [n for graph in _subgraphs(node) for n in graph.node]
    outs = {v.name for graph in _subgraphs(node) for v in graph.output}
    return {*node.input, *outs}.union(*map(_names_read, inside))


def _rename(node: NodeProto, names: Mapping[str, str]) -> None:
    """Inputs and outputs of a node, and of what is inside it."""
    for listed in (node.input, node.output):
        listed[:] = [names.get(name, name) for name in listed]
    for graph in _subgraphs(node):
        for inner in graph.node:
            _rename(inner, names)
        for value in graph.output:
            value.name = names.get(value.name, value.name)
