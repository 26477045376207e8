"""Tensors: copied in and out, mapped, waited for, laid out, lent."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from engine import ClosedError, InputError, Precision, Runtime
from engine.backends.opencl.device import opencl
from tests.features.subjects import (
    CONVOLUTIONS,
    DEVICES,
    OPENCL,
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


@pytest.fixture(params=DEVICES)
def session(request: pytest.FixtureRequest, runtime: Runtime):
    settings = config(request.param, save_tensors=("r", "c"))
    with interpreter().create_session(settings, runtime, {"x": (2, 4)}) as made:
        yield made


@pytest.fixture
def on_opencl(runtime: Runtime):
    with interpreter().create_session(config(OPENCL), runtime, {"x": (2, 4)}) as made:
        yield made


# ------------------------------------------------------------------------- copies (row 31)
@row(31)
def test_arrays_go_in_and_come_out_as_they_are(session):
    x = rows_of(2)
    tensor = session.input()
    assert (tensor.name, tensor.shape, tensor.dtype, tensor.nbytes) == ("x", (2, 4), "float32", 32)
    for array in (x, np.asfortranarray(x), x[::-1]):
        tensor.write(array)
        np.testing.assert_array_equal(tensor.read(), array, strict=True)
    tensor.write(x)
    session.run()
    got = session.output().read()
    np.testing.assert_allclose(got, chain_of(x), rtol=1e-5)
    got[:] = 0
    np.testing.assert_allclose(session.output().read(), chain_of(x), rtol=1e-5)


@row(31)
@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((2, 4)),
        np.zeros((2, 4), np.int32),
        np.zeros((2, 5), np.float32),
        np.zeros(8, np.float32),
        np.zeros((1, 4), np.float32),
    ],
    ids=str,
)
def test_a_wrong_dtype_or_shape_is_refused_and_nothing_is_written(session, wrong: np.ndarray):
    x = rows_of(2)
    session.input().write(x)
    with pytest.raises(InputError, match=r"'x': got .* expected float32\[2,4\]"):
        session.input().write(wrong)
    np.testing.assert_array_equal(session.input().read(), x)


@row(31)
def test_an_array_may_be_changed_as_soon_as_it_was_written(on_opencl):
    x = rows_of(2)
    with blocked(context_of(on_opencl)):
        on_opencl.input().write(x)
        x[:] = 0
    np.testing.assert_array_equal(on_opencl.input().read(), rows_of(2))


@row(31)
def test_a_constant_is_read_and_not_written(session):
    tensor = session.output("c")
    np.testing.assert_array_equal(tensor.read(), np.arange(4, dtype=np.float32))
    np.testing.assert_array_equal(tensor.read_later().result(), tensor.read())
    with pytest.raises(InputError, match="constant"):
        tensor.write(np.zeros(4, np.float32))
    with pytest.raises(InputError, match="constant"):
        _ = tensor.device_memory
    assert (tensor.backend, tensor.storage_nbytes) == ("", 16)
    tensor.wait()


@row(31)
def test_a_tensor_copies_from_another_of_its_type_only(session):
    x = rows_of(2)
    session.run({"x": x})
    session.input().copy_from(session.output("r"))
    np.testing.assert_array_equal(session.input().read(), np.maximum(x, 0))
    with pytest.raises(InputError, match=r"got float32\[4\], expected float32\[2,4\]"):
        session.input().copy_from(session.output("c"))
    settings = config()
    with interpreter().create_session(settings, session.runtime, {"x": (3, 4)}) as other:
        other.run({"x": rows_of(3)})
        with pytest.raises(InputError, match=r"got float32\[3,4\], expected float32\[2,4\]"):
            session.input().copy_from(other.output())


@row(31)
def test_a_snapshot_outlives_what_it_was_taken_of(fresh: Runtime):
    x = rows_of(2)
    session = interpreter().create_session(config(OPENCL), fresh, {"x": x.shape})
    session.run({"x": x})
    snapshot = session.output().snapshot()
    session.run({"x": np.zeros_like(x)})
    np.testing.assert_allclose(snapshot.read_later().result(), chain_of(x), rtol=1e-5)
    session.close()
    np.testing.assert_allclose(snapshot.read_later().result(), chain_of(x), rtol=1e-5)


@row(31)
def test_after_a_resize_or_a_close_a_tensor_raises(session):
    old = session.input(), session.output()
    session.run({"x": rows_of(2)})
    session.resize({"x": (3, 4)})
    for tensor in old:
        with pytest.raises(ClosedError):
            tensor.read()
        with pytest.raises(ClosedError):
            tensor.storage_nbytes  # noqa: B018
    with pytest.raises(ClosedError):
        old[0].write(rows_of(2))
    session.run({"x": rows_of(3)})
    new = session.output()
    session.close()
    for call in (new.read, new.read_later, new.wait, new.snapshot):
        with pytest.raises(ClosedError):
            call()
    with pytest.raises(ClosedError):
        session.output()


# ------------------------------------------------------------------------- maps (row 32)
@row(32)
def test_a_map_is_a_context_manager_and_what_is_written_there_counts(session):
    x = rows_of(2)
    with session.input().map_write() as array:
        assert (array.shape, array.dtype) == ((2, 4), np.float32)
        array[:] = x
    session.run()
    with session.output().map_read() as array:
        np.testing.assert_allclose(array, chain_of(x), rtol=1e-5)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@row(32)
def test_a_second_map_of_a_tensor_is_refused_until_the_first_ends(session):
    session.run({"x": rows_of(2)})
    with session.output().map_read():
        for again in (session.output().map_read, session.output().map_write):
            with pytest.raises(InputError, match="'y' is mapped already"), again():
                pass
        with session.input().map_write() as other:
            other[:] = 1
    with session.output().map_read():
        pass


@row(32)
def test_an_exception_inside_a_map_leaves_the_tensor_and_ends_the_map(session):
    x = rows_of(2)
    session.input().write(x)

    def spoil() -> None:
        with session.input().map_write() as array:
            array[:] = 7
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        spoil()
    np.testing.assert_array_equal(session.input().read(), x)
    with session.input().map_read() as array:
        np.testing.assert_array_equal(array, x)


@row(32)
def test_two_maps_do_not_share_memory(session):
    session.run({"x": rows_of(2)})
    with session.output().map_read() as y, session.output("r").map_read() as r:
        assert not np.shares_memory(y, r)


# ------------------------------------------------------------------------- waiting (row 33)
@row(33)
def test_wait_returns_when_the_work_is_done(on_opencl):
    context, tensor = context_of(on_opencl), on_opencl.output()
    waiter = threading.Thread(target=tensor.wait)
    with blocked(context):
        on_opencl.run({"x": rows_of(2)})
        waiter.start()
        time.sleep(0.1)
        assert waiter.is_alive()
    waiter.join(10)
    assert not waiter.is_alive()
    assert context.wait(1)


@row(33)
def test_a_later_read_gives_the_frame_it_was_asked_for(session):
    frames = [rows_of(2, seed) for seed in range(5)]
    pending = []
    for frame in frames:
        session.run({"x": frame})
        pending.append(session.output().read_later())
    for frame, read in zip(frames, pending):
        np.testing.assert_allclose(read.result(), chain_of(frame), rtol=1e-5)


@row(33)
def test_a_later_read_does_not_wait(on_opencl):
    with blocked(context_of(on_opencl)):
        on_opencl.run({"x": rows_of(2)})
        pending = on_opencl.output().read_later()
    np.testing.assert_allclose(pending.result(), chain_of(rows_of(2)), rtol=1e-5)


# ------------------------------------------------------------------------- layout (row 34)
@row(34)
@pytest.mark.parametrize("precision", [Precision.HIGH, Precision.NORMAL])
def test_logical_and_stored_size_layout_and_bytes_are_told_apart(
    precision: Precision, runtime: Runtime
):
    settings = config(OPENCL, precision, save_tensors=("r", "f"))
    read = interpreter(CONVOLUTIONS)
    with read.create_session(settings, runtime, {"x": (2, 3, 5, 5)}) as session:
        session.run({"x": image(2, 5)})
        tensor = session.output("r")
        half = precision is Precision.NORMAL
        assert tensor.layout == "channels_last"
        assert session.output().layout == "plain"
        assert tensor.shape == (2, 8, 5, 5)
        assert tensor.dtype == np.float32
        assert tensor.storage_dtype == (np.float16 if half else np.float32)
        assert tensor.nbytes == 2 * 8 * 5 * 5 * 4
        assert tensor.storage_nbytes == tensor.nbytes // (2 if half else 1)
        stored = np.empty((2, 5, 5, 8), tensor.storage_dtype)
        buffer, offset = tensor.device_memory
        context = context_of(session)
        context.cl.enqueue_copy(context.queue, stored, buffer, src_offset=offset)
        np.testing.assert_array_equal(np.moveaxis(stored, -1, 1).astype("f4"), tensor.read())


@row(34)
def test_on_the_cpu_the_stored_bytes_are_the_logical_array(runtime: Runtime):
    with interpreter().create_session(config(), runtime, {"x": (2, 4)}) as session:
        x = rows_of(2)
        session.run({"x": x})
        memory, offset = session.input().device_memory
        window = memory[offset : offset + session.input().storage_nbytes]
        np.testing.assert_array_equal(window.view(np.float32).reshape(2, 4), x)
        assert session.input().backend == "cpu"


# ------------------------------------------------------------------------- lent memory (row 44)
@row(44)
def test_an_input_in_the_users_array_is_not_copied(runtime: Runtime):
    mine = rows_of(2)
    with interpreter().create_session(config(), runtime, {"x": (2, 4)}) as session:
        session.attach("x", mine)
        session.run()
        np.testing.assert_allclose(session.read("y"), chain_of(mine), rtol=1e-6)
        mine[:] = rows_of(2, 7)
        session.run()
        np.testing.assert_allclose(session.read("y"), chain_of(rows_of(2, 7)), rtol=1e-6)
        session.write("x", np.zeros((2, 4), np.float32))
        assert not mine.any()


@row(44)
@pytest.mark.parametrize("precision", [Precision.HIGH, Precision.NORMAL])
def test_an_input_in_the_users_buffer_is_not_copied(precision: Precision, runtime: Runtime):
    settings = config(OPENCL, precision)
    with interpreter().create_session(settings, runtime, {"x": (2, 4)}) as session:
        context, cl = context_of(session), opencl()
        stored = session.input().storage_dtype
        before = runtime.live()
        buffer = cl.Buffer(context.context, cl.mem_flags.READ_WRITE, 8 * stored.itemsize)
        session.attach("x", buffer)
        assert runtime.live().nbytes == before.nbytes
        assert session.input().device_memory == (buffer, 0)
        for seed in range(2):
            x = rows_of(2, seed).astype(stored)
            cl.enqueue_copy(context.queue, buffer, x)
            session.run()
            np.testing.assert_allclose(session.read("y"), chain_of(x), atol=5e-3)
        session.resize({"x": (3, 4)})
        x = rows_of(3)
        np.testing.assert_allclose(session({"x": x})["y"], chain_of(x), atol=5e-3)


@row(44)
def test_memory_that_does_not_fit_is_refused(runtime: Runtime):
    read, cl = interpreter(), opencl()
    with read.create_session(config(OPENCL), runtime, {"x": (2, 4)}) as session:
        context = context_of(session)
        other = cl.Context([context.device])
        flags = cl.mem_flags
        for memory, words in (
            (cl.Buffer(context.context, flags.READ_WRITE, 28), "28 bytes, expected 32"),
            (cl.Buffer(context.context, flags.READ_WRITE, 36), "36 bytes, expected 32"),
            (cl.Buffer(other, flags.READ_WRITE, 32), "another pyopencl.Context"),
            (cl.Buffer(context.context, flags.READ_ONLY, 32), "READ_ONLY"),
            (rows_of(2), "expected a pyopencl.Buffer"),
        ):
            with pytest.raises(InputError, match=words):
                session.attach("x", memory)
        np.testing.assert_allclose(session({"x": rows_of(2)})["y"], chain_of(rows_of(2)), rtol=1e-5)
    locked = rows_of(2)
    locked.flags.writeable = False
    with read.create_session(config(), runtime, {"x": (2, 4)}) as session:
        for memory, words in (
            (rows_of(3), r"got float32\[3, 4\], expected float32\[2,4\]"),
            (rows_of(2).astype(np.float64), "got float64"),
            (rows_of(4)[::2], "C_CONTIGUOUS"),
            (locked, "WRITEABLE"),
            (b"bytes", "expected a NumPy array"),
        ):
            with pytest.raises(InputError, match=words):
                session.attach("x", memory)


@row(44)
@on_every_device
def test_a_model_runs_in_the_users_memory_while_another_does_not(device: str, runtime: Runtime):
    read, x = interpreter(), rows_of(2)
    with (
        read.create_session(config(device), runtime, {"x": (2, 4)}) as one,
        read.create_session(config(device), runtime, {"x": (2, 4)}) as two,
    ):
        memory = np.zeros_like(x)
        if device != "cpu":
            context, cl = context_of(one), opencl()
            memory = cl.Buffer(context.context, cl.mem_flags.READ_WRITE, x.nbytes)
        one.attach("x", memory)
        two.write("x", x)
        one.write("x", -x)
        one.run()
        two.run()
        np.testing.assert_allclose(one.read("y"), chain_of(-x), rtol=1e-5)
        np.testing.assert_allclose(two.read("y"), chain_of(x), rtol=1e-5)
