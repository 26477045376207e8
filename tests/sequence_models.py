"""Models with sequences and optionals, in the plan and in stages, each with feeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, TensorProto, TypeProto, helper

from tests.control_flow_models import COUNTING, FLOAT, INT, graph, serialised
from tests.model_writing import node

Feeds = dict[str, Any]
BOOL, DOUBLE = TensorProto.BOOL, TensorProto.DOUBLE
X = np.arange(12, dtype=np.float32).reshape(3, 4) - 5
TENSOR = helper.make_tensor_type_proto(FLOAT, None)
SEQUENCE = helper.make_sequence_type_proto(TENSOR)
LISTS = [[X, X[:1] * 2, X[:, :2]], [], [X[0], np.array(7, np.float32)]]


def with_lists(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[tuple[str, TypeProto | int, Sequence[int | str] | None]],
    outputs: str,
    formals: Sequence[tuple[str, TypeProto]] = (),
    **constants: object,
) -> GraphProto:
    """`graph` whose inputs may have a TypeProto for an element type."""
    plain = [(n, t, d) for n, t, d in inputs if isinstance(t, int)]
    made = graph(nodes, plain, outputs, **constants)
    for name, type_, _ in inputs:
        if not isinstance(type_, int):
            made.input.append(helper.make_value_info(name, type_))
    for info in made.output:
        declared = dict(formals).get(info.name)
        if declared is not None:
            info.type.CopyFrom(declared)
    return made


def a_list_in_a_loop(data_decide: bool = False) -> bytes:
    """Each step puts its state at the front or the back; the list is joined in the end."""
    body = with_lists(
        [
            node("Add", "a x", "a_next"),
            node("Cast", "i", "number", to=FLOAT),
            node("Mul", "a_next number", "scaled"),
            node("SequenceInsert", "s a_next zero", "front"),
            node("SequenceInsert", "front scaled", "s_next"),
            node("ReduceMax", "a_next", "most", keepdims=0)
            if data_decide
            else node("Identity", "number", "most"),
            node("Less", "most limit", "on"),
        ],
        [*COUNTING, ("a", FLOAT, None), ("s", SEQUENCE, None)],
        "on a_next s_next",
        [("s_next", SEQUENCE)],
        zero=np.int64(0),
        limit=np.float32(25),
    )
    nodes = [
        node("SequenceEmpty", "", "none"),
        node("Loop", "trips - x none", "last list", body=body),
        node("ConcatFromSequence", "list", "joined", axis=-2),
        node("ConcatFromSequence", "list", "stacked", axis=-1, new_axis=1),
        node("SequenceLength", "list", "count"),
        node("SequenceAt", "list minus", "one"),
    ]
    inputs = [("x", FLOAT, ["n", 4]), ("trips", INT, [])]
    return serialised(graph(nodes, inputs, "last joined stacked count one", minus=np.int32(-2)))


def a_list_of_parts() -> bytes:
    """Positions are fed, and sizes of parts."""
    nodes = [
        node("SplitToSequence", "x sizes", "rows", axis=-2),
        node("SplitToSequence", "x two", "columns", axis=1),
        node("SplitToSequence", "x", "flat", axis=0, keepdims=0),
        node("SplitToSequence", "x", "kept", axis=1),
        node("SequenceAt", "rows at", "a"),
        node("SequenceErase", "columns at", "fewer"),
        node("SequenceErase", "flat", "but_last"),
        node("ConcatFromSequence", "but_last", "b", axis=1, new_axis=1),
        node("SequenceInsert", "kept a at", "more"),
        node("SequenceLength", "more", "count"),
    ]
    inputs = [("x", FLOAT, ["n", 6]), ("sizes", INT, [2]), ("at", INT, [])]
    return serialised(graph(nodes, inputs, "a b count fewer more", two=np.int64(4)))


def a_list_that_is_fed() -> bytes:
    """It is passed on, changed, and read by a body."""
    body = graph(
        [
            node("SequenceAt", "s i", "x"),
            node("ReduceSum", "x", "sum", keepdims=0),
            node("Add", "total sum", "more"),
            node("Identity", "go", "on"),
        ],
        [*COUNTING, ("total", FLOAT, [])],
        "on more",
    )
    nodes = [
        node("SequenceLength", "s", "count"),
        node("Loop", "count - zero", "total", body=body),
        node("SequenceInsert", "s total", "longer"),
        node("Identity", "s", "same"),
    ]
    inputs = [("s", SEQUENCE, None)]
    return serialised(with_lists(nodes, inputs, "total count longer same", zero=np.float32(0)))


def an_optional(data_decide: bool = False) -> bytes:
    """A branch gives something, the other nothing."""
    optional = helper.make_optional_type_proto(TENSOR)
    then = with_lists([node("Optional", "x", "there")], [], "there", [("there", optional)])
    nothing = helper.make_node("Optional", [], ["none"], name="the_none", type=TENSOR)
    other = with_lists([nothing], [], "none", [("none", optional)])
    get = graph([node("OptionalGetElement", "o", "got")], [], "got")
    without = graph([node("Neg", "x", "n")], [], "n")
    condition = (
        [node("ReduceMax", "x", "most", keepdims=0), node("Greater", "most limit", "c")]
        if data_decide
        else [node("Greater", "k limit", "c")]
    )
    nodes = [
        *condition,
        node("If", "c", "o", then_branch=then, else_branch=other),
        node("OptionalHasElement", "o", "has"),
        node("If", "has", "y", then_branch=get, else_branch=without),
    ]
    limit = np.float32(3) if data_decide else np.int64(3)
    return serialised(graph(nodes, [("x", FLOAT, ["n", 4]), ("k", INT, [])], "y has", limit=limit))


def a_place_by_data() -> bytes:
    """Which tensor, and where one is put in, is computed from data; then shapes differ."""
    nodes = [
        node("ReduceMax", "x", "most", keepdims=0),
        node("Cast", "most", "k", to=INT),
        node("Neg", "x", "n"),
        node("Slice", "x zero one", "row"),
        node("SequenceConstruct", "x n row", "s"),
        node("SequenceAt", "s k", "a"),
        node("SequenceInsert", "s a k", "more"),
        node("SequenceErase", "more k", "again"),
        node("SequenceErase", "s k", "fewer"),
        node("ConcatFromSequence", "fewer", "joined", axis=0),
        node("MatMul", "joined w", "y"),
    ]
    constants = {"zero": [0], "one": [1], "w": np.eye(4, dtype=np.float32) * 2}
    outputs = "a y more again"
    return serialised(graph(nodes, [("x", FLOAT, ["n", 4])], outputs, **constants))


def lists_by_data() -> bytes:
    """Data decide which of two lists there is; a loop goes over it."""
    then = with_lists(
        [node("Neg", "x", "n"), node("SequenceConstruct", "x n", "two")],
        [],
        "two",
        [("two", SEQUENCE)],
    )
    other = with_lists(
        [node("SplitToSequence", "x", "parts", axis=0)], [], "parts", [("parts", SEQUENCE)]
    )
    body = with_lists(
        [
            node("SequenceAt", "s i", "e"),
            node("Mul", "e e", "squared"),
            node("SequenceInsert", "t squared zero", "t_next"),
            node("Identity", "go", "on"),
        ],
        [*COUNTING, ("t", SEQUENCE, None)],
        "on t_next",
        [("t_next", SEQUENCE)],
        zero=np.int32(0),
    )
    nodes = [
        node("ReduceMax", "x", "most", keepdims=0),
        node("Greater", "most limit", "c"),
        node("If", "c", "s", then_branch=then, else_branch=other),
        node("SequenceLength", "s", "count"),
        node("SequenceEmpty", "", "none"),
        node("Loop", "count - none", "t", body=body),
        node("ConcatFromSequence", "t", "y", axis=0),
    ]
    return serialised(graph(nodes, [("x", FLOAT, ["n", 4])], "y t s", limit=np.float32(5)))


MODELS: dict[str, tuple[Callable[[], bytes], list[Feeds]]] = {
    "loop": (a_list_in_a_loop, [{"x": X, "trips": np.array(n)} for n in (1, 3)]),
    "parts": (
        a_list_of_parts,
        [
            {
                "x": np.arange(30, dtype=np.float32).reshape(5, 6),
                "sizes": np.array(s),
                "at": np.array(k),
            }
            for s, k in (([2, 3], 0), ([5, 0], -1), ([1, 4], 1))
        ],
    ),
    "fed": (a_list_that_is_fed, [{"s": s} for s in LISTS]),
    "optional": (an_optional, [{"x": X, "k": np.array(k)} for k in (4, 3)]),
    "optional by data": (
        lambda: an_optional(True),
        [{"x": x, "k": np.array(0)} for x in (X, X - 9)],
    ),
    "loop by data": (
        lambda: a_list_in_a_loop(True),
        [{"x": X + k, "trips": np.array(5)} for k in (0, 9, 30)],
    ),
    "place by data": (a_place_by_data, [{"x": X - k} for k in (4, 5, 6, 7, 8)]),
    "lists by data": (lists_by_data, [{"x": X - k} for k in (0, 3)]),
}
