"""Delta debugging: a failing model becomes as small as it can be and fail in the same way."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from conformance.bundles.bundle import read
from conformance.bundles.failing import Case, Failing, Place, Signature, examine
from conformance.reduction import reducer
from conformance.reduction.attributes import simpler_attributes
from conformance.reduction.dimensions import smaller_dimensions
from conformance.reduction.nodes import without_nodes
from conformance.reduction.reducer import Reducer, elements_of, nodes_of
from conformance.reduction.values import simpler_values
from engine.config import Precision
from engine.interpreter import Interpreter
from engine.runtime import Runtime
from parallax.cli import main
from properties.faults import select
from tests.command_line import Captured, save
from tests.model_writing import model_bytes, node

pytestmark = pytest.mark.device_free

ROOT = Path(__file__).parents[1]
WRONG = Failing(Signature("out of bounds", "", "high"), "said by a test")
Predicate = Callable[[onnx.GraphProto], bool]


@pytest.fixture
def place() -> Iterator[Place]:
    with Runtime() as runtime:
        yield Place(runtime, "cpu", Precision.HIGH)


def reduced_while(
    fails: Predicate, case: Case, place: Place, monkeypatch: pytest.MonkeyPatch
) -> reducer.Reduced:
    """Reduce where a predicate decides, after the engine accepted the model."""

    def judged(candidate: Case, place: Place, seed: int) -> Failing | None:
        with Interpreter.from_buffer(candidate.model).create_session() as session:
            session.run(candidate.feeds)
        return WRONG if fails(onnx.load_from_string(candidate.model).graph) else None

    monkeypatch.setattr(reducer, "examine", judged)
    return Reducer(case, WRONG, place).run()


def operators(case: Case) -> list[str]:
    return [n.op_type for n in onnx.load_from_string(case.model).graph.node]


# ------------------------------------------------------------------------- the steps
def test_nodes_between_two_that_matter_are_bypassed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure needs what Relu computes to reach Exp."""
    chain = ("Neg", "Relu", "Abs", "Sqrt", "Tanh", "Exp", "Neg")
    nodes = [node(op, f"t{i}", f"t{i + 1}") for i, op in enumerate(chain)]
    case = Case(model_bytes(nodes, {"t0": [3, 4]}, ["t7"]), {"t0": np.ones((3, 4), np.float32)})

    def fails(graph: onnx.GraphProto) -> bool:
        from_relu: set[str] = set()
        for n in graph.node:
            if n.op_type == "Relu" or from_relu & set(n.input):
                from_relu |= set(n.output)
        return any(n.op_type == "Exp" and n.input[0] in from_relu for n in graph.node)

    found = reduced_while(fails, case, place, monkeypatch)
    assert operators(found.case) == ["Relu", "Exp"]
    assert found.elements == 1
    assert found.is_complete
    assert found.passing is not None
    assert not fails(onnx.load_from_string(found.passing.case.model).graph)


def test_what_a_node_computed_becomes_an_input(place: Place) -> None:
    nodes = [node("Exp", "x", "h"), node("Relu", "h", "y")]
    x = np.array([-1, 0, 2], np.float32)
    case = Case(model_bytes(nodes, {"x": [3]}, ["y"]), {"x": x})
    (fed,) = (c.feeds["h"] for _, c in without_nodes(case, place) if "h" in c.feeds)
    np.testing.assert_allclose(fed, np.exp(x), rtol=1e-6)


def test_an_extent_shrinks_together_with_the_numbers_that_repeat_it() -> None:
    nodes = [node("Reshape", "x s", "y")]
    model = model_bytes(nodes, {"x": [4, 6]}, ["y"], {"s": np.array([6, 4], np.int64)})
    case = Case(model, {"x": np.zeros((4, 6), np.float32)})
    shapes = []
    for _, smaller in smaller_dimensions(case):
        (constant,) = onnx.load_from_string(smaller.model).graph.initializer
        shapes.append((smaller.feeds["x"].shape, onnx.numpy_helper.to_array(constant).tolist()))
    assert ((4, 1), [1, 4]) in shapes
    assert ((2, 6), [6, 2]) in shapes
    assert ((4, 3), [6, 4]) in shapes


def test_a_kernel_shrinks_together_with_its_attribute() -> None:
    nodes = [node("Conv", "x w", "y", kernel_shape=[3, 3])]
    weights = np.zeros((5, 2, 3, 3), np.float32)
    case = Case(
        model_bytes(nodes, {"x": [1, 2, 7, 7]}, ["y"], {"w": weights}),
        {"x": np.zeros((1, 2, 7, 7), np.float32)},
    )
    found = set()
    for _, smaller in smaller_dimensions(case):
        graph = onnx.load_from_string(smaller.model).graph
        found.add((*graph.initializer[0].dims, *graph.node[0].attribute[0].ints))
    assert (5, 2, 1, 1, 1, 1) in found


def test_attributes_go_or_become_plain() -> None:
    nodes = [node("MaxPool", "x", "y", kernel_shape=[2, 2], strides=[2, 2])]
    model = model_bytes(nodes, {"x": [1, 1, 4, 4]}, ["y"])
    case = Case(model, {"x": np.zeros((1, 1, 4, 4), np.float32)})
    found = []
    for _, simpler in simpler_attributes(case):
        (only,) = onnx.load_from_string(simpler.model).graph.node
        found.append({a.name: list(a.ints) for a in only.attribute})
    assert {"kernel_shape": [2, 2]} in found
    assert {"kernel_shape": [2, 2], "strides": [1, 1]} in found


def test_values_become_zero_one_and_whole() -> None:
    nodes = [node("Relu", "x", "y")]
    x = np.array([1.25, -2.75, 3.5, 0.25], np.float32)
    case = Case(model_bytes(nodes, {"x": [4]}, ["y"]), {"x": x})
    found = [c.feeds["x"].tolist() for _, c in simpler_values(case)]
    assert found[:2] == [[0, 0, 0, 0], [1, 1, 1, 1]]
    assert [0, 0, 3.5, 0.25] in found
    assert [1.25, -2.75, 3.5, 0] in found
    assert [1, -3, 4, 0] in found


def test_a_tensor_without_elements_has_no_simpler_values() -> None:
    nodes = [node("Neg", "x", "y")]
    empty = Case(model_bytes(nodes, {"x": [0]}, ["y"]), {"x": np.zeros(0, np.float32)})
    assert list(simpler_values(empty)) == []


def test_another_failure_is_not_followed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [node("Neg", "x", "h"), node("Relu", "h", "y")]
    case = Case(model_bytes(nodes, {"x": [2]}, ["y"]), {"x": np.ones(2, np.float32)})
    other = Failing(Signature("out of bounds", "Relu", "high"), "another")
    monkeypatch.setattr(reducer, "examine", lambda *_: other)
    found = Reducer(case, WRONG, place).run()
    assert found.case is case
    assert found.failing is WRONG
    assert found.tries > 3


def test_the_failing_node_alone_is_tried_first(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [node("Neg", "x", "h"), node("Relu", "h", "y")]
    case = Case(model_bytes(nodes, {"x": [2]}, ["y"]), {"x": np.ones(2, np.float32)})
    (fault,) = select(["cpu-relu-is-abs"])
    with fault.plant():
        failing = examine(case, place)
    assert failing is not None
    assert failing.node is not None
    tried: list[Case] = []
    monkeypatch.setattr(reducer, "examine", lambda candidate, *_: tried.append(candidate))
    Reducer(case, failing, place).run()
    assert tried[0] is failing.node.case
    assert tried[0].feeds["h"].tolist() == [-1, -1]


def test_a_budget_ends_it(place: Place) -> None:
    nodes = [node("Neg", "x", "h"), node("Relu", "h", "y")]
    case = Case(model_bytes(nodes, {"x": [2]}, ["y"]), {"x": np.ones(2, np.float32)})
    found = Reducer(case, WRONG, place, budget_s=0.0).run()
    assert (found.case, found.tries, found.is_complete) == (case, 0, False)


# ------------------------------------------------------------------------- whole failures
def nine_nodes() -> Case:
    """Memory is taken again, and values are read late."""
    nodes = [
        node("Neg", "x", "a"),
        node("Tanh", "a", "b"),
        node("Softplus", "b", "c"),
        node("Transpose", "c", "d", perm=[1, 0]),
        node("Sin", "d", "e"),
        node("Add", "e d", "f"),
        node("Cos", "f", "g"),
        node("Mul", "g f", "y"),
        node("Concat", "g e", "z", axis=0),
    ]
    x = np.linspace(-2, 3, 12, dtype=np.float32).reshape(3, 4)
    return Case(model_bytes(nodes, {"x": x.shape}, ["y", "z"]), {"x": x})


def test_a_failure_of_the_planner_keeps_three_nodes(place: Place) -> None:
    """No node alone shows it: memory is taken again one step too soon."""
    case = nine_nodes()
    (fault,) = select(["lifetime-one-step-short"])
    with fault.plant():
        failing = examine(case, place)
        assert failing is not None
        assert failing.signature.kind == "PlanError"
        found = Reducer(case, failing, place).run()
        assert examine(found.case, place) is not None
    assert found.nodes <= 3 < nodes_of(case) / 2
    assert examine(found.case, place) is None


def save_net(folder: Path) -> Path:
    random = np.random.default_rng(0)
    nodes = [
        node("Conv", "x w", "c", pads=[1, 1, 1, 1]),
        node("Tanh", "c", "t"),
        node("Relu", "t", "r"),
        node("GlobalAveragePool", "r", "y"),
    ]
    weights = {"w": random.standard_normal((4, 3, 3, 3)).astype(np.float32)}
    return save(folder / "net.onnx", nodes, {"x": ["n", 3, 8, 8]}, ["y"], weights)


def test_reduce_writes_a_bundle_of_a_model_with_its_passing_neighbour(
    tmp_path: Path,
    capsys: Captured,
    planting: Callable,
    monkeypatch: pytest.MonkeyPatch,
    place: Place,
) -> None:
    monkeypatch.chdir(tmp_path)
    model = save_net(tmp_path)
    with planting("cpu-relu-is-abs"):
        assert main(["reduce", str(model), "--device", "cpu", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    text = (ROOT / "docs" / "json.md").read_text()
    own = next(s for s in text.split("\n## ") if s.startswith("`parallax reduce`"))
    head = text.partition("\n## ")[0]
    assert set(found) <= set(re.findall(r"`(\w+)`", head + own))
    assert found["signature"]["operator"] == "Relu"
    assert (found["before"]["nodes"], found["after"]) == (4, {"nodes": 1, "elements": 1})
    bundle = read(tmp_path / "net.bundle")
    assert operators(bundle.case) == ["Relu"]
    assert elements_of(bundle.case) == 1
    assert bundle.passing is not None
    (fault,) = select(["cpu-relu-is-abs"])
    with fault.plant():
        assert examine(bundle.case, place) is not None
        assert examine(bundle.passing, place) is None


def test_reduce_says_that_nothing_fails(tmp_path: Path, capsys: Captured) -> None:
    model, target = save_net(tmp_path), tmp_path / "b"
    assert main(["reduce", str(model), "--device", "cpu", "--bundle", str(target)]) == 0
    assert capsys.readouterr().out == f"{model}: nothing fails\n"
    assert not target.exists()
