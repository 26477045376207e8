"""Value, BodyOp and Node: what a Graph is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import GraphError
from engine.ir.constant import Constant
from engine.ir.types import ListType, TensorType

if TYPE_CHECKING:
    from engine.ir.graph import Graph

Attributes = Mapping[str, Any]
NO_SUBGRAPHS: Mapping[str, Graph] = MappingProxyType({})


@dataclass(eq=False, slots=True)
class Value:
    """One tensor of the graph: an input, a constant, or what one node produces.

    Until a plan is laid out it may be a sequence of tensors, or optional, too.

    Attributes:
        name: unique in its graph.
        type: None until shapes are inferred, and of what is no tensor.
        list_type: of what is no tensor, as far as that is known; None of a tensor.
        contents: of a constant, which is known before any run; shared by all graphs that have it.
        uses: the nodes that read it, each with the positions among its inputs.
        layout: how a backend stores it, "plain" (row-major) or "channels_last"
            (axis 1 moved to the end); set by `Backend.lower`, ignored by everything logical.
    """

    name: str
    type: TensorType | None = None
    contents: Constant | None = None
    producer: Node | None = None
    uses: dict[Node, list[int]] = field(default_factory=dict)
    layout: str = "plain"
    list_type: ListType | None = None

    @property
    def declared(self) -> TensorType | ListType:
        """The type of an input, whatever it is."""
        return self.known_type if self.list_type is None else self.list_type

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

    def twin(self) -> Value:
        """The same in another graph, which nothing produces or reads yet."""
        return Value(
            self.name, self.type, self.contents, layout=self.layout, list_type=self.list_type
        )

    def __repr__(self) -> str:
        kind = "constant " if self.is_constant else ""
        return f"<{kind}{self.name}: {self.list_type or self.type}>"


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


class Node:
    """One application of an operator.

    Attributes:
        body: empty, or for a fused node the operators it replaces: first the core, whose op_type
            and attributes are the node's own, then each epilogue operator in order. The inputs
            of a fused node are those of the core followed by what the epilogue reads besides.
        identity: all copies of a node have the same; no other node has it.
        origin: title of the operator that it is a part of, which others define; "" of none.
    """

    __slots__ = (
        *("name", "op_type", "domain", "_inputs", "_shown", "outputs", "origin"),
        *("attributes", "body", "subgraphs", "identity"),
    )

    def __init__(
        self,
        name: str,
        op_type: str,
        inputs: Sequence[Value | None],
        outputs: tuple[Value, ...],
        attributes: dict[str, Any] | None = None,
        domain: str = "",
        body: tuple[BodyOp, ...] = (),
        subgraphs: Mapping[str, Graph] = NO_SUBGRAPHS,
        origin: str = "",
    ) -> None:
        self.name, self.op_type, self.domain, self.origin = name, op_type, domain, origin
        self._inputs = list(inputs)
        self._shown: tuple[Value | None, ...] | None = None
        self.outputs, self.identity = outputs, object()
        self.attributes = {} if attributes is None else attributes
        self.body, self.subgraphs = body, subgraphs

    @property
    def inputs(self) -> tuple[Value | None, ...]:
        """In ONNX order; None for an omitted optional input."""
        if self._shown is None:
            self._shown = tuple(self._inputs)
        return self._shown

    def read(self, position: int, value: Value | None) -> None:
        """Read another value there; for Graph alone, which keeps the edges."""
        self._inputs[position] = value
        self._shown = None

    def read_all(self, values: Sequence[Value | None]) -> None:
        """Read these values and no others; for Graph alone."""
        self._inputs, self._shown = list(values), None

    def twin(self, inputs: Sequence[Value | None], outputs: tuple[Value, ...]) -> Node:
        """A copy that reads and produces other values."""
        twin = Node(
            *(self.name, self.op_type, inputs, outputs, self.attributes, self.domain),
            *(self.body, self.subgraphs, self.origin),
        )
        twin.identity = self.identity
        return twin

    @property
    def states(self) -> int:
        """How many of the inputs of a Loop or Scan are carried from iteration to iteration."""
        own: int = self.attributes["num_inputs"]
        if self.op_type == "Loop":
            return own - 2
        return own - int(self.attributes.get("num_scan_inputs", own))

    @property
    def declared_elements(self) -> tuple[TensorType, ...] | None:
        """Of what a Loop stacks in each iteration; None unless its body declares all of it."""
        declared = self.attributes["declared"][1 + self.states :]
        return None if None in declared else declared

    @property
    def title(self) -> str:
        """`Conv+Add+Relu 'name'`: what the user sees in tables."""
        ops = "+".join(n.op_type for n in self.body) if self.body else self.op_type
        return f"{ops} {self.name!r}"

    @property
    def place(self) -> str:
        """What the user sees in errors: `BiasGelu 'name' (Add 'name/Add')` of a part."""
        return f"{self.origin} ({self.title})" if self.origin else self.title

    def placed(self, text: str) -> str:
        """A sentence that names the node, as it is seen in errors."""
        if self.place in text:
            return text
        if self.title in text:
            return text.replace(self.title, self.place, 1)
        return f"{self.place}: {text}"

    def __repr__(self) -> str:
        return f"<{self.title}>"

    def __str__(self) -> str:
        return self.title
