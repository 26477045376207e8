"""Claims of the session API that once were not true: interrupts, forks, callbacks, borders."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pyopencl as cl
import pytest
from onnx import TensorProto

from engine import (
    BackendConfig,
    ClosedError,
    ConfigError,
    ForwardType,
    GraphPath,
    InputError,
    Interpreter,
    MemoryMode,
    Module,
    PathMode,
    Precision,
    Runtime,
    ScheduleConfig,
    Session,
    Tensor,
)
from engine.execution.execution import Execution
from engine.locks import together
from tests.features.subjects import CHAIN, OPENCL, config, on_every_device
from tests.model_writing import model, model_bytes, node

X = np.random.default_rng(7).standard_normal((3, 4), np.float32)
TWO_RESULTS = model_bytes([node("Relu", "x", "a"), node("Neg", "x", "b")], {"x": (4,)}, ["a", "b"])


def session(device: str = "cpu", model: bytes = CHAIN, **options: object) -> Session:
    made = Interpreter.from_buffer(model).create_session(config(device, **options))
    if model is CHAIN:
        made.resize({"x": X.shape})
        made.write("x", X)
    return made


# ------------------------------------------------------------------------- callbacks
@on_every_device
def test_a_callback_cannot_read_what_is_not_computed_yet(device: str) -> None:
    with session(device) as s:
        refused = []

        def before(inputs: list[Tensor], operator: object) -> None:
            try:
                s.output("y").read()
            except InputError as error:
                refused.append(str(error))

        s.run_with_callbacks(before)
        assert len(refused) == 3


@on_every_device
def test_a_tensor_in_shared_memory_is_lost_after_the_run(device: str) -> None:
    with session(device) as s:
        seen: list[Tensor] = []
        s.run_with_callbacks(after=lambda outputs, operator: seen.extend(outputs))
        refused, y = [t for t in seen if t.name in ("r", "s")], seen[-1]
        assert len(refused) == 2
        for tensor in refused:
            with pytest.raises(InputError, match="holds no data"):
                tensor.read()
        assert np.array_equal(y.read(), s.read("y"))


@pytest.mark.parametrize("observe", [False, True])
def test_an_index_out_of_range_names_the_node_and_its_place(observe: bool) -> None:
    read = node("Gather", "x i", "y", axis=1)
    index = node("Cast", "f", "i", to=TensorProto.INT64)
    with session("cpu", model_bytes([index, read], {"x": (2, 3), "f": (1, 2)}, ["y"])) as s:
        s.write("x", np.zeros((2, 3), np.float32))
        s.write("f", np.array([[2, -4]], np.float32))
        words = r"Gather 'the_y': .*index -4 at \(0, 1\) of its indices is outside \[-3, 2\]"
        with pytest.raises(InputError, match=words):
            s.run_with_callbacks() if observe else s.run()


INDEXED = {
    "Gather": ([node("Cast", "i", "j", to=TensorProto.INT64), node("Gather", "x j", "y")], (2,), 3),
    "GatherND": ([node("GatherND", "x i", "y")], (3, 2), 4),
    "ScatterElements": ([node("ScatterElements", "x i x", "y", axis=1)], (3, 4), 4),
}
"""Readers of indices, the shape that these have, and the extent that the last of them indexes."""


@on_every_device
@pytest.mark.parametrize("op_type", INDEXED)
def test_an_index_that_an_input_gives_is_checked_when_it_is_written(
    op_type: str, device: str
) -> None:
    nodes, shape, extent = INDEXED[op_type]
    made = model(nodes, {"x": (3, 4), "i": shape}, ["y"])
    made.graph.input[1].type.tensor_type.elem_type = TensorProto.INT32
    if op_type == "GatherND":
        made.graph.input[1].type.tensor_type.elem_type = TensorProto.INT64
    with session(device, made.SerializeToString()) as s:
        indices = np.zeros(shape, s.inputs["i"].dtype)
        for last, fits in (
            (-extent, True),
            (extent - 1, True),
            (extent, False),
            (-extent - 1, False),
        ):
            indices[(-1,) * indices.ndim] = last
            if fits:
                s({"x": np.ones((3, 4), np.float32), "i": indices})
                continue
            words = rf"{op_type} 'the_y': .*index {last} .* outside \[{-extent}, {extent - 1}\]"
            with pytest.raises(InputError, match=words):
                s.write("i", indices)


@on_every_device
def test_a_run_within_a_failed_run_completes_nothing(device: str) -> None:
    with session(device, TWO_RESULTS) as s:
        s.write("x", np.ones(4, np.float32))
        calls = []

        def listener(node: object, event: object) -> None:
            calls.append(node)
            if len(calls) == 1:
                s.run()
                s.write("x", np.zeros(4, np.float32))
                raise ValueError("stop")

        with pytest.raises(ValueError, match="stop"):
            s.run(listener=listener)
        with pytest.raises(InputError, match="no run was completed"):
            s.read("a")


@on_every_device
def test_a_callback_may_ask_the_runtime_while_another_thread_trims_it(device: str) -> None:
    runtime = Runtime()
    model = Interpreter.from_buffer(CHAIN)
    s = model.create_session(config(device), runtime, {"x": X.shape})
    s.write("x", X)
    inside, trimming = threading.Event(), threading.Event()

    def before(inputs: list[Tensor], operator: object) -> None:
        inside.set()
        trimming.wait(5)
        time.sleep(0.05)
        runtime.live()

    def trim() -> None:
        trimming.set()
        runtime.trim()

    running = threading.Thread(target=s.run_with_callbacks, args=(before,), daemon=True)
    running.start()
    assert inside.wait(5)
    trimmer = threading.Thread(target=trim, daemon=True)
    trimmer.start()
    running.join(10)
    trimmer.join(10)
    assert not running.is_alive()
    assert not trimmer.is_alive()
    s.close()
    runtime.close()


# ------------------------------------------------------------------------- interrupts
@on_every_device
def test_a_session_survives_an_interrupt_of_a_resize(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with session(device) as s:
        want = s({"x": X})["y"]
        close = Execution.close

        def interrupted(self: Execution) -> None:
            close(self)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Execution, "close", interrupted)
            with pytest.raises(KeyboardInterrupt):
                s.resize({"x": (5, 4)})
        assert not s.resize_status.ready
        assert np.array_equal(s({"x": X})["y"], want)


@on_every_device
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_interrupts_leave_no_lock_behind(device: str) -> None:
    with session(device) as s:
        want = s({"x": X})["y"]
        signals = {"caught": 0}

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            for i in range(150):
                try:
                    # Python swallows what is raised in a finaliser: then a second comes later
                    signal.setitimer(signal.ITIMER_REAL, 0.0007 + 0.00003 * i, 1)
                    while True:
                        s({"x": X})
                except KeyboardInterrupt:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                    signals["caught"] += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert signals["caught"] == 150
        got: list[np.ndarray] = []
        other = threading.Thread(target=lambda: got.append(s({"x": X})["y"]), daemon=True)
        other.start()
        other.join(10)
        assert got
        assert np.array_equal(got[0], want)


def test_a_single_lock_is_taken_as_it_is() -> None:
    """An interrupt falls between no two halves of `with lock`, but into any Python function."""
    lock = threading.RLock()
    assert together([lock, lock]) is lock
    assert isinstance(session().execution._lock, type(lock))


# ------------------------------------------------------------------------- processes
FORKED = """
import os, sys
import numpy as np
from tests.test_reviewed import X, session
from engine import ParallaxError
device, what = sys.argv[1:]
s = session(device)
s.run(sync=True)
if os.fork() == 0:
    code = 3
    try:
        s.run() if what == "old" else session(device).run(sync=True)
        code = 0
    except ParallaxError as error:
        code = 4 if "fork" in str(error) else 5
    finally:
        s.close()
        os._exit(code)
status = os.wait()[1]
s.run(sync=True)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.parametrize(
    ("device", "what", "code"),
    [("cpu", "old", 4), ("cpu", "new", 0), (OPENCL, "old", 4), (OPENCL, "new", 4)],
)
def test_a_forked_process_is_told_so_and_does_not_hang(device: str, what: str, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED, device, what],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        timeout=60,
        check=False,
    )
    assert done.returncode == code


# ------------------------------------------------------------------------- borders
def _path(source: str, result: str) -> GraphPath:
    return GraphPath((source,), (result,), PathMode.TENSOR)


@pytest.mark.parametrize("precise", ["cpu", OPENCL])
@pytest.mark.parametrize("is_first", [True, False])
def test_an_input_of_two_paths_keeps_the_higher_precision(precise: str, is_first: bool) -> None:
    x = np.array([1e5, 1 / 3, 123456.7, 2049], np.float32)
    model = Interpreter.from_buffer(TWO_RESULTS)
    configs = [
        config(OPENCL, Precision.NORMAL, path=_path("x", "a")),
        config(precise, path=_path("x", "b")),
    ]
    alone = [model.create_session(c)({"x": x}) for c in configs]
    order = configs[::-1] if is_first else configs
    with model.create_multi_path_session(order) as s:
        got = s({"x": x})
    assert np.array_equal(got["a"], alone[0]["a"])
    assert np.array_equal(got["b"], alone[1]["b"])
    assert np.array_equal(got["b"], -x)


# ------------------------------------------------------------------------- arguments
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("save_tensors", "rs"),
        ("save_tensors", ("*", "nothing")),
        ("save_tensors", 5),
        ("save_tensors", (5,)),
        ("strict", "no"),
        ("defer_resize", "no"),
        ("device", 0),
    ],
)
def test_a_value_of_another_kind_is_refused(option: str, value: object) -> None:
    with pytest.raises(ConfigError, match=option):
        ScheduleConfig(type=ForwardType.OPENCL, backend_config=BackendConfig(), **{option: value})


def test_a_path_of_no_names_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"path\.inputs: got 3"):
        GraphPath(3)  # type: ignore[arg-type]


def test_a_masked_array_is_refused() -> None:
    with session() as s, pytest.raises(InputError, match="masked"):
        s({"x": np.ma.masked_array(X, X > 0)})


def test_a_wrong_byte_order_is_told() -> None:
    with session() as s, pytest.raises(InputError, match=r">f4\[3, 4\], expected float32"):
        s({"x": X.astype(">f4")})


def test_an_input_of_a_module_named_twice_is_refused() -> None:
    for inputs in (["a", "b", "a"], "ab"):
        with pytest.raises(InputError, match=r"different names|a sequence of names"):
            Module.load(
                model_bytes([node("Sub", "a b", "y")], {"a": (4,), "b": (4,)}, ["y"]), inputs
            )


# ------------------------------------------------------------------------- threads
def test_a_write_waits_for_the_run_of_another_thread() -> None:
    """On the CPU a run reads its inputs while it works."""
    with session() as s:
        tensor, order = s.input("x"), []
        started = threading.Event()

        def before(inputs: list[Tensor], operator: object) -> None:
            started.set()
            time.sleep(0.1)
            order.append("run")

        running = threading.Thread(target=s.run_with_callbacks, args=(before,))
        running.start()
        started.wait()
        tensor.write(X)
        order.append("write")
        running.join()
        assert order == ["run", "run", "run", "write"]


def test_use_after_close_raises_in_every_way() -> None:
    s = session()
    s.close()
    for use in (s.run, s.info, lambda: s.input("x"), lambda: s.resize({})):
        with pytest.raises(ClosedError):
            use()


# ------------------------------------------------------------------------- memory
def test_memory_counts_the_plans_of_other_shapes() -> None:
    model = Interpreter.from_buffer(CHAIN)
    asked = config(OPENCL, memory=MemoryMode.HIGH)
    with Runtime() as runtime, model.create_session(asked, runtime) as s:
        for n in (3, 500, 70, 3):
            s.resize({"x": (n, 4)})
            assert s.info().device_nbytes <= runtime.live().nbytes
        assert s.info().device_nbytes == runtime.live().nbytes


def test_a_session_keeps_the_buffer_that_it_was_given() -> None:
    with session(OPENCL) as s:
        want = s({"x": X})["y"]
        context = s.input("x").device_memory[0].context
        copied = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
        buffer = cl.Buffer(context, copied, hostbuf=X)
        s.attach("x", buffer)
        buffer.release()
        s.run(sync=True)
        assert np.array_equal(s.read("y"), want)


# ------------------------------------------------------------------------- info
def test_the_reason_for_the_number_of_threads_is_true(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.backends.cpu.backend.cores", lambda: 4)
    model = Interpreter.from_buffer(CHAIN)
    with Runtime() as runtime:
        model.create_session(ScheduleConfig(num_threads=3), runtime).close()
        with model.create_session(None, runtime, {"x": X.shape}) as s:
            threads = s.info().pipelines[0].num_threads
    assert (threads.effective, threads.reason) == (3, "another session of this Runtime set it")
