"""Closing: bounded, harmless twice, in any order; and what a failure on the way leaves behind."""

from __future__ import annotations

import gc
import inspect
import itertools
import threading
import time
import weakref
from contextlib import contextmanager

import pytest

import engine.execution.execution
from engine import (
    ClosedError,
    DeviceMemoryError,
    InputError,
    Interpreter,
    MemoryMode,
    ModelReleased,
    Runtime,
    Session,
    Tensor,
)
from engine.backends import registry
from engine.backends.cpu.memory import CpuArena
from engine.backends.opencl.context import OpenCLContext
from engine.backends.opencl.memory import OpenCLArena
from engine.module import Module
from tests.sharing_models import (
    CONV,
    DEVICES,
    MODELS,
    OPENCL,
    SHAPES,
    config,
    feeds,
    in_threads,
    isolated,
    session,
)

on_every_device = pytest.mark.parametrize("device", DEVICES)
X = feeds("conv", 0)["x"]


# --------------------------------------------------------------------------- any order
def releases(device):
    """A runtime, two sessions of two interpreters of one model, and ways to let go of them."""
    runtime = Runtime()
    models = [Interpreter.from_buffer(MODELS["conv"]) for _ in range(2)]
    shapes = {"x": SHAPES["conv"][0]}
    a = models[0].create_session(config(device), runtime, shapes)
    b = models[0].create_session(config(device), runtime, shapes)
    lost = [models[1].create_session(config(device), runtime, shapes)]
    for each in (a, b, *lost):
        each({"x": X})
    weights = [
        weakref.ref(value.constant)
        for graph in (*(m.imported for m in models), *(m.graph for m in models))
        for value in graph.values()
        if value.constant is not None
    ]
    backends = [runtime.backend(f, config(device)) for f in config(device).forwards]

    def forget():
        lost.clear()
        gc.collect()

    steps = {
        "close a": a.close,
        "close b": b.close,
        "close the runtime": runtime.close,
        "release the model": models[0].release_model,
        "close the interpreter": models[0].close,
        "forget a third": forget,
    }
    return runtime, steps, weights, backends


ORDERS = list(itertools.permutations(range(6)))[::13]
"""A sample in which every step comes first and last, and every pair in both orders."""


@pytest.mark.one_driver
@on_every_device
def test_nothing_is_left_whatever_the_order_of_release(device):
    for order in ORDERS if device == "cpu" else ORDERS[::5]:
        runtime, steps, weights, backends = releases(device)
        names = [list(steps)[i] for i in order]
        for name in names:
            steps[name]()
        runtime.close()
        assert [b.live().nbytes for b in backends] == [0] * len(backends), names
        assert runtime.live().nbytes == 0
        del runtime, steps, backends
        gc.collect()
        assert sum(ref() is not None for ref in weights) == 0, names


@on_every_device
def test_a_session_that_was_forgotten_frees_its_memory_on_a_runtime_that_lives_on(device):
    with Runtime() as runtime:
        made = [session("conv", device, runtime, size=3)]
        made[0](feeds("conv", 3))
        runtime.synchronize()
        made.clear()
        gc.collect()
        runtime.trim()
        assert runtime.live().nbytes == 0
        assert runtime.live().commands == 0


@on_every_device
def test_sessions_outlive_the_closed_runtime_and_resize(device):
    runtime = Runtime()
    a = session("conv", device, runtime)
    runtime.close()
    assert a({"x": X})["y"].tobytes() == isolated("conv", device, [(0, 0)])[0, 0]
    assert a(feeds("conv", 3))["y"].tobytes() == isolated("conv", device, [(3, 0)])[3, 0]
    with pytest.raises(ClosedError):
        session("conv", device, runtime)
    a.close()
    assert runtime.live().nbytes == 0


# --------------------------------------------------------------------------- a queue that hangs
@contextmanager
def hanging(context):
    """The queue does nothing inside, until the function that is given is called."""
    cl = context.cl
    gate = cl.UserEvent(context.context)
    cl.enqueue_marker(context.queue, wait_for=[gate])
    opened = threading.Event()

    def release():
        if not opened.is_set():
            opened.set()
            gate.set_status(cl.command_execution_status.COMPLETE)

    try:
        yield release
    finally:
        release()
        context.queue.finish()


WITHOUT_PATIENCE_S = engine.execution.execution.CLOSE_TIMEOUT_S
"""What a close takes at least that waits as long as it does for users, however busy the machine."""


@pytest.fixture
def waits(monkeypatch):
    """How long each wait for a queue was allowed to take."""
    allowed, right = [], OpenCLContext.wait
    monkeypatch.setattr(OpenCLContext, "wait", lambda self, s: allowed.append(s) or right(self, s))
    return allowed


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr("engine.execution.execution.CLOSE_TIMEOUT_S", 0.05)
    monkeypatch.setattr("engine.backends.opencl.backend.CLOSE_TIMEOUT_S", 0.05)


def took(work):
    start = time.monotonic()
    work()
    return time.monotonic() - start


@pytest.mark.usefixtures("impatient")
def test_close_is_bounded_when_the_queue_hangs(waits):
    with Runtime() as runtime:
        a = session("conv", OPENCL, runtime)
        context = a.execution.backends["opencl"].context
        a({"x": X})
        with hanging(context):
            a.run({"x": X})
            pending = a.read_later("y")
            assert took(a.close) < WITHOUT_PATIENCE_S
            waited = len(waits)
            a.close()
            assert len(waits) == waited > 0
            assert took(runtime.close) < WITHOUT_PATIENCE_S
        expected = isolated("conv", OPENCL, [(0, 0)])[0, 0]
        assert pending.result().tobytes() == expected


def test_a_session_with_several_plans_waits_once_for_a_queue_that_hangs(monkeypatch, waits):
    monkeypatch.setattr("engine.execution.execution.CLOSE_TIMEOUT_S", 0.6)
    monkeypatch.setattr("engine.backends.opencl.backend.CLOSE_TIMEOUT_S", 0.05)
    with Runtime() as runtime:
        wanted = config(OPENCL, memory=MemoryMode.HIGH)
        made = Interpreter.from_buffer(CONV).create_session(wanted, runtime, {"x": X.shape})
        for shape in SHAPES["conv"][1:4]:
            made.resize({"x": shape})
        with hanging(made.execution.backends["opencl"].context):
            made.close()
    most, *others = waits
    assert 0.05 < most <= 0.6
    assert len(others) >= 3
    assert max(others) == 0.05, "the least that an idle queue needs to answer"


@pytest.mark.usefixtures("impatient")
def test_close_is_bounded_while_another_thread_waits_for_a_result():
    with Runtime() as runtime:
        a = session("conv", OPENCL, runtime)
        context = a.execution.backends["opencl"].context
        a({"x": X})
        expected = isolated("conv", OPENCL, [(0, 0)])[0, 0]
        with hanging(context) as release:
            waiting = [
                lambda: a({"x": X})["y"],
                lambda: a.read("y"),
                lambda: a.run(sync=True),
                a.synchronize,
            ]
            seconds = []

            def work(index):
                if index < len(waiting):
                    result = waiting[index]()
                    assert result is None or result.tobytes() == expected
                else:
                    time.sleep(0.3)
                    seconds.append(took(a.close))
                    release()

            in_threads(len(waiting) + 1, work, 20)
        assert seconds[0] < WITHOUT_PATIENCE_S


# --------------------------------------------------------------------------- use after close
def public_methods(kind):
    return sorted(
        name
        for name, item in inspect.getmembers(kind)
        if (not name.startswith("_") or name == "__call__")
        and inspect.isroutine(inspect.getattr_static(kind, name))
        and not isinstance(inspect.getattr_static(kind, name), (classmethod, staticmethod))
    )


HARMLESS = {
    Session: {"close"},
    Runtime: {
        "close",
        "live",  # what is still allocated is a fair question to the end
        "dismiss",  # sessions that outlive the runtime say goodbye
    },
    Module: {"close"},
    Tensor: set(),
}
ARGUMENTS = {
    "resize": ({"x": (1, 3, 8, 8)},),
    "resize_tensor": ("x", (1, 3, 8, 8)),
    "write": ("x", X),
    "attach": ("x", X),
    "read": ("y",),
    "read_later": ("y",),
    "value": ("y",),
    "__call__": ({"x": X},),
    "on_forward": ([X],),
    "forward": (X,),
}
TENSOR_ARGUMENTS = {"write": (X,), "read": (), "read_later": ()}


@on_every_device
@pytest.mark.parametrize(
    ("kind", "method"),
    [(k, m) for k in HARMLESS for m in public_methods(k) if m not in HARMLESS[k]],
    ids=lambda x: getattr(x, "__name__", x),
)
def test_use_after_close_raises(kind, method, device):
    runtime = Runtime()
    module = Module.load(
        MODELS["conv"], config=config(device), runtime=runtime, shapes={"x": X.shape}
    )
    subject = session("conv", device, runtime)
    subject({"x": X})
    tensor, backend = subject.input("x"), subject.execution.backend_of(subject.value("y"))
    closed = {Session: subject, Runtime: runtime, Module: module, Tensor: tensor}[kind]
    arguments = {
        **ARGUMENTS,
        **(TENSOR_ARGUMENTS if kind is Tensor else {}),
        **({"__call__": (X,)} if kind is Module else {}),
        "take": ("x", tensor),
        "copy_from": (tensor,),
        "backend": (config(device).type, config(device)),
        "arena": (backend,),
        "adopt": (subject,),
    }
    module.close()
    subject.close()
    if kind is Runtime:
        runtime.close()
    with pytest.raises(ClosedError):
        _use(getattr(closed, method)(*arguments.get(method, ())))
    runtime.close()


def _use(result):
    if hasattr(result, "__enter__"):
        with result:
            pass


@on_every_device
def test_closing_twice_is_harmless(device):
    module = Module.load(MODELS["mlp"], config=config(device), shapes={"x": (4, 16)})
    a = session("mlp", device)
    for each in (a, a.runtime, module, module.runtime, Interpreter.from_buffer(MODELS["mlp"])):
        each.close()
        each.close()


def test_a_tensor_of_earlier_shapes_says_so():
    with session("conv", "cpu") as a:
        tensor = a.input("x")
        a.resize({"x": SHAPES["conv"][1]})
        with pytest.raises(ClosedError, match="resized away"):
            tensor.read()


def test_a_released_model_makes_no_more_sessions():
    model = Interpreter.from_buffer(MODELS["conv"])
    with model.create_session(shapes={"x": X.shape}) as a:
        model.release_model()
        with pytest.raises(ModelReleased, match="release_model"):
            model.create_session(shapes={"x": X.shape})
        expected = isolated("conv", "cpu", [(0, 0), (1, 0)])
        assert a({"x": X})["y"].tobytes() == expected[0, 0]
        assert a(feeds("conv", 1))["y"].tobytes() == expected[1, 0]


# --------------------------------------------------------------------------- failures on the way
INTERRUPTIONS = [KeyboardInterrupt, ZeroDivisionError]


def assert_usable_from_another_thread(runtime, device):
    """A lock that was left held would stop the other thread."""
    expected = isolated("mlp", device, [(0, 0)])[0, 0]

    def work(_):
        with session("mlp", device, runtime) as other:
            assert other(feeds("mlp", 0))["y"].tobytes() == expected

    in_threads(1, work, 30)


@pytest.mark.one_driver
@on_every_device
@pytest.mark.parametrize("error", INTERRUPTIONS)
@pytest.mark.parametrize("when", ["before", "after", "listener"])
def test_an_exception_in_a_callback_leaves_session_and_runtime_usable(device, error, when):
    def fail(*_):
        raise error

    with Runtime() as runtime, session("conv", device, runtime) as a:
        a({"x": X})
        before = runtime.live()
        run = a.run if when == "listener" else a.run_with_callbacks
        with pytest.raises(error):
            run(**{when: fail})
        with pytest.raises(InputError, match="no run was completed"):
            a.read("y")
        gc.collect()
        assert runtime.live() == before
        assert_usable_from_another_thread(runtime, device)
        assert a({"x": X})["y"].tobytes() == isolated("conv", device, [(0, 0)])[0, 0]


POINTS = ["prepare", "lower", "allocate"]


@pytest.mark.one_driver
@on_every_device
@pytest.mark.parametrize("error", INTERRUPTIONS)
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("calls", [1, 2])
def test_an_exception_in_create_session_leaves_nothing(device, error, point, calls, monkeypatch):
    kind = type(_backend(device))
    real, count = getattr(kind, point), itertools.count(1)

    def fail(*args):
        if next(count) == calls:
            raise error
        return real(*args)

    with Runtime() as runtime:
        model = Interpreter.from_buffer(MODELS["conv"])
        monkeypatch.setattr(kind, point, fail)
        failed = 0
        try:
            model.create_session(config(device), runtime, {"x": X.shape}).close()
        except error:
            failed = 1
        monkeypatch.setattr(kind, point, real)
        assert failed or (point == "lower" and calls == 2)
        gc.collect()
        assert runtime.live().nbytes == 0
        assert runtime.live().commands == 0
        assert_usable_from_another_thread(runtime, device)


def _backend(device):
    if device == "cpu":
        return registry.cpu_backend(1)
    return registry.opencl_backend(
        registry.opencl_context(device), config(device).backend_config.precision
    )


WRONG = [
    {"x": (1, 4, 8, 8)},
    {"x": (1, 3, 8)},
    {"x": (1, 3, -1, 8)},
    {"x": (1, 3, 2.5, 8)},
    {"x": (1, 3, 9, 9), "nope": (1,)},
]


@on_every_device
@pytest.mark.parametrize("shapes", WRONG, ids=str)
def test_a_resize_that_is_refused_leaves_the_session_as_it_was(device, shapes):
    with session("conv", device) as a:
        expected = a({"x": X})["y"].tobytes()
        before = a.runtime.live()
        with pytest.raises(InputError):
            a.resize(shapes)
        assert a.read("y").tobytes() == expected
        assert a.resize_status.ready
        assert a.inputs["x"].dims == X.shape
        a.run()
        assert a.read("y").tobytes() == expected
        assert a.runtime.live() == before


@on_every_device
@pytest.mark.parametrize("allowed", [0, 1])
def test_a_resize_without_memory_leaves_the_session_as_it_was(device, allowed, monkeypatch):
    kind = CpuArena if device == "cpu" else OpenCLArena
    real, count = kind.__init__, itertools.count()

    def allocate(self, *args, **options):
        if next(count) >= allowed:
            raise DeviceMemoryError("0 bytes are free")
        real(self, *args, **options)

    with session("conv", device) as a:
        expected = a({"x": X})["y"].tobytes()
        before = a.runtime.live()
        monkeypatch.setattr(kind, "__init__", allocate)
        with pytest.raises(DeviceMemoryError, match="0 bytes are free"):
            a.resize({"x": SHAPES["conv"][3]})
        monkeypatch.setattr(kind, "__init__", real)
        assert a.read("y").tobytes() == expected
        a.runtime.trim()
        a.run()
        assert a.read("y").tobytes() == expected
        gc.collect()
        assert a.runtime.live() == before
        assert a(feeds("conv", 3))["y"].tobytes() == isolated("conv", device, [(3, 0)])[3, 0]
