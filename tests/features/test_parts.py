"""Parts of a model by names, and what a session says of itself."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from engine import (
    ConfigError,
    GraphPath,
    InputError,
    PathMode,
    Runtime,
)
from tests.features.subjects import (
    CHAIN,
    CONVOLUTIONS,
    OPENCL,
    config,
    image,
    interpreter,
    on_every_device,
    row,
    rows_of,
)
from tests.model_writing import model_bytes, node


# ------------------------------------------------------------------------- paths (row 30)
def part(*names: str, to: tuple[str, ...] = (), mode=PathMode.OP, include=False) -> GraphPath:
    return GraphPath(names, to, mode, include)


@row(30)
@on_every_device
@pytest.mark.parametrize(
    ("head", "tail"),
    [
        (part("x", to=("f",), mode=PathMode.TENSOR), part("f", to=("y",), mode=PathMode.TENSOR)),
        (part("the_a", to=("the_p",)), part("the_p")),
        (part("the_a", to=("the_f",), include=True), part("the_p", to=("the_y",), include=True)),
    ],
    ids=["tensors", "operators", "with sinks"],
)
def test_head_then_tail_is_the_whole(
    device: str, head: GraphPath, tail: GraphPath, runtime: Runtime
):
    read, x = interpreter(CONVOLUTIONS), image(2, 7)
    with read.create_session(config(device, save_tensors=("f",)), runtime) as whole:
        expected = whole({"x": x})["y"]
    with read.create_session(config(device, path=head), runtime) as first:
        assert (list(first.inputs), first.outputs) == (["x"], ["f"])
        middle = first({"x": x})["f"]
    with read.create_session(config(device, path=tail), runtime, {"x": x.shape}) as second:
        assert (list(second.inputs), second.outputs) == (["f"], ["y"])
        got = second({"f": middle})["y"]
    np.testing.assert_array_equal(got, expected)


@row(30)
@on_every_device
def test_a_sink_is_computed_only_when_it_is_included(device: str, runtime: Runtime):
    for include, outputs, operators in ((False, ["r"], 1), (True, ["s"], 2)):
        path = part("the_r", to=("the_s",), include=include)
        with interpreter().create_session(config(device, path=path), runtime) as session:
            results = session({"x": rows_of(2)})
            assert list(results) == outputs
            assert len(session.info().operators) == operators


@row(30)
def test_a_path_with_unknown_names_is_refused(runtime: Runtime):
    for path, words in (
        (part("the_rr"), "no operator named 'the_rr'; did you mean 'the_r'"),
        (part("x", to=("ss",), mode=PathMode.TENSOR), "no tensor named 'ss'"),
        (part("r"), "'r' is a tensor; operator 'the_r' computes it"),
    ):
        with pytest.raises(InputError, match=words):
            interpreter().create_session(config(path=path), runtime)
    with pytest.raises(ConfigError, match="inputs are empty"):
        GraphPath((), ("the_s",))


# ------------------------------------------------------------------------- info (rows 35 to 38)
@row(35)
@on_every_device
def test_the_memory_of_a_session_is_what_was_allocated_for_it(device: str, fresh: Runtime):
    name = "cpu" if device == "cpu" else "opencl"
    read, shapes = interpreter(CONVOLUTIONS), {"x": (2, 3, 6, 6)}
    session = read.create_session(config(device), fresh, shapes)
    memory, info = session.info().memory[name], session.info()
    borrowed = memory.weights_nbytes if device == "cpu" else 0
    assert fresh.live().nbytes == memory.peak_nbytes - borrowed
    assert memory.on_device == (device != "cpu")
    assert memory.lower_bound_nbytes <= memory.arena_nbytes
    assert info.device_nbytes == (0 if device == "cpu" else memory.peak_nbytes)
    assert info.host_nbytes >= info.model_nbytes > 0
    second = read.create_session(config(device), fresh, shapes)
    grown = fresh.live().nbytes - memory.peak_nbytes + borrowed
    assert grown == second.info().memory[name].kept_nbytes
    second.close()
    session.close()
    assert fresh.live().nbytes == 0


@row(36)
@on_every_device
def test_work_is_told_per_operator(device: str, runtime: Runtime):
    m, k, n = 5, 7, 3
    read = interpreter(
        model_bytes(
            [node("MatMul", "x w", "p"), node("Tanh", "p", "t"), node("Reshape", "t s", "y")],
            {"x": ("m", k)},
            ["y"],
            {"w": np.ones((k, n), np.float32), "s": np.array([-1], np.int64)},
        )
    )
    with read.create_session(config(device), runtime, {"x": (m, k)}) as session:
        info = session.info()
    by_type = {op.type: op for op in info.operators}
    assert by_type["MatMul"].flops >= 2 * m * k * n
    assert by_type["MatMul"].nbytes == 4 * (m * k + k * n + m * n)
    assert by_type["Reshape"].is_view
    assert by_type["Reshape"].flops == 0
    assert info.flops == sum(op.flops for op in info.operators)


@row(37)
def test_every_operator_has_a_backend_and_they_can_be_counted(runtime: Runtime, lacking: list[str]):
    lacking[:] = ["Relu", "Flatten"]
    shapes = {"x": (1, 3, 6, 6)}
    settings = config(OPENCL, save_tensors=("b", "r"))
    with interpreter(CONVOLUTIONS).create_session(settings, runtime, shapes) as session:
        operators = session.info().operators
    counts = Counter(op.backend for op in operators)
    assert counts["cpu"] == len([op for op in operators if op.type in lacking]) > 0
    assert counts["opencl"] == len(operators) - counts["cpu"] > 0
    assert all(op.reason for op in operators if op.backend == "cpu")


@row(38)
@on_every_device
def test_the_resize_status_says_what_the_session_waits_for(device: str, runtime: Runtime):
    with interpreter().create_session(config(device), runtime) as session:
        status = session.resize_status
        assert not status.ready
        assert "free dimensions: n" in status.reason
        session.resize({"x": (2, 4)})
        assert session.resize_status.ready
        assert session.resize_status.reason == ""
        assert session.info().resize_status.ready
        session.resize_tensor("x", (3, 4))
        assert not session.resize_status.ready
        assert "'x' to [3, 4]" in session.resize_status.reason
        assert "resize_session" in session.resize_status.reason
        assert not session.info().resize_status.ready
        session.resize_tensor("x", (2, 4))
        assert session.resize_status.ready


@row(38)
def test_a_deferred_session_plans_nothing_before_it_is_asked(fresh: Runtime):
    still = model_bytes([node("Relu", "x", "y")], {"x": (2, 4)}, ["y"])
    with interpreter(still).create_session(config(defer_resize=True), fresh) as session:
        assert not session.resize_status.ready
        assert fresh.live().nbytes == 0
        session.resize_session()
        assert session.resize_status.ready
    with interpreter(CHAIN).create_session(config(), fresh, {"x": (1, 4)}) as session:
        assert session.resize_status.ready
