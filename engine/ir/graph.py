"""Graph: SSA with use-def edges that only its own methods change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import cast

import numpy as np

from engine.errors import GraphError, InputError
from engine.ir.constant import Constant
from engine.ir.names import Names
from engine.ir.node import NO_SUBGRAPHS, Attributes, BodyOp, Node, Value
from engine.ir.types import ListType, TensorType
from engine.ir.value_list import ValueList

__all__ = ["Attributes", "BodyOp", "Graph", "Node", "Value"]


class Graph:
    """Nodes in topological order, with inputs, outputs and the values between them.

    Use-def edges (`Value.producer`, `Value.uses`) are kept by the methods here; code outside
    reads them and never writes them. `engine.ir.verify.verify` re-checks every invariant.

    Attributes:
        kept: constants that belong to the graph even where nothing reads them.
        internal: names of values that the importer made; the user's file does not have them.
        lists_in, lists_out: of a bound graph, what its user knows as one input or output: a name,
            and the names of the inputs or outputs that are the tensors of a sequence; None for
            something optional that is not there.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._inputs, self._outputs = ValueList(), ValueList()
        self._nodes: list[Node] = []
        self._before: dict[Node, list[Node]] = {}
        self._gone: set[Node] = set()
        self.kept: list[Value] = []
        self.internal: set[str] = set()
        self._names = Names()
        self.opset: int = 0
        self.lists_in: dict[str, tuple[str, ...] | None] = {}
        self.lists_out: dict[str, tuple[str, ...] | None] = {}

    # ----------------------------------------------------------------- its parts
    @property
    def inputs(self) -> ValueList:
        """What a run is fed."""
        return self._inputs

    @inputs.setter
    def inputs(self, values: Iterable[Value]) -> None:
        self._inputs = ValueList(values)

    @property
    def outputs(self) -> ValueList:
        """What a run gives."""
        return self._outputs

    @outputs.setter
    def outputs(self, values: Iterable[Value]) -> None:
        self._outputs = ValueList(values)

    @property
    def nodes(self) -> list[Node]:
        """In topological order.

        Insertions and removals are gathered, and take effect when the nodes are read again: so a
        pass that changes every node costs one sweep.
        """
        if self._before or self._gone:
            self._nodes, self._gone = list(self._edited()), set()
            if self._before:
                lost = next(iter(self._before))
                raise GraphError(f"a node was put before {lost}, which is not in the graph")
        return self._nodes

    def _edited(self) -> Iterator[Node]:
        for root in self._nodes:
            stack = [root]
            while stack:
                node = stack.pop()
                if (new := self._before.pop(node, None)) is not None:
                    stack += [node, *reversed(new)]
                elif node not in self._gone:
                    yield node

    # ----------------------------------------------------------------- building
    def add_input(self, name: str, type_: TensorType | ListType | None) -> Value:
        """A new graph input; that of a subgraph may be of no known type."""
        value = self._new_value(name, None if isinstance(type_, ListType) else type_)
        value.list_type = type_ if isinstance(type_, ListType) else None
        self.inputs.append(value)
        return value

    def add_constant(self, name: str, given: np.ndarray | Constant) -> Value:
        """A new constant value; `name` is made unique."""
        contents = given if isinstance(given, Constant) else Constant(given)
        value = self._new_value(self.unique(name), contents.type)
        value.contents = contents
        return value

    def add_node(
        self,
        op_type: str,
        inputs: Sequence[Value | None],
        outputs: Sequence[str | tuple[str, TensorType | None]],
        attributes: Attributes | None = None,
        *,
        name: str = "",
        before: Node | None = None,
        body: tuple[BodyOp, ...] = (),
        subgraphs: Mapping[str, Graph] = NO_SUBGRAPHS,
        origin: str = "",
    ) -> Node:
        """Append a node (or insert it before another one) and create its output values."""
        outs = []
        for spec in outputs:
            out_name, type_ = spec if isinstance(spec, tuple) else (spec, None)
            outs.append(self._new_value(out_name, type_))
        node = Node(
            name or self.unique(f"{op_type}_{outs[0].name}" if outs else op_type),
            op_type,
            tuple(inputs),
            tuple(outs),
            dict(attributes or {}),
            body=body,
            subgraphs=subgraphs,
            origin=origin,
        )
        self._connect(node)
        for out in outs:
            out.producer = node
        if before is None:
            self._nodes.append(node)
        else:
            self._before.setdefault(before, []).append(node)
        return node

    def unique(self, name: str) -> str:
        """`name`, or `name_1`, `name_2`... whichever no value has yet."""
        return self._names.fresh(name)

    def _new_value(self, name: str, type_: TensorType | None) -> Value:
        if name in self._names:
            raise GraphError(f"value {name!r} is defined twice")
        self._names.add(name)
        return Value(name, type_)

    # ----------------------------------------------------------------- changing
    def compute_input(
        self, value: Value, op_type: str, inputs: Sequence[Value], attributes: Attributes
    ) -> None:
        """A graph input becomes what a new node, before all others, computes."""
        name = f"{op_type}_{value.name}"
        node = Node(name, op_type, inputs, (value,), dict(attributes))
        self._connect(node)
        value.producer = node
        self._nodes = [node, *self.nodes]
        self.inputs = [v for v in self.inputs if v is not value]

    def replace_uses(self, old: Value, new: Value) -> None:
        """Every reader of `old` (nodes and graph outputs) reads `new` instead.

        A graph output keeps the user's name: the names of `old` and `new` are exchanged when
        `old` is a graph output and `new` is not one, and not a graph input.
        """
        if old in self.outputs and new not in self.outputs and new not in self.inputs:
            old.name, new.name = new.name, old.name
        uses, old.uses = old.uses, {}
        for node, positions in uses.items():
            for position in positions:
                node.read(position, new)
            new.uses.setdefault(node, []).extend(positions)
        self.outputs.replace(old, new)

    def set_inputs(self, node: Node, inputs: Sequence[Value | None]) -> None:
        """Change what `node` reads."""
        self._disconnect(node)
        node.read_all(inputs)
        self._connect(node)

    def _connect(self, node: Node) -> None:
        for position, value in enumerate(node.inputs):
            if value is not None:
                value.uses.setdefault(node, []).append(position)

    def _disconnect(self, node: Node) -> None:
        for value in node.inputs:
            if value is not None:
                value.uses.pop(node, None)

    def make_constant(self, value: Value, given: np.ndarray | Constant) -> None:
        """Turn a produced value into a constant; its producer must then be removed."""
        value.contents = given if isinstance(given, Constant) else Constant(given)
        value.type = value.contents.type

    def remove_node(self, node: Node) -> None:
        """Remove a node whose outputs nobody reads (or that have become constants)."""
        for out in node.outputs:
            if not out.is_constant and (out.uses or out in self.outputs):
                raise GraphError(f"cannot remove {node}: {out.name!r} is still read")
        self._disconnect(node)
        self._gone.add(node)
        for out in node.outputs:
            out.producer = None
            if not out.is_constant:
                self._names.discard(out.name)

    def pass_on(self, node: Node, values: Sequence[Value]) -> list[Node]:
        """Each output of a node, under its name, becomes a copy of a value; the node is removed.

        Returns:
            The nodes that copy.
        """
        copies = []
        for out, value in zip(node.outputs, values, strict=True):
            copy = Node(f"{node.name}/{out.name}", "Identity", (value,), (out,))
            self._connect(copy)
            out.producer = copy
            copies.append(copy)
        self._before.setdefault(node, []).extend(copies)
        self._disconnect(node)
        self._gone.add(node)
        return copies

    def set_nodes(self, nodes: Iterable[Node]) -> None:
        """Reorder the nodes; they must be the same ones."""
        nodes = list(nodes)
        if {id(n) for n in nodes} != {id(n) for n in self.nodes}:
            raise GraphError("set_nodes only reorders")
        self._nodes = nodes

    # ----------------------------------------------------------------- reading
    def values(self) -> list[Value]:
        """Every value: inputs, constants read or kept, node outputs; in order of appearance."""
        inside = chain.from_iterable((*node.inputs, *node.outputs) for node in self.nodes)
        seen = dict.fromkeys(chain(self.inputs, inside, self.outputs, self.kept))
        seen.pop(None, None)
        return cast("list[Value]", list(seen))

    def listed_values(self) -> dict[str, Value]:
        """Every value that the user's file has, by name."""
        return {v.name: v for v in self.values() if v.name not in self.internal}

    def listed_nodes(self) -> list[Node]:
        """Every node that stands for an operator of the user's file, in order."""
        return [n for n in self.nodes if any(v.name not in self.internal for v in n.outputs)]

    def interface(self) -> Graph:
        """Names and types of the inputs and outputs, without nodes and constants."""
        new = Graph(self.name)
        new.inputs = [Value(v.name, v.type, list_type=v.list_type) for v in self.inputs]
        new.outputs = [Value(v.name, v.type, list_type=v.list_type) for v in self.outputs]
        return new

    def dissolve(self) -> None:
        """Let go of all constants and edges; only names and types can be asked for afterwards.

        Nodes and values refer to one another no more, so they go without the garbage collector.
        """
        for value in self.values():
            value.contents = value.producer = None
            value.uses = {}

    def constants(self) -> list[Constant]:
        """Every constant, once, those of subgraphs too."""
        found = {id(v.contents): v.contents for v in self.values() if v.contents is not None}
        for node in self.nodes:
            for subgraph in node.subgraphs.values():
                found.update((id(c), c) for c in subgraph.constants())
        return list(found.values())

    def rest(self) -> None:
        """Let go of the arrays of constants that can be made again."""
        for constant in self.constants():
            constant.rest()

    def value(self, name: str) -> Value:
        """The value of that name; raises InputError."""
        for value in self.values():
            if value.name == name:
                return value
        raise InputError(f"graph {self.name!r} has no value named {name!r}")

    def copy(self) -> Graph:
        """A deep copy of the structure; constant arrays and attributes are shared, not copied."""
        new = Graph(self.name)
        new.opset, new.internal = self.opset, self.internal
        new.lists_in, new.lists_out = dict(self.lists_in), dict(self.lists_out)
        twins: dict[Value | None, Value] = {v: v.twin() for v in self.values()}
        new._names = Names(v.name for v in twins.values())
        new.inputs = [twins[v] for v in self.inputs]
        for node in self.nodes:
            read, made = map(twins.get, node.inputs), map(twins.__getitem__, node.outputs)
            twin = node.twin(list(read), tuple(made))
            new._connect(twin)
            for out in twin.outputs:
                out.producer = twin
            new._nodes.append(twin)
        new.outputs = [twins[v] for v in self.outputs]
        new.kept = [twins[v] for v in self.kept]
        return new
