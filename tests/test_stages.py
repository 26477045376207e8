"""Models of which data of the run decide shapes or the course: planned in stages."""

from __future__ import annotations

import os

import numpy as np
import onnxruntime
import psutil
import pytest

import parallax as px
from conformance import verify
from engine.config import BackendConfig, Precision, ScheduleConfig
from engine.errors import (
    ClosedError,
    ConfigError,
    DeviceMemoryError,
    InputError,
    RunStopped,
    ShapeError,
)
from engine.interpreter import Interpreter
from engine.module import Module
from engine.session import Session
from tests.control_flow_models import BOOL, COUNTING, FLOAT, floats, graph, serialised
from tests.model_writing import node
from tests.stage_models import A_FEW, MODELS, ROWS, places

DEVICES = [d.strip() for d in os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",")]
every_device = pytest.mark.parametrize("device", DEVICES)


def session(data: bytes, device: str = "cpu", **options: object) -> Session:
    high = BackendConfig(precision=Precision.HIGH)
    kind = {} if device == "cpu" else {"type": "opencl", "device": device}
    config = ScheduleConfig(**kind, backend_config=high, **options)  # type: ignore[arg-type]
    return Interpreter.from_buffer(data).create_session(config)


def assert_alike(ours: dict[str, np.ndarray], theirs: list[np.ndarray]) -> None:
    for (name, array), expected in zip(ours.items(), theirs, strict=True):
        assert (array.shape, array.dtype) == (expected.shape, expected.dtype), name
        np.testing.assert_allclose(array, expected, 1e-5, 1e-6, err_msg=name)


@every_device
@pytest.mark.parametrize("name", MODELS)
def test_a_run_is_what_onnxruntime_makes_of_it(name: str, device: str) -> None:
    make, feeds = MODELS[name]
    data = make()
    theirs = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    with session(data, device) as ours:
        for fed in (*feeds, feeds[0]):
            assert_alike(ours(fed), theirs.run(None, fed))


@every_device
@pytest.mark.parametrize("name", ["branches", "boxes"])
def test_every_stage_is_verified(name: str, device: str) -> None:
    make, (feeds, *_) = MODELS[name]
    data = make()
    theirs = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [o.name for o in theirs.get_outputs()]
    expected = dict(zip(names, theirs.run(None, feeds), strict=True))
    report = verify(data, device=device, inputs=feeds, expected=expected)
    assert report.ok, str(report)
    assert {"Sigmoid", "Mul"} <= {c.title.split()[0] for c in report.precisions[0].checks} or (
        len(report.precisions[0].checks) > 8
    )


@every_device
def test_a_run_like_the_last_one_plans_nothing(device: str) -> None:
    with session(places(), device) as ours:
        planned = []
        for fed in (ROWS, ROWS * 2, -ROWS, ROWS, -ROWS):
            ours({"x": fed})
            planned.append(ours.info().stages_planned)
        assert planned[-1] == planned[2] <= 2


def test_a_session_says_where_its_stages_end_and_why() -> None:
    with session(places()) as ours:
        ours({"x": ROWS})
        info = ours.info()
        assert [(b.operator, b.tensors) for b in info.borders] == [("NonZero 'the_at'", ("large",))]
        assert {"Relu 'the_r'", "Exp 'the_z'", "Gather 'the_taken'"} <= {
            op.title for op in info.operators
        }
    one = serialised(graph([node("Relu", "x", "y")], [("x", FLOAT, [2])], "y"))
    with session(one) as ours:
        assert (ours.info().borders, ours.info().stages_planned) == ((), 0)


@every_device
def test_outputs_are_tensors_once_there_was_a_run(device: str) -> None:
    with session(places(), device) as ours:
        ours.resize({"x": (5, 4)})
        ours.write("x", ROWS)
        with pytest.raises(InputError, match="no run was completed"):
            ours.read("y")
        with pytest.raises(InputError, match="holds no data"):
            ours.output("y").read()
        with pytest.raises(InputError, match="known after a run"):
            _ = ours.output("y").shape
        ours.run()
        later = ours.read_later("y")
        tensor = ours.output("y")
        first = tensor.read()
        assert tensor.shape == first.shape
        ours.write("x", -ROWS)
        ours.run()
        np.testing.assert_array_equal(later.result(), first)
        assert ours.read("y").shape != first.shape


@every_device
def test_saved_tensors_of_every_stage_can_be_read(device: str) -> None:
    with session(places(), device, save_tensors=("r", "taken")) as ours:
        outputs = ours({"x": ROWS})
        np.testing.assert_array_equal(ours.read("r"), np.maximum(ROWS, 0))
        np.testing.assert_array_equal(ours.read("taken"), ours.read("r")[outputs["at"][0]])
        assert set(ours.saved) == {"r", "taken"}


def test_callbacks_see_the_operators_of_all_stages_and_may_stop_in_any() -> None:
    seen: list[str] = []
    with session(places()) as ours:
        ours({"x": ROWS})
        ours.run_with_callbacks(after=lambda tensors, op: seen.append(op.name))
        assert {"the_r", "the_taken"} <= {name.split("+")[0] for name in seen}
        with pytest.raises(RunStopped, match="the_taken"):
            ours.run_with_callbacks(after=lambda tensors, op: op.name != "the_taken")
        with pytest.raises(InputError, match="no run was completed"):
            ours.read("y")
        ours.run()
        ours.read("y")


@every_device
def test_a_module_goes_through_all_stages(device: str) -> None:
    kind = ScheduleConfig() if device == "cpu" else ScheduleConfig("opencl", device=device)
    with Module.load(places(), config=kind) as module:
        for fed in A_FEW[:2]:
            y, _, _, at = (v.read_map() for v in module.on_forward([fed["x"]]))
            assert len(y) == at.shape[1]


def test_what_stages_cannot_do_is_refused() -> None:
    interpreter = Interpreter.from_buffer(places())
    paths = [
        px.ScheduleConfig(path=px.GraphPath(("x",), ("r",), px.PathMode.TENSOR)),
        px.ScheduleConfig(path=px.GraphPath(("r",), ("at",), px.PathMode.TENSOR)),
    ]
    with pytest.raises(ConfigError, match="NonZero 'the_at' cannot be planned before"):
        interpreter.create_multi_path_session(paths, shapes={"x": (5, 4)})
    ours = interpreter.create_session()
    ours({"x": ROWS})
    tensor = ours.output("y")
    ours.close()
    with pytest.raises(ClosedError):
        tensor.read()


def test_errors_of_a_later_stage_name_the_operator_and_leave_the_session_usable() -> None:
    body = graph(
        [
            node("ReduceMax", "s", "m", keepdims=0),
            node("Greater", "m x_max", "on"),
            node("Concat", "s s", "s_next", axis=0),
        ],
        [*COUNTING, ("s", FLOAT, None)],
        "on s_next s",
    )
    nodes = [
        node("ReduceMin", "x", "x_max", keepdims=0),
        node("Loop", "three - x", "y z", body=body),
    ]
    data = serialised(graph(nodes, [("x", FLOAT, ["n", 2])], "y z", three=np.int64(3)))
    with session(data) as ours:
        with pytest.raises(ShapeError, match="Loop 'the_y': what it stacks has the shapes"):
            ours({"x": np.array([[1, 2]], np.float32)})
        outputs = ours({"x": np.array([[1, 1]], np.float32)})
        assert [y.shape for y in outputs.values()] == [(2, 2), (1, 1, 2)]


def test_a_loop_without_end_can_be_interrupted() -> None:
    body = graph(
        [
            node("ReduceSum", "s", "m", keepdims=0),
            node("Cast", "m", "on", to=BOOL),
            node("Identity", "s", "s_next"),
        ],
        [*COUNTING, ("s", FLOAT, None)],
        "on s_next",
    )
    data = serialised(graph([node("Loop", "- - x", "y", body=body)], [("x", FLOAT, [1, 2])], "y"))
    with session(data) as ours:
        ours.resize({"x": (1, 2)})
        ours.write("x", np.ones((1, 2), np.float32))
        runs = 0

        def interrupt(*_: object) -> None:
            nonlocal runs
            runs += 1
            if runs > 20:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            ours.run(listener=interrupt)
        np.testing.assert_array_equal(ours({"x": np.zeros((1, 2), "f")})["y"], np.zeros((1, 2)))


def stacking(trips: str = "- -", **constants: object) -> bytes:
    """A Loop that goes on while its input is not 0, and stacks 4 MiB in each iteration."""
    body = graph(
        [
            node("ReduceSum", "s", "m", keepdims=0),
            node("Cast", "m", "on", to=BOOL),
            node("Identity", "s", "s_next"),
            node("Expand", "s shape", "row"),
        ],
        [*COUNTING, ("s", FLOAT, None)],
        "on s_next row",
        shape=np.array([1 << 19, 2]),
    )
    loop = node("Loop", f"{trips} x", "y z", body=body)
    return serialised(graph([loop], [("x", FLOAT, [1, 2])], "y z", **constants))


@pytest.mark.parametrize("endless", [stacking(), stacking("n -", n=np.int64(2**62))])
def test_what_a_loop_stacks_is_counted_before_memory_ends(
    endless: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with session(endless) as ours:
        ours.resize({"x": (1, 2)})
        there = psutil.virtual_memory()._replace(available=40 << 20)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: there)
        with pytest.raises(DeviceMemoryError, match=r"Loop 'the_y': cpu: asked for 46137344 byt"):
            ours({"x": np.ones((1, 2), np.float32)})
        assert ours({"x": np.zeros((1, 2), np.float32)})["z"].shape == (1, 1 << 19, 2)


def test_a_trip_count_below_0_is_none() -> None:
    with session(stacking("n -", n=np.int64(-(2**63)))) as ours:
        assert ours({"x": np.ones((1, 2), np.float32)})["z"].shape == (0, 1 << 19, 2)


def test_states_that_grow_let_go_of_old_plans() -> None:
    body = graph(
        [
            node("Concat", "s x", "s_next", axis=0),
            node("ReduceSum", "s_next", "sum", keepdims=0),
            node("Less", "sum limit", "on"),
        ],
        [*COUNTING, ("s", FLOAT, None)],
        "on s_next",
        limit=floats(41)[0],
    )
    data = serialised(graph([node("Loop", "- - x", "y", body=body)], [("x", FLOAT, [1, 2])], "y"))
    with session(data) as ours:
        assert len(ours({"x": np.ones((1, 2), np.float32)})["y"]) == 21
        assert ours.info().stages_planned > 15
        assert len(ours.info().operators) < 30
