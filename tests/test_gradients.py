"""Gradient: derivatives as differences of what onnx's evaluator computes tell them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, helper
from onnx.reference import ReferenceEvaluator

from engine.errors import ModelError, UnsupportedError
from engine.interpreter import Interpreter
from engine.onnx_import.gradients import DOMAIN, RULES
from tests.model_writing import node

pytestmark = pytest.mark.device_free

STEP = 1e-5
RNG = np.random.default_rng(0)
A, B = RNG.uniform(0.5, 2, (2, 3, 4)), RNG.uniform(0.5, 2, (3, 1))
MATRIX = RNG.uniform(0.5, 2, (4, 5))
SHAPE = np.array([4, 6])

PARTS: dict[str, list[NodeProto]] = {
    **{op: [node(op, "a b", "y")] for op in ("Add", "Sub", "Mul", "Div")},
    **{
        op: [node(op, "a", "h"), node("Mul", "h b", "y")]
        for op in ("Neg", "Identity", "Exp", "Log", "Sqrt", "Relu", "Sigmoid", "Tanh", "Sin", "Cos")
    },
    "MatMul": [node("MatMul", "a m", "y")],
    "Reshape": [node("Mul", "a b", "p"), node("Reshape", "p shape", "h"), node("Exp", "h", "y")],
    "Unsqueeze": [node("Unsqueeze", "a zero", "h"), node("Exp", "h", "y")],
    "Squeeze": [
        node("Unsqueeze", "a zero", "g"),
        node("Squeeze", "g zero", "h"),
        node("Mul", "h b", "y"),
    ],
    "Flatten": [node("Flatten", "a", "h"), node("Tanh", "h", "y")],
}


def model(part: list[NodeProto], last: list[NodeProto], outputs: list[str]) -> ModelProto:
    given = {"a": A, "b": B, "m": MATRIX, "shape": SHAPE, "zero": np.array([0])}
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for n, x in given.items()
    ]
    graph = helper.make_graph(
        [*part, *last], "g", inputs, [helper.make_empty_tensor_value_info(n) for n in outputs]
    )
    imports = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def differences(part: list[NodeProto], x: str) -> np.ndarray:
    """Of the sum of y, for each element of x."""
    evaluator = ReferenceEvaluator(model(part, [], ["y"]))
    given = {"a": A, "b": B, "m": MATRIX, "shape": SHAPE, "zero": np.array([0])}
    found = np.zeros(given[x].shape)
    for index in np.ndindex(found.shape):
        there = np.zeros(found.shape)
        there[index] = STEP
        above, below = (
            evaluator.run(None, {**given, x: given[x] + sign * there})[0].sum() for sign in (1, -1)
        )
        found[index] = (above - below) / (2 * STEP)
    return found


def asked(xs: list[str], inputs: str = "", **more: object) -> NodeProto:
    outputs = " ".join(f"d{x}" for x in xs)
    return node("Gradient", inputs or " ".join(xs), outputs, domain=DOMAIN, xs=xs, y="y", **more)


def run(proto: ModelProto, **more: np.ndarray) -> dict[str, np.ndarray]:
    feeds = {"a": A, "b": B, "m": MATRIX, "shape": SHAPE, "zero": np.array([0]), **more}
    with Interpreter.from_buffer(proto.SerializeToString()).create_session() as session:
        return session({n: x for n, x in feeds.items() if n in session.inputs})


def test_every_rule_is_tried() -> None:
    assert set(PARTS) == set(RULES)


@pytest.mark.parametrize("name", PARTS)
def test_a_gradient_is_what_differences_tell(name: str) -> None:
    part = PARTS[name]
    other = "m" if name == "MatMul" else "b"
    found = run(model(part, [asked(["a", other])], ["da", f"d{other}"]))
    for x in ("a", other):
        np.testing.assert_allclose(found[f"d{x}"], differences(part, x), rtol=1e-6, atol=1e-8)


def test_values_are_other_ones_than_the_graph_has() -> None:
    part = [node("Exp", "a", "y")]
    doubled = node("Add", "a a", "aa")
    found = run(model(part, [doubled, asked(["a"], "aa")], ["da", "y"]))
    np.testing.assert_allclose(found["da"], np.exp(2 * A))
    np.testing.assert_allclose(found["y"], np.exp(A))


@pytest.mark.parametrize(
    ("xs", "inputs", "expected"),
    [
        (["a"], "b", {"da": B}),
        (["a", "b"], "b b", {"da": B, "db": B}),
    ],
)
def test_one_value_may_stand_for_several_variables(
    xs: list[str], inputs: str, expected: dict[str, np.ndarray]
) -> None:
    found = run(model([node("Mul", "a b", "y")], [asked(xs, inputs)], [f"d{x}" for x in xs]))
    for name, gradient in expected.items():
        np.testing.assert_allclose(found[name], gradient)


def test_what_depends_on_no_variable_needs_no_derivative() -> None:
    part = [node("Softmax", "b", "s"), node("Mul", "a s", "y")]
    found = run(model(part, [asked(["a"])], ["da"]))
    np.testing.assert_allclose(found["da"], np.ones(A.shape))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda n: n.input.append("b"), ModelError, "2 inputs and 1 outputs for 1 xs and 0 zs"),
        (lambda n: n.attribute.pop(), ModelError, "'y' is missing"),
        (lambda n: n.attribute[0].strings.__setitem__(0, b"q"), ModelError, "graph has no 'q'"),
        (lambda n: n.attribute[1].__setattr__("s", b"q"), ModelError, "no node computes y='q'"),
        (lambda n: n.attribute[1].__setattr__("s", b"da"), ModelError, "from its own output"),
    ],
)
def test_what_names_nothing_is_refused(
    change: Callable[[NodeProto], None], error: type[Exception], words: str
) -> None:
    gradient = asked(["a"])
    change(gradient)
    with pytest.raises(error, match=f"Gradient 'the_da'.*{words}"):
        run(model([node("Exp", "a", "y")], [gradient], ["da"]))


def test_an_operator_without_a_rule_is_named() -> None:
    with pytest.raises(UnsupportedError, match="Abs 'the_y' has no derivative here; there are"):
        run(model([node("Abs", "a", "y")], [asked(["a"])], ["da"]))
