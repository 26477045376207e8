"""Random models with sequences on whole numbers, against onnxruntime.

Positions are constants, follow from shapes, are fed or computed from data of the run, so that lists
are laid out in the plan or pass from stage to stage; loops and branches carry them. The generator
knows how many tensors a list has at least.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, helper

from engine.arrays import AnyArray
from engine.ops.spec import Choose
from properties.control_flow import BOOL, COLUMNS, FLOAT, INT, ControlModel, Writer

TENSOR = helper.make_tensor_type_proto(FLOAT, None)
SEQUENCE = helper.make_sequence_type_proto(TENSOR)
STEPS_MAX = 3


@dataclass(frozen=True)
class _List:
    """A sequence by name, and how many tensors it has at least."""

    name: str
    least: int


class _ListWriter(Writer):
    """Draws nodes that make and read lists of tensors of one shape."""

    def made(self, nodes: list[NodeProto], values: Sequence[str], given: _List) -> _List:
        """A list of some kind, changed a few times."""
        kinds = (self._constructed, self._by_loop, self._by_branch, self._split)
        here = self.choose.one_of((given, None))
        if here is None:
            here = self.choose.one_of(kinds)(nodes, values, given)
        for _ in range(self.choose.integer(1, STEPS_MAX)):
            here = self.changed(nodes, values, here)
        return here

    def changed(self, nodes: list[NodeProto], values: Sequence[str], old: _List) -> _List:
        """With a tensor more or less."""
        if old.least > 1 and self.choose.integer(0, 2) == 0:
            at = self._place(nodes, values[0], -old.least, old.least - 1)
            return _List(self.op(nodes, "SequenceErase", old.name, *at), old.least - 1)
        at = self._place(nodes, values[0], -old.least, old.least)
        new = self.expression(nodes, values)
        return _List(self.op(nodes, "SequenceInsert", old.name, new, *at), old.least + 1)

    def taken(self, nodes: list[NodeProto], value: str, old: _List) -> str:
        """One of its tensors."""
        at = self._number(nodes, value, -old.least, old.least - 1)
        return self.op(nodes, "SequenceAt", old.name, at)

    def parts(self, nodes: list[NodeProto], value: str) -> str:
        """A value in parts, of which the last may be smaller."""
        axis = self.choose.integer(-2, 1)
        if self.choose.integer(0, 3):
            size = self._number(nodes, value, 1, 3)
            return self.op(nodes, "SplitToSequence", value, size, axis=axis)
        keepdims = self.choose.integer(0, 1)
        return self.op(nodes, "SplitToSequence", value, axis=axis, keepdims=keepdims)

    def _place(self, nodes: list[NodeProto], value: str, least: int, most: int) -> list[str]:
        return [self._number(nodes, value, least, most)] if self.choose.integer(0, 3) else []

    # ------------------------------------------------------------------ kinds
    def _constructed(self, nodes: list[NodeProto], values: Sequence[str], given: _List) -> _List:
        parts = [self.expression(nodes, values) for _ in range(self.choose.integer(1, 4))]
        return _List(self.op(nodes, "SequenceConstruct", *parts), len(parts))

    def _split(self, nodes: list[NodeProto], values: Sequence[str], given: _List) -> _List:
        """Of a value that was joined: so all tensors have its shape again."""
        rows = self.op(nodes, "Concat", *values[:2], values[0], axis=1)
        size = self.constant(nodes, np.int64(COLUMNS))
        count = len(values[:2]) + 1
        return _List(self.op(nodes, "SplitToSequence", rows, size, axis=-1), count)

    def _by_loop(self, nodes: list[NodeProto], values: Sequence[str], given: _List) -> _List:
        """Each step changes a list, by a tensor of it and by the step."""
        trips = self._number(nodes, values[0], 0, 3)
        state, inner = self.name("list"), list[NodeProto]()
        number, goes_on = self.name("i"), self.name("go")
        one = self.taken(inner, values[0], _List(state, given.least))
        more = self.changed(inner, [one, *values], _List(state, given.least))
        if more.least < given.least:
            more = _List(self.op(inner, "SequenceInsert", more.name, one), given.least)
        on = self._condition(inner, number, goes_on, one)
        formals = [
            helper.make_tensor_value_info(number, INT, []),
            helper.make_tensor_value_info(goes_on, BOOL, []),
            helper.make_value_info(state, SEQUENCE),
        ]
        results = [
            helper.make_tensor_value_info(on, BOOL, []),
            helper.make_value_info(more.name, SEQUENCE),
        ]
        body = helper.make_graph(inner, "body", formals, results)
        return _List(self.op(nodes, "Loop", trips, "", given.name, body=body), given.least)

    def _by_branch(self, nodes: list[NodeProto], values: Sequence[str], given: _List) -> _List:
        branches, least = [], []
        for _ in range(2):
            inner: list[NodeProto] = []
            made = self.changed(inner, values, self._constructed(inner, values, given))
            results = [helper.make_value_info(made.name, SEQUENCE)]
            branches.append(helper.make_graph(inner, "branch", [], results))
            least.append(made.least)
        limit = self.constant(nodes, np.int64(self.choose.integer(0, 3)))
        chosen = self.op(nodes, "Greater", self._number(nodes, values[0], 0, 3), limit)
        then, other = branches
        name = self.op(nodes, "If", chosen, then_branch=then, else_branch=other)
        return _List(name, min(least))


def draw(choose: Choose) -> ControlModel:
    """A model of one to three lists, and feeds of two or three shapes, numbers and lengths."""
    writer = _ListWriter(choose, by_data=choose.one_of((True, False)))
    nodes, values = list[NodeProto](), ["x"]
    here = _List("s", 1)
    for _ in range(choose.integer(1, 3)):
        here = writer.made(nodes, values, here)
        values.insert(0, writer.taken(nodes, values[0], here))
    new_axis = choose.integer(0, 1)
    axis = choose.integer(-2 - new_axis, 1 + new_axis)
    joined = writer.op(nodes, "ConcatFromSequence", here.name, axis=axis, new_axis=new_axis)
    length = writer.op(nodes, "SequenceLength", here.name)
    parts = writer.parts(nodes, values[0])
    kept = writer.op(nodes, "Identity", "k")
    inputs = [
        helper.make_tensor_value_info("x", FLOAT, ["n", COLUMNS]),
        helper.make_value_info("s", SEQUENCE),
        helper.make_tensor_value_info("k", INT, []),
    ]
    outputs = [
        helper.make_tensor_value_info(values[0], FLOAT, [None, None]),
        helper.make_tensor_value_info(joined, FLOAT, [None] * (2 + new_axis)),
        helper.make_tensor_value_info(length, INT, []),
        helper.make_tensor_value_info(kept, INT, []),
        helper.make_value_info(here.name, SEQUENCE),
        helper.make_value_info(parts, SEQUENCE),
    ]
    graph = helper.make_graph(nodes, "lists", inputs, outputs)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    rng = np.random.default_rng(choose.integer(0, 2**32 - 1))

    def whole(rows: int) -> np.ndarray:
        return rng.integers(-8, 9, (rows, COLUMNS)).astype(np.float32)

    feeds: tuple[Mapping[str, AnyArray], ...] = tuple(
        {
            "x": whole(rows),
            "s": [whole(rows) for _ in range(choose.integer(1, 3))],
            "k": np.array(choose.integer(0, 3)),
        }
        for rows in (choose.integer(1, 3), choose.integer(1, 3))
    )
    return ControlModel(made, (*feeds, feeds[0]))
