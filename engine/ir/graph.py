"""Value, Node, Graph: SSA with use-def edges that only Graph's own methods change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.errors import GraphError, InputError
from engine.ir.constant import Constant
from engine.ir.types import TensorType, type_of

Attributes = Mapping[str, Any]


@dataclass(eq=False)
class Value:
    """One tensor of the graph: an input, a constant, or what one node produces.

    Attributes:
        name: unique in its graph.
        type: None until shapes are inferred.
        contents: of a constant, which is known before any run; shared by all graphs that have it.
        layout: how a backend stores it, "plain" (row-major) or "channels_last"
            (axis 1 moved to the end); set by `Backend.lower`, ignored by everything logical.
    """

    name: str
    type: TensorType | None = None
    contents: Constant | None = None
    producer: Node | None = None
    uses: list[Node] = field(default_factory=list)
    layout: str = "plain"

    @property
    def known_type(self) -> TensorType:
        """The type; raises GraphError before shape inference."""
        if self.type is None:
            raise GraphError(f"value {self.name!r} has no type yet: run infer_shapes first")
        return self.type

    @property
    def is_constant(self) -> bool:
        """Whether the value is known before any run; unlike `constant` it brings no array back."""
        return self.contents is not None

    @property
    def constant(self) -> np.ndarray | None:
        """The array of a constant, which is brought back into memory if it rests."""
        return None if self.contents is None else self.contents.array

    @constant.setter
    def constant(self, array: np.ndarray) -> None:
        self.contents = Constant(array)

    def __repr__(self) -> str:
        kind = "constant " if self.is_constant else ""
        return f"<{kind}{self.name}: {self.type}>"


@dataclass(frozen=True)
class BodyOp:
    """One of the operators that a fused node replaces.

    Attributes:
        inputs: where each input comes from: i < len(node.inputs) is the fused node's own input i,
            len(node.inputs) + k is the output of the k-th BodyOp, None an omitted input.
        type: of its (single) output.
    """

    op_type: str
    attributes: Attributes
    inputs: tuple[int | None, ...]
    type: TensorType


@dataclass(eq=False)
class Node:
    """One application of an operator.

    Attributes:
        inputs: in ONNX order; None for an omitted optional input.
        body: empty, or for a fused node the operators it replaces: first the core, whose op_type
            and attributes are the node's own, then each epilogue operator in order. The inputs
            of a fused node are those of the core followed by what the epilogue reads besides.
    """

    name: str
    op_type: str
    inputs: tuple[Value | None, ...]
    outputs: tuple[Value, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    domain: str = ""
    body: tuple[BodyOp, ...] = ()

    @property
    def title(self) -> str:
        """`Conv+Add+Relu 'name'`: what the user sees in tables and errors."""
        ops = "+".join(n.op_type for n in self.body) if self.body else self.op_type
        return f"{ops} {self.name!r}"

    def __repr__(self) -> str:
        return f"<{self.title}>"


class Graph:
    """Nodes in topological order, with inputs, outputs and the values between them.

    Use-def edges (`Value.producer`, `Value.uses`) are kept by the methods here; code outside
    reads them and never writes them. `engine.ir.verify.verify` re-checks every invariant.

    Attributes:
        kept: constants that belong to the graph even where nothing reads them.
        internal: names of values that the importer made; the user's file does not have them.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.inputs: list[Value] = []
        self.outputs: list[Value] = []
        self.nodes: list[Node] = []
        self.kept: list[Value] = []
        self.internal: set[str] = set()
        self._names: set[str] = set()
        self.opset: int = 0

    # ----------------------------------------------------------------- building
    def add_input(self, name: str, type_: TensorType) -> Value:
        """A new graph input."""
        value = self._new_value(name, type_)
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
        )
        for value in node.inputs:
            if value is not None:
                value.uses.append(node)
        for out in outs:
            out.producer = node
        self.nodes.insert(self.nodes.index(before) if before else len(self.nodes), node)
        return node

    def unique(self, name: str) -> str:
        """`name`, or `name_1`, `name_2`... whichever no value has yet."""
        if name not in self._names:
            return name
        i = 1
        while f"{name}_{i}" in self._names:
            i += 1
        return f"{name}_{i}"

    def _new_value(self, name: str, type_: TensorType | None) -> Value:
        if name in self._names:
            raise GraphError(f"value {name!r} is defined twice")
        self._names.add(name)
        return Value(name, type_)

    # ----------------------------------------------------------------- changing
    def replace_uses(self, old: Value, new: Value) -> None:
        """Every reader of `old` (nodes and graph outputs) reads `new` instead.

        A graph output keeps the user's name: the names of `old` and `new` are exchanged when
        `old` is a graph output and `new` is not one, and not a graph input.
        """
        if old in self.outputs and new not in self.outputs and new not in self.inputs:
            old.name, new.name = new.name, old.name
        for node in list(dict.fromkeys(old.uses)):
            self.set_inputs(node, [new if v is old else v for v in node.inputs])
        self.outputs = [new if v is old else v for v in self.outputs]

    def set_inputs(self, node: Node, inputs: Sequence[Value | None]) -> None:
        """Change what `node` reads."""
        for value in node.inputs:
            if value is not None:
                value.uses.remove(node)
        node.inputs = tuple(inputs)
        for value in node.inputs:
            if value is not None:
                value.uses.append(node)

    def make_constant(self, value: Value, array: np.ndarray) -> None:
        """Turn a produced value into a constant; its producer must then be removed."""
        value.constant = array
        value.type = type_of(array)

    def remove_node(self, node: Node) -> None:
        """Remove a node whose outputs nobody reads (or that have become constants)."""
        for out in node.outputs:
            if not out.is_constant and (out.uses or out in self.outputs):
                raise GraphError(f"cannot remove {node}: {out.name!r} is still read")
        for value in node.inputs:
            if value is not None:
                value.uses.remove(node)
        self.nodes.remove(node)
        for out in node.outputs:
            out.producer = None
            if not out.is_constant:
                self._names.discard(out.name)

    def set_nodes(self, nodes: Iterable[Node]) -> None:
        """Reorder the nodes; they must be the same ones."""
        nodes = list(nodes)
        if {id(n) for n in nodes} != {id(n) for n in self.nodes}:
            raise GraphError("set_nodes only reorders")
        self.nodes = nodes

    # ----------------------------------------------------------------- reading
    def values(self) -> list[Value]:
        """Every value: inputs, constants read or kept, node outputs; in order of appearance."""
        seen: dict[int, Value] = {id(v): v for v in self.inputs}
        for node in self.nodes:
            for value in (*node.inputs, *node.outputs):
                if value is not None:
                    seen.setdefault(id(value), value)
        for value in (*self.outputs, *self.kept):
            seen.setdefault(id(value), value)
        return list(seen.values())

    def listed_values(self) -> dict[str, Value]:
        """Every value that the user's file has, by name."""
        return {v.name: v for v in self.values() if v.name not in self.internal}

    def listed_nodes(self) -> list[Node]:
        """Every node that stands for an operator of the user's file, in order."""
        return [n for n in self.nodes if any(v.name not in self.internal for v in n.outputs)]

    def interface(self) -> Graph:
        """Names and types of the inputs and outputs, without nodes and constants."""
        new = Graph(self.name)
        new.inputs = [Value(v.name, v.type) for v in self.inputs]
        new.outputs = [Value(v.name, v.type) for v in self.outputs]
        return new

    def drop_constants(self) -> None:
        """Let go of all constants; only names and types can be asked for afterwards."""
        for value in self.values():
            value.contents = None

    def rest(self) -> None:
        """Let go of the arrays of constants that can be made again."""
        for value in self.values():
            if value.contents is not None:
                value.contents.rest()

    def value(self, name: str) -> Value:
        """The value of that name; raises InputError."""
        for value in self.values():
            if value.name == name:
                return value
        raise InputError(f"graph {self.name!r} has no value named {name!r}")

    def copy(self) -> Graph:
        """A deep copy of the structure; constant arrays are shared, not copied."""
        new = Graph(self.name)
        new.opset, new.internal = self.opset, self.internal
        mapped: dict[int, Value] = {}

        def clone(value: Value | None) -> Value | None:
            if value is None:
                return None
            if id(value) not in mapped:
                twin = Value(value.name, value.type, value.contents, layout=value.layout)
                mapped[id(value)] = twin
                new._names.add(twin.name)
            return mapped[id(value)]

        new.inputs = [v for v in map(clone, self.inputs) if v is not None]
        for node in self.nodes:
            twin = Node(
                node.name,
                node.op_type,
                tuple(map(clone, node.inputs)),
                tuple(v for v in map(clone, node.outputs) if v is not None),
                dict(node.attributes),
                node.domain,
                node.body,
            )
            for v in twin.inputs:
                if v is not None:
                    v.uses.append(twin)
            for v in twin.outputs:
                v.producer = twin
            new.nodes.append(twin)
        new.outputs = [v for v in map(clone, self.outputs) if v is not None]
        new.kept = [v for v in map(clone, self.kept) if v is not None]
        return new
