"""What the sessions of one runtime share, what they do not, and which wishes contradict that."""

from __future__ import annotations

import gc
import itertools
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from engine import (
    BackendConfig,
    ConfigError,
    ForwardType,
    Interpreter,
    PowerMode,
    Precision,
    RunStopped,
    Runtime,
    ScheduleConfig,
    create_runtime,
)
from engine.arenas import SharedArena
from engine.backends.opencl import program_cache
from engine.backends.opencl.backend import OpenCLBackend
from engine.errors import DeviceMemoryError
from engine.runtime import _refuse_conflict
from tests.sharing_models import (
    DEVICES,
    MLP,
    MODELS,
    OPENCL,
    SHAPES,
    config,
    feeds,
    isolated,
    session,
)

on_every_device = pytest.mark.parametrize("device", DEVICES)


def y(subject, name, size, seed=0):
    return subject(feeds(name, size, seed))["y"].tobytes()


def arena_of(device):
    return "cpu" if device == "cpu" else "opencl"


# --------------------------------------------------------------------------- what is shared
@on_every_device
def test_sessions_of_different_models_share_backends_queue_and_threads(device):
    with (
        Runtime() as runtime,
        session("conv", device, runtime) as a,
        session("mlp", device, runtime) as b,
    ):
        mine, other = (s.execution.backends[arena_of(device)] for s in (a, b))
        assert mine is other
        assert len({id(x.lock) for x in (mine, other)}) == 1
    if device != "cpu":
        assert mine.context.queue is other.context.queue


def test_two_precisions_on_one_device_share_context_and_queue_but_not_backends():
    with (
        Runtime() as runtime,
        session("mlp", OPENCL, runtime) as a,
        session("mlp", OPENCL, runtime, precision=Precision.NORMAL) as b,
    ):
        high, normal = (s.execution.backends["opencl"] for s in (a, b))
        assert high is not normal
        assert high.context is normal.context


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.usefixtures("nothing_built")
def test_a_second_session_of_a_model_builds_no_program(name):
    with Runtime() as runtime, session(name, OPENCL, runtime) as first:
        context = first.execution.backends["opencl"].context
        builds = context.builds
        assert builds > 0
        with session(name, OPENCL, runtime, size=1) as second:
            assert context.builds == builds
            assert y(second, name, 1) == isolated(name, OPENCL, [(1, 0)])[1, 0]


@pytest.mark.usefixtures("nothing_built")
def test_a_second_runtime_compiles_nothing_where_the_driver_gives_its_binaries_freely():
    builds, outputs = [], []
    for _ in range(2):
        with Runtime() as runtime, session("conv", OPENCL, runtime) as made:
            context = made.execution.backends["opencl"].context
            builds.append(context.builds)
            outputs.append(y(made, "conv", 1))
    free = program_cache.gives_binaries_freely(context.info)
    assert builds[0] > 0
    assert builds[1] == (0 if free else builds[0])
    assert outputs[0] == outputs[1]


@on_every_device
@pytest.mark.parametrize("name", MODELS)
def test_a_second_session_of_an_interpreter_costs_its_kept_tensors_only(device, name):
    model = Interpreter.from_buffer(MODELS[name])
    with Runtime() as runtime:
        shapes = {"x": SHAPES[name][0]}
        with model.create_session(config(device), runtime, shapes) as first:
            before = runtime.live()
            with model.create_session(config(device), runtime, shapes) as second:
                after = runtime.live()
                kept = second.info().memory[arena_of(device)].kept_nbytes
                assert kept > 0
                assert after.nbytes - before.nbytes == kept
                assert after.buffers - before.buffers == 1
                weights = [
                    s.info().memory[arena_of(device)].weights_nbytes for s in (first, second)
                ]
                assert weights[0] == weights[1] > 0


@on_every_device
def test_intermediates_cost_the_larger_session_not_the_sum(device):
    with Runtime() as runtime, session("conv", device, runtime, size=0) as small:
        before = runtime.live().nbytes
        with session("conv", device, runtime, size=3) as large:
            a, b = (s.info().memory[arena_of(device)] for s in (small, large))
            grown = runtime.live().nbytes - before
            own_weights = b.weights_nbytes if device != "cpu" else 0
            assert b.arena_nbytes > a.arena_nbytes > 0
            assert grown == b.kept_nbytes + own_weights + b.arena_nbytes - a.arena_nbytes
        assert runtime.live().nbytes == before


@on_every_device
def test_memory_that_the_arena_left_is_not_held_by_a_session_that_does_not_run(device):
    with Runtime() as runtime, session("conv", device, runtime) as small:
        y(small, "conv", 0)
        commands = runtime.live().commands
        assert commands > 0
        held = len(small.execution.steps)
        with session("conv", device, runtime, size=3) as large:
            assert runtime.live().commands == len(large.execution.steps)
            assert len(small.execution.steps) == held


# --------------------------------------------------------------------------- results
@on_every_device
def test_sessions_in_any_order_give_what_they_give_alone(device):
    subjects = [("conv", 0), ("mlp", 1), ("conv", 3)]
    expected = {s: isolated(s[0], device, [(s[1], 0)])[s[1], 0] for s in subjects}
    with Runtime() as runtime:
        made = {s: session(s[0], device, runtime, size=s[1]) for s in subjects}
        for order in itertools.permutations(subjects):
            for subject in order:
                made[subject].write("x", feeds(*subject)["x"])
            for subject in order:
                made[subject].run()
            for subject in reversed(order):
                assert made[subject].read("y").tobytes() == expected[subject]
        for subject in made.values():
            subject.close()


@on_every_device
def test_a_larger_session_made_later_moves_the_arena_under_an_earlier_one(device):
    expected = isolated("conv", device, [(0, 0), (1, 0), (3, 0)])
    with Runtime() as runtime, session("conv", device, runtime) as early:
        assert y(early, "conv", 0) == expected[0, 0]
        with session("conv", device, runtime, size=1) as later:
            early.run()
            assert early.read("y").tobytes() == expected[0, 0]
            assert y(later, "conv", 1) == expected[1, 0]
            later.resize({"x": SHAPES["conv"][3]})
            early.run()
            assert early.read("y").tobytes() == expected[0, 0]
            assert y(later, "conv", 3) == expected[3, 0]
            later.resize({"x": SHAPES["conv"][0]})
            runtime.trim()
            early.run()
            assert early.read("y").tobytes() == expected[0, 0]
        assert y(early, "conv", 1) == expected[1, 0]


def test_the_arena_moves_under_a_session_with_a_fallback_on_the_cpu(monkeypatch):
    covers = OpenCLBackend.why_not

    def why_not(self, node):
        return (
            "not here" if node.op_type == "Softmax" or "the_e" in node.title else covers(self, node)
        )

    monkeypatch.setattr(OpenCLBackend, "why_not", why_not)
    expected = {n: isolated(n, OPENCL, [(0, 0), (3, 0)]) for n in MODELS}
    with Runtime() as runtime:
        made = {n: session(n, OPENCL, runtime) for n in MODELS}
        for name, early in made.items():
            assert len(early.info().fallbacks) == 1
            assert y(early, name, 0) == expected[name][0, 0]
        for name in MODELS:
            with session(name, OPENCL, runtime, size=3) as later:
                assert y(later, name, 3) == expected[name][3, 0]
                for other, early in made.items():
                    assert y(early, other, 0) == expected[other][0, 0]
        for early in made.values():
            early.close()


@on_every_device
def test_output_is_not_overwritten_by_the_next_run_of_another_session(device):
    expected = isolated("conv", device, [(0, 0)])
    with (
        Runtime() as runtime,
        session("conv", device, runtime) as a,
        session("conv", device, runtime, size=3) as b,
    ):
        a.run(feeds("conv", 0))
        b.run(feeds("conv", 3))
        assert a.read("y").tobytes() == expected[0, 0]


# --------------------------------------------------------------------------- callbacks
@on_every_device
def test_a_callback_may_not_run_or_move_what_the_run_is_using(device):
    expected = isolated("conv", device, [(0, 0)])
    with (
        Runtime() as runtime,
        session("conv", device, runtime) as a,
        session("conv", device, runtime, size=1) as b,
    ):
        b.run(feeds("conv", 1))
        refused = []

        def intrude(tensors, operator):
            for intrusion in (
                lambda: b.run(),
                lambda: a.run(),
                lambda: b.resize({"x": SHAPES["conv"][3]}),
                lambda: session("conv", device, runtime, size=3),
            ):
                with pytest.raises(ConfigError, match="a callback of a run may not"):
                    intrusion()
                refused.append(operator.type)
            runtime.trim()

        a.run_with_callbacks(after=intrude, feeds=feeds("conv", 0))
        assert len(refused) >= 12
        assert a.read("y").tobytes() == expected[0, 0]
        assert y(b, "conv", 1) == isolated("conv", device, [(1, 0)])[1, 0]


@on_every_device
def test_a_callback_may_run_a_session_of_another_runtime_and_close_one_of_its_own(device):
    expected = isolated("conv", device, [(0, 0), (1, 0)])
    with Runtime() as runtime, session("conv", device, runtime) as a:
        idle = session("conv", device, runtime, size=3)
        with session("conv", device) as elsewhere:

            def intrude(tensors, operator):
                idle.close()
                assert y(elsewhere, "conv", 1) == expected[1, 0]

            a.run_with_callbacks(after=intrude, feeds=feeds("conv", 0))
            assert a.read("y").tobytes() == expected[0, 0]


# --------------------------------------------------------------------------- conflicts
def refused_both_ways(first, second, match):
    with pytest.raises(ConfigError, match=match):
        create_runtime([first, second])
    with create_runtime([first]) as runtime:
        model = Interpreter.from_buffer(MLP)
        with pytest.raises(ConfigError, match=match):
            model.create_session(second, runtime, {"x": (4, 16)})
        before = runtime.live()
        with model.create_session(first, runtime, {"x": (4, 16)}) as works:
            assert y(works, "mlp", 0)
        assert runtime.live() == before


def test_two_numbers_of_threads_are_refused(monkeypatch):
    monkeypatch.setattr("engine.backends.cpu.backend.cores", lambda: 4)
    refused_both_ways(config(num_threads=1), config(num_threads=3), "threads.* were asked for")
    low = ScheduleConfig(backend_config=BackendConfig(power=PowerMode.LOW))
    refused_both_ways(config(num_threads=3), low, "threads.* were asked for")


def test_two_contexts_on_one_device_are_refused():
    with Runtime() as other:
        lent = other.backend(ForwardType.OPENCL, config(OPENCL)).context.context
        refused_both_ways(config(OPENCL), config(OPENCL, shared_context=lent), "another Runtime")


def test_a_refused_context_of_the_users_is_not_held():
    with create_runtime([config(OPENCL)]) as runtime:
        context = runtime.backend(ForwardType.OPENCL, config(OPENCL)).context
        lent = context.cl.Context([context.device])
        held = lent.reference_count
        with pytest.raises(ConfigError, match="another Runtime") as caught:
            runtime.backend(ForwardType.OPENCL, config(OPENCL, shared_context=lent))
        del caught
        gc.collect()
        assert lent.reference_count == held


def test_two_powers_on_one_queue_are_refused_but_the_default_fits():
    """With stand-ins: no driver here has priorities."""

    def context(power):
        info = SimpleNamespace(platform="P", name="D")
        return SimpleNamespace(power=power, info=info, is_shared=False)

    low, normal, high = map(context, (PowerMode.LOW, PowerMode.NORMAL, PowerMode.HIGH))
    _refuse_conflict(low, normal)
    for old, new in ((low, high), (normal, low), (high, low)):
        with pytest.raises(ConfigError, match=f"power={new.power.name} was asked for"):
            _refuse_conflict(old, new)


def test_a_config_that_asks_for_nothing_in_particular_fits(monkeypatch):
    monkeypatch.setattr("engine.backends.cpu.backend.cores", lambda: 4)
    model = Interpreter.from_buffer(MLP)
    with Runtime() as other:
        lent = other.backend(ForwardType.OPENCL, config(OPENCL)).context.context
        particular = [
            config(num_threads=3),
            replace(config(OPENCL, shared_context=lent), num_threads=3),
            ScheduleConfig(backend_config=BackendConfig(power=PowerMode.LOW)),
        ]
        plain = [config(), config(OPENCL), config(OPENCL)]
        for first, second in zip(particular, plain, strict=True):
            with create_runtime([first]) as runtime:
                created = [b.name for b in runtime.backends]
                with model.create_session(second, runtime, {"x": (4, 16)}) as fits:
                    assert y(fits, "mlp", 0)
                if second.type is first.type:
                    assert [b.name for b in runtime.backends] == created


# --------------------------------------------------------------------------- the arena itself
class Owner:
    def __init__(self):
        self.moves = 0

    def moved(self):
        self.moves += 1


class Memory:
    def __init__(self, nbytes):
        if nbytes > 1000:
            raise DeviceMemoryError("too much")
        self.nbytes, self.released = nbytes, False

    def release(self):
        self.released = True


def test_an_arena_is_as_large_as_its_largest_lease_and_shrinks_below_half():
    arena, owner = SharedArena(Memory, threading.RLock()), Owner()
    a, b, c = (arena.lease(n, owner.moved) for n in (100, 300, 160))
    assert (arena.nbytes, owner.moves) == (300, 1)
    b.release()
    assert arena.nbytes == 300
    arena.trim()
    assert (arena.nbytes, owner.moves) == (160, 3)
    with pytest.raises(DeviceMemoryError):
        arena.lease(2000, owner.moved)
    assert arena.nbytes == 160
    c.release()
    c.release()
    assert arena.nbytes == 160
    a.release()
    assert arena.nbytes == 0


def test_a_lease_that_was_collected_counts_no_more():
    arena, owner = SharedArena(Memory, threading.RLock()), Owner()
    arena.lease(700, owner.moved)
    arena.trim()
    assert arena.nbytes == 0


def test_giving_back_never_fails_for_want_of_memory(monkeypatch):
    arena, owner = SharedArena(Memory, threading.RLock()), Owner()
    arena.lease(10, owner.moved)
    keep, large = arena.lease(10, owner.moved), arena.lease(900, owner.moved)
    monkeypatch.setattr(
        Memory, "__init__", lambda self, nbytes: Memory.refuse(nbytes), raising=False
    )
    monkeypatch.setattr(Memory, "refuse", _refuse, raising=False)
    large.release()
    assert arena.nbytes == 900
    assert not arena.arena.released
    keep.release()
    assert arena.nbytes == 0


def _refuse(nbytes):
    raise DeviceMemoryError(f"no {nbytes} bytes left")


def test_a_stopped_run_leaves_the_arena_to_the_next():
    with Runtime() as runtime, session("conv", "cpu", runtime) as a:
        with pytest.raises(RunStopped):
            a.run_with_callbacks(after=lambda *_: False, feeds=feeds("conv", 0))
        assert y(a, "conv", 0) == isolated("conv", "cpu", [(0, 0)])[0, 0]
        assert np.isfinite(a.read("y")).all()
