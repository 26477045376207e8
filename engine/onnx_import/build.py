"""From GraphProto and inlined nodes to engine.ir.Graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from onnx import AttributeProto, GraphProto, TensorProto, TypeProto, ValueInfoProto
from onnx.helper import make_tensor_type_proto, np_dtype_to_tensor_dtype

from engine.errors import GraphError, ModelError, UnsupportedError
from engine.ir.graph import Graph, Node, Value
from engine.ir.names import Names
from engine.ir.types import STRING, Dim, ListType, TensorType, check_dims
from engine.onnx_import.attributes import check_against_schema, check_finite, decode_attribute
from engine.onnx_import.facts import (
    output_dtypes,
    output_length,
    output_list_type,
    output_ranks,
)
from engine.onnx_import.form import Form
from engine.onnx_import.list_types import LISTS, check_lists, list_type_of, type_proto_of
from engine.onnx_import.opsets import to_newest
from engine.onnx_import.raw_node import RawNode
from engine.onnx_import.read_file import Origin
from engine.onnx_import.switches import check_switches
from engine.onnx_import.tensors import DTYPES, constant_of, dtype_of
from engine.onnx_import.topology import near
from engine.onnx_import.unread import check_declared
from engine.onnx_import.wire import Extent
from engine.ops.recurrent_form import STATES

FILL_NBYTES_MAX = 64 * 2**20
"""Beyond it in all, results of ConstantOfShape are stride-0 views of their one element."""

ANONYMOUS = frozenset(("?", "*", "-1", "None"))
"""Names by which exporters say "unknown": two of them are not the same dimension."""


class _Facts(NamedTuple):
    """What can be told of a value; None where it cannot."""

    dtype: np.dtype | None
    rank: int | None
    list_type: ListType | None


class Builder:
    """Collects values by name while nodes are added; implements `form.Emitter`.

    Args:
        taken: every value name of the graph, and those that functions make of them; grows.
    """

    def __init__(self, name: str, opset: int, taken: Names) -> None:
        self.graph = Graph(name)
        self.graph.opset = opset
        self._values: dict[str, Value] = {}
        self._inputs: set[str] = set()
        self._reads: set[str] = set()
        self._made: set[str] = set()
        self._taken = taken
        self._node_names: Counter[str] = Counter()
        self._ranks: dict[Value | None, int | None] = {}
        self._lengths: dict[Value | None, int | None] = {}
        self._declared: list[TensorType | None] = []
        self._dtypes: dict[Value | None, np.dtype | None] = {}
        self._attributes: dict[int, tuple[AttributeProto, Any]] = {}
        self._rewritten = self._origin = ""
        self._filled_nbytes = 0

    # ----------------------------------------------------------------- inputs, constants
    def add_initialiser(
        self, tensor: TensorProto, origin: Origin, extent: Extent | None = None
    ) -> None:
        """It becomes a constant; `extent` is that of raw data that was left out of it."""
        if not tensor.name:
            raise ModelError("an initialiser has no name: the file is damaged")
        owner = f"initialiser '{tensor.name}'"
        if tensor.name in self._values:
            raise GraphError(f"{owner} is defined twice")
        self._values[tensor.name] = self.graph.add_constant(
            tensor.name, constant_of(tensor, owner, origin, extent)
        )

    def add_input(self, info: ValueInfoProto, taken: set[str]) -> None:
        """A graph input; one that has an initialiser is a constant already.

        Args:
            taken: names of free dimensions; grows by those made here.
        """
        if not info.name or info.name in self._inputs:
            raise GraphError(f"graph input '{info.name}' is defined twice, or has no name")
        self._inputs.add(info.name)
        if info.name not in self._values:
            self._values[info.name] = self.graph.add_input(info.name, _input_type(info, taken))

    @property
    def names(self) -> Collection[str]:
        """Of all values so far."""
        return self._values.keys()

    def find(self, name: str) -> Value | None:
        """The value of that name, None where nothing has produced it yet."""
        return self._values.get(name)

    def is_constant(self, name: str) -> bool:
        """Whether a value that was produced is known before any run."""
        return self._values[name].is_constant

    def assume(self, name: str, like: Value | None = None) -> None:
        """A value that nothing in this graph produces, so that its readers can be tried.

        Args:
            like: a value of another graph with its type and constant; None: nothing is known.
        """
        self._values[name] = (
            Value(name)
            if like is None
            else Value(name, like.type, like.contents, list_type=like.list_type)
        )

    # ----------------------------------------------------------------- subgraphs
    def add_formal(
        self, info: ValueInfoProto, like: np.dtype | None = None, lists: ListType | None = None
    ) -> None:
        """An input that a subgraph is given by its node; what the file does not say stays open.

        Args:
            like: its dtype where the file does not declare one. lists: the same of what is no
                tensor.
        """
        if not info.name or info.name in self._values:
            raise GraphError(f"subgraph input '{info.name}' is defined twice, or has no name")
        tensor, kind = info.type.tensor_type, info.type.WhichOneof("value")
        if kind not in (None, "tensor_type"):
            lists = list_type_of(info.type, f"subgraph input '{info.name}'")
        value = self._values[info.name] = self.graph.add_input(info.name, lists)
        declared = dtype_of(tensor.elem_type, info.name) if tensor.elem_type else None
        self._dtypes[value] = declared or like
        self._ranks[value] = len(tensor.shape.dim) if tensor.HasField("shape") else None

    def capture(self, name: str, outer: Builder) -> bool:
        """A value of the graph around this one; True where it is an input, False for a constant."""
        there = outer.find(name)
        assert there is not None, f"{name} is produced before its reader"
        if there.contents is not None:
            self._values[name] = self.graph.add_constant(name, there.contents)
            return False
        value = self._values[name] = self.graph.add_input(name, there.list_type or there.type)
        self._dtypes[value], self._ranks[value] = outer.dtype(there), outer.rank(there)
        self._lengths[value] = outer.length(there)
        return True

    def set_results(self, proto: GraphProto) -> None:
        """What a subgraph gives to its node, in order."""
        for info in proto.output:
            if info.name not in self._values:
                raise GraphError(
                    f"subgraph output '{info.name}' is never produced"
                    f"{near(info.name, self._values)}"
                )
            self.graph.outputs.append(self._values[info.name])
            self._declared.append(_whole_type(info))

    def add_with_subgraphs(
        self, raw: RawNode, bodies: Mapping[str, Builder], captured: Sequence[str]
    ) -> None:
        """Append an If, Loop or Scan.

        Args:
            bodies: by the name of the attribute. captured: names of what they read from outside.
        """
        inputs = [self._values[name] if name else None for name in raw.inputs]
        check_lists(raw.title, raw.op_type, raw.opset, inputs)
        attributes = {
            k: self._decoded(a, raw, k) for k, a in raw.attributes.items() if k not in bodies
        }
        names = [name or self.fresh(f"{raw.title}_unused") for name in _stripped(raw.outputs)]
        declared = tuple(bodies["body"]._declared) if "body" in bodies else ()
        node = self.graph.add_node(
            raw.op_type,
            [*inputs, *(self._values[name] for name in captured)],
            names,
            {**attributes, "num_inputs": len(inputs), "declared": declared},
            name=self._named(raw.name or f"{raw.op_type}_{(*names, '')[0]}"),
            origin=raw.origin,
            subgraphs={key: body.graph for key, body in bodies.items()},
        )
        self._values.update((value.name, value) for value in node.outputs)
        conditions = 1 if raw.op_type == "Loop" else 0
        facts = [body.results()[conditions:] for body in bodies.values()]
        for k, (out, same) in enumerate(zip(node.outputs, zip(*facts, strict=True), strict=False)):
            is_stacked = raw.op_type != "If" and k >= node.states
            self._note_result(f"{raw.title}: output {k}", out, same, is_stacked=is_stacked)

    def _note_result(
        self, owner: str, out: Value, same: Sequence[_Facts], *, is_stacked: bool
    ) -> None:
        """What is known of an output, from that of each subgraph."""
        lists = [facts.list_type for facts in same if facts.dtype is not None]
        out.list_type = next((t for t in lists if t is not None), None)
        if is_stacked and out.list_type is not None:
            raise ModelError(f"{owner} stacks {out.list_type}, expected tensors")
        if out.list_type is not None and None in lists:
            raise ModelError(f"{owner} is {out.list_type} in one branch, a tensor in the other")
        ranks = {facts.rank for facts in same}
        rank = ranks.pop() if len(ranks) == 1 else None
        self._dtypes[out] = next((f.dtype for f in same if f.dtype is not None), None)
        self._ranks[out] = None if rank is None else rank + is_stacked

    def results(self) -> list[_Facts]:
        """What is known of each output."""
        return [_Facts(self.dtype(v), self.rank(v), v.list_type) for v in self.graph.outputs]

    def constant(self, name: str, array: np.ndarray) -> Value:
        """A new constant; the name is made unique."""
        return self.graph.add_constant(self.fresh(name), array)

    # ----------------------------------------------------------------- nodes
    def expect(self, nodes: Sequence[RawNode], outputs: Iterable[str] = ()) -> None:
        """Announce nodes that will be added, so that what they read is known to be read."""
        self._reads.update(outputs)
        for node in nodes:
            self._reads.update(node.reads)
        for node in nodes:
            for name in filter(None, node.outputs):
                if name in self._made or name in self._values:
                    raise GraphError(f"{node.title}: value '{name}' is defined a second time")
                self._made.add(name)

    def replace(self, call: RawNode, body: Sequence[RawNode]) -> None:
        """Announce nodes instead of one that was announced."""
        self._made.difference_update(call.outputs)
        self.expect(body)

    def rank(self, value: Value | None) -> int | None:
        """The rank of a value, None where it cannot be told before shapes are known."""
        if value is None or value.type is None:
            return self._ranks.get(value)
        return len(value.type.shape)

    def length(self, value: Value | None) -> int | None:
        """The length of a vector, None where it cannot be told before shapes are known."""
        if value is None or value.type is None:
            return self._lengths.get(value)
        dims = value.type.shape
        return dims[0] if len(dims) == 1 and isinstance(dims[0], int) else None

    def dtype(self, value: Value | None) -> np.dtype | None:
        """The dtype of a value, None where it cannot be told before shapes are known."""
        if value is not None and value.list_type is not None:
            return value.list_type.dtype
        if value is None or value.type is None:
            return self._dtypes.get(value)
        return value.type.dtype

    def type_of(self, name: str) -> TypeProto | None:
        """A value's type as ONNX writes it, with as much of its shape as is known."""
        value = self._values.get(name)
        if value is not None and value.list_type is not None:
            return type_proto_of(value.list_type)
        dtype, rank = self.dtype(value), self.rank(value)
        if value is None or dtype is None:
            return None
        shape = value.type.shape if value.type is not None else (None,) * (rank or 0)
        known = None if rank is None else [d if isinstance(d, int) else None for d in shape]
        return make_tensor_type_proto(np_dtype_to_tensor_dtype(dtype), known)

    def array_of(self, name: str) -> np.ndarray | None:
        """The array of a constant, None of another value."""
        value = self._values.get(name)
        return None if value is None else value.constant

    def is_read(self, name: str) -> bool:
        """True when a node or the model's outputs read that name."""
        return name in self._reads

    def emit(
        self,
        op_type: str,
        inputs: Sequence[Value | None],
        attributes: dict[str, Any],
        output: str = "",
    ) -> Value:
        """A node of the importer's own, `name/op_type`; returns its only output."""
        name = f"{self._rewritten}/{op_type}"
        outputs = [output or self.fresh(op_type.lower())]
        (value,) = self._add(op_type, inputs, outputs, attributes, name).outputs
        if output:
            self._values[output] = value
        return value

    def add_node(self, raw: RawNode) -> None:
        """Check, decode, rewrite to the newest opset and append one node."""
        inputs, outputs = _stripped(raw.inputs), self._used_outputs(raw)
        counts = len(inputs), len(_stripped(raw.outputs))
        omitted = [i for i, name in enumerate(inputs) if not name]
        check_against_schema(
            raw.title, raw.op_type, raw.opset, counts, raw.attributes, omitted, raw.domain
        )
        attributes = {
            k: self._decoded(a, raw, k)
            for k, a in raw.attributes.items()
            if a.type != AttributeProto.TYPE_PROTO  # of an Optional: what it would hold
        }
        check_finite(raw.title, attributes)
        check_switches(raw.title, attributes)
        if not outputs:
            return  # a recurrent operator may have none
        values = [self._values[name] if name else None for name in inputs]
        if not raw.domain:
            check_lists(raw.title, raw.op_type, raw.opset, values)
        if raw.op_type == "Constant":
            self._define(outputs[0], _constant_value(raw.title, attributes))
            return
        form = Form(raw.title, raw.op_type, raw.opset, values, outputs, attributes, raw.domain)
        filled = _filled(form)
        if filled is not None:
            self._filled_nbytes += filled.nbytes
            fits = self._filled_nbytes <= FILL_NBYTES_MAX
            self._define(outputs[0], np.array(filled) if fits else filled)
            return
        self._rewritten = raw.name or f"{raw.op_type}_{outputs[0]}"
        self._origin = raw.origin
        to_newest(form, self)
        check_declared(form.title, form.op_type, form.attributes)
        while form.inputs and form.inputs[-1] is None:
            form.inputs.pop()
        names = [name or self.fresh(f"{form.outputs[0]}_unused") for name in form.outputs]
        node = self._add(form.op_type, form.inputs, names, form.attributes, self._rewritten)
        self._values.update((value.name, value) for value in node.outputs)

    def _decoded(self, attribute: AttributeProto, raw: RawNode, name: str) -> Any:
        """Its value, which all nodes share that a function makes of one."""
        known = self._attributes.get(id(attribute))
        if known is None:
            value = decode_attribute(attribute, f"{raw.title}: attribute '{name}'")
            known = self._attributes[id(attribute)] = (attribute, value)
        return known[1]

    def set_outputs(self, infos: Iterable[ValueInfoProto]) -> None:
        """Graph outputs by name."""
        for info in infos:
            if info.name not in self._values:
                raise GraphError(
                    f"graph output '{info.name}' is never produced{near(info.name, self._values)}"
                )
            value = self._values[info.name]
            if value.list_type is None and info.type.WhichOneof("value") in LISTS:
                value.list_type = list_type_of(info.type, f"graph output '{info.name}'")
            if value in self.graph.outputs:
                raise GraphError(f"graph output '{info.name}' is listed twice")
            self.graph.outputs.append(value)
        if not self.graph.outputs:
            raise ModelError(f"graph '{self.graph.name}' has no outputs: there is nothing to run")

    def _used_outputs(self, raw: RawNode) -> list[str]:
        """Trailing optional outputs that nobody reads are dropped (masks, indices)."""
        outputs = _stripped(raw.outputs)
        if raw.op_type in ("Split", "BatchNormalization", "TopK", *STATES):
            return outputs
        while len(outputs) > 1 and not self.is_read(outputs[-1]):
            outputs.pop()
        return outputs

    def _define(self, name: str, array: np.ndarray) -> None:
        self._values[name] = self.graph.add_constant(name, array)

    def fresh(self, name: str) -> str:
        """A name of the importer's own for a value; it is taken from now on."""
        fresh = self._taken.fresh(name)
        self._taken.add(fresh)
        self.graph.internal.add(fresh)
        return fresh

    def _named(self, name: str) -> str:
        """The name, with a number from its second use on."""
        self._node_names[name] += 1
        return name if self._node_names[name] == 1 else f"{name}_{self._node_names[name] - 1}"

    def _add(
        self,
        op_type: str,
        inputs: Sequence[Value | None],
        outputs: Sequence[str],
        attributes: dict[str, Any],
        name: str,
    ) -> Node:
        node = self.graph.add_node(
            op_type, inputs, outputs, attributes, name=self._named(name), origin=self._origin
        )
        ranks = output_ranks(node, self.rank, self.length)
        self._ranks.update(zip(node.outputs, ranks, strict=True))
        self._lengths[node.outputs[0]] = output_length(node, self.rank, self.length)
        self._dtypes.update(zip(node.outputs, output_dtypes(node, self.dtype), strict=True))
        for out in node.outputs[:1]:
            out.list_type = output_list_type(node, self._dtypes[out])
        return node


def _stripped(names: Sequence[str]) -> list[str]:
    names = list(names)
    while names and not names[-1]:
        names.pop()
    return names


def _whole_type(info: ValueInfoProto) -> TensorType | None:
    """What is declared of a tensor; None where a dimension or the dtype is not."""
    tensor = info.type.tensor_type
    if tensor.elem_type not in DTYPES or not tensor.HasField("shape"):
        return None
    if not all(d.HasField("dim_value") and d.dim_value >= 0 for d in tensor.shape.dim):
        return None
    return TensorType(DTYPES[tensor.elem_type], tuple(d.dim_value for d in tensor.shape.dim))


def _input_type(info: ValueInfoProto, taken: set[str]) -> TensorType | ListType:
    """Unknown dimensions (-1, 0, absent) of a tensor get names of their own, `input.axis0`."""
    owner = f"graph input '{info.name}'"
    if not info.type.HasField("tensor_type"):
        return list_type_of(info.type, owner)
    tensor = info.type.tensor_type
    dtype = dtype_of(tensor.elem_type, owner)
    if not tensor.HasField("shape"):
        raise UnsupportedError(
            f"{owner} has no shape, not even a rank: declare its rank with free dimensions"
        )
    dims: list[Dim] = []
    for axis, dim in enumerate(tensor.shape.dim):
        if dim.dim_value > 0:
            dims.append(dim.dim_value)
        elif dim.dim_value < -1:
            raise ModelError(f"{owner}: dimension {axis} is {dim.dim_value}")
        elif dim.dim_param and dim.dim_param not in ANONYMOUS:
            dims.append(dim.dim_param)
        else:
            name = f"{info.name}.axis{axis}"
            while name in taken:
                name += "_"
            taken.add(name)
            dims.append(name)
    check_dims([d if isinstance(d, int) else 1 for d in dims], owner)
    return TensorType(dtype, tuple(dims))


def _constant_value(title: str, attributes: dict[str, Any]) -> np.ndarray:
    if len(attributes) != 1:
        raise ModelError(f"{title}: expected exactly one value attribute, found {list(attributes)}")
    ((kind, value),) = attributes.items()
    if kind == "value":
        return np.asarray(value)
    if kind in ("value_float", "value_floats"):
        return np.array(value, np.float32)
    if kind in ("value_int", "value_ints"):
        return np.array(value, np.int64)
    if kind in ("value_string", "value_strings"):
        return np.array(value, STRING)
    raise UnsupportedError(f"{title}: constants given by '{kind}' are not supported")


def _filled(form: Form) -> np.ndarray | None:
    """ConstantOfShape of a constant shape, folded here because whole weights are made of it."""
    shape = form.inputs[0].constant if form.inputs and form.inputs[0] is not None else None
    if form.op_type != "ConstantOfShape" or shape is None:
        return None
    if shape.dtype != np.int64 or shape.ndim != 1:
        raise ModelError(f"{form.title}: shape must be int64[rank], got {shape.dtype}{shape.shape}")
    dims = [int(d) for d in shape]
    check_dims(dims, form.title)
    element = np.asarray(form.attributes.get("value", np.zeros(1, np.float32)))
    if element.size != 1:
        raise ModelError(f"{form.title}: attribute 'value' has {element.size} elements, expected 1")
    return np.broadcast_to(element.reshape(()), dims)
