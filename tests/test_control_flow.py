"""If, Loop and Scan whose course is known before the run: against onnxruntime; refusals."""

from __future__ import annotations

import os

import numpy as np
import onnx
import onnxruntime
import pytest

from conformance import verify
from engine.config import BackendConfig, Precision, ScheduleConfig
from engine.errors import InputError, ModelError, ParallaxError, ShapeError, UnsupportedError
from engine.interpreter import Interpreter
from engine.passes import expansion
from tests.control_flow_models import (
    COUNTING,
    FLOAT,
    MODELS,
    X,
    a_batched_scan,
    a_counted_loop,
    a_scan,
    graph,
    rows_of_nothing,
    serialised,
)
from tests.model_writing import node

DEVICES = [d.strip() for d in os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",")]


def config(device: str) -> ScheduleConfig:
    high = BackendConfig(precision=Precision.HIGH)
    if device == "cpu":
        return ScheduleConfig(backend_config=high)
    return ScheduleConfig("opencl", device=device, backend_config=high)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", MODELS)
def test_control_flow_is_what_onnxruntime_makes_of_it(name: str, device: str) -> None:
    make, all_feeds = MODELS[name]
    data = make()
    theirs = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    with Interpreter.from_buffer(data).create_session(config(device)) as session:
        for feeds in all_feeds:
            outputs = session(feeds)
            for (ours, array), expected in zip(
                outputs.items(), theirs.run(None, feeds), strict=True
            ):
                assert array.shape == expected.shape, ours
                np.testing.assert_allclose(array, expected, rtol=1e-6)


@pytest.mark.device_free
@pytest.mark.parametrize("data_decide", [False, True])
def test_a_loop_of_no_iterations_stacks_nothing_of_what_its_body_declares(
    data_decide: bool,
) -> None:
    """Its body could take no row."""
    data = rows_of_nothing(data_decide)
    theirs = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    with Interpreter.from_buffer(data).create_session() as session:
        for rows in (3, 0, 2):
            x = np.full((rows, 4), 1 if rows == 3 else -1, np.float32)
            (expected,) = theirs.run(None, {"x": x})
            np.testing.assert_array_equal(session({"x": x})["y"], expected, strict=True)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["function", "if", "scan"])
def test_every_node_of_the_course_is_verified(name: str, device: str) -> None:
    make, (feeds, *_) = MODELS[name]
    report = verify(make(), device=device, inputs=feeds)
    assert report.ok
    assert len(report.precisions[0].checks) >= 2


def test_what_decides_the_course_is_fed_first() -> None:
    with Interpreter.from_buffer(a_counted_loop()).create_session() as session:
        assert session.deciding == ("trips",)
        session({"x": X, "trips": np.array(2)})
        again = session.resize({"x": (3, 4)}, {"trips": np.array(2)})
        assert again.reused
        assert not session.resize({"x": (3, 4)}, {"trips": np.array(3)}).reused


def test_nothing_to_go_through_gives_results_without_elements() -> None:
    with Interpreter.from_buffer(a_counted_loop()).create_session() as session:
        outputs = session({"x": X, "trips": np.array(0)})
        assert [y.shape for y in outputs.values()] == [(3, 4)] * 3 + [(0, 3, 4)] * 2
        np.testing.assert_array_equal(outputs["q"], -X)
    with Interpreter.from_buffer(a_scan()).create_session() as session:
        outputs = session({"x": X[:, :0]})
        assert [y.shape for y in outputs.values()] == [(3,), (3,), (3, 0), (3, 0)]


def test_a_constant_condition_is_settled_when_the_model_is_read() -> None:
    branches = [graph([node(op, "x", "a")], [], "a") for op in ("Abs", "Neg")]
    choice = node("If", "no", "y", then_branch=branches[0], else_branch=branches[1])
    nodes = [node("Not", "yes", "no"), choice]
    data = serialised(graph(nodes, [("x", FLOAT, ["n"])], "y", yes=np.array(True)))
    interpreter = Interpreter.from_buffer(data)
    assert [n.op_type for n in interpreter.graph.nodes] == ["Neg"]
    assert interpreter.outputs == ["y"]
    with interpreter.create_session() as session:
        np.testing.assert_array_equal(session({"x": X[0]})["y"], -X[0])


def test_weights_of_a_subgraph_count_and_are_shared_by_its_iterations() -> None:
    body = graph(
        [node("Identity", "go", "on"), node("MatMul", "s w", "s_next")],
        [*COUNTING, ("s", FLOAT, [4, 4])],
        "on s_next",
        w=np.eye(4, dtype=np.float32) * 2,
    )
    loop = node("Loop", "five - x", "y", body=body)
    data = serialised(graph([loop], [("x", FLOAT, [4, 4])], "y", five=np.int64(5)))
    interpreter = Interpreter.from_buffer(data)
    assert interpreter.info.weights_nbytes == 64 + 8
    with interpreter.create_session() as session:
        np.testing.assert_array_equal(session({"x": np.eye(4, dtype="f")})["y"], 32 * np.eye(4))
        (cpu,) = session.info().memory.values()
        assert cpu.weights_nbytes < 5 * 64


def changed(
    body: onnx.GraphProto, loop: str = "n - x", outputs: str = "y", **also: object
) -> bytes:
    main = graph([node("Loop", loop, outputs, body=body)], [("x", FLOAT, [1, 2])], outputs, **also)
    return serialised(main)


PLAIN = [node("Identity", "go", "on"), node("Relu", "s", "r")]
STATE = [*COUNTING, ("s", FLOAT, [1, 2])]
REFUSED: dict[str, tuple[bytes, type[ParallaxError], str]] = {
    "too long": (
        changed(graph(PLAIN, STATE, "on r"), n=np.int64(2**40)),
        UnsupportedError,
        "more than 1000 of them",
    ),
    "endless": (
        changed(graph(PLAIN, STATE, "on r"), "- - x"),
        UnsupportedError,
        "more than 1000 of them",
    ),
    "endless, of nothing": (
        changed(graph([], STATE, "go s"), "- - x"),
        UnsupportedError,
        "more than 1000 of them",
    ),
    "a state is left out": (
        changed(graph(PLAIN, STATE, "on r"), "n - - x", n=np.int64(1)),
        ModelError,
        r"input 2 \(v_initial\) is left out, it is needed",
    ),
    "the last state is left out": (
        changed(graph(PLAIN, STATE, "on r"), "n - x -", n=np.int64(1)),
        ModelError,
        "is left out",
    ),
    "too few inputs": (
        changed(graph(PLAIN, STATE, "on r"), "n - x x", n=np.int64(1)),
        ModelError,
        "'body' has 3 inputs, the node gives it 4",
    ),
    "too few outputs": (
        changed(graph(PLAIN, STATE, "on"), n=np.int64(1)),
        ModelError,
        "'body' has 1 outputs, the node needs 2",
    ),
    "nothing produces it": (
        changed(graph([*PLAIN, node("Add", "r nowhere", "t")], STATE, "on t"), n=np.int64(1)),
        ParallaxError,
        "nowhere",
    ),
    "an operator is not known": (
        changed(graph([*PLAIN, node("Foreign", "r", "t")], STATE, "on t"), n=np.int64(1)),
        UnsupportedError,
        "ONNX opset 18 has no operator 'Foreign'",
    ),
    "a trip count of floats": (
        changed(graph(PLAIN, STATE, "on r"), n=np.float32(1)),
        ShapeError,
        "its trip count is float32\\[\\], expected one element of int64",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_laid_out_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expansion, "NODES_MAX", 1000)
    data, kind, words = REFUSED[name]
    with pytest.raises(kind, match=words):
        Interpreter.from_buffer(data).create_session()


@pytest.mark.parametrize(
    ("attribute", "value", "words"),
    [
        ("scan_input_axes", [0, 1], "lengths"),
        ("scan_input_axes", [2, 1], "2 is no axis of 2"),
        ("scan_input_axes", [1], "expected 2 numbers"),
        ("scan_output_directions", [2, 0], "expected 0 or 1"),
        ("num_scan_inputs", 5, "it has 4 inputs"),
    ],
)
def test_a_scan_that_is_none_is_refused(attribute: str, value: object, words: str) -> None:
    made = onnx.load_from_string(a_scan())
    scan = made.graph.node[1]
    kept = [a for a in scan.attribute if a.name != attribute]
    del scan.attribute[:]
    scan.attribute.extend([*kept, onnx.helper.make_attribute(attribute, value)])
    with pytest.raises((ModelError, ShapeError), match=words):
        Interpreter.from_buffer(made.SerializeToString()).create_session(shapes={"x": (3, 4)})


@pytest.mark.parametrize(
    ("device", "lengths"),
    [("cpu", None), ("cpu", [2, 3]), *((device, [3, 1]) for device in DEVICES)],
)
def test_a_scan_of_opset_8_goes_through_each_entry_of_a_batch(
    device: str, lengths: list[int] | None
) -> None:
    data = a_batched_scan(lengths is not None)
    feeds = {"first": X[:2, :2], "x": np.stack([X[:, :2], X[::-1, 1:3]])}
    if lengths is not None:
        feeds["lengths"] = np.array(lengths)
    theirs = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    interpreter = Interpreter.from_buffer(data)
    with interpreter.create_session(config(device)) as session:
        for ours, expected in zip(session(feeds).values(), theirs.run(None, feeds), strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("device", "lengths"),
    [*((device, [4, 3]) for device in DEVICES), ("cpu", [-1, 3]), ("cpu", [2, 2**63 - 1])],
)
def test_a_scan_of_opset_8_has_lengths_within_its_sequences(
    device: str, lengths: list[int]
) -> None:
    feeds = {"first": X[:2, :2], "x": np.stack([X[:, :2]] * 2), "lengths": np.array(lengths)}
    with Interpreter.from_buffer(a_batched_scan(True)).create_session(config(device)) as session:
        with pytest.raises(InputError, match=r"Scan 'the_t' .*is outside \[-4, 3\]"):
            session(feeds)
        session(feeds | {"lengths": np.array([0, 3])})


@pytest.mark.device_free
@pytest.mark.parametrize(
    ("directions", "words"), [((0,), "each of 2 inputs"), ((0, 2), "expected 0 or 1")]
)
def test_a_scan_of_opset_8_has_a_direction_for_each_input(
    directions: tuple[int, ...], words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        Interpreter.from_buffer(a_batched_scan(directions=directions))
