"""Sessions: created, shared, resized, run; the names of what goes in and comes out."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from engine import (
    ClosedError,
    ConfigError,
    DeviceError,
    InputError,
    Interpreter,
    MemoryMode,
    Precision,
    Runtime,
    ScheduleConfig,
    ShapeError,
    create_runtime,
)
from engine.config import PLANS_KEPT
from tests.features.subjects import (
    CONVOLUTIONS,
    OPENCL,
    TWO,
    blocked,
    chain_of,
    config,
    context_of,
    image,
    interpreter,
    on_every_device,
    row,
    rows_of,
)
from tests.model_writing import model_bytes, node


# ------------------------------------------------------------------------- creating (row 4)
@row(4)
@on_every_device
def test_a_session_that_cannot_be_made_says_operator_shapes_and_cause(
    device: str, runtime: Runtime
):
    read = interpreter(
        model_bytes([node("MatMul", "x w", "y")], {"x": ("n", 3), "w": ("k", 2)}, ["y"])
    )
    with pytest.raises(ShapeError, match=r"MatMul 'the_y'.*\(5, 3\).*\(4, 2\)"):
        read.create_session(config(device), runtime, {"x": (5, 3), "w": (4, 2)})
    with pytest.raises(InputError, match="no tensor named 'z'"):
        read.create_session(config(device), runtime, {"z": (5, 3)})
    assert read.create_session(config(device), runtime, {"x": (5, 3), "w": (3, 2)}) is not None


@row(4)
def test_a_device_that_fails_while_a_session_is_made_is_named_with_the_operator(
    fresh: Runtime, monkeypatch: pytest.MonkeyPatch
):
    from engine.backends.opencl import context

    right = context.source
    monkeypatch.setattr(context, "source", lambda family: right(family) + "\n#error broken today")
    with pytest.raises(DeviceError, match=r"(?s)Relu 'the_r' on \(float32\[2,4\]\).*broken today"):
        interpreter().create_session(config(OPENCL), fresh, {"x": (2, 4)})
    assert fresh.live().buffers == 0


# ------------------------------------------------------------------------- runtimes (rows 6, 7)
@row(6)
@pytest.mark.usefixtures("two_cores")
def test_conflicting_configurations_of_one_runtime_are_refused_and_what_was_made_is_listed():
    with pytest.raises(ConfigError, match=r"1 threads.*2 were asked for"):
        create_runtime([ScheduleConfig(num_threads=1), ScheduleConfig(num_threads=2)])
    kinds = [config(OPENCL), config(OPENCL, Precision.NORMAL), ScheduleConfig(num_threads=1)]
    with create_runtime(kinds) as made:
        assert [(b.name, b.precision) for b in made.backends] == [
            ("cpu", Precision.HIGH),
            ("opencl", Precision.HIGH),
            ("opencl", Precision.NORMAL),
        ]
        with pytest.raises(ConfigError, match="another Runtime"):
            interpreter().create_session(ScheduleConfig(num_threads=2), made)


@row(6)
@on_every_device
def test_sessions_of_two_models_share_context_programs_and_arena(device: str, fresh: Runtime):
    one = interpreter().create_session(config(device), fresh, {"x": (64, 4)})
    alone = fresh.live().nbytes
    two = interpreter(TWO).create_session(config(device), fresh, {"zebra": (2, 3), "ant": (2, 3)})
    info = two.info().memory["cpu" if device == "cpu" else "opencl"]
    assert info.arena_nbytes > 0
    assert fresh.live().nbytes - alone == info.kept_nbytes
    assert {id(b) for b in one.execution.backends.values()} == {
        id(b) for b in two.execution.backends.values()
    }
    x, z = rows_of(64), np.ones((2, 3), np.float32)
    one.run({"x": x})
    two.run({"zebra": z, "ant": -z})
    np.testing.assert_allclose(one.read("y"), chain_of(x), rtol=1e-5)
    np.testing.assert_array_equal(two.read("first"), 2 * z)


# ------------------------------------------------------------------------- input and output names
@row(27)
@on_every_device
def test_inputs_and_outputs_come_in_graph_order_and_a_default_must_be_unique(
    device: str, runtime: Runtime
):
    shapes = {"zebra": (1, 3), "ant": (1, 3)}
    with interpreter(TWO).create_session(config(device), runtime, shapes) as session:
        assert list(session.inputs) == ["zebra", "ant"]
        assert session.outputs == ["second", "first"]
        with pytest.raises(InputError, match=r"input: the model has \['zebra', 'ant'\]"):
            session.input()
        with pytest.raises(InputError, match=r"output: the model has \['second', 'first'\]"):
            session.output()
    with interpreter().create_session(config(device), runtime, {"x": (1, 4)}) as session:
        assert (session.input().name, session.output().name) == ("x", "y")


@row(28)
def test_unknown_names_raise_with_near_matches(runtime: Runtime):
    shapes = {"zebra": (1, 3), "ant": (1, 3)}
    read = interpreter(TWO)
    with read.create_session(config(), runtime, shapes) as session:
        one = np.zeros((1, 3), np.float32)
        near = "did you mean 'zebra'"
        for call in (
            lambda: session.input("zebr"),
            lambda: session.write("zebr", one),
            lambda: session.attach("zebr", one),
            lambda: session.resize_tensor("zebr", (2, 3)),
            lambda: session.resize({"zebr": (2, 3)}),
            lambda: session.run({"zebr": one, "ant": one}),
        ):
            with pytest.raises(InputError, match=near):
                call()
        session.run({"zebra": one, "ant": one})
        for call in (session.output, session.read, session.read_later):
            with pytest.raises(InputError, match="did you mean 'second'"):
                call("secund")
        with pytest.raises(InputError, match="there are"):
            session.read("qqqqqqq")
    with pytest.raises(InputError, match=r"save_tensors.*did you mean 'second'"):
        read.create_session(config(save_tensors=("secund",)), runtime, shapes)


# ------------------------------------------------------------------------- resizing (rows 23, 24)
@row(23)
@on_every_device
@pytest.mark.usefixtures("nothing_built")
def test_a_resize_reports_what_it_planned_built_and_allocated(device: str, fresh: Runtime):
    name = "cpu" if device == "cpu" else "opencl"
    session = interpreter(CONVOLUTIONS, cached=False).create_session(config(device), fresh)
    assert fresh.live().nbytes == 0
    first = session.resize({"x": (1, 3, 6, 6)})
    assert first.shapes == {"x": (1, 3, 6, 6)}
    assert not first.reused
    assert len(first.planned) == len(session.execution.graph.nodes)
    assert any("Conv" in title for title in first.planned)
    assert (first.programs_built > 0) == (device != "cpu")
    memory = session.info().memory[name]
    assert first.reallocated_nbytes[name] == memory.kept_nbytes + memory.arena_nbytes
    before = fresh.live().nbytes
    second = session.resize({"x": (1, 3, 12, 12)})
    grown = session.info().memory[name]
    assert second.programs_built == 0
    assert second.tuned == ()
    assert fresh.live().nbytes - before == (
        grown.kept_nbytes + grown.arena_nbytes - memory.kept_nbytes - memory.arena_nbytes
    )
    again = session.resize({"x": (1, 3, 12, 12)})
    assert again.reused
    assert again.planned == ()
    assert again.reallocated_nbytes in (None, {})


@row(23)
@on_every_device
def test_a_refused_resize_raises_and_the_session_stays_as_it_was(device: str, runtime: Runtime):
    with interpreter().create_session(config(device), runtime, {"x": (2, 4)}) as session:
        x = rows_of(2)
        before = session({"x": x})["y"]
        for shape in ((2, 5), (2,), (-1, 4)):
            with pytest.raises(InputError, match="'x'"):
                session.resize({"x": shape})
            assert session.resize_status.ready
            np.testing.assert_array_equal(session.read("y"), before)
        with pytest.raises(InputError, match="'x'"):
            session.run({"x": np.zeros((2, 5), np.float32)})
        np.testing.assert_array_equal(session({"x": x})["y"], before)


@row(23)
@on_every_device
def test_resize_tensor_takes_effect_with_resize_session(device: str, runtime: Runtime):
    shapes = {"zebra": (1, 3), "ant": (1, 3)}
    with interpreter(TWO).create_session(config(device), runtime, shapes) as session:
        session.resize_tensor("zebra", (2, 3))
        with pytest.raises(ConfigError, match="resize_session"):
            session.input("ant")
        session.resize_tensor("ant", (2, 3))
        report = session.resize_session()
        assert report.shapes == {"zebra": (2, 3), "ant": (2, 3)}
        z = np.ones((2, 3), np.float32)
        assert session({"zebra": z, "ant": z})["first"].shape == (2, 3)


@row(24)
@on_every_device
def test_memory_high_keeps_the_plans_of_the_last_shapes(device: str, fresh: Runtime):
    settings = config(device, memory=MemoryMode.HIGH)
    session = interpreter().create_session(settings, fresh)
    results, live = {}, []
    for count in range(1, PLANS_KEPT + 1):
        results[count] = session({"x": rows_of(count)})["y"]
        live.append(fresh.live())
    assert sorted(m.buffers for m in live) == [m.buffers for m in live]
    for count in range(1, PLANS_KEPT + 1):
        assert session.resize({"x": (count, 4)}).reused
        np.testing.assert_array_equal(session({"x": rows_of(count)})["y"], results[count])
    assert fresh.live() == live[-1]
    assert session.resize({"x": (1, 4)}).reused
    assert not session.resize({"x": (PLANS_KEPT + 1, 4)}).reused
    assert session.resize({"x": (1, 4)}).reused, "the one that was used least recently went"
    assert not session.resize({"x": (2, 4)}).reused
    np.testing.assert_array_equal(session({"x": rows_of(1)})["y"], results[1])
    assert fresh.live().buffers <= live[-1].buffers


@row(24)
@on_every_device
def test_memory_normal_keeps_one_plan_and_a_resize_repeats_no_work_on_weights(
    device: str, fresh: Runtime
):
    session = interpreter(CONVOLUTIONS).create_session(config(device), fresh)
    session.run({"x": image(1)})
    weights = {id(a) for w in session.execution._weights.values() for a in w.values()}
    live = fresh.live()
    assert session.resize({"x": (2, 3, 6, 6)}).programs_built == 0
    assert weights == {id(a) for w in session.execution._weights.values() for a in w.values()}
    assert not session.resize({"x": (1, 3, 6, 6)}).reused
    fresh.trim()
    session.run({"x": image(1)})
    assert fresh.live() == live


# ------------------------------------------------------------------------- running (row 25)
@row(25)
def test_run_returns_before_the_work_is_done_and_sync_waits_for_it(runtime: Runtime):
    with interpreter().create_session(config(OPENCL), runtime, {"x": (2, 4)}) as session:
        x, context = rows_of(2), context_of(session)
        with blocked(context):
            session.run({"x": x})
            assert not context.wait(0.05)
        np.testing.assert_allclose(session.read("y"), chain_of(x), rtol=1e-5)
        thread = threading.Thread(target=session.run, args=({"x": x},), kwargs={"sync": True})
        with blocked(context):
            thread.start()
            time.sleep(0.1)
            assert thread.is_alive()
        thread.join(10)
        assert not thread.is_alive()


@row(25)
@on_every_device
def test_run_raises_typed_errors(device: str, runtime: Runtime):
    with interpreter(TWO).create_session(config(device), runtime) as session:
        z = np.ones((2, 3), np.float32)
        with pytest.raises(ConfigError, match=r"no plan yet.*free dimensions: n"):
            session.run()
        with pytest.raises(InputError, match="missing input 'ant'"):
            session.run({"zebra": z})
        with pytest.raises(
            InputError, match=r"'ant': got float64\[2, 3\], expected float32\[n,3\]"
        ):
            session.run({"zebra": z, "ant": z.astype(np.float64)})
        session.resize({"zebra": (2, 3), "ant": (2, 3)})
        session.write("zebra", z)
        with pytest.raises(InputError, match="'ant' was not written"):
            session.run()
        with pytest.raises(InputError, match="no run was completed"):
            session.read("first")
    with pytest.raises(ClosedError):
        session.run({"zebra": z, "ant": z})


@on_every_device
def test_what_shapes_decide_is_read_without_a_run_by_session_and_tensor_alike(
    device: str, runtime: Runtime
):
    nodes = [node("Shape", "x", "s"), node("Relu", "x", "y")]
    model = Interpreter.from_buffer(model_bytes(nodes, {"x": ["n", 3]}, ["s", "y"]))
    with model.create_session(config(device), runtime, {"x": (2, 3)}) as session:
        for shape in ([2, 3], [5, 3]):
            session.resize({"x": tuple(shape)})
            assert session.read("s").tolist() == session.output("s").read().tolist() == shape
            assert session.read_later("s").result().tolist() == shape
            for read in (lambda: session.read("y"), lambda: session.output("y").read()):
                with pytest.raises(InputError, match=r"no run was|holds no data"):
                    read()
