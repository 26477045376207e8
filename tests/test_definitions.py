"""Operators that ONNX defines by others, one body for each call: types are known while importing.

What they compute is held against ONNX's stored cases in conformance/test_onnx_suite.py.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from engine.errors import ModelError, UnsupportedError
from engine.interpreter import Interpreter
from engine.ir.graph import Value
from engine.onnx_import.facts import output_length, output_ranks
from engine.onnx_import.load import load_model
from tests.model_writing import model, model_bytes, node

pytestmark = pytest.mark.device_free

X = np.array([[1.5, -2.5, 300.0]], np.float32)
ROUNDINGS = 16
"""Of two normalisations in float: square, mean of three, sum, root, quotient, product."""


def test_a_body_depends_on_the_dtypes_of_its_call() -> None:
    data = model_bytes(
        [node("Cast", "x", "h", to=TensorProto.FLOAT16), node("CastLike", "x h", "y")],
        {"x": (1, 3)},
        ["y"],
        opset=15,
    )
    graph = load_model(data)
    assert [n.op_type for n in graph.nodes][-1] == "Cast"
    with Interpreter.from_buffer(data).create_session() as session:
        (y,) = session({"x": X}).values()
    assert y.dtype == np.float16


@pytest.mark.parametrize("op_type", ["Shape", "Equal", "ArgMax", "IsNaN"])
def test_dtypes_are_known_behind_operators_that_have_their_own(op_type: str) -> None:
    inputs = "x x" if op_type == "Equal" else "x"
    graph = load_model(
        model_bytes(
            [node(op_type, inputs, "a"), node("CastLike", "x a", "y")],
            {"x": (1, 3)},
            ["y"],
            opset=15,
        )
    )
    expected = TensorProto.INT64 if op_type in ("Shape", "ArgMax") else TensorProto.BOOL
    assert graph.outputs[0].producer is not None
    assert graph.outputs[0].producer.attributes["to"] == expected


@pytest.mark.parametrize(
    ("nodes", "a", "b", "rank"),
    [
        ([node("MatMul", "a b", "y")], (3,), (3,), 0),
        ([node("MatMul", "a b", "y")], (2, 3), (3,), 1),
        ([node("MatMul", "a b", "y")], (3,), (4, 3, 2), 2),
        ([node("MatMul", "a b", "y")], (5, 2, 3), (3, 2), 3),
        ([node("Gather", "a i", "y")], (2, 3), (), 1),
        ([node("Gather", "a j", "y")], (2, 3), (), 3),
        ([node("Shape", "b", "s"), node("Reshape", "a s", "y")], (6,), (1, 2, 3), 3),
        (
            [
                node("Shape", "b", "s", start=-2),
                node("Concat", "one s one", "t", axis=0),
                node("Reshape", "a t", "y"),
            ],
            (6,),
            (1, 2, 3),
            4,
        ),
    ],
)
def test_ranks_are_known_behind_operators_that_change_them(
    nodes: list, a: tuple[int, ...], b: tuple[int, ...], rank: int
) -> None:
    constants = {"i": np.array(0), "j": np.zeros((1, 1), np.int64), "one": np.array([1])}
    graph = load_model(model_bytes(nodes, {"a": a, "b": b}, ["y"], constants, opset=15))
    (last,) = (n for n in graph.nodes if n.outputs[0].name == "y")

    def known(value: Value | None) -> int | None:
        return None if value is None or value.type is None else len(value.type.shape)

    def length(value: Value | None) -> int | None:
        if known(value) is not None:
            return value.type.dims[0] if value and value.type and known(value) == 1 else None
        return output_length(value.producer, known, length) if value and value.producer else None

    assert output_ranks(last, known, length) == [rank]


def test_bodies_within_bodies_and_functions_get_names_of_their_own() -> None:
    norm = node("RMSNormalization", "x scale", "x_1", axis=-1)
    function = helper.make_function(
        "own", "Norm", ["x", "scale"], ["y"], [norm, node("Identity", "x_1", "y")],
        [helper.make_opsetid("", 23)],
    )  # fmt: skip
    calls = [
        helper.make_node("Norm", ["x", "scale"], ["a"], domain="own", name="first"),
        helper.make_node("Norm", ["a", "scale"], ["y"], domain="own", name="second"),
    ]
    data = model_bytes(
        calls, {"x": (2, 3)}, ["y"], {"scale": np.ones(3, np.float32)},
        opset=23, functions=[function], domains=["own"],
    )  # fmt: skip
    with Interpreter.from_buffer(data).create_session() as session:
        (y,) = session({"x": np.tile(X, (2, 1))}).values()

    def normalized(x: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5)

    np.testing.assert_allclose(
        y, normalized(normalized(np.tile(X, (2, 1)))), rtol=ROUNDINGS * 2**-24
    )


def test_an_attribute_of_a_function_reaches_the_body_under_the_name_it_has_there() -> None:
    """ONNX makes such a body from the call, so a name of the function's own would be lost."""
    norm = node("RMSNormalization", "x scale", "y")
    for name, kind in (("axis", onnx.AttributeProto.INT), ("epsilon", onnx.AttributeProto.FLOAT)):
        norm.attribute.add(name=name, ref_attr_name=f"the_{name}", type=kind)
    function = helper.make_function(
        "own", "Norm", ["x", "scale"], ["y"], [norm], [helper.make_opsetid("", 23)],
        attributes=["the_axis", "the_epsilon"],
    )  # fmt: skip
    call = helper.make_node(
        "Norm", ["x", "scale"], ["y"], domain="own", the_axis=0, the_epsilon=0.5
    )
    scale = np.ones((2, 3), np.float32)
    data = model_bytes([call], {"x": (2, 3)}, ["y"], {"scale": scale},
                       opset=23, functions=[function], domains=["own"])  # fmt: skip
    x = np.tile(X, (2, 1))
    with Interpreter.from_buffer(data).create_session() as session:
        (y,) = session({"x": x}).values()
    np.testing.assert_allclose(y, x / np.sqrt((x * x).mean() + 0.5), rtol=ROUNDINGS * 2**-24)


def test_a_call_that_its_schema_does_not_know_is_refused() -> None:
    for call, words in (
        (node("CastLike", "x", "y"), "CastLike 'the_y' has 1 inputs"),
        (node("CastLike", "x x", "y", scale=2), "no attribute 'scale' here"),
    ):
        with pytest.raises(ModelError, match=words):
            load_model(model_bytes([call], {"x": (1, 3)}, ["y"], opset=15))


def test_an_operator_with_neither_kernel_nor_body_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="Multinomial 'the_y': there is no kernel"):
        load_model(model_bytes([node("Multinomial", "x", "y")], {"x": (3, 3)}, ["y"]))


def test_a_body_in_a_subgraph_of_unknown_dtypes_is_refused_in_one_sentence() -> None:
    inner = helper.make_graph(
        [node("Foreign", "x", "u"), node("CastLike", "x u", "v")],
        "inner", [], [helper.make_empty_tensor_value_info("v")],
    )  # fmt: skip
    branch = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    proto = model([branch], {"x": (1, 3)}, ["y"], {"c": np.array(True)}, opset=15)
    with pytest.raises(UnsupportedError, match="no operator 'Foreign'"):
        load_model(proto.SerializeToString())


def test_bodies_are_counted() -> None:
    """A chain of calls costs what its bodies hold, and is not quadratic."""
    nodes = [node("CastLike", f"x{i} x", f"x{i + 1}") for i in range(3000)]
    nodes[0] = node("CastLike", "x x", "x1")
    graph = load_model(model_bytes(nodes, {"x": (1, 3)}, ["x3000"], opset=15))
    assert len(graph.nodes) == 3000
    assert onnx.defs.get_schema("CastLike", 15).has_context_dependent_function


def test_a_gemm_reads_no_third_input_that_counts_for_nothing() -> None:
    c = np.array([[np.inf, np.nan]], np.float32)
    data = model_bytes([node("Gemm", "x w c", "y", beta=0.0)], {"x": (1, 3)}, ["y"],
                       {"w": np.ones((3, 2), np.float32), "c": c})  # fmt: skip
    with Interpreter.from_buffer(data).create_session() as session:
        np.testing.assert_array_equal(session({"x": X})["y"], [[299, 299]])
