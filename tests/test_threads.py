"""Threads: how many compute, and that any number may call the engine at once."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from engine import ClosedError, Interpreter, ModelReleased, Runtime
from engine.backends.cpu.backend import CpuBackend
from engine.backends.cpu.team import SINGLE_THREADED_BLAS, Team
from engine.config import ScheduleConfig
from engine.module import Module
from tests.model_writing import model_bytes, node
from tests.sharing_models import (
    CONV,
    DEVICES,
    MLP,
    MODELS,
    SHAPES,
    config,
    feeds,
    in_threads,
    isolated,
    session,
)

on_every_device = pytest.mark.parametrize("device", DEVICES)
THREADS = 8
CASES = list(itertools.product(range(5), range(3)))
"""(size, seed) of the inputs that the threads work through."""


@pytest.fixture(scope="module")
def expected():
    """The bytes of every model, device and case, computed alone."""
    return {(n, d): isolated(n, d, CASES) for n in MODELS for d in DEVICES}


def check(subject, name, device, case, expected):
    assert subject(feeds(name, *case))["y"].tobytes() == expected[name, device][case]


RELU = model_bytes([node("Relu", "x", "y")], {"x": ("n",)}, ["y"])


def model_of(index):
    return list(MODELS)[index % 2]


# --------------------------------------------------------------------------- the CPU's own threads
def blas_threads() -> list[int]:
    return [t["num_threads"] for t in threadpool_info() if t["user_api"] == "blas"]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_range_is_shared_by_as_many_threads_as_were_asked_for(size):
    team = Team(size)
    meet = threading.Barrier(size, timeout=10)
    seen: list[tuple[int, int]] = []

    def work(start: int, stop: int) -> None:
        meet.wait()
        seen.append((start, stop))

    team.split(100, work)
    team.close()
    assert len(seen) == size
    assert sorted(i for start, stop in seen for i in range(start, stop)) == list(range(100))


@pytest.mark.parametrize("threads", [1, 3])
def test_num_threads_reaches_the_team_of_the_backend(threads, monkeypatch):
    monkeypatch.setattr("engine.backends.cpu.backend.cores", lambda: 4)
    chosen = ScheduleConfig(num_threads=threads)
    with Runtime() as runtime:
        backend = runtime.backend(chosen.type, chosen)
        assert isinstance(backend, CpuBackend)
        assert backend.team.size == threads
        assert runtime.backend(chosen.type, ScheduleConfig()) is backend


def test_blas_keeps_its_threads_outside_of_a_computation():
    before = blas_threads()
    backend = CpuBackend(2)
    assert blas_threads() == before
    backend.team.split(10, lambda start, stop: np.testing.assert_equal(max(blas_threads()), 1))
    backend.close()
    assert blas_threads() == before


def test_two_computations_at_once_do_not_restore_the_limit_under_each_other():
    before = blas_threads()
    with SINGLE_THREADED_BLAS:
        with SINGLE_THREADED_BLAS:
            pass
        assert max(blas_threads()) == 1
    assert blas_threads() == before


def test_blas_is_limited_from_whichever_thread_computes():
    """threadpoolctl lets the thread that came first limit OpenBLAS, and no other while it lives."""
    before = blas_threads()

    def inside(*_: object) -> list[int]:
        with SINGLE_THREADED_BLAS:
            return blas_threads()

    assert max(inside()) == 1
    with ThreadPoolExecutor(1) as pool:
        assert max(pool.submit(inside).result()) == 1
    assert blas_threads() == before


def test_closed_runtimes_leave_no_thread_behind(monkeypatch):
    monkeypatch.setattr("engine.backends.cpu.backend.cores", lambda: 4)
    before = threading.active_count()
    for _ in range(5):
        with session("conv", "cpu", num_threads=3) as subject:
            subject(feeds("conv", 3))
    assert threading.active_count() == before


# --------------------------------------------------------------------------- eight callers at once
@on_every_device
def test_eight_threads_with_a_runtime_each(device, expected):
    def work(index):
        name = model_of(index)
        with session(name, device) as own:
            for case in CASES:
                check(own, name, device, case, expected)

    in_threads(THREADS, work)


@on_every_device
def test_eight_threads_with_sessions_on_one_runtime(device, expected):
    with Runtime() as runtime:

        def work(index):
            name = model_of(index)
            with session(name, device, runtime, size=index % 5) as own:
                for case in CASES[index:] + CASES[:index]:
                    check(own, name, device, case, expected)

        in_threads(THREADS, work)
        assert runtime.live().nbytes == 0


@on_every_device
def test_eight_threads_enqueue_reads_that_others_overtake(device, expected):
    with Runtime() as runtime:

        def work(index):
            name = model_of(index)
            with session(name, device, runtime) as own:
                pending = []
                for case in CASES:
                    own.run(feeds(name, *case))
                    pending.append((case, own.read_later("y")))
                for case, read in pending:
                    assert read.result().tobytes() == expected[name, device][case]

        in_threads(THREADS, work)


@on_every_device
@pytest.mark.parametrize("name", MODELS)
def test_eight_threads_in_one_session(device, name, expected):
    with session(name, device) as shared:

        def work(index):
            for case in CASES[index:] + CASES[:index]:
                check(shared, name, device, case, expected)

        in_threads(THREADS, work)


@on_every_device
def test_sessions_come_and_go_and_resize_while_others_run(device, expected):
    models = {n: Interpreter.from_buffer(data) for n, data in MODELS.items()}
    with Runtime() as runtime:

        def create_and_close(name):
            for size, seed in CASES:
                shapes = {"x": SHAPES[name][size]}
                with models[name].create_session(config(device), runtime, shapes) as own:
                    check(own, name, device, (size, seed), expected)
                runtime.trim()

        def keep_running(name):
            with models[name].create_session(
                config(device), runtime, {"x": SHAPES[name][0]}
            ) as own:
                for seed in [0, 1, 2] * 10:
                    check(own, name, device, (0, seed), expected)

        def resize(name):
            with models[name].create_session(
                config(device), runtime, {"x": SHAPES[name][0]}
            ) as own:
                for size, seed in CASES:
                    own.resize({"x": SHAPES[name][size]})
                    own.write("x", feeds(name, size, seed)["x"])
                    own.run()
                    assert own.read("y").tobytes() == expected[name, device][size, seed]
                    own.info()

        works = [create_and_close, keep_running, resize, keep_running]
        in_threads(THREADS, lambda index: works[index // 2](model_of(index)))
        assert runtime.live().nbytes == 0


@on_every_device
def test_a_session_is_closed_while_others_use_it(device, expected):
    for _ in range(5):
        shared = session("conv", device)

        def work(index, shared=shared):
            if index == 0:
                for case in CASES[:2]:
                    check(shared, "conv", device, case, expected)
                shared.close()
                return
            for case in CASES:
                try:
                    check(shared, "conv", device, case, expected)
                except ClosedError:
                    return

        in_threads(4, work)


@on_every_device
def test_a_session_is_read_and_written_while_it_runs(device, expected):
    with session("conv", device) as shared:
        array = feeds("conv", 0)
        shared(array)

        def work(index):
            for _ in range(20):
                if index % 2:
                    assert shared.read("y").tobytes() == expected["conv", device][0, 0]
                else:
                    shared.write("x", array["x"])
                    shared.run()

        in_threads(THREADS, work)


# --------------------------------------------------------------------------- several devices
def test_all_devices_at_once(expected):
    def work(index):
        device, name = DEVICES[index % 2], model_of(index // 2)
        with session(name, device) as own:
            for case in CASES:
                check(own, name, device, case, expected)

    in_threads(THREADS, work)


@pytest.mark.several_devices
def test_two_opencl_devices_at_once_on_one_runtime(two_opencl):
    selectors = two_opencl
    wanted = {(n, s): isolated(n, s, CASES) for n in MODELS for s in selectors}
    with Runtime() as runtime:

        def work(index):
            name, selector = model_of(index), selectors[index // 2 % 2]
            with session(name, selector, runtime) as own:
                for case in CASES:
                    check(own, name, selector, case, wanted)

        in_threads(THREADS, work)


# --------------------------------------------------------------------------- one interpreter
@on_every_device
def test_sessions_made_at_once_from_one_interpreter_share_its_weights(device, expected):
    backend = "cpu" if device == "cpu" else "opencl"
    for _ in range(5):
        model, made = Interpreter.from_buffer(CONV), {}
        with Runtime() as runtime:

            def work(index, model=model, made=made, runtime=runtime):
                made[index] = model.create_session(
                    config(device), runtime, {"x": SHAPES["conv"][0]}
                )
                check(made[index], "conv", device, (0, 0), expected)

            in_threads(THREADS, work)
            memory = [each.info().memory[backend] for each in made.values()]
            assert len({id(each._plans._graph) for each in made.values()}) == 1
            weights = memory[0].weights_nbytes if device != "cpu" else 0
            kept = sum(m.kept_nbytes for m in memory)
            assert runtime.live().nbytes == weights + kept + memory[0].arena_nbytes
            model.close()


def test_a_model_is_released_while_sessions_are_made():
    for _ in range(20):
        model = Interpreter.from_buffer(MLP)

        def work(index, model=model):
            if index == 0:
                model.release_model()
                return
            try:
                model.create_session(shapes={"x": (4, 16)}).close()
            except ModelReleased:
                return

        in_threads(4, work)


# --------------------------------------------------------------------------- modules
@on_every_device
def test_eight_threads_call_one_module_and_clone_it(device, expected):
    case = (0, 0)
    array, right = feeds("conv", *case)["x"], expected["conv", device][case]
    with Runtime() as runtime:
        module = Module.load(CONV, config=config(device), runtime=runtime)

        def work(index):
            mine = module if index % 2 else module.clone()
            results = [mine.forward(array) for _ in range(6)]
            for result in results:
                assert result.read_map().tobytes() == right
            if mine is not module:
                mine.close()

        in_threads(THREADS, work)
        module.close()


@on_every_device
def test_two_modules_that_feed_each_other_do_not_block_each_other(device):
    """Each thread holds one module's turn and needs a result of the other one."""
    with Runtime() as runtime:
        a, b = (Module.load(RELU, config=config(device), runtime=runtime) for _ in range(2))
        array = np.linspace(-1, 1, 64, dtype=np.float32)
        right = np.maximum(array, 0).tobytes()

        def work(index):
            first, second = (a, b) if index % 2 else (b, a)
            for _ in range(40):
                between = first.forward(array)
                result = second.forward(between)
                assert result.read_map().tobytes() == right
                assert between.read_map().tobytes() == right

        in_threads(THREADS, work, 30)
        a.close()
        b.close()
