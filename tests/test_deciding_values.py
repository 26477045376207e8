"""Inputs whose values decide shapes or axes: a value is part of what a session is resized to."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from conformance import verify
from conformance.inputs import random_inputs
from engine.config import BackendConfig, ScheduleConfig
from engine.errors import ConfigError, InputError
from engine.interpreter import Interpreter
from engine.module import Module
from engine.session import Session
from engine.var import Var
from parallax.cli import main
from tests.model_writing import node

DEVICES = [d.strip() for d in os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",")]
X = np.arange(12, dtype=np.float32).reshape(3, 4)


def model(nodes: list[onnx.NodeProto], inputs: Mapping[str, tuple[int, list]]) -> bytes:
    """Inputs by name: element type and dimensions."""
    infos = [helper.make_tensor_value_info(n, kind, dims) for n, (kind, dims) in inputs.items()]
    graph = helper.make_graph(nodes, "g", infos, [helper.make_empty_tensor_value_info("y")])
    imports = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString()


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


INT, FLOAT = TensorProto.INT64, TensorProto.FLOAT
SUMS = model(
    [node("Relu", "x", "r"), node("ReduceSum", "r axes", "y", keepdims=0)],
    {"x": (FLOAT, [3, 4]), "axes": (INT, ["n"])},
)
TILES = model(
    [
        node("Cast", "rows", "count", to=INT),
        node("Concat", "count columns", "repeats", axis=0),
        node("Tile", "x repeats", "y"),
    ],
    {"rows": (TensorProto.INT32, [1]), "columns": (INT, [1]), "x": (FLOAT, ["h", "w"])},
)


def session(data: bytes, device: str = "cpu", **shapes: tuple[int, ...]) -> Session:
    config = ScheduleConfig() if device == "cpu" else ScheduleConfig("opencl", device=device)
    return Interpreter.from_buffer(data).create_session(config, shapes=shapes or None)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1), (-1,)], ids=str)
def test_axes_may_be_fed(axes: tuple[int, ...], device: str) -> None:
    with session(SUMS, device) as ready:
        assert ready.deciding == ("axes",)
        (y,) = ready({"x": X, "axes": ints(*axes)}).values()
    np.testing.assert_array_equal(y, X.sum(axis=axes))
    (theirs,) = onnxruntime.InferenceSession(SUMS).run(None, {"x": X, "axes": ints(*axes)})
    np.testing.assert_array_equal(y, theirs)


@pytest.mark.parametrize("device", DEVICES)
def test_what_is_computed_from_deciding_values_decides_too(device: str) -> None:
    with session(TILES, device) as ready:
        assert ready.deciding == ("rows", "columns")
        for rows, columns in ((2, 1), (1, 3), (2, 1), (0, 2)):
            feeds = {"x": X, "rows": np.array([rows], np.int32), "columns": ints(columns)}
            (y,) = ready(feeds).values()
            np.testing.assert_array_equal(y, np.tile(X, (rows, columns)))


@pytest.mark.device_free
def test_a_steady_value_plans_nothing_anew() -> None:
    with session(SUMS) as ready:
        ready({"x": X, "axes": ints(0)})
        first = ready.execution
        ready({"x": X + 1, "axes": ints(0)})
        assert ready.execution is first
        assert ready.resize({"x": (3, 4)}, {"axes": ints(0)}).reused
        ready({"x": X, "axes": ints(1)})
        assert ready.execution is not first


@pytest.mark.parametrize("device", DEVICES)
def test_another_value_is_written_and_the_rest_keeps_what_it_holds(device: str) -> None:
    with session(SUMS, device) as ready:
        assert "'axes'" in ready.resize_status.reason
        with pytest.raises(ConfigError, match="values that decide shapes: 'axes'"):
            ready.write("x", X)
        ready.write("axes", ints(0))
        ready.write("x", X)
        ready.run()
        np.testing.assert_array_equal(ready.read("y"), X.sum(0))
        ready.write("axes", ints(0, 1))
        np.testing.assert_array_equal(ready.input("x").read(), X)
        np.testing.assert_array_equal(ready.input("axes").read(), [0, 1])
        ready.run()
        np.testing.assert_array_equal(ready.read("y"), X.sum())
        assert ready.inputs["axes"].shape == (2,)


@pytest.mark.device_free
def test_a_plan_that_was_kept_gets_what_the_other_inputs_hold() -> None:
    config = ScheduleConfig(backend_config=BackendConfig(memory="high"))
    with Interpreter.from_buffer(SUMS).create_session(config) as ready:
        ready({"x": X, "axes": ints(0)})
        for axes in ((1,), (0,), (0, 1), (1,)):
            ready.write("axes", ints(*axes))
            ready.run()
            np.testing.assert_array_equal(ready.read("y"), X.sum(axes))


@pytest.mark.parametrize("device", DEVICES)
def test_what_lies_on_no_device_outlives_the_next_run(device: str) -> None:
    """Results that are known before a run, and deciding inputs, have snapshots too."""
    nodes = [node("Shape", "x", "s"), node("ReduceSum", "x axes", "y", keepdims=0)]
    data = model(nodes, {"x": (FLOAT, ["h", 4]), "axes": (INT, [1])})
    proto = onnx.load_from_string(data)
    proto.graph.output.append(helper.make_empty_tensor_value_info("s"))
    config = ScheduleConfig() if device == "cpu" else ScheduleConfig("opencl", device=device)
    with Module.load(proto.SerializeToString(), config=config) as module:
        y, s = module.on_forward([X, ints(0)])
        module.on_forward([X[:2], ints(1)])
        np.testing.assert_array_equal(s.read_map(), [3, 4])
        np.testing.assert_array_equal(y.read_map(), X.sum(0))
        kept = module.session.input("axes").snapshot()
        np.testing.assert_array_equal(kept.read_later().result(), [1])


@pytest.mark.device_free
def test_values_wait_for_free_dimensions() -> None:
    with session(TILES) as ready:
        ready.write("rows", np.array([2], np.int32))
        ready.write("columns", ints(1))
        assert not ready.resize_status.ready
        ready.resize({"x": (1, 2)})
        ready.write("x", X[:1, :2])
        ready.run()
        np.testing.assert_array_equal(ready.read("y"), np.tile(X[:1, :2], (2, 1)))


@pytest.mark.device_free
def test_a_refused_value_leaves_the_session_as_it_was() -> None:
    with session(SUMS) as ready:
        ready({"x": X, "axes": ints(0)})
        for wrong in (ints(5), ints(0, 0)):
            with pytest.raises(Exception, match="ReduceSum"):
                ready.write("axes", wrong)
        with pytest.raises(InputError, match="float64"):
            ready.write("axes", np.array([0.5]))
        ready.run()
        np.testing.assert_array_equal(ready.read("y"), X.sum(0))


@pytest.mark.device_free
def test_without_values_a_resize_says_what_is_missing() -> None:
    with session(SUMS) as ready:
        with pytest.raises(InputError, match=r"value of input 'axes' .* write\('axes', array\)"):
            ready.resize({"x": (3, 4)})
        with pytest.raises(InputError, match="deciding input: no tensor named 'x'"):
            ready.resize({}, {"x": X})
        ready.write("axes", ints(0))
        with pytest.raises(InputError, match=r"for the shape \(2,\) give a value that has it"):
            ready.resize({"axes": (2,)})
        with pytest.raises(InputError, match="decides shapes; write it"):
            ready.attach("axes", ints(1))
        with pytest.raises(InputError, match="or decides its shapes"):
            ready.input("axes").write(ints(1))
    with pytest.raises(ConfigError, match="'axes' decides shapes"):
        Interpreter.from_buffer(SUMS).support(ScheduleConfig())


@pytest.mark.parametrize("device", DEVICES)
def test_a_module_reads_what_decides(device: str) -> None:
    config = ScheduleConfig() if device == "cpu" else ScheduleConfig("opencl", device=device)
    with Module.load(SUMS, config=config) as module:
        for axes in ((0,), (1,), (0, 1)):
            y = module.forward(X, Var(ints(*axes)))
            np.testing.assert_array_equal(y.read_map(), X.sum(axes))


@pytest.mark.device_free
def test_data_of_two_axes_decides_nothing() -> None:
    data = model(
        [
            node("ReduceMax", "table", "most", keepdims=0),
            node("Unsqueeze", "most zero", "shape"),
            node("Constant", "", "zero", value_ints=[0]),
            node("Expand", "x shape", "y"),
        ],
        {"table": (INT, [2, 2]), "x": (FLOAT, [1])},
    )
    with session(data) as ours:
        assert ours.deciding == ()
        table = np.array([[1, 2], [3, 2]])
        assert ours({"table": table, "x": np.ones(1, np.float32)})["y"].shape == (3,)
        assert len(ours.info().borders) == 1


@pytest.mark.parametrize("device", DEVICES)
def test_verify_is_given_the_values(device: str) -> None:
    inputs = {"x": X, "axes": ints(1)}
    report = verify(SUMS, device=device, inputs=inputs, expected={"y": X.sum(1)})
    assert all(p.exit_code == 0 and p.verified for p in report.precisions), str(report)
    with pytest.raises(InputError, match="'axes' decides shapes, and cannot be drawn"):
        random_inputs(Interpreter.from_buffer(SUMS))


@pytest.mark.uses_opencl
def test_the_command_line_takes_them_from_a_file(
    tmp_path: os.PathLike[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path, inputs = f"{tmp_path}/sums.onnx", f"{tmp_path}/inputs.npz"
    with open(path, "wb") as file:
        file.write(SUMS)
    np.savez(inputs, x=X, axes=ints(1))
    assert main(["run", path, "--inputs", inputs]) == 0
    assert main(["info", path]) == 0
    assert "decides shapes" in capsys.readouterr().out
    assert main(["info", path, "--device", "cpu"]) == 2
    assert "depends on the value of input 'axes'" in capsys.readouterr().err
    assert main(["run", path]) == 2
    assert "--inputs" in capsys.readouterr().err
