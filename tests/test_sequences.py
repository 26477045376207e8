"""Sequences and optionals: against onnxruntime; how a session takes and gives them; refusals."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

import parallax as px
from conformance import verify
from conformance.inputs import random_inputs
from engine.arrays import AnyArray, flattened
from engine.passes import lay_out_sequences
from parallax.cli import main
from parallax.compat import InferenceSession
from tests.command_line import Captured, refused
from tests.control_flow_models import COUNTING, FLOAT, graph, serialised
from tests.model_writing import node
from tests.sequence_models import (
    LISTS,
    MODELS,
    SEQUENCE,
    TENSOR,
    X,
    a_list_in_a_loop,
    a_list_that_is_fed,
    with_lists,
)

pytestmark = pytest.mark.one_driver

DEVICES = [d.strip() for d in os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",")]


def config(device: str) -> px.ScheduleConfig:
    high = px.BackendConfig(precision="high")
    if device == "cpu":
        return px.ScheduleConfig(backend_config=high)
    return px.ScheduleConfig("opencl", device=device, backend_config=high)


def session_of(data: bytes, device: str = "cpu") -> px.Session:
    return px.Interpreter.from_buffer(data).create_session(config(device))


def assert_same(ours: AnyArray, theirs: AnyArray) -> None:
    assert type(ours) is type(theirs)
    got, expected = flattened({"y": ours}), flattened({"y": theirs})
    assert got.keys() == expected.keys()
    for name, array in got.items():
        assert array.dtype == expected[name].dtype
        assert array.shape == expected[name].shape
        np.testing.assert_allclose(array, expected[name], rtol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", MODELS)
def test_sequences_are_what_onnxruntime_makes_of_them(name: str, device: str) -> None:
    make, all_feeds = MODELS[name]
    data = make()
    theirs = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    with session_of(data, device) as session:
        for feeds in [*all_feeds, all_feeds[0]]:
            outputs, expected = session(feeds), theirs.run(None, feeds)
            assert list(outputs) == session.outputs
            for ours, array in zip(outputs.values(), expected, strict=True):
                assert_same(ours, array)


@pytest.mark.parametrize("name", ["loop", "fed", "optional", "lists by data"])
def test_every_node_is_verified_and_so_is_what_is_expected(name: str) -> None:
    make, (feeds, *_) = MODELS[name]
    data = make()
    with session_of(data) as session:
        expected = session(feeds)
    report = verify(data, device="cpu", inputs=feeds, expected=expected)
    assert report.ok
    assert len(report.precisions[0].stored) == len(flattened(expected))
    if name == "fed":
        for wrong in (expected["longer"][:-1], [*expected["longer"], X]):
            with pytest.raises(px.InputError, match="'longer' has the shapes"):
                verify(data, device="cpu", inputs=feeds, expected={"longer": wrong})


# --------------------------------------------------------------------- how a session has them
def test_a_session_takes_and_gives_lists() -> None:
    with session_of(a_list_that_is_fed()) as session:
        assert str(session.inputs["s"]) == "sequence(float32)"
        assert not session.resize_status.ready
        assert "free dimensions: the tensors of 's'" in session.resize_status.reason
        assert not session.resize({"s": [(2, 3), ()]}).reused
        assert session.resize({"s": [[2, 3], []]}).reused
        session.write("s", [np.ones((2, 3), np.float32), 2.0])
        session.run()
        assert session.read("total") == 8
        assert session.read("same[0]").shape == session.output("same[0]").shape == (2, 3)
        assert [x.shape for x in session.read("longer")] == [(2, 3), (), ()]
        assert session.saved == []
        assert not session.resize({"s": []}).reused
        session.write("s", [])
        session.run()
        assert (session.read("same"), session.read("count")) == ([], 0)
        session.run({"s": LISTS[0]})
        assert [x.shape for x in session.read("same")] == [x.shape for x in LISTS[0]]


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda s: s({"s": X}), "expected sequence.float32.: a list of arrays"),
        (lambda s: s({"s": None}), "input 's': got None, expected sequence"),
        (
            lambda s: s({"s": [X, X.astype(np.float64)]}),
            r"input 's'\[1\]: got float64\[3, 4\], expected",
        ),
        (lambda s: s.resize({"s": None}), "of type sequence.float32. cannot be None"),
        (lambda s: s.resize({"s": (2, 3)}), "tensor 0,: shape 2 is not a sequence"),
        (lambda s: s.resize({"s": [(2**62,)]}), "input 's', tensor 0,: .*more than"),
        (lambda s: s.write("s", [X, X]), "got the shapes .*expected .*resize the session"),
        (lambda s: s.write("s[0]", X[0]), r"input 's\[0\]': got float32\[4\], expected"),
        (lambda s: s.read("longer"), "no run was completed since the resize"),
        (lambda s: s.output("longer"), "output 'longer' is no tensor: read.'longer'. gives a list"),
    ],
)
def test_what_is_no_list_is_refused(act: Callable[[px.Session], Any], message: str) -> None:
    with session_of(a_list_that_is_fed()) as session:
        session.resize({"s": [(3, 4)]})
        with pytest.raises(px.InputError, match=message):
            act(session)


def test_declared_numbers_bind_each_tensor() -> None:
    rows = helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, ["n", 4]))
    data = serialised(with_lists([node("SequenceLength", "s", "y")], [("s", rows, None)], "y"))
    with session_of(data) as session:
        assert session({"s": [X, X[:1]]})["y"] == 2
        with pytest.raises(px.InputError, match=r"tensor 1, has the shape \(3, 3\), expected seq"):
            session({"s": [X, X[:, :3]]})


def test_what_is_optional_may_be_none() -> None:
    optional = helper.make_optional_type_proto(TENSOR)
    nodes = [node("OptionalHasElement", "o", "has"), node("Identity", "o", "same")]
    data = serialised(with_lists(nodes, [("o", optional, None)], "has same"))
    with session_of(data) as session:
        assert str(session.inputs["o"]) == "optional(float32)"
        for value in (X, None, X[:1]):
            outputs = session({"o": value})
            assert outputs["has"] == (value is not None)
            assert_same(outputs["same"], value)
        assert_same(session({})["same"], None)
        session.resize({"o": None})
        session.write("o", None)
        session.run()
        assert session.read("same") is None


def test_plans_of_stages_differ_by_how_many_tensors_each_list_has() -> None:
    """Four tensors of one type, of which the first list has one or three."""
    branches = [
        with_lists(
            [node("SequenceConstruct", first, "a"), node("SequenceConstruct", second, "b")],
            [],
            "a b",
            [("a", SEQUENCE), ("b", SEQUENCE)],
        )
        for first, second in (("x", "x x x"), ("x x x", "x"))
    ]
    nodes = [
        node("ReduceMax", "x", "most", keepdims=0),
        node("Greater", "most zero", "c"),
        node("If", "c", "s t", then_branch=branches[0], else_branch=branches[1]),
        node("SequenceLength", "s", "m"),
        node("SequenceErase", "t", "fewer"),
        node("SequenceLength", "fewer", "n"),
    ]
    data = serialised(graph(nodes, [("x", FLOAT, [1, 1])], "m n", zero=np.float32(0)))
    with session_of(data) as session:
        for x, lengths in ((1, (1, 2)), (-1, (3, 0)), (2, (1, 2))):
            outputs = session({"x": np.array([[x]], np.float32)})
            assert (outputs["m"], outputs["n"]) == lengths


def test_what_a_loop_gives_has_the_dtype_of_its_state() -> None:
    """And not that of the condition, which comes before: so bfloat16 is computed in float."""
    body = graph(
        [node("Identity", "go", "on"), node("Neg", "a", "b")],
        [*COUNTING, ("a", TensorProto.BFLOAT16, [2])],
        "on b",
    )
    nodes = [node("Loop", "two - x", "l", body=body), node("Add", "l x", "y")]
    main_graph = graph(nodes, [("x", TensorProto.BFLOAT16, [2])], "y", two=np.int64(2))
    with session_of(serialised(main_graph)) as session:
        x = np.array([1, -3], ml_dtypes.bfloat16)
        np.testing.assert_array_equal(session({"x": x})["y"], x + x)


def test_what_a_mapped_body_reads_from_outside_is_found() -> None:
    body = helper.make_graph(
        [node("Mul", "a w", "b")],
        "body",
        [helper.make_tensor_value_info("a", FLOAT, None)],
        [helper.make_tensor_value_info("b", FLOAT, None)],
    )
    inputs = [("s", SEQUENCE, None), ("w", FLOAT, [4])]
    mapped = with_lists([node("SequenceMap", "s", "t", body=body)], inputs, "t", [("t", SEQUENCE)])
    with session_of(serialised(mapped)) as session:
        for given in ([X, X[:1]], []):
            expected = [x * X[2] for x in given]
            assert_same(session({"s": given, "w": X[2]})["t"], expected)


def test_lists_are_no_tensors_to_save() -> None:
    model = px.Interpreter.from_buffer(lists(node("SequenceAt", "s k", "y"), k=np.int64(0)))
    assert set(model.tensors) == {"x", "n", "y"}
    for name, message in (
        ("s", r"'s' is sequence\(float32\), and only tensors are saved"),
        ("q", "no tensor named 'q'; there are 'x', 'n', 'k', 'y'"),
    ):
        with pytest.raises(px.InputError, match=f"save_tensors: {message}"):
            model.create_session(px.ScheduleConfig(save_tensors=(name,)))


def test_applications_of_onnxruntime_see_lists_as_there() -> None:
    data = a_list_that_is_fed()
    theirs = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    mine = InferenceSession(data)
    seen = [[(a.name, a.type, a.shape) for a in s.get_inputs()] for s in (mine, theirs)]
    assert seen[0] == seen[1] == [("s", "seq(tensor(float))", [])]
    feeds = {"s": LISTS[0]}
    for ours, array in zip(mine.run(None, feeds), theirs.run(None, feeds), strict=True):
        assert_same(ours, array)


# --------------------------------------------------------------------- refusals
def lists(*nodes: Any, **constants: object) -> bytes:
    """Reads x, n, s (a list of two, x and n) and e (an empty one); gives y."""
    made = [
        node("Neg", "x", "n"),
        node("SequenceConstruct", "x n", "s"),
        node("SequenceEmpty", "", "e"),
        *nodes,
    ]
    return serialised(graph(made, [("x", FLOAT, [3, 4])], "y", **constants))


NOTHING = helper.make_node("Optional", [], ["o"], name="the_o", type=TENSOR)
BRANCHES = [graph([node(op, "x", "b")], [], "b") for op in ("SequenceConstruct", "Abs")]
STACKING = graph(
    [node("Identity", "go", "on"), node("SequenceConstruct", "x", "t")], COUNTING, "on t"
)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lists(node("SequenceAt", "s k", "y"), k=np.int64(2)), "SequenceAt 'the_y': position 2 is"),
        (lists(node("SequenceAt", "s k", "y"), k=np.int64(-3)), "position -3 is none in a sequ"),
        (lists(node("SequenceAt", "s k", "y"), k=np.float32(0)), "SequenceAt 'the_y'.*float32"),
        (lists(node("SequenceInsert", "s x k", "y"), k=np.int64(3)), "'the_y': position 3 is none"),
        (lists(node("SequenceErase", "e", "y")), "SequenceErase 'the_y': position -1 is none"),
        (lists(node("ConcatFromSequence", "e", "y", axis=0)), "'the_y': the sequence is empty"),
        (lists(node("ConcatFromSequence", "s", "y", axis=2)), "ConcatFromSequence 'the_y'.*axis"),
        (lists(node("ConcatFromSequence", "s", "y", axis=0, new_axis=2)), "new_axis=2, expected"),
        (lists(node("SplitToSequence", "x k", "y"), k=np.int64(0)), "3 elements in parts of 0"),
        (lists(node("SplitToSequence", "x k", "y"), k=np.array([1, 1])), "does not add up to 3"),
        (lists(node("SplitToSequence", "x k", "y"), k=np.array([], np.int64)), "does not add up"),
        (lists(node("SplitToSequence", "x", "y", axis=2)), r"axis=2 is no axis of float32\[3,4\]"),
        (
            lists(node("SequenceInsert", "e k", "y"), k=np.int64(0)),
            r"SequenceInsert 'the_y': input 1 is int64\[\], the sequence is of float32",
        ),
        (
            lists(node("SequenceConstruct", "x k", "y"), k=np.int64(0)),
            "SequenceConstruct 'the_y': input 1 is int64",
        ),
        (lists(node("SequenceLength", "x", "y")), "the tensor float32.*, expected a sequence"),
        (lists(node("SequenceInsert", "s e", "y")), "input 1 'e' is sequence.float32., which no"),
        (lists(node("Relu", "s", "y")), "Relu 'the_y': input 0 's' is sequence.float32., which no"),
        (lists(NOTHING, node("OptionalGetElement", "o", "y")), "an optional that is not there"),
        (
            lists(node("SequenceEmpty", "", "y", dtype=14)),
            "'the_y': dtype=14: sequences of this are",
        ),
        (
            lists(node("If", "c", "y", then_branch=BRANCHES[0], else_branch=BRANCHES[1]), c=True),
            "If 'the_y': output 0 is sequence.float32. in one branch, a tensor in the other",
        ),
        (
            lists(node("Loop", "k -", "y", body=STACKING), k=np.int64(2)),
            "Loop 'the_y': output 0 stacks sequence.float32., expected tensors",
        ),
    ],
)
def test_what_no_sequence_can_be_is_refused_by_name(data: bytes, message: str) -> None:
    with pytest.raises((px.ModelError, px.UnsupportedError), match=message):
        session_of(data)


def test_types_beyond_lists_of_tensors_are_not_supported() -> None:
    nested = helper.make_sequence_type_proto(SEQUENCE)
    data = serialised(with_lists([node("SequenceLength", "s", "y")], [("s", nested, None)], "y"))
    with pytest.raises(px.UnsupportedError, match="graph input 's' is sequence_type of sequence_t"):
        session_of(data)


def test_growth_is_counted_before_it_is_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lay_out_sequences, "TENSORS_MAX", 100)
    with session_of(a_list_in_a_loop()) as session:
        session({"x": X, "trips": np.array(4)})
        with pytest.raises(px.UnsupportedError, match="come to more than 100 tensors"):
            session({"x": X, "trips": np.array(20)})


def test_a_module_and_a_path_are_of_tensors() -> None:
    data = a_list_that_is_fed()
    with pytest.raises(
        px.UnsupportedError, match=r"'s' is sequence\(float32\), and a Module takes"
    ):
        px.Module.load(data)
    path = px.GraphPath(["s"], ["total"], "tensor")
    with pytest.raises(px.ConfigError, match="and a path begins and ends at tensors"):
        px.Interpreter.from_buffer(data).create_session(px.ScheduleConfig(path=path))


# --------------------------------------------------------------------- the command line
def test_the_command_line_takes_and_gives_lists(capsys: Captured, tmp_path: Path) -> None:
    model, given, made = (tmp_path / n for n in ("m.onnx", "in.npz", "out.npz"))
    model.write_bytes(a_list_that_is_fed())
    np.savez(given, **flattened({"s": LISTS[0]}))
    run = ["run", str(model), "--inputs", str(given), "--outputs", str(made), "--device", "cpu"]
    assert main(run) == 0
    assert "same[2]" in capsys.readouterr().out
    with np.load(made) as outputs:
        np.testing.assert_array_equal(outputs["same[2]"], LISTS[0][2])
        assert "longer[3]" in outputs
        assert "longer[4]" not in outputs
    assert main(["info", str(model)]) == 0
    assert "sequence(float32)" in capsys.readouterr().out
    sentence = "depends on the tensors of input 's': `parallax run --inputs` shows one"
    assert sentence in refused(capsys, "info", model, "--device", "cpu")
    check = ["verify", str(model), "--inputs", str(given), "--expect", str(made)]
    assert main([*check, "--device", "cpu", "--no-latency"]) == 0
    capsys.readouterr()
    asked = "input 's' is sequence(float32), for which nothing is chosen: give all inputs"
    for command in ("run", "verify"):
        assert asked in refused(capsys, command, model, "--device", "cpu")
    assert "bench feeds tensors" in refused(capsys, "bench", model, "--device", "cpu")


@pytest.mark.device_free
def test_the_command_line_says_how_lists_are_given(capsys: Captured, tmp_path: Path) -> None:
    model, given = tmp_path / "m.onnx", tmp_path / "in.npz"
    model.write_bytes(a_list_that_is_fed())
    told = "'s' is sequence(float32), whose tensors an .npz file holds as 's[0]', 's[1]'"
    for command in ("run", "info", "verify"):
        message = refused(capsys, command, model, "--device", "cpu", "--shape", "s=3,4")
        assert f"--shape: input {told}; give it with --inputs" in message
    for arrays, message in (
        ({"s": X}, told),
        ({"s[0]": X, "s[2]": X, "s[3]": X}, "no array named 's[1]', which 's[2]' comes after"),
        ({f"s[{'9' * 5000}]": X}, "no array named 's[0]', which 's[999"),
        ({"s[0]": X, "s[01]": X}, "no tensor named 's[01]'; did you mean 's[0]'?"),
        ({"s[0]": X, "t[1]": X}, "no tensor named 't[1]'; there are 's[0]'"),
    ):
        np.savez(given, **arrays)
        assert message in refused(capsys, "run", model, "--device", "cpu", "--inputs", given)


@pytest.mark.device_free
def test_nothing_is_drawn_for_an_optional_of_a_given_shape() -> None:
    optional = helper.make_optional_type_proto(TENSOR)
    nodes = [node("OptionalHasElement", "o", "has")]
    model = px.Interpreter.from_buffer(
        serialised(with_lists(nodes, [("o", optional, None)], "has"))
    )
    with pytest.raises(px.InputError, match=r"'o' is optional\(float32\), for which nothing is ch"):
        random_inputs(model, {"o": (3, 4)})


@pytest.mark.device_free
def test_a_path_of_the_command_line_is_of_tensors(capsys: Captured, tmp_path: Path) -> None:
    model, given = tmp_path / "m.onnx", tmp_path / "in.npz"
    nodes = [node("SequenceLength", "s", "y"), node("Abs", "x", "a"), node("Neg", "a", "z")]
    inputs = [("s", SEQUENCE, None), ("x", FLOAT, [3, 4])]
    model.write_bytes(serialised(with_lists(nodes, inputs, "y z")))
    run = ["run", model, "--device", "cpu"]
    np.savez(given, **{"s[0]": X, "a": X})
    for more in ([], ["--inputs", given]):
        said = refused(capsys, *run, *more, "--from", "s", "--to", "y")
        assert "'s' is sequence(float32), and a path begins and ends at tensors" in said
    assert main([*map(str, run), "--from", "x", "--to", "z"]) == 0
    assert "z " in capsys.readouterr().out
