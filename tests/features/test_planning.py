"""Memory: planned below what its parts need, shared, given back; views that cost nothing."""

from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np
import pytest

from engine import PlanError, Runtime
from engine.backends.opencl.backend import OpenCLBackend
from engine.execution.execution import Execution
from engine.interpreter import Interpreter
from engine.ir.graph import Node
from engine.passes import bind_passes, bind_shapes, run_passes
from engine.planner import check_plan
from fixtures.models.corpus import by_name
from properties.comparator import check_guards
from tests.features.subjects import (
    CHAIN,
    CONVOLUTIONS,
    OPENCL,
    TWO,
    chain_of,
    config,
    image,
    interpreter,
    on_every_device,
    row,
    rows_of,
)
from tests.model_writing import model_bytes, node


def name_of(device: str) -> str:
    return "cpu" if device == "cpu" else "opencl"


# ------------------------------------------------------------------------- planner (row 46)
@row(46)
@on_every_device
def test_the_plan_reuses_memory_and_lies_between_its_lower_bound_and_the_sum(
    device: str, runtime: Runtime
):
    model = by_name("tiny_resnet")
    read, shapes = Interpreter.from_file(model.path), dict(model.shapes[0])
    with read.create_session(config(device), runtime, shapes) as session:
        memory = session.info().memory[name_of(device)]
        plan = session.execution.plan
    sizes = [w.nbytes for w in plan.windows.values() if w.arena == name_of(device)]
    assert max(sizes) <= memory.lower_bound_nbytes <= memory.arena_nbytes
    assert memory.arena_nbytes <= 1.1 * memory.lower_bound_nbytes
    assert memory.arena_nbytes < 0.7 * sum(sizes)


@row(46)
def test_an_overlap_is_found_by_the_check_and_not_by_the_planner(runtime: Runtime):
    with interpreter().create_session(config(), runtime, {"x": (8, 4)}) as session:
        graph, plan = session.execution.graph, session.execution.plan
    check_plan(graph, plan)
    names = {value.name: value for value in plan.windows}
    windows = dict(plan.windows)
    windows[names["s"]] = replace(
        windows[names["s"]], offset_nbytes=windows[names["r"]].offset_nbytes
    )
    with pytest.raises(PlanError, match="'the_s' writes 's' over 'r', which is still live"):
        check_plan(graph, replace(plan, windows=windows))


@row(46)
def test_the_plan_can_be_listed(runtime: Runtime):
    with interpreter().create_session(config(), runtime, {"x": (8, 4)}) as session:
        plan = session.execution.plan
        dump = {v.name: (w.arena, w.offset_nbytes, w.nbytes) for v, w in plan.windows.items()}
    assert set(dump) == {"x", "r", "s", "y"}
    assert {dump["x"][0], dump["y"][0]} == {"cpu/kept"}
    assert dump["r"][0] == dump["s"][0] == "cpu"
    assert dump["r"][1] != dump["s"][1]
    assert all(nbytes == 8 * 4 * 4 for _, _, nbytes in dump.values())


# ------------------------------------------------------------------------- pools (row 47)
@row(47)
@on_every_device
def test_intermediate_tensors_are_windows_of_one_allocation(device: str, fresh: Runtime):
    session = interpreter(CONVOLUTIONS).create_session(config(device), fresh, {"x": (1, 3, 6, 6)})
    weights = {id(a) for a in session.execution._weights[name_of(device)].values()}
    owned = 0 if device == "cpu" else len(weights)
    assert fresh.live().buffers - owned == 2, "one for what is kept, one for the rest"
    wasted = session.info().memory[name_of(device)]
    assert wasted.arena_nbytes - wasted.lower_bound_nbytes < 0.1 * wasted.arena_nbytes


@row(47)
@on_every_device
def test_trim_gives_back_what_no_session_needs(device: str, fresh: Runtime):
    small = interpreter().create_session(config(device), fresh, {"x": (400, 4)})
    before = fresh.live().nbytes
    large = interpreter().create_session(config(device), fresh, {"x": (700, 4)})
    large.close()
    del large
    gc.collect()
    fresh.trim()
    assert fresh.live().nbytes == before
    np.testing.assert_allclose(small({"x": rows_of(400)})["y"], chain_of(rows_of(400)), rtol=1e-5)
    small.close()
    assert fresh.live().nbytes == 0


@row(47)
@on_every_device
def test_hundreds_of_resizes_runs_and_sessions_leave_nothing_behind(device: str, fresh: Runtime):
    read = interpreter()
    session = read.create_session(config(device), fresh)
    seen = set()
    for turn in range(150):
        count = (1, 30, 7, 300, 12)[turn % 5]
        session.run({"x": rows_of(count)})
        session.read("y")
        if turn % 10 == 3:
            with read.create_session(config(device), fresh, {"x": (5, 4)}) as other:
                other.run({"x": rows_of(5)})
        if turn >= 10 and turn % 5 == 0:
            fresh.trim()
            seen.add(fresh.live())
    assert len(seen) == 1
    session.close()
    assert fresh.live().nbytes == 0


@row(47)
@on_every_device
def test_a_plan_that_was_resized_away_goes_without_the_garbage_collector(
    device: str, runtime: Runtime
):
    with interpreter().create_session(config(device), runtime, {"x": (8, 4)}) as session:
        gc.collect()
        gc.disable()
        try:
            before = sum(isinstance(held, Node) for held in gc.get_objects())
            session.resize({"x": (9, 4)})
            assert sum(isinstance(held, Node) for held in gc.get_objects()) == before > 0
        finally:
            gc.enable()


# ------------------------------------------------------------------------- regions (row 48)
@row(48)
@on_every_device
def test_views_move_no_bytes_and_are_counted(device: str, runtime: Runtime):
    data = model_bytes(
        [
            node("Relu", "x", "r"),
            node("Flatten", "r", "f", axis=1),
            node("Unsqueeze", "f", "u", axes=[0]),
            node("Transpose", "u", "t", perm=[0, 2, 1]),
            node("Sigmoid", "t", "y"),
        ],
        {"x": (2, 3, 4)},
        ["y"],
        opset=11,
    )
    with interpreter(data).create_session(config(device), runtime) as session:
        operators = session.info().operators
        x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
        got = session({"x": x})["y"]
        steps = [step.node.op_type for step in session.execution.steps]
    views = [op.type for op in operators if op.is_view]
    assert views == ["Flatten", "Unsqueeze"]
    assert not set(views) & set(steps)
    r = np.maximum(x, 0).reshape(1, 2, 12).transpose(0, 2, 1)
    np.testing.assert_allclose(got, 1 / (1 + np.exp(-r)), rtol=1e-5)


@row(48)
@on_every_device
def test_a_byte_written_outside_a_tensor_is_seen(device: str, runtime: Runtime):
    settings = config(device)
    check_guards(runtime.backend(settings.type, settings))


@row(48)
@on_every_device
def test_operators_write_nothing_between_the_windows_of_a_guarded_plan(
    device: str, runtime: Runtime
):
    settings = config(device)
    backend = runtime.backend(settings.type, settings)
    graph = bind_shapes(interpreter(CONVOLUTIONS).graph, {"x": (1, 3, 7, 7)})
    run_passes(graph, bind_passes())
    execution = Execution(graph, {backend.name: backend}, guard_nbytes=64)
    execution.write(graph.inputs[0], image(1, 7))
    execution.enqueue()
    for name in {w.arena for w in execution.plan.windows.values()}:
        raw = bytes_of(execution, name, backend)
        inside = np.zeros(raw.size, bool)
        for window in execution.plan.windows.values():
            if window.arena == name:
                inside[window.offset_nbytes : window.offset_nbytes + window.nbytes] = True
        assert (~inside).sum() >= 64
        assert (raw[~inside] == 0xFF).all()
    execution.close()


def bytes_of(execution: Execution, name: str, backend: object) -> np.ndarray:
    arena = execution.arena(name)
    if not isinstance(backend, OpenCLBackend):
        return arena.bytes.copy()
    raw = np.empty(arena.nbytes, np.uint8)
    backend.context.cl.enqueue_copy(backend.context.queue, raw, arena.buffer)
    return raw


# ------------------------------------------------------------------------- replay (row 41)
@row(41)
@on_every_device
def test_a_run_replays_commands_whose_arguments_were_set_at_the_resize(
    device: str, fresh: Runtime, monkeypatch: pytest.MonkeyPatch
):
    session = interpreter().create_session(config(device), fresh, {"x": (2, 4)})
    session.write("x", rows_of(2))
    commands = [step.command for step in session.execution.steps]

    def refuse(*_: object) -> None:
        raise AssertionError("a run makes no command and looks nothing up")

    backend = session.execution.backends[name_of(device)]
    for method in ("prepare", "allocate", "constant", "why_not", "lower", "copy"):
        monkeypatch.setattr(type(backend), method, refuse)
    if device != "cpu":
        for method in ("command", "program", "pack"):
            monkeypatch.setattr(type(backend), method, refuse)
    live = fresh.live()
    for _ in range(5):
        session.run()
    assert [step.command for step in session.execution.steps] == commands
    assert fresh.live() == live
    np.testing.assert_allclose(session.read("y"), chain_of(rows_of(2)), rtol=1e-5)


@row(41)
@on_every_device
def test_memory_that_moved_under_a_session_is_followed(device: str, fresh: Runtime):
    one = interpreter().create_session(config(device), fresh, {"x": (2, 4)})
    x = rows_of(2)
    one.write("x", x)
    two = interpreter(TWO).create_session(
        config(device), fresh, {"zebra": (5000, 3), "ant": (5000, 3)}
    )
    big = np.ones((5000, 3), np.float32)
    two.run({"zebra": big, "ant": -big})
    one.run()
    np.testing.assert_allclose(one.read("y"), chain_of(x), rtol=1e-5)
    two.close()
    one.run()
    np.testing.assert_allclose(one.read("y"), chain_of(x), rtol=1e-5)


@row(41)
def test_there_is_no_way_to_ask_for_a_device_side_recording(runtime: Runtime):
    with pytest.raises(TypeError, match="record"):
        config(OPENCL, record=True)
    with interpreter(CHAIN).create_session(config(OPENCL), runtime, {"x": (2, 4)}) as session:
        assert not [name for name in dir(session) if "record" in name]
