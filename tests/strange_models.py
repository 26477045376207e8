"""Models that Parallax cannot run, one for every reason that strangers' models bring."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.model_writing import model, node

FLOAT, COMPLEX = TensorProto.FLOAT, TensorProto.COMPLEX64


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def branch(name: str, *nodes: onnx.NodeProto) -> onnx.GraphProto:
    output = helper.make_tensor_value_info(nodes[-1].output[0], FLOAT, None)
    return helper.make_graph(list(nodes), name, [], [output])


def lstm() -> onnx.ModelProto:
    constants = {"w": zeros(1, 16, 3), "r": zeros(1, 16, 4)}
    activations = ["Sigmoid", "Tanh", "Cos"]
    lstm = node("LSTM", "x w r", "h", hidden_size=4, activations=activations)
    nodes = [lstm, node("Relu", "h", "y")]
    return model(nodes, {"x": ("seq", "batch", 3)}, ["y"], constants)


def conditional() -> onnx.ModelProto:
    """If; one branch holds an operator that is not supported either, and a nested If."""
    inner = node(
        "If",
        "c",
        "i",
        then_branch=branch("inner_then", node("Abs", "x", "ia")),
        else_branch=branch("inner_else", node("Neg", "x", "ib")),
    )
    then = branch("then", node("Relu", "x", "t1"), node("Multinomial", "t1", "t2"))
    nodes = [node("If", "c", "y", then_branch=then, else_branch=branch("else", inner))]
    return model(nodes, {"x": ("n", 3)}, ["y"], {"c": np.array(True)})


def loop() -> onnx.ModelProto:
    body = helper.make_graph(
        [node("Identity", "go", "go_on"), node("Add", "s step", "s_next")],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("s", FLOAT, [3]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("s_next", FLOAT, [3]),
        ],
        [numpy_helper.from_array(zeros(3), "step")],
    )
    constants = {"trips": np.array(4), "go": np.array(True)}
    return model([node("Loop", "trips go x", "y", body=body)], {"x": (3,)}, ["y"], constants)


def quantised() -> onnx.ModelProto:
    scale, zero = np.array(0.1, np.float32), np.array(3, np.uint8)
    constants = {"s": scale, "z": zero, "w": np.ones((4, 3, 3, 3), np.uint8)}
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("QLinearConv", "q s z w s z s z", "c"),
        node("QOrderedMatMul", "c s z c s z s z", "d", domain="com.microsoft"),
        node("QLinearReduceMean", "d s z d s z s z", "e", domain="com.microsoft"),
        node("QOrderedGelu", "e s z s z", "f", domain="com.microsoft"),
        node("DequantizeLinear", "f s z", "y"),
    ]
    return model(nodes, {"x": (1, 3, 8, 8)}, ["y"], constants, domains=["com.microsoft"])


def custom_domain() -> onnx.ModelProto:
    nodes = [
        node("Gelu", "x", "a", domain="com.example"),
        node("Gelu", "a", "b", domain="com.example"),
        node("BiasGelu", "b w", "y", domain="com.example"),
    ]
    return model(nodes, {"x": ("n", 4)}, ["y"], {"w": zeros(4)}, domains=["com.example"])


def map_input() -> onnx.ModelProto:
    data = model([node("Identity", "x", "y")], {"x": ("n",)}, ["y"])
    values = helper.make_tensor_type_proto(FLOAT, ["n"])
    data.graph.input[0].type.CopyFrom(helper.make_map_type_proto(TensorProto.INT64, values))
    return data


def complex_input() -> onnx.ModelProto:
    return model([node("Identity", "x", "y")], {"x": ("n",)}, ["y"], dtype=COMPLEX)


def complex_weights() -> onnx.ModelProto:
    data = model([node("Relu", "x", "y")], {"x": ("n",)}, ["y"])
    data.graph.initializer.append(helper.make_tensor("w", COMPLEX, [2], [1, 2j]))
    return data


def no_nodes() -> onnx.ModelProto:
    return model([], {"x": ("n", 3)}, ["x"])


def no_rank() -> onnx.ModelProto:
    data = model([node("Relu", "x", "y")], {"x": ("n",)}, ["y"])
    data.graph.input[0].type.tensor_type.ClearField("shape")
    return data


def too_new() -> onnx.ModelProto:
    return model([node("Relu", "x", "y")], {"x": ("n",)}, ["y"], opset=1000)


def local_function() -> onnx.ModelProto:
    """A function called twice, with an operator that is not supported and one that is."""
    function = helper.make_function(
        "local",
        "Odd",
        ["a"],
        ["b"],
        [node("Abs", "a", "t"), node("Multinomial", "t", "b")],
        [helper.make_opsetid("", 13)],
    )
    nodes = [node("Odd", "x", "m", domain="local"), node("Odd", "m", "y", domain="local")]
    inputs = {"x": (4, 4)}
    return model(nodes, inputs, ["y"], functions=[function], domains=["local"])


def recursive_function() -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("local", 1)]
    body = [node("Again", "a", "b", domain="local")]
    function = helper.make_function("local", "Again", ["a"], ["b"], body, opsets)
    nodes = [node("Again", "x", "m", domain="local"), node("Relu", "m", "y")]
    return model(nodes, {"x": (4,)}, ["y"], functions=[function], domains=["local"])


def refused_attribute() -> onnx.ModelProto:
    """A supported operator at a value of an attribute that is not."""
    constants = {name: np.ones(3, np.float32) for name in ("s", "b", "m", "v")}
    nodes = [node("BatchNormalization", "x s b m v", "y", spatial=0), node("Relu", "y", "z")]
    return model(nodes, {"x": ("n", 3)}, ["z"], constants, opset=8)


def wrong_shape() -> onnx.ModelProto:
    """A Reshape to a shape of another number of elements."""
    constants = {"shape": np.array([5, 2])}
    return model([node("Reshape", "x shape", "y")], {"x": (3, 4)}, ["y"], constants)


def dangling() -> onnx.ModelProto:
    return model(
        [node("Relu", "nowhere", "y"), node("Multinomial", "x", "z")], {"x": (3, 3)}, ["y", "z"]
    )


def sparse_weights() -> onnx.ModelProto:
    data = model([node("Add", "x s", "y")], {"x": (3,)}, ["y"])
    values = numpy_helper.from_array(np.ones(1, np.float32), "s")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "indices")
    data.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3]))
    return data


def one_among_eighty() -> onnx.ModelProto:
    chain = [node("Relu" if i % 2 else "Abs", f"t{i}", f"t{i + 1}") for i in range(80)]
    chain[40] = node("Multinomial", "t40", "t41")
    return model(chain, {"t0": ("n", 3)}, ["t80"])


STRANGE: dict[str, Callable[[], onnx.ModelProto]] = {
    build.__name__: build
    for build in (
        *(lstm, conditional, quantised, custom_domain, map_input),
        *(complex_input, complex_weights, no_rank, too_new, local_function, recursive_function),
        *(refused_attribute, wrong_shape, dangling, sparse_weights, one_among_eighty),
    )
}
"""All but `no_nodes` and `loop`, which are unusual and nothing more."""
