"""Numbers that no tensor can bear are refused by name, before any work is done for them."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.backends.cpu import pool as cpu_pool
from engine.errors import DeviceMemoryError, InputError, ModelError, ParallaxError
from engine.interpreter import Interpreter
from engine.ir import Graph, TensorType
from engine.ir.types import FLOAT, RANK_MAX
from engine.onnx_import import load_model
from engine.ops import OPERATORS
from engine.ops.pool import pool_window, window_counts
from engine.passes import load_passes, run_passes
from tests.absurd_models import HUGE, IMAGE, LOW, RUN, doubled, external, floats, ints, one
from tests.model_writing import model, model_bytes, node

pytestmark = pytest.mark.one_driver

DEVICES = [d.strip() for d in os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",")]
PEAK_NBYTES_MAX = 1 << 30


@pytest.mark.parametrize("device", DEVICES)
def test_every_absurd_number_is_refused_or_harmless(device: str) -> None:
    """In a process with limits: no other exception, no loop without end, no gigabyte."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.absurd", device]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    outcomes = json.loads(done.stdout.splitlines()[-1])
    assert int(outcomes.pop("peak")) < PEAK_NBYTES_MAX
    wrong = {
        name: outcome
        for name, outcome in outcomes.items()
        if not outcome.startswith("ran" if name.startswith(tuple(RUN)) else "refused: ")
    }
    assert not wrong
    assert len(outcomes) > 150


@pytest.mark.device_free
@pytest.mark.parametrize(
    ("name", "data", "same"),
    [
        ("Trilu", one("Trilu", np.array(LOW)), one("Trilu", np.array(-3))),
        ("Trilu", one("Trilu", np.array(HUGE)), one("Trilu", np.array(3))),
        ("LRN", one("LRN", inputs=IMAGE, size=HUGE, alpha=0.0), one("Identity", inputs=IMAGE)),
        (
            "Conv",
            one("Conv", np.ones((1, 1, 3, 3), "f4"), inputs=IMAGE, strides=[HUGE, 1]),
            one("Conv", np.ones((1, 1, 3, 3), "f4"), inputs=IMAGE, strides=[9, 1]),
        ),
    ],
)
def test_a_number_beyond_the_tensor_does_what_its_nearest_does(
    name: str, data: bytes, same: bytes
) -> None:
    results = []
    for each in (data, same):
        with Interpreter.from_buffer(each).create_session() as session:
            ((_, type_),) = session.inputs.items()
            x = np.arange(type_.size, dtype="f4").reshape(type_.dims)
            results.append(session({"x": x})["y"])
    np.testing.assert_array_equal(*results)


@pytest.mark.device_free
@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool"])
def test_windows_wider_than_the_input_pool_what_the_reference_does(op_type: str) -> None:
    """Kernels, strides and dilations of any proportion, taps or positions being fewer."""
    rng = np.random.default_rng(3)
    tried = 0
    while tried < 300:
        kernel, size = rng.integers(1, 7, 2), rng.integers(1, 5, 2)
        attributes = {
            "kernel_shape": tuple(map(int, kernel)),
            "strides": tuple(map(int, rng.integers(1, 5, 2))),
            "dilations": tuple(map(int, rng.integers(1, 5, 2))),
            "pads": tuple(map(int, rng.integers(0, 9, 4))),
            "ceil_mode": int(rng.integers(2)),
        }
        include = bool(rng.integers(2))
        x = rng.standard_normal((1, 2, *size))
        try:
            window = pool_window(op_type, x.shape, attributes)
        except ModelError:
            continue
        tried += 1
        y = np.full((1, 2, *window.outputs), -np.inf if op_type == "MaxPool" else 0.0)
        if op_type == "MaxPool":
            attributes |= {"storage_order": int(include)}
            again, places = y.copy(), np.full(y.shape, -1)
            cpu_pool._max_and_place(x, again, places, window, by_columns=include)
            cpu_pool._max_over_taps(x, y, window)
            np.testing.assert_array_equal(again, y)
            np.testing.assert_array_equal(places, OPERATORS[op_type].reference((x,), attributes)[1])
        else:
            attributes |= {"count_include_pad": int(include)}
            cpu_pool._sum_over_taps(x, y, window)
            y /= np.maximum(window_counts(x.shape, window, include), 1)
        expected, *_ = OPERATORS[op_type].reference((x,), attributes)
        np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.device_free
def test_what_folding_holds_is_counted_before_it_is_made() -> None:
    """Together with what lives already, not result by result."""
    graph = load_model(doubled(30))
    run_passes(graph, load_passes())
    held = sum(v.contents.nbytes for v in graph.values() if v.contents is not None)
    assert 2**20 < held <= 65 * 2**20
    assert len(graph.nodes) > 5
    chain = [node("Neg", f"t{i}", f"t{i + 1}") for i in range(40)]
    constants = {"t0": np.ones(2**20, np.float32)}
    graph = load_model(model_bytes(chain, {"x": (1,)}, ["t40"], constants))
    run_passes(graph, load_passes())
    assert len(graph.nodes) == 40 - (64 + 2 * 4) // 4


@pytest.mark.device_free
def test_folding_leaves_much_arithmetic_to_the_run() -> None:
    constants = {"a": np.ones((2**9, 2**9), np.float32), "b": np.ones((2**6, 2**6), np.float32)}
    nodes = [node("MatMul", "a a", "y"), node("MatMul", "b b", "z")]
    graph = load_model(model_bytes(nodes, {"x": (1,)}, ["y", "z"], constants))
    run_passes(graph, load_passes())
    assert [n.outputs[0].name for n in graph.nodes] == ["y"]


@pytest.mark.device_free
def test_fills_take_memory_up_to_a_limit_in_all() -> None:
    nodes = [node("ConstantOfShape", "s", f"c{i}") for i in range(50)]
    nodes.append(node("Sum", " ".join(f"c{i}" for i in range(50)), "y"))
    data = model_bytes(nodes, {"x": (1,)}, ["y"], {"s": ints(2**20)})
    held = [v.contents.nbytes for v in load_model(data).values() if v.contents is not None]
    assert sum(held) <= 65 * 2**20
    assert held.count(4 * 2**20) == 16


@pytest.mark.device_free
def test_inputs_have_no_more_axes_than_any_tensor() -> None:
    with pytest.raises(ModelError, match=rf"input 'x'.*33 axes.*at most {RANK_MAX}"):
        load_model(model_bytes([node("Relu", "x", "y")], {"x": ["n"] * 33}, ["y"]))
    graph = load_model(model_bytes([node("Relu", "x", "y")], {"x": ("n", "m")}, ["y"]))
    with pytest.raises(InputError, match="its empty axes left out"):
        Interpreter(graph).create_session(shapes={"x": (0, HUGE)})


@pytest.mark.device_free
@pytest.mark.parametrize(
    "location", ["loop", "loop/x", "a" * 5000, "a/" * 3000, "folder", "model.onnx/x"]
)
def test_external_data_that_cannot_be_followed_is_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir()
    (tmp_path / "model.onnx").write_bytes(external(location))
    with pytest.raises(ModelError, match=r"initialiser 'w'") as caught:
        load_model(tmp_path / "model.onnx")
    assert len(str(caught.value)) < 500


@pytest.mark.device_free
@pytest.mark.parametrize("name", ["loop", "a" * 5000, "file/x"])
def test_a_path_that_cannot_be_followed_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(ModelError, match="model file"):
        load_model(tmp_path / name)


def _too_much(what: str) -> Callable[[], object]:
    """Under the limit of address space that stands: what asks for more."""
    big = 2**29
    if what == "session":
        data = model([node("Relu", "x", "y")], {"x": ("n",)}, ["y"]).SerializeToString()
        return lambda: Interpreter.from_buffer(data).create_session(shapes={"x": (big,)})
    if what == "constant":
        fill = model_bytes(
            [node("ConstantOfShape", "s", "y")], {"x": (1,)}, ["y"], {"s": ints(big)}
        )
        return lambda: Interpreter.from_buffer(fill).create_session()({"x": floats(1)})
    gram = [node("Transpose", "x", "t"), node("MatMul", "x t", "y")]
    data = model_bytes(gram, {"x": ("n", 1)}, ["y"])
    return lambda: Interpreter.from_buffer(data).create_session(shapes={"x": (40_000, 1)})


@pytest.mark.device_free
@pytest.mark.parametrize("what", ["session", "constant", "kernel"])
def test_memory_that_the_process_may_not_have_is_a_device_memory_error(what: str) -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    status = Path("/proc/self/statm")
    if not status.exists():
        pytest.skip("the size of the address space is not known here")
    now = int(status.read_text().split()[0]) * resource.getpagesize()
    call = _too_much(what)
    resource.setrlimit(resource.RLIMIT_AS, (now + 2**30, before[1]))
    try:
        with pytest.raises(DeviceMemoryError, match=r"asked for|does not suffice"):
            call()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.device_free
def test_a_kernel_that_finds_no_memory_names_its_node(monkeypatch: pytest.MonkeyPatch) -> None:
    data = model_bytes([node("Softmax", "x", "y", axis=-1)], {"x": (2, 3)}, ["y"])
    with Interpreter.from_buffer(data).create_session() as session:
        (step,) = session.execution.steps

        def fail(*_: object) -> None:
            raise MemoryError("Unable to allocate 2 TiB")

        monkeypatch.setattr(step.command, "function", fail)
        with pytest.raises(DeviceMemoryError, match=r"Softmax 'the_y'.*2 TiB"):
            session({"x": np.ones((2, 3), "f4")})


@pytest.mark.device_free
def test_an_error_of_arithmetic_in_a_type_rule_names_its_node() -> None:
    graph = Graph("g")
    x = graph.add_input("x", TensorType(FLOAT, (1, 1, 4, 4)))
    graph.outputs = graph.add_node("MaxPool", [x], ["y"], {"kernel_shape": "ab"}, name="p").outputs
    with pytest.raises(ParallaxError, match="MaxPool 'p'"):
        Interpreter(graph).create_session()
