"""Random operators: the numbers of a seed, their distributions, and what a seed left out means."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from engine.errors import ModelError
from engine.interpreter import Interpreter
from engine.onnx_import import load_model
from tests.model_writing import model, model_bytes, node

pytestmark = pytest.mark.device_free
OPSET = 22
COUNT = 20_000


def run(data: bytes, **feeds: np.ndarray) -> Any:
    with Interpreter.from_buffer(data).create_session() as session:
        return session(feeds)


SEEDED = {
    "uniform": node("RandomUniformLike", "x", "y", seed=3.0, low=-1.0, high=2.0),
    "normal": node("RandomNormalLike", "x", "y", seed=3.0, mean=1.0, scale=0.5),
    "a shape of its own": node("RandomUniform", "", "y", seed=5.0, shape=[3, 7]),
    "normal in double": node("RandomNormal", "", "y", seed=5.0, shape=[9], dtype=11),
}


@pytest.mark.parametrize("name", SEEDED)
def test_a_seed_gives_the_numbers_of_onnxs_evaluator(name: str) -> None:
    x = np.zeros((4, 33), np.float32)
    proto = model([SEEDED[name]], {"x": x.shape}, ["y"], opset=OPSET)
    (theirs,) = ReferenceEvaluator(proto).run(None, {"x": x})
    ours = run(proto.SerializeToString(), x=x)["y"]
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


def test_ones_of_a_bernoulli_are_as_frequent_as_their_probability() -> None:
    """ONNX's own definition by others has them as frequent as the rest."""
    p = np.repeat(np.array([0, 0.1, 0.7, 1], np.float32), COUNT)
    data = model_bytes([node("Bernoulli", "p", "y", seed=1.0)], {"p": p.shape}, ["y"], opset=OPSET)
    ones = run(data, p=p)["y"].reshape(4, COUNT).mean(axis=1)
    assert ones[0] == 0
    assert ones[3] == 1
    np.testing.assert_allclose(ones[1:3], (0.1, 0.7), atol=5 * 0.5 / COUNT**0.5)


def dropout(**attributes: int) -> bytes:
    infos = (("x", TensorProto.FLOAT, (COUNT,)), ("r", TensorProto.FLOAT, ()), ("t", 9, ()))
    graph = helper.make_graph(
        [node("Dropout", "x r t", "y mask", **attributes)],
        "training",
        [helper.make_tensor_value_info(*info) for info in infos],
        [helper.make_empty_tensor_value_info(name) for name in ("y", "mask")],
    )
    imports = [helper.make_opsetid("", OPSET)]
    return bytes(helper.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString())


X = np.linspace(1, 2, COUNT, dtype=np.float32)


def test_what_a_dropout_keeps_in_training_is_scaled_and_the_rest_is_0() -> None:
    with Interpreter.from_buffer(dropout()).create_session() as session:
        found = session({"x": X, "r": np.float32(0.75), "t": np.bool_(True)})
        y, mask = found["y"], found["mask"]
        np.testing.assert_array_equal(y, np.where(mask, 4 * X, 0))
        assert abs(mask.mean() - 0.25) < 5 * 0.5 / COUNT**0.5
        for ratio, training in ((0.75, False), (0, True)):
            found = session({"x": X, "r": np.float32(ratio), "t": np.bool_(training)})
            np.testing.assert_array_equal(found["y"], X)
            assert found["mask"].all()


def test_a_seed_that_is_left_out_is_drawn_when_a_model_is_loaded() -> None:
    data, feeds = dropout(), {"x": X, "r": np.float32(0.5), "t": np.bool_(True)}
    masks = []
    for _ in range(2):
        with Interpreter.from_buffer(data).create_session() as session:
            masks.append(session(feeds)["mask"].copy())
            np.testing.assert_array_equal(session(feeds)["mask"], masks[-1])
    assert abs((masks[0] == masks[1]).mean() - 0.5) < 5 * 0.5 / COUNT**0.5


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (node("RandomUniformLike", "x", "y", dtype=6), "random numbers of dtype int32"),
        (node("RandomUniform", "", "y", shape=[-1]), "expected extents of 0 or more"),
    ],
)
def test_what_makes_no_random_numbers_is_refused(call: Any, match: str) -> None:
    with pytest.raises(ModelError, match=f"'the_y': .*{match}"):
        load_model(model_bytes([call], {"x": (2,)}, ["y"], opset=OPSET))


@pytest.mark.parametrize("ratio", [1.0, -0.5])
def test_a_ratio_that_leaves_nothing_is_refused(ratio: float) -> None:
    constants = {"r": np.array(ratio, np.float32), "t": np.array(True)}
    data = model_bytes([node("Dropout", "x r t", "y")], {"x": (2,)}, ["y"], constants, opset=OPSET)
    with pytest.raises(ModelError, match=r"Dropout 'the_y': ratio=.*expected it in \[0, 1\)"):
        load_model(data)
