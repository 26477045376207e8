"""lay_out_sequences: sequences and optionals become the tensors that they are made of.

How many tensors a sequence has, and which, is known when a plan is laid out, as shapes are. So its
operators only say who reads what: none of them is left in the plan (docs/decisions/0017). Something
optional is what it holds, or nothing.

Source: https://github.com/onnx/onnx/blob/main/docs/Operators.md, Sequence* and Optional*.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.errors import ShapeError, UnsupportedError
from engine.ir.graph import Node, Value
from engine.ir.types import dtype_name, element_name
from engine.ops.cast import ELEMENT_TYPES
from engine.ops.operands import known_integers
from engine.ops.region import PARTS_MAX
from engine.ops.sequence import LAID_OUT
from engine.ops.spec import Operand
from engine.passes.evaluate import naming
from engine.passes.expansion import Expansion

TENSORS_MAX = 2**24
"""In all sequences of one graph: each step of a loop that inserts makes another one."""


@dataclass(frozen=True)
class Tensors:
    """What a sequence is made of.

    Attributes:
        dtype: of each of them.
    """

    dtype: np.dtype
    values: tuple[Value, ...]


class Sequences:
    """The sequences and optionals of one graph, as far as it is laid out."""

    def __init__(self, expansion: Expansion) -> None:
        self._expansion, self._graph = expansion, expansion.graph
        self._made: dict[Value, Tensors | None] = {}
        self._tensors_left = TENSORS_MAX

    def __contains__(self, value: Value | None) -> bool:
        return value in self._made

    def concern(self, node: Node) -> bool:
        """Whether a node is not one of tensors alone."""
        if node.op_type in LAID_OUT:
            return True
        return bool(self._made) and any(v in self._made for v in node.inputs)

    def lay_out(self, node: Node) -> None:
        """Note what the result of a node is made of; where it is a tensor, the node is replaced.

        Raises:
            ShapeError: positions that there are not, or what no such node can read.
            UnsupportedError: a position or size that is computed from data during the run.
        """
        with naming(node):
            result = self._result(node)
        if isinstance(result, Value):
            self._expansion.pass_on(node, [result])
            return
        self._tensors_left -= 0 if result is None else len(result.values)
        if self._tensors_left < 0:
            raise UnsupportedError(
                f"{node.title}: the sequences of the model, one after each operator, come to more "
                f"than {TENSORS_MAX} tensors; supported: fewer iterations, or shorter sequences"
            )
        self._made[node.outputs[0]] = result

    def finish(self) -> None:
        """Outputs become their tensors, and the nodes that made sequences go."""
        outputs = list(self._graph.outputs)
        self._graph.outputs = [
            v for out in outputs for v in (self._given_out(out) if out in self._made else [out])
        ]
        for node in reversed(list(self._graph.nodes)):
            if any(out in self._made for out in node.outputs):
                self._graph.remove_node(node)

    def _given_out(self, out: Value) -> list[Value]:
        """The tensors of an output; each of them is a value of its own."""
        found, graph = self._made[out], self._graph
        if found is None:
            graph.lists_out[out.name] = None
            return []
        copies = []
        for k, value in enumerate(found.values):
            name = graph.unique(element_name(out.name, k))
            copies.append(graph.add_node("Identity", [value], [name]))
            self._expansion.settle(copies[-1])
        graph.lists_out[out.name] = tuple(copy.outputs[0].name for copy in copies)
        return [copy.outputs[0] for copy in copies]

    # ------------------------------------------------------------------ the operators
    def _result(self, node: Node) -> Tensors | Value | None:
        rules: dict[str, Callable[[Node], Tensors | Value | None]] = {
            "ConcatFromSequence": self._concat,
            "Identity": self._identity,
            "Optional": self._optional,
            "OptionalGetElement": self._get,
            "OptionalHasElement": self._has,
            "SequenceAt": self._at,
            "SequenceConstruct": self._construct,
            "SequenceEmpty": self._empty,
            "SequenceErase": self._erase,
            "SequenceInsert": self._insert,
            "SequenceLength": self._length,
            "SplitToSequence": self._split,
        }
        if node.op_type in rules:
            return rules[node.op_type](node)
        position = next(i for i, v in enumerate(node.inputs) if v in self._made)
        raise ShapeError(f"input {position} is {self._shown(node, position)}, expected a tensor")

    def _identity(self, node: Node) -> Tensors | None:
        return self._made[self._input(node, 0)]

    def _construct(self, node: Node) -> Tensors:
        values = tuple(self._tensor(node, i) for i in range(len(node.inputs)))
        dtype = values[0].known_type.dtype
        for i in range(len(values)):
            self._check_dtype(node, i, dtype)
        return Tensors(dtype, values)

    def _empty(self, node: Node) -> Tensors:
        number = node.attributes.get("dtype", 1)
        if number not in ELEMENT_TYPES:
            raise UnsupportedError(f"dtype={number}: sequences of this are not supported")
        return Tensors(ELEMENT_TYPES[number], ())

    def _insert(self, node: Node) -> Tensors:
        old, new = self._sequence(node), self._tensor(node, 1)
        self._check_dtype(node, 1, old.dtype)
        count = len(old.values)
        at = self._position(node, 2, count, count + 1, default=count)
        return Tensors(old.dtype, (*old.values[:at], new, *old.values[at:]))

    def _erase(self, node: Node) -> Tensors:
        old = self._sequence(node)
        at = self._position(node, 1, len(old.values), len(old.values), default=-1)
        return Tensors(old.dtype, (*old.values[:at], *old.values[at + 1 :]))

    def _at(self, node: Node) -> Value:
        values = self._sequence(node).values
        return values[self._position(node, 1, len(values), len(values))]

    def _length(self, node: Node) -> Value:
        return self._expansion.constant(node, np.int64(len(self._sequence(node).values)))

    def _concat(self, node: Node) -> Value:
        values, axis = self._sequence(node).values, node.attributes["axis"]
        if not values:
            raise ShapeError("the sequence is empty: there is nothing to concatenate")
        if node.attributes.get("new_axis", 0):
            self._expansion.spend(node, len(values))
            at = self._expansion.constant(node, np.array([axis], np.int64), "axis")
            values = tuple(self._expansion.emit(node, "Unsqueeze", [v, at], {})[0] for v in values)
        return self._expansion.emit(node, "Concat", values, {"axis": axis})[0]

    def _split(self, node: Node) -> Tensors:
        x, axis = self._tensor(node, 0), node.attributes.get("axis", 0)
        type_ = x.known_type
        if not -len(type_.dims) <= axis < len(type_.dims):
            raise ShapeError(f"axis={axis} is no axis of {type_}")
        sizes = self._sizes(node, type_.dims[axis])
        if not sizes and not type_.dims[axis]:
            return Tensors(type_.dtype, ())
        self._expansion.spend(node, 2 * len(sizes))
        given = self._expansion.constant(node, np.array(sizes, np.int64), "sizes")
        parts = self._expansion.emit(node, "Split", [x, given], {"axis": axis}, len(sizes))
        if len(node.inputs) == 1 and not node.attributes.get("keepdims", 1):
            at = self._expansion.constant(node, np.array([axis], np.int64), "axis")
            parts = tuple(self._expansion.emit(node, "Squeeze", [v, at], {})[0] for v in parts)
        return Tensors(type_.dtype, parts)

    def _sizes(self, node: Node, extent: int) -> list[int]:
        """Of the parts: those given, or all alike but for the last, which may be smaller."""
        given = self._integers(node, 1, "split", PARTS_MAX) if len(node.inputs) > 1 else (1,)
        if len(node.inputs) > 1 and self._input(node, 1).known_type.dims:
            return list(given)
        (size,) = given
        if size < 1 or extent > size * PARTS_MAX:
            raise ShapeError(
                f"{extent} elements in parts of {size}, expected 1 to {PARTS_MAX} parts"
            )
        return [min(size, extent - start) for start in range(0, extent, size)]

    def _optional(self, node: Node) -> Tensors | Value | None:
        return self._get(node) if node.inputs else None

    def _get(self, node: Node) -> Tensors | Value:
        value = self._input(node, 0)
        found = self._made.get(value, value)
        if found is None:
            raise ShapeError(f"input 0 is {self._shown(node, 0)}")
        return found

    def _has(self, node: Node) -> Value:
        is_there = bool(node.inputs) and node.inputs[0] is not None
        is_there = is_there and self._made.get(self._input(node, 0), ()) is not None
        return self._expansion.constant(node, np.bool_(is_there))

    # ------------------------------------------------------------------ what they read
    def _input(self, node: Node, index: int) -> Value:
        value = node.inputs[index]
        if value is None:
            raise ShapeError(f"input {index} is left out")
        return value

    def _sequence(self, node: Node) -> Tensors:
        found = self._made.get(self._input(node, 0))
        if found is None:
            raise ShapeError(f"input 0 is {self._shown(node, 0)}, expected a sequence")
        return found

    def _tensor(self, node: Node, index: int) -> Value:
        value = self._input(node, index)
        if value in self._made:
            raise ShapeError(f"input {index} is {self._shown(node, index)}, expected a tensor")
        return value

    def _shown(self, node: Node, index: int) -> str:
        value = self._input(node, index)
        if value not in self._made:
            return f"the tensor {value.known_type}"
        found = self._made[value]
        if found is None:
            return "an optional that is not there"
        return f"a sequence of {len(found.values)} tensors of {dtype_name(found.dtype)}"

    def _check_dtype(self, node: Node, index: int, dtype: np.dtype) -> None:
        type_ = self._tensor(node, index).known_type
        if type_.dtype != dtype:
            raise ShapeError(f"input {index} is {type_}, the sequence is of {dtype_name(dtype)}")

    def _position(
        self, node: Node, index: int, count: int, end: int, default: int | None = None
    ) -> int:
        """Where in a sequence of `count` tensors, counted from the first; below `end`.

        Args:
            default: where the input is left out.
        """
        if index < len(node.inputs):
            (at,) = self._integers(node, index, "position", 1) or (None,)
        else:
            at = default
        if at is None or not -count <= at < end:
            raise ShapeError(f"position {at} is none in a sequence of {count} tensors")
        return at + count if at < 0 else at

    def _integers(self, node: Node, index: int, name: str, most: int) -> tuple[int, ...]:
        value = self._input(node, index)
        operand = Operand(value.known_type, value.contents)
        return known_integers(node.op_type, [operand], 0, name, most) or ()
