"""What the engine asks of a backend, on the CPU and on an OpenCL device."""

import gc
import logging
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from engine.backends import registry
from engine.backends.opencl import backend as opencl_backend
from engine.backends.opencl import device, queues, transfers
from engine.backends.protocol import Slot
from engine.config import PowerMode, Precision
from engine.errors import ConfigError, DeviceError, InputError, PlanError
from engine.ir.constant import Constant
from engine.ir.graph import Graph
from engine.ir.types import FLOAT, FLOAT16, TensorType

OPENCL = next(
    d for d in os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",") if d.strip() != "cpu"
)
HALF, FULL = Precision.NORMAL, Precision.HIGH


@pytest.fixture
def context():
    return registry.opencl_context(OPENCL)


@pytest.fixture
def full(context):
    backend = registry.opencl_backend(context, FULL)
    yield backend
    backend.close()


@pytest.fixture
def half(context):
    backend = registry.opencl_backend(context, HALF)
    yield backend
    backend.close()


@pytest.fixture(params=["cpu", "opencl"])
def backend(request, context):
    made = (
        registry.cpu_backend(1)
        if request.param == "cpu"
        else registry.opencl_backend(context, FULL)
    )
    yield made
    made.close()


@contextmanager
def blocked(context):
    """The queue does nothing inside."""
    cl = context.cl
    gate = cl.UserEvent(context.context)
    cl.enqueue_marker(context.queue, wait_for=[gate])
    try:
        yield
    finally:
        gate.set_status(cl.command_execution_status.COMPLETE)
        context.finish()


def slot_for(backend, array, layout="plain"):
    type_ = TensorType(array.dtype, array.shape)
    storage = backend.storage(array.dtype)
    return Slot(backend.allocate(type_.size * storage.itemsize), 0, type_, storage, layout)


def filled(backend, array, layout="plain"):
    slot = slot_for(backend, array, layout)
    backend.write(slot, array)
    return slot


def relu(backend, source, target):
    graph = Graph("g")
    x = graph.add_input("x", source.type)
    node = graph.add_node("Relu", [x], [("y", source.type)])
    return backend.prepare(node).bind([source], [target])


ARRAYS = {
    "scalar": np.array(3.5, np.float32),
    "empty": np.zeros((2, 0, 3), np.float32),
    "integers": np.arange(7, dtype=np.int64),
    "booleans": np.array([True, False]),
    "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "strided": np.arange(6, dtype=np.float32)[::2],
}


# --------------------------------------------------------------------------- lock, memory, cache
def test_backends_of_one_context_share_memory_and_lock_and_others_do_not(full, half):
    assert full.memory == half.memory
    assert full.lock is half.lock
    other = registry.opencl_backend(registry.opencl_context(OPENCL), FULL)
    one, two = registry.cpu_backend(1), registry.cpu_backend(1)
    assert len({full.memory, half.memory, other.memory, one.memory, two.memory}) == 4
    assert one.lock is not two.lock


def test_the_lock_is_re_entrant_and_keeps_other_threads_out(backend):
    entered = threading.Event()

    def enter():
        with backend.lock:
            entered.set()

    thread = threading.Thread(target=enter)
    with backend.lock, backend.lock, backend.building(None):
        thread.start()
        assert not entered.wait(0.05)
    thread.join(10)
    assert entered.is_set()


def test_building_sets_the_cache_inside_only(full):
    cache, inner = object(), object()
    assert full.context.cache is None
    with suppress(ZeroDivisionError), full.building(cache):
        assert full.context.cache is cache
        with full.building(inner):
            assert full.context.cache is inner
        assert full.context.cache is cache
        raise ZeroDivisionError
    assert full.context.cache is None


def test_building_lists_every_constant_handed_out_inside_shared_or_not(backend):
    one, two = Constant(np.ones(3, np.float32)), Constant(np.zeros(2, np.float32))
    before = backend.constant(one)
    with backend.building(None) as arenas:
        slots = [backend.constant(one), backend.constant(two)]
    after = backend.constant(Constant(np.ones(1, np.float32)))
    assert arenas == [slot.arena for slot in slots]
    assert before.arena is slots[0].arena
    assert after.arena not in arenas


# --------------------------------------------------------------------------- constants
@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_a_constant_reads_back_as_the_array(backend, array):
    slot = backend.constant(Constant(array))
    assert (slot.type.dtype, slot.type.dims, slot.layout) == (array.dtype, array.shape, "plain")
    np.testing.assert_array_equal(backend.read(slot), array, strict=True)


def test_a_read_only_constant_is_accepted(backend):
    array = np.frombuffer(np.arange(4, dtype=np.float32).tobytes(), np.float32)
    np.testing.assert_array_equal(backend.read(backend.constant(Constant(array))), array)


def test_a_constant_is_shared_while_somebody_holds_it(backend):
    constant = Constant(np.arange(4, dtype=np.float32))
    first, second = backend.constant(constant), backend.constant(constant)
    assert first.arena is second.arena
    assert backend.constant(Constant(constant.array.copy())).arena is not first.arena


def test_a_constant_on_a_device_keeps_its_source_so_that_no_other_gets_its_id(backend):
    held = [backend.constant(Constant(np.full(4, n, np.float32))) for n in range(50)]
    for n, slot in enumerate(held):
        np.testing.assert_array_equal(backend.read(slot), np.full(4, n, np.float32))


def test_a_constant_on_the_cpu_is_the_array_itself():
    backend, array = registry.cpu_backend(1), np.arange(4, dtype=np.float32)
    assert np.shares_memory(backend.view(backend.constant(Constant(array))), array)
    backend.close()


def test_a_constant_is_stored_at_the_precision_of_the_backend(half):
    array = np.array([1 / 3, -3.4e38, np.inf], np.float32)
    slot = half.constant(Constant(array))
    assert slot.storage == FLOAT16
    np.testing.assert_array_equal(half.read(slot), half.stored(array))
    assert half.read(slot)[1] == -65504


# --------------------------------------------------------------------------- writes and reads
@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_what_was_written_is_read(backend, array):
    np.testing.assert_array_equal(backend.read(filled(backend, array)), array, strict=True)


def test_channels_last_is_a_matter_of_storage_only(full, half):
    array = np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5)
    for backend in (full, half):
        slot = filled(backend, array, "channels_last")
        np.testing.assert_array_equal(backend.read(slot), array)
        raw = backend.read(replace(slot, type=TensorType(FLOAT, (2, 4, 5, 3)), layout="plain"))
        np.testing.assert_array_equal(raw, np.moveaxis(array, 1, -1))


def test_a_write_does_not_wait_and_the_array_is_free_at_once(full):
    array = np.arange(1 << 16, dtype=np.float32)
    slot = slot_for(full, array)
    with blocked(full.context):
        full.write(slot, array)
        array[:] = -1
        assert len(full.context.in_flight) == 1
    np.testing.assert_array_equal(full.read(slot), np.arange(1 << 16, dtype=np.float32))


@pytest.mark.parametrize(("limit", "value"), [("WRITES_MAX", 3), ("IN_FLIGHT_NBYTES_MAX", 48)])
def test_writes_in_flight_are_bounded(full, monkeypatch, limit, value):
    monkeypatch.setattr(transfers, limit, value)
    array = np.zeros(4, np.float32)
    slot = slot_for(full, array)
    done = threading.Event()

    def write():
        full.write(slot, array)
        done.set()

    thread = threading.Thread(target=write)
    with blocked(full.context):
        for _ in range(3):
            full.write(slot, array)
        thread.start()
        assert not done.wait(0.1)
    thread.join(10)
    assert done.is_set()
    full.synchronize()
    assert len(full.context.in_flight) == 0


def test_a_later_read_gives_what_was_there_before_later_work(backend):
    old, new = np.full(1000, 1, np.float32), np.full(1000, 2, np.float32)
    slot = filled(backend, old)
    pending = backend.read_later(slot)
    backend.write(slot, new)
    np.testing.assert_array_equal(backend.read(slot), new)
    np.testing.assert_array_equal(pending.result(), old)
    assert pending.result() is pending.result()


def test_a_converted_read_gives_the_same_array_every_time(half):
    array = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    pending = half.read_later(filled(half, array, "channels_last"))
    first = pending.result()
    assert first is pending.result()
    np.testing.assert_array_equal(first, array)


def test_a_later_read_is_enqueued_without_waiting(full):
    array = np.arange(8, dtype=np.float32)
    slot = filled(full, array)
    full.synchronize()
    with blocked(full.context):
        pending = full.read_later(slot)
        assert len(full.context.in_flight) == 1
    np.testing.assert_array_equal(pending.result(), array)


def test_a_dropped_read_does_not_wait(full):
    slot = filled(full, np.zeros(8, np.float32))
    with blocked(full.context):
        full.read_later(slot)
        gc.collect()
    full.synchronize()
    assert len(full.context.in_flight) == 0


def test_a_wrong_dtype_or_shape_is_refused(backend):
    slot = slot_for(backend, np.zeros(4, np.float32))
    for array in (np.zeros(4, np.int32), np.zeros((2, 2), np.float32)):
        with pytest.raises(InputError, match="expected float32"):
            backend.write(slot, array)


def test_threads_write_and_read_at_once(full):
    wrong = []

    def work(n):
        slot = slot_for(full, np.zeros(500, np.float32))
        for k in range(30):
            array = np.full(500, 100 * n + k, np.float32)
            full.write(slot, array)
            if not np.array_equal(full.read(slot), array):
                wrong.append((n, k))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)


# --------------------------------------------------------------------------- copies
LAYOUTS = ("plain", "channels_last")
SHAPES = [(), (5,), (3, 4), (2, 3, 4), (2, 21, 5, 7), (1, 40, 1, 33), (2, 0, 3, 4)]


@pytest.mark.parametrize("shape", SHAPES)
def test_copies_between_every_storage_and_layout_round_as_the_host_does(full, half, shape):
    rng = np.random.default_rng(0)
    array = rng.standard_normal(shape).astype(np.float32) * np.float32(1e3)
    for source in (full, half):
        for target in (full, half):
            for before in LAYOUTS:
                for after in LAYOUTS:
                    old, new = filled(source, array, before), slot_for(target, array, after)
                    source.copy(old, new).enqueue()
                    expected = target.stored(source.stored(array))
                    np.testing.assert_array_equal(target.read(new), expected, strict=True)


def test_a_copy_of_every_half_is_exact_both_ways(full, half):
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    wide = slot_for(full, every.astype(np.float32))
    narrow, again = (slot_for(half, every.astype(np.float32)) for _ in range(2))
    half.write(replace(narrow, type=TensorType(FLOAT16, every.shape)), every)
    half.copy(narrow, wide).enqueue()
    np.testing.assert_array_equal(full.read(wide), every.astype(np.float32))
    full.copy(wide, again).enqueue()
    back = half.read(replace(again, type=TensorType(FLOAT16, every.shape)))
    numbers = ~np.isnan(every)
    np.testing.assert_array_equal(back[numbers].view(np.uint16), every[numbers].view(np.uint16))
    assert np.isnan(back[~numbers]).all()


def test_a_copy_to_half_saturates_finite_values_only(full, half):
    values = [65504, 65519, 65520, 1e6, -3.4e38, np.inf, -np.inf, np.nan, 6e-8, 2.9e-8, -0.0]
    array = np.array(values * 5, np.float32)
    new = slot_for(half, array)
    full.copy(filled(full, array), new).enqueue()
    np.testing.assert_array_equal(half.read(new), half.stored(array))


def test_a_copy_writes_its_window_and_nothing_else(full, half):
    array = np.arange(2 * 3 * 5 * 5, dtype=np.float32).reshape(2, 3, 5, 5)
    nbytes = array.nbytes
    for source, target, layout in ((full, full, "plain"), (full, half, "channels_last")):
        arena = target.allocate(4 * nbytes)
        whole = Slot(arena, 0, TensorType(np.dtype(np.uint8), (4 * nbytes,)), np.dtype(np.uint8))
        storage = target.storage(FLOAT)
        window = Slot(arena, nbytes, TensorType(FLOAT, array.shape), storage, layout)
        source.copy(filled(source, array), window).enqueue()
        raw = target.read(whole)
        assert (raw[:nbytes] == 0xFF).all()
        assert (raw[nbytes + window.nbytes :] == 0xFF).all()
        np.testing.assert_array_equal(target.read(window), array)


def test_a_copy_on_the_cpu_fills_the_target(backend):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    new = slot_for(backend, array)
    command = backend.copy(filled(backend, array), new)
    command.enqueue()
    np.testing.assert_array_equal(backend.read(new), array)


def test_a_copy_to_another_type_is_refused(backend):
    old, new = (slot_for(backend, np.zeros(n, np.float32)) for n in (4, 5))
    with pytest.raises(PlanError, match=r"float32\[4\] cannot become float32\[5\]"):
        backend.copy(old, new)


def test_a_copy_within_overlapping_memory_is_refused_and_onto_itself_is_nothing(full):
    slot = filled(full, np.arange(8, dtype=np.float32))
    first = replace(slot, type=TensorType(FLOAT, (6,)))
    with pytest.raises(PlanError, match="overlap"):
        full.copy(first, replace(first, offset_nbytes=8))
    full.copy(slot, slot).enqueue()
    full.copy(
        replace(slot, type=TensorType(FLOAT, (4,))),
        replace(slot, type=TensorType(FLOAT, (4,)), offset_nbytes=16),
    ).enqueue()
    np.testing.assert_array_equal(full.read(slot), np.tile(np.arange(4, dtype=np.float32), 2))


# --------------------------------------------------------------------------- lent memory
def test_a_users_buffer_is_a_slot_and_stays_the_users(full, half):
    cl, context = full.context.cl, full.context.context
    array = np.array([-2, 1 / 3, 5], np.float32)
    for backend, nbytes in ((full, 12), (half, 6)):
        buffer = cl.Buffer(context, cl.mem_flags.READ_WRITE, nbytes)
        slot = backend.attach(buffer, TensorType(FLOAT, (3,)))
        relu(backend, filled(backend, array), slot).enqueue()
        np.testing.assert_array_equal(backend.read(slot), np.maximum(backend.stored(array), 0))
        slot.arena.release()
        slot.arena.release()
        again = backend.attach(buffer, TensorType(FLOAT, (3,)))
        np.testing.assert_array_equal(backend.read(again), np.maximum(backend.stored(array), 0))


def test_a_buffer_that_does_not_fit_is_refused(full, half):
    cl, context = full.context.cl, full.context.context
    flags, type_ = cl.mem_flags, TensorType(FLOAT, (3,))
    stranger = cl.Context([full.context.device])
    refused = {
        "got ndarray, expected a pyopencl.Buffer": np.zeros(3, np.float32),
        "another pyopencl.Context": cl.Buffer(stranger, flags.READ_WRITE, 6),
        r"has 12 bytes, expected 6 .* as float16": cl.Buffer(context, flags.READ_WRITE, 12),
        "is READ_ONLY": cl.Buffer(context, flags.READ_ONLY, 6),
        "is HOST_NO_ACCESS": cl.Buffer(context, flags.READ_WRITE | flags.HOST_NO_ACCESS, 6),
    }
    for message, memory in refused.items():
        with pytest.raises(InputError, match=message):
            half.attach(memory, type_)
    with pytest.raises(InputError, match=r"has 6 bytes, expected 12 .* as float32"):
        full.attach(cl.Buffer(context, flags.READ_WRITE, 6), type_)


def test_a_users_array_is_a_slot_on_the_cpu():
    backend, array = registry.cpu_backend(1), np.zeros((2, 3), np.float32)
    slot = backend.attach(array, TensorType(FLOAT, (2, 3)))
    backend.write(slot, np.ones((2, 3), np.float32))
    slot.arena.release()
    assert (array == 1).all()
    backend.close()


def test_an_array_that_does_not_fit_is_refused():
    backend, type_ = registry.cpu_backend(1), TensorType(FLOAT, (2, 3))
    fixed = np.zeros((2, 3), np.float32)
    fixed.flags.writeable = False
    askew = np.zeros(25, np.uint8)[1:].view(np.float32).reshape(2, 3)
    refused = {
        "got list": [1.0],
        "got float64": np.zeros((2, 3)),
        r"got float32\[3, 2\]": np.zeros((3, 2), np.float32),
        "not C_CONTIGUOUS": np.zeros((3, 2), np.float32).T,
        "not WRITEABLE": fixed,
        "not ALIGNED": askew,
    }
    for message, memory in refused.items():
        with pytest.raises(InputError, match=message):
            backend.attach(memory, type_)
    backend.close()


# --------------------------------------------------------------------------- counting
def test_live_counts_buffers_bytes_and_commands_exactly(backend):
    before = backend.live()
    assert (before.buffers, before.commands, before.nbytes) == (0, 0, 0)
    array = np.zeros(10, np.float32)
    x, y = slot_for(backend, array), slot_for(backend, array)
    commands = [relu(backend, x, y), backend.copy(x, y)]
    live = backend.live()
    assert (live.buffers, live.commands, live.nbytes) == (2, 2, 80)
    x.arena.release()
    x.arena.release()
    assert (backend.live().buffers, backend.live().nbytes) == (1, 40)
    commands.clear()
    del x, y
    gc.collect()
    assert backend.live() == before


def test_a_command_keeps_its_memory_counted_until_it_is_dropped(backend):
    array = np.zeros(10, np.float32)
    command = relu(backend, slot_for(backend, array), slot_for(backend, array))
    gc.collect()
    if backend.name == "opencl":
        assert backend.live().nbytes == 80
    del command
    gc.collect()
    assert backend.live().nbytes == 0


def test_lent_memory_and_constants_of_the_cpu_are_not_counted_as_allocated():
    backend, array = registry.cpu_backend(1), np.zeros(3, np.float32)
    held = [backend.constant(Constant(array)), backend.attach(array, TensorType(FLOAT, (3,)))]
    assert backend.live().buffers == 0, held
    backend.close()


def test_a_constant_is_counted_once_and_goes_with_its_last_holder(full):
    constant = Constant(np.zeros(5, np.float32))
    first, second = full.constant(constant), full.constant(constant)
    assert (full.live().buffers, full.live().nbytes) == (1, 20)
    del first
    gc.collect()
    assert full.live().buffers == 1
    del second
    gc.collect()
    assert full.live().buffers == 0


# --------------------------------------------------------------------------- waiting
def test_wait_gives_up_after_its_time_and_says_when_all_is_done(full):
    assert full.wait(1)
    with blocked(full.context):
        slot = filled(full, np.ones(4, np.float32))
        started = time.monotonic()
        assert not full.wait(0.2)
        assert 0.2 <= time.monotonic() - started < opencl_backend.CLOSE_TIMEOUT_S
    assert full.wait(10)
    np.testing.assert_array_equal(full.read(slot), np.ones(4, np.float32))


def test_nothing_is_pending_on_the_cpu():
    backend = registry.cpu_backend(1)
    assert backend.wait(0)
    backend.close()


def test_close_ends_although_the_queue_is_stuck_and_says_so(context, monkeypatch, caplog):
    patience_s = opencl_backend.CLOSE_TIMEOUT_S
    monkeypatch.setattr(opencl_backend, "CLOSE_TIMEOUT_S", 0.2)
    backend = registry.opencl_backend(context, FULL)
    slot = slot_for(backend, np.zeros(4, np.float32))
    held = backend.constant(Constant(np.zeros(3, np.float32)))
    with blocked(context), caplog.at_level(logging.WARNING, "parallax"):
        backend.write(slot, np.ones(4, np.float32))
        pending = backend.read_later(slot)
        started = time.monotonic()
        backend.close()
        slot.arena.release()
        assert time.monotonic() - started < patience_s
    assert "is not idle after 0.2 s" in caplog.text
    np.testing.assert_array_equal(pending.result(), np.ones(4, np.float32))
    assert held.arena.buffer is None
    assert backend.live().buffers == 0


STUCK = """
import sys
import numpy as np
from engine.backends import registry
from engine.backends.opencl import backend as module
from engine.backends.protocol import Slot
from engine.config import Precision
from engine.ir.types import FLOAT, TensorType

module.CLOSE_TIMEOUT_S = 0.1
context = registry.opencl_context(sys.argv[1])
backend = registry.opencl_backend(context, Precision.HIGH)
gate = context.cl.UserEvent(context.context)
context.cl.enqueue_marker(context.queue, wait_for=[gate])
slot = Slot(backend.allocate(16), 0, TensorType(FLOAT, (4,)), FLOAT)
backend.write(slot, np.ones(4, np.float32))
pending = backend.read_later(slot)
backend.close()
"""


def test_a_process_with_a_stuck_queue_ends():
    done = subprocess.run(
        [sys.executable, "-c", STUCK, OPENCL], timeout=60, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "is not idle after 0.1 s" in done.stderr


def test_a_failed_queue_is_named(full, monkeypatch):
    failed = SimpleNamespace(command_execution_status=-5)
    monkeypatch.setattr(full.context.cl, "enqueue_marker", lambda queue: failed)
    with pytest.raises(DeviceError, match="failed with OUT_OF_RESOURCES"):
        full.wait(1)
    monkeypatch.undo()


# --------------------------------------------------------------------------- power
@pytest.mark.parametrize("power", [PowerMode.HIGH, PowerMode.LOW])
def test_a_device_without_priorities_refuses_power(power):
    if "cl_khr_priority_hints" in device.select(OPENCL).extensions:
        pytest.skip("the device has priorities")
    sentence = f"power={power.name} needs cl_khr_priority_hints, which .* / .* lacks; use NORMAL"
    with pytest.raises(ConfigError, match=sentence):
        registry.opencl_context(OPENCL, power=power)


@pytest.mark.parametrize(("power", "priority"), [(PowerMode.HIGH, 1), (PowerMode.LOW, 4)])
def test_a_device_with_priorities_is_asked_for_one(power, priority):
    fake = SimpleNamespace(CommandQueue=lambda *arguments: arguments)
    able = SimpleNamespace(extensions="cl_khr_fp64 cl_khr_priority_hints")
    assert queues.new_queue(fake, "context", able, power, 2) == (
        "context",
        able,
        [0x1093, 2, 0x1096, priority],
    )
    assert queues.new_queue(fake, "context", able, PowerMode.NORMAL) == ("context", able, 0)


def test_low_power_on_the_cpu_takes_half_of_the_cores(monkeypatch):
    for cores, low in ((8, 4), (1, 1)):
        monkeypatch.setattr("engine.backends.cpu.backend.cores", lambda cores=cores: cores)
        assert registry.cpu_threads() == cores
        assert registry.cpu_threads(power=PowerMode.LOW) == low
        for asked in (1, 2, 8, 4096):
            assert registry.cpu_threads(asked) == min(asked, cores)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot pin a process")
def test_cores_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7})
    assert registry.cpu_threads() == 3


# --------------------------------------------------------------------------- what the user shares
def test_a_shared_context_queue_device_or_pair_is_worked_in():
    cl, wanted = device.opencl(), device.select(OPENCL)
    theirs = cl.Context([wanted])
    queue = cl.CommandQueue(theirs)
    numbers = next(tuple(map(int, n.split("."))) for n, d in device.devices() if d == wanted)
    for shared in (theirs, queue, wanted, numbers):
        context = registry.opencl_context(None, shared)
        assert context.device == wanted
        backend = registry.opencl_backend(context, FULL)
        np.testing.assert_array_equal(backend.read(filled(backend, np.ones(3))), np.ones(3))
        backend.close()
    assert registry.opencl_context(None, theirs).context == theirs
    assert registry.opencl_context(OPENCL, queue).queue is queue


@pytest.mark.parametrize("shared", ["0.0", 7, (0,), (True, 0), (0, 1.0), [0, 0], object()])
def test_anything_else_is_not_a_shared_context(shared):
    with pytest.raises(ConfigError, match=r"expected a pyopencl\.Context, CommandQueue or Device"):
        registry.opencl_context(None, shared)


@pytest.mark.parametrize("shared", [(99, 0), (0, 99), (-1, 0)])
def test_bad_numbers_list_the_devices(shared):
    with pytest.raises(DeviceError, match=r"there is no device .*\n  0\.0  "):
        registry.opencl_context(None, shared)


def test_an_out_of_order_queue_is_refused():
    cl = device.opencl()
    theirs = cl.Context([device.select(OPENCL)])
    flags = cl.command_queue_properties.OUT_OF_ORDER_EXEC_MODE_ENABLE
    with pytest.raises(ConfigError, match="out-of-order"):
        registry.opencl_context(None, cl.CommandQueue(theirs, properties=flags))


def test_a_shared_queue_keeps_its_priority():
    cl = device.opencl()
    theirs = cl.Context([device.select(OPENCL)])
    queue = cl.CommandQueue(theirs)
    with pytest.raises(ConfigError, match="keeps its priority"):
        registry.opencl_context(None, queue, PowerMode.HIGH)


def test_a_selector_may_name_the_device_of_what_is_shared():
    cl, wanted = device.opencl(), device.select(OPENCL)
    assert registry.opencl_context(OPENCL, cl.Context([wanted])).device == wanted


@pytest.mark.several_devices
def test_a_selector_must_name_a_device_of_what_is_shared(two_opencl):
    cl, wanted = device.opencl(), device.select(two_opencl[0])
    theirs = cl.Context([wanted])
    for shared in (theirs, cl.CommandQueue(theirs), wanted):
        with pytest.raises(ConfigError, match=r"names .*, which shared_context .* does not have"):
            registry.opencl_context(two_opencl[1], shared)


# --------------------------------------------------------------------------- profiling
def test_profiling_restores_the_queue_in_all_cases(full):
    queue = full.context.queue
    with suppress(ZeroDivisionError), full.profiling():
        inner = full.context.queue
        assert inner.properties & full.context.cl.command_queue_properties.PROFILING_ENABLE
        with full.profiling():
            assert full.context.queue is not inner
        assert full.context.queue is inner
        raise ZeroDivisionError
    assert full.context.queue is queue


def test_profiling_keeps_other_threads_from_the_profiled_queue(full):
    seen = []
    slot = slot_for(full, np.zeros(4, np.float32))

    def write():
        full.write(slot, np.ones(4, np.float32))
        seen.append("written")

    thread = threading.Thread(target=write)
    with full.profiling():
        thread.start()
        time.sleep(0.05)
        assert not seen
    thread.join(10)
    np.testing.assert_array_equal(full.read(slot), np.ones(4, np.float32))


def test_an_event_under_profiling_has_times(full):
    x = filled(full, np.ones(4, np.float32))
    command = relu(full, x, slot_for(full, np.zeros(4, np.float32)))
    with full.profiling():
        event = command.enqueue()
        full.synchronize()
        assert event.profile.end >= event.profile.start > 0


def test_a_kernel_object_belongs_to_one_command_and_then_to_another(full):
    slot = slot_for(full, np.zeros(4, np.float32))
    first, second = (relu(full, slot, slot) for _ in range(2))
    assert first._kernel is not second._kernel
    freed = first._kernel
    del first
    x = filled(full, np.float32([-1, 2, -3, 4]))
    y = slot_for(full, np.zeros(4, np.float32))
    again = relu(full, x, y)
    third = relu(full, slot, slot)
    assert again._kernel is freed is not third._kernel
    again.enqueue()
    np.testing.assert_array_equal(full.read(y), [0, 2, 0, 4])


# --------------------------------------------------------------------------- errors
def test_a_refused_launch_names_device_kernel_and_status(full):
    slot = slot_for(full, np.zeros(4, np.float32))
    good = relu(full, slot, slot)
    too_wide = (good._kernel, (1 << 20,), (1 << 20,), ())
    bad = opencl_backend.OpenCLCommand(full.context, *too_wide)
    with pytest.raises(
        DeviceError, match=f"kernel {good.name} failed with INVALID_WORK_GROUP_SIZE"
    ):
        bad.enqueue()


def test_a_refused_copy_or_read_names_the_status(full):
    slot = slot_for(full, np.zeros(4, np.float32))
    beyond = replace(slot, offset_nbytes=16)
    for doing, act in {
        "copying": lambda: full.copy(beyond, slot).enqueue(),
        "reading": lambda: full.read(beyond),
        "writing": lambda: full.write(beyond, np.zeros(4, np.float32)),
    }.items():
        with pytest.raises(DeviceError, match=rf"{doing} float32\[4\] failed with INVALID_VALUE"):
            act()
