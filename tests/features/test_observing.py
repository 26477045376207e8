"""What a run shows: callbacks around operators, and tensors that are kept."""

from __future__ import annotations

import re
import threading
import time

import numpy as np
import pytest

from engine import (
    GraphPath,
    InputError,
    ModelReleased,
    Module,
    RunStopped,
    Runtime,
    Session,
)
from engine.ir.types import TensorType
from engine.passes import bind_passes, bind_shapes, run_passes
from tests.features.subjects import (
    CHAIN,
    CONVOLUTIONS,
    DEVICES,
    OPENCL,
    WEIGHTS,
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


# ------------------------------------------------------------------------- callbacks (row 26)
@pytest.fixture(params=DEVICES)
def chain(request: pytest.FixtureRequest, runtime: Runtime):
    settings = config(request.param, save_tensors=("r", "s"))
    with interpreter().create_session(settings, runtime, {"x": (2, 4)}) as session:
        yield session


@row(26)
def test_callbacks_see_every_operator_in_order_with_its_tensors(chain: Session):
    x = rows_of(2)
    expected = chain({"x": x}) | {name: chain.read(name) for name in ("r", "s")}
    expected["x"] = x
    seen: list[tuple[str, str, list[str]]] = []

    def look(when: str):
        def callback(tensors, operator):
            seen.append((when, operator.name, [t.name for t in tensors]))
            for tensor in tensors:
                if tensor.name in expected:
                    np.testing.assert_array_equal(tensor.read(), expected[tensor.name])

        return callback

    chain.run_with_callbacks(look("before"), look("after"), feeds={"x": x})
    assert seen == [
        ("before", "the_r", ["x"]),
        ("after", "the_r", ["r"]),
        ("before", "the_s", ["r"]),
        ("after", "the_s", ["s"]),
        ("before", "the_y", ["s", "c"]),
        ("after", "the_y", ["y"]),
    ]
    np.testing.assert_array_equal(chain.read("y"), expected["y"])


@row(26)
@on_every_device
def test_tensors_read_in_callbacks_are_those_of_a_session_that_keeps_all(
    device: str, runtime: Runtime
):
    read, feeds = interpreter(CONVOLUTIONS), {"x": image()}
    shapes = {"x": (1, 3, 6, 6)}
    with read.create_session(config(device, save_tensors=("*",)), runtime, shapes) as keeping:
        keeping.run(feeds)
        kept = {name: keeping.read(name) for name in (*keeping.saved, *keeping.outputs)}
    got: dict[str, np.ndarray] = {}
    with read.create_session(config(device), runtime, shapes) as session:

        def after(tensors, operator):
            got.update({t.name: t.read() for t in tensors})

        session.run_with_callbacks(after=after, feeds=feeds)
    assert len(kept) >= 4
    for name, array in kept.items():
        np.testing.assert_array_equal(array, got[name], err_msg=name)


@row(26)
def test_a_skipped_operator_leaves_what_was_there(chain: Session):
    x = rows_of(2)
    chain.run({"x": np.zeros_like(x)})
    old = chain.read("r")
    after: list[str] = []
    chain.run_with_callbacks(
        lambda _, operator: operator.name != "the_r",
        lambda _, operator: after.append(operator.name),
        feeds={"x": x},
    )
    np.testing.assert_array_equal(chain.read("r"), old)
    np.testing.assert_allclose(chain.read("y"), chain_of(np.zeros_like(x)), rtol=1e-5)
    assert after == ["the_r", "the_s", "the_y"]


@row(26)
def test_a_stopped_run_raises_and_leaves_no_result(chain: Session):
    seen: list[str] = []

    def after(_, operator):
        seen.append(operator.name)
        return operator.name != "the_s"

    with pytest.raises(RunStopped, match="Softmax 'the_s'") as stopped:
        chain.run_with_callbacks(after=after, feeds={"x": rows_of(2)})
    assert seen == ["the_r", "the_s"]
    assert "the_s" in stopped.value.operator
    with pytest.raises(InputError, match="no run was completed"):
        chain.read("y")
    x = rows_of(2)
    np.testing.assert_allclose(chain({"x": x})["y"], chain_of(x), rtol=1e-5)


@row(26)
@pytest.mark.parametrize("no", [False, np.False_])
@pytest.mark.parametrize("yes", [True, np.True_, None])
def test_booleans_of_numpy_answer_as_those_of_python(chain: Session, no: object, yes: object):
    x = rows_of(2)
    chain.run_with_callbacks(lambda *_: yes, lambda *_: yes, feeds={"x": x})
    np.testing.assert_allclose(chain.read("y"), chain_of(x), rtol=1e-5)
    with pytest.raises(RunStopped, match="Relu 'the_r'"):
        chain.run_with_callbacks(after=lambda *_: no, feeds={"x": x})
    chain({"x": np.zeros_like(x)})
    chain.run_with_callbacks(before=lambda *_: no, feeds={"x": x})
    np.testing.assert_allclose(chain.read("y"), chain_of(np.zeros_like(x)), rtol=1e-5)


@row(26)
@pytest.mark.parametrize("answer", [0, 1, "no", [], np.zeros(2)], ids=repr)
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_answer_that_says_neither_yes_nor_no_is_refused(
    chain: Session, when: str, answer: object
):
    words = f"{when} Relu 'the_r': the callback answered .*, expected True, False or None"
    with pytest.raises(InputError, match=words):
        chain.run_with_callbacks(**{when: lambda *_: answer}, feeds={"x": rows_of(2)})
    x = rows_of(2)
    np.testing.assert_allclose(chain({"x": x})["y"], chain_of(x), rtol=1e-5)


@row(26)
def test_sync_waits_for_each_operator_and_without_it_nothing_waits(runtime: Runtime):
    with interpreter().create_session(config(OPENCL), runtime, {"x": (2, 4)}) as session:
        context, idle = context_of(session), []

        def after(*_):
            idle.append(context.wait(0.02))

        session.write("x", rows_of(2))
        with blocked(context):
            session.run_with_callbacks(after=after)
        assert idle == [False, False, False]
        idle.clear()
        gate = context.cl.UserEvent(context.context)
        context.cl.enqueue_marker(context.queue, wait_for=[gate])
        runner = threading.Thread(
            target=session.run_with_callbacks, kwargs={"after": after, "sync": True}
        )
        runner.start()
        time.sleep(0.1)
        assert idle == []
        gate.set_status(context.cl.command_execution_status.COMPLETE)
        runner.join(10)
        assert idle == [True, True, True]


# ------------------------------------------------------------------------- kept tensors (row 29)
@row(29)
@on_every_device
def test_saved_tensors_survive_optimisation_and_outputs_stay(device: str, runtime: Runtime):
    read, feeds, shapes = interpreter(CONVOLUTIONS), {"x": image()}, {"x": (1, 3, 6, 6)}
    with read.create_session(config(device), runtime, shapes) as plain:
        expected = plain(feeds)["y"]
        fused = [op.title for op in plain.info().operators]
    with read.create_session(config(save_tensors=("*",)), runtime, shapes) as all_:
        all_.run(feeds)
    settings = config(device, save_tensors=("a", "b"))
    with read.create_session(settings, runtime, shapes) as session:
        session.run(feeds)
        assert set(session.saved) >= {"a", "b"}
        assert session.outputs == ["y"]
        a, b = session.read("a"), session.read("b")
        np.testing.assert_allclose(session.read("y"), expected, rtol=1e-4)
        assert len(session.info().operators) > len(fused)
    np.testing.assert_allclose(a, convolved(feeds["x"]), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(b, normalised(a), rtol=1e-4, atol=1e-5)


def convolved(x: np.ndarray) -> np.ndarray:
    """Tensor "a" of CONVOLUTIONS, in float64."""
    wide = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, WEIGHTS["w"].astype(np.float64))


def normalised(a: np.ndarray) -> np.ndarray:
    """Tensor "b" of CONVOLUTIONS, in float64."""
    w = {n: v.astype(np.float64).reshape(1, -1, 1, 1) for n, v in WEIGHTS.items() if v.ndim == 1}
    return (a - w["mean"]) / np.sqrt(w["var"] + 1e-5) * w["scale"] + w["bias"]


@row(29)
@on_every_device
def test_saving_costs_exactly_the_bytes_of_what_is_saved(device: str, fresh: Runtime):
    shapes, name = {"x": (64, 4)}, "cpu" if device == "cpu" else "opencl"
    plain = interpreter().create_session(config(device), fresh, shapes).info().memory[name]
    saving = interpreter().create_session(config(device, save_tensors=("r",)), fresh, shapes)
    assert saving.info().memory[name].kept_nbytes - plain.kept_nbytes == 64 * 4 * 4
    assert saving.info().saved == ("r",)


@row(29)
@on_every_device
@pytest.mark.parametrize("model", [CHAIN, CONVOLUTIONS])
def test_a_star_keeps_exactly_what_the_operators_of_the_optimised_graph_compute(
    device: str, model: bytes, runtime: Runtime
):
    """No inputs, no constants, and nothing that a device adds: copies, other layouts."""
    shapes = {"x": (3, 4) if model is CHAIN else (1, 3, 6, 6)}
    settings = config(device, save_tensors="*")
    read = interpreter(model)
    with read.create_session(settings, runtime, shapes) as session:
        optimised = bind_shapes(read.graph, shapes)
        run_passes(optimised, bind_passes())
        computed = {v.name for node in optimised.nodes for v in node.outputs}
        assert {*session.saved, *session.outputs} == computed
        assert not computed & {"x", "c", "w", "v"}
        session.run({"x": np.zeros(shapes["x"], np.float32)})
        assert all(np.isfinite(session.read(name)).all() for name in session.saved)
        assert session.info().saved == tuple(session.saved)


@row(29)
@pytest.mark.parametrize("shapes", [None, {"x": (1, 4)}])
@pytest.mark.parametrize("defer", [True, False])
def test_names_to_save_are_checked_when_the_session_is_made(
    defer: bool, shapes: dict[str, tuple[int, ...]] | None, runtime: Runtime
):
    read = interpreter()

    def make(name: str, **options: object) -> None:
        settings = config(save_tensors=("r", name), defer_resize=defer, **options)
        read.create_session(settings, runtime, shapes).close()

    make("s")
    make("c")
    with pytest.raises(InputError, match="save_tensors: no tensor named 'rr'; did you mean 'r'"):
        make("rr")
    with pytest.raises(InputError, match=r"'s' has no part in the path"):
        make("s", path=GraphPath(("x",), ("r",), "tensor"))
    with pytest.raises(InputError, match="path in mode op: no operator named 'zzz'"):
        make("s", path=GraphPath(("zzz",)))


@row(28, 29)
def test_names_in_errors_are_those_of_the_file_and_said_to_be_cut(runtime: Runtime):
    nodes = [node("ReduceMean", f"t{i}", f"t{i + 1}", axes=[1], keepdims=1) for i in range(30)]
    read = interpreter(model_bytes(nodes, {"t0": (2, 3)}, ["t30"], opset=13))
    assert any(v.name.endswith("_axes") for v in read.imported.values()), "what opset 13 needs"
    names = [f"t{i}" for i in range(31)]
    assert list(read.tensors) == names
    assert read.tensors["t1"] == TensorType(np.dtype(np.float32), (2, 1))
    assert read.operators == {f"the_t{i}": "ReduceMean" for i in range(1, 31)}
    listed = ", ".join(map(repr, names[:20]))
    told = re.escape(f"there are {listed} and 11 more (Interpreter.tensors lists them)")
    with pytest.raises(InputError, match=told):
        read.create_session(config(save_tensors=("zzz",)), runtime)
    path = GraphPath(("zzz",), ("t3",), "tensor")
    with pytest.raises(InputError, match=told):
        read.create_session(config(path=path), runtime)
    with pytest.raises(InputError, match=r"'the_t20' and 10 more \(Interpreter.operators lists"):
        read.create_session(config(path=GraphPath(("zzz",))), runtime)
    with pytest.raises(InputError, match=told):
        Module.load(model_bytes(nodes, {"t0": (2, 3)}, ["t30"], opset=13), outputs=["zzz"])


@row(29)
def test_the_types_of_tensors_are_told_as_far_as_they_are_known(runtime: Runtime):
    free = interpreter().tensors
    assert (str(free["x"]), free["r"], str(free["c"])) == ("float32[n,4]", None, "float32[4]")
    fixed = interpreter(model_bytes([node("Relu", "x", "y")], {"x": (2, 4)}, ["y"]))
    assert {n: str(t) for n, t in fixed.tensors.items()} == {
        "x": "float32[2,4]",
        "y": "float32[2,4]",
    }
    fixed.release_model()
    for attribute in ("tensors", "operators"):
        with pytest.raises(ModelReleased):
            getattr(fixed, attribute)


@row(29)
@on_every_device
def test_a_star_keeps_every_tensor_that_is_computed(device: str, runtime: Runtime):
    x = rows_of(3)
    settings = config(device, save_tensors=("*",))
    with interpreter().create_session(settings, runtime, {"x": (3, 4)}) as session:
        session.run({"x": x})
        assert {"r", "s", "y"} <= {*session.saved, *session.outputs}
        np.testing.assert_array_equal(session.read("r"), np.maximum(x, 0))
        np.testing.assert_allclose(session.read("s"), chain_of(x) - np.arange(4), atol=1e-6)
        np.testing.assert_allclose(session.read("y"), chain_of(x), rtol=1e-5)
