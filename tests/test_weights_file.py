"""Large weights of a file are read when they are needed, from where the file says they are."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Interpreter, ModelError, Precision
from engine.backends.opencl.conv_pack import pack_tiles
from engine.backends.opencl.conv_phases import ONE_TAP
from engine.backends.opencl.matmul_pack import packed_matrix, packed_size
from engine.backends.opencl.memory import PackedConstant, assembled
from engine.ir.constant import Constant
from engine.ir.types import type_of
from engine.onnx_import import load_model
from engine.onnx_import.weights_file import WeightsFile
from engine.onnx_import.wire import NotUnderstood, without_weights
from fixtures.models.small_models import BUILDERS
from tests.model_writing import model_bytes, node
from tests.sharing_models import OPENCL, config

pytestmark = pytest.mark.one_driver

LARGE = {"x": (1, 64, "h", "w")}
X = np.ones((1, 64, 4, 4), np.float32)


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {"w": (64, 64, 3, 3), "g": (64,), "o": (64,), "m": (64,)}
    return {
        **{name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()},
        "v": np.full(64, 2, np.float32),
    }


def large(seed: int = 0) -> bytes:
    """A convolution of 147 kB with a batch normalisation to fold into it."""
    nodes = [
        node("Conv", "x w", "c", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "c g o m v", "n"),
        node("Relu", "n", "y"),
    ]
    return model_bytes(nodes, LARGE, ["y"], weights(seed))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(large())
    return path


@pytest.fixture
def reads(monkeypatch) -> list[tuple[int, ...]]:
    """The shape of every array that is read from a model file from now on."""
    seen: list[tuple[int, ...]] = []
    read = WeightsFile.read

    def noted(self, dtype, shape, offset_nbytes):
        seen.append(shape)
        return read(self, dtype, shape, offset_nbytes)

    monkeypatch.setattr(WeightsFile, "read", noted)
    return seen


# --------------------------------------------------------------------------- the bytes
def put_back(data: bytes, least_nbytes: int) -> onnx.ModelProto:
    small, places = without_weights(data, least_nbytes)
    model = onnx.ModelProto.FromString(small)
    assert len(places) == len(model.graph.initializer)
    for tensor, place in zip(model.graph.initializer, places, strict=True):
        if place is not None:
            assert not tensor.HasField("raw_data")
            assert place.nbytes >= least_nbytes
            tensor.raw_data = data[place.offset : place.offset + place.nbytes]
    return model


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("least_nbytes", [0, 100, 1 << 30])
def test_what_is_left_out_lies_where_it_is_said_to(name, least_nbytes):
    data = BUILDERS[name]().SerializeToString()
    assert put_back(data, least_nbytes) == onnx.ModelProto.FromString(data)


def test_a_graph_that_is_given_in_two_parts_is_merged_as_protobuf_does():
    data = large()
    twice = data + data
    assert put_back(twice, 1000) == onnx.ModelProto.FromString(twice)


def test_a_tensor_whose_data_is_given_twice_is_left_alone():
    model = onnx.ModelProto.FromString(large())
    tensor = model.graph.initializer[0]
    doubled = tensor.SerializeToString() * 2
    graph = onnx.GraphProto()
    head = bytes([5 << 3 | 2]) + length(len(doubled)) + doubled
    graph.MergeFromString(head)
    data = bytes([7 << 3 | 2]) + length(len(head)) + head
    small, places = without_weights(data, 0)
    assert (small, places) == (data, [None])


def length(n: int) -> bytes:
    out = b""
    while n >= 0x80:
        out, n = out + bytes([n & 0x7F | 0x80]), n >> 7
    return out + bytes([n])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_bytes_are_left_to_protobuf_or_parse_the_same(data):
    whole = bytearray(BUILDERS["tiny_mlp_opset7"]().SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        right: onnx.ModelProto | None = onnx.ModelProto.FromString(damaged)
    except Exception:
        right = None
    try:
        small, places = without_weights(damaged, 64)
    except NotUnderstood:
        return
    if right is not None and small:
        assert len(places) == len(right.graph.initializer)
        assert put_back(damaged, 64) == right


# --------------------------------------------------------------------------- reading late
def test_nothing_large_is_read_before_it_is_needed(path, reads):
    graph = load_model(path)
    assert not reads
    value = graph.value("w")
    assert (value.known_type.dims, value.is_constant) == ((64, 64, 3, 3), True)
    assert not reads
    np.testing.assert_array_equal(value.constant, weights()["w"], strict=True)
    assert reads == [(64, 64, 3, 3)]
    assert not value.constant.flags.writeable


def test_a_session_of_a_file_computes_what_one_of_its_bytes_does(path):
    shapes = {"x": X.shape}
    for device in ("cpu", OPENCL):
        from_file = Interpreter.from_file(path).create_session(config(device), shapes=shapes)
        from_bytes = Interpreter.from_buffer(large()).create_session(config(device), shapes=shapes)
        assert from_file({"x": X})["y"].tobytes() == from_bytes({"x": X})["y"].tobytes()
        from_file.close()
        from_bytes.close()


def test_a_resize_and_a_second_session_on_a_device_read_nothing(path, reads):
    model = Interpreter.from_file(path)
    with model.create_session(config(OPENCL), shapes={"x": X.shape}) as session:
        assert reads
        reads.clear()
        session.resize({"x": (1, 64, 5, 5)})
        with model.create_session(config(OPENCL), session.runtime, {"x": X.shape}) as second:
            second({"x": X})
        assert not reads


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_file_that_is_removed_or_replaced_gives_its_old_weights(path, tmp_path, how):
    with Interpreter.from_file(path).create_session(shapes={"x": X.shape}) as session:
        right = session({"x": X})["y"]
    model = Interpreter.from_file(path)
    if how == "removed":
        path.unlink()
    else:
        (tmp_path / "other").write_bytes(large(seed=1))
        os.replace(tmp_path / "other", path)
    with model.create_session(shapes={"x": X.shape}) as session:
        assert session({"x": X})["y"].tobytes() == right.tobytes()


@pytest.mark.parametrize("how", ["overwritten", "truncated"])
def test_a_file_that_was_changed_in_place_is_refused_when_it_is_needed_again(path, how):
    model = Interpreter.from_file(path)
    if how == "overwritten":
        path.write_bytes(large(seed=1))
        os.utime(path, ns=(1, 1))
    else:
        os.truncate(path, 1000)
    with pytest.raises(ModelError, match=r"model\.onnx' was changed after it was read.*rename"):
        model.create_session(config("cpu"), shapes={"x": X.shape})


def test_external_data_is_read_when_it_is_needed_and_a_removed_file_still_gives_it(tmp_path, reads):
    model = onnx.ModelProto.FromString(large())
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=1000)
    graph = load_model(path)
    assert not reads
    (tmp_path / "w.bin").unlink()
    np.testing.assert_array_equal(graph.value("w").constant, weights()["w"], strict=True)


def test_a_model_may_come_through_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(large()))
    writer.start()
    model = Interpreter.from_file(pipe)
    writer.join(30)
    assert model.info.weights_nbytes > 147_000


def test_a_file_is_closed_with_the_last_one_who_could_need_it(path):
    def is_open() -> bool:
        gc.collect()
        descriptors = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
        return str(path) in [os.readlink(d) for d in descriptors if os.path.lexists(d)]

    model = Interpreter.from_file(path)
    session = model.create_session(shapes={"x": X.shape})
    assert is_open()
    model.release_model()
    session.resize({"x": (1, 64, 6, 6)})
    assert is_open()
    session.close()
    assert not is_open()


# --------------------------------------------------------------------------- on their way
def table_model(rows: int = 4096) -> tuple[bytes, np.ndarray]:
    """y = table[i], of 64 kB for each 256 rows."""
    table = np.random.default_rng(1).standard_normal((rows, 64), np.float32)
    data = model_bytes([node("Gather", "t i", "y")], {"i": (3,)}, ["y"], {"t": table})
    model = onnx.ModelProto.FromString(data)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    return model.SerializeToString(), table


@pytest.mark.parametrize("precision", ["high", "normal"])
def test_a_weight_that_is_uploaded_as_it_is_is_never_whole_in_host_memory(
    tmp_path, monkeypatch, reads, precision
):
    data, table = table_model()
    (tmp_path / "table.onnx").write_bytes(data)
    monkeypatch.setattr("engine.backends.opencl.backend.PART_NBYTES", 100_000)
    model = Interpreter.from_file(tmp_path / "table.onnx")
    model.graph.rest()
    reads.clear()
    indices = np.array([0, 4095, 777], np.int64)
    with model.create_session(config(OPENCL, precision=Precision(precision))) as session:
        y = session({"i": indices})["y"]
    np.testing.assert_array_equal(
        y, half_of(table[indices]) if precision == "normal" else table[indices]
    )
    assert reads == [(25_000,)] * 10 + [(12_144,)]


@pytest.mark.parametrize("transposed", [False, True])
def test_a_matrix_that_is_packed_is_never_whole_in_host_memory(
    tmp_path, monkeypatch, reads, transposed
):
    w = np.random.default_rng(2).integers(-2, 3, (400, 500)).astype(np.float32)
    stored = w.T.copy() if transposed else w
    call = node("Gemm", "x w", "y", transB=1) if transposed else node("MatMul", "x w", "y")
    path = tmp_path / "matrix.onnx"
    path.write_bytes(model_bytes([call], {"x": (3, 400)}, ["y"], {"w": stored}))
    monkeypatch.setattr("engine.backends.opencl.backend.PART_NBYTES", 100_000)
    model = Interpreter.from_file(path)
    model.graph.rest()
    reads.clear()
    x = np.random.default_rng(3).integers(-2, 3, (3, 400)).astype(np.float32)
    with model.create_session(config(OPENCL)) as session:
        np.testing.assert_array_equal(session({"x": x})["y"], x @ w)
    assert len(reads) > 4
    assert sum(count for (count,) in reads) == w.size


@pytest.mark.device_free
@pytest.mark.parametrize("most_nbytes", [1, 3000, 1 << 20])
@pytest.mark.parametrize(("k", "n"), [(1, 1), (0, 5), (5, 0), (7, 32), (5, 31), (33, 65), (64, 96)])
@pytest.mark.parametrize("turned", [False, True])
def test_parts_of_a_matrix_are_the_weights_of_one_tap(k, n, turned, most_nbytes):
    b = np.random.default_rng(k).standard_normal((k, n), np.float32)
    constant = Constant(b.T.copy() if turned else b)
    parts = packed_matrix(constant, k, n, most_nbytes, turned=turned)
    np.testing.assert_array_equal(
        assembled(parts, packed_size(k, n), b.dtype),
        pack_tiles(b.T[None, :, :, None, None, None], (ONE_TAP,) * 3),
    )


def half_of(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float16).astype(np.float32)


def test_a_weight_that_was_packed_is_let_go_of_before_the_device_takes_it(path, monkeypatch):
    right, seen = PackedConstant.__init__, []

    def noted(self, context, source, *others):
        seen.append(source.can_rest and source.is_in_memory)
        right(self, context, source, *others)

    monkeypatch.setattr(PackedConstant, "__init__", noted)
    model = Interpreter.from_file(path)
    with model.create_session(config(OPENCL), shapes={"x": X.shape}) as session:
        session({"x": X})
    assert seen
    assert not any(seen)


@pytest.mark.device_free
@pytest.mark.parametrize("most_nbytes", [1, 4, 7, 12, 1000])
@pytest.mark.parametrize("count", [0, 1, 5, 6])
def test_parts_are_the_whole(most_nbytes, count):
    array = np.arange(count, dtype=np.float32)
    lazily = Constant(
        make=array.copy, type=type_of(array), part=lambda start, stop: array[start:stop]
    )
    for constant in (Constant(array), lazily):
        parts = list(constant.parts(most_nbytes))
        np.testing.assert_array_equal(np.concatenate(parts), array)
        assert all(part.nbytes <= max(most_nbytes, 4) for part in parts)
    assert not lazily.is_in_memory
