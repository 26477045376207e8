"""Models: read, described, released; before any session exists."""

import gc
import hashlib
import weakref
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from engine import Interpreter, ModelError, ModelReleased, Runtime, UnsupportedError
from engine.backends.opencl.backend import OpenCLBackend
from tests.features.subjects import (
    CHAIN,
    CONVOLUTIONS,
    OPENCL,
    TWO,
    WEIGHTS,
    chain_of,
    config,
    image,
    interpreter,
    on_every_device,
    row,
    rows_of,
)
from tests.model_writing import model, model_bytes, node


@row(1)
def test_a_model_reads_the_same_from_a_file_and_from_bytes(tmp_path: Path, runtime: Runtime):
    path = tmp_path / "chain.onnx"
    path.write_bytes(CHAIN)
    x = rows_of(3)
    results = []
    for read in (Interpreter.from_file(path), Interpreter.from_buffer(CHAIN)):
        with read, read.create_session(config(), runtime) as session:
            results.append(session({"x": x})["y"])
    np.testing.assert_array_equal(*results)
    np.testing.assert_allclose(results[0], chain_of(x), rtol=1e-6)


@row(1)
@pytest.mark.parametrize("kept", [0, 1, 40, len(CHAIN) - 5])
def test_a_damaged_file_is_a_model_error_that_names_it(tmp_path: Path, kept: int):
    path = tmp_path / "cut.onnx"
    path.write_bytes(CHAIN[:kept])
    with pytest.raises(ModelError, match=r"cut\.onnx"):
        Interpreter.from_file(path)
    with pytest.raises(ModelError):
        Interpreter.from_buffer(CHAIN[:kept])
    with pytest.raises(ModelError, match=r"absent\.onnx"):
        Interpreter.from_file(tmp_path / "absent.onnx")


@row(1)
def test_a_wrong_field_is_named_with_its_owner():
    proto = onnx.load_from_string(CHAIN)
    proto.graph.initializer[0].dims[0] = 5
    with pytest.raises(ModelError, match=r"'c'.*\(5,\)"):
        Interpreter.from_buffer(proto.SerializeToString())
    with pytest.raises(UnsupportedError, match=r"Frobnicate.*the_y"):
        interpreter(model_bytes([node("Frobnicate", "x", "y")], {"x": (2,)}, ["y"]))


def external(folder: Path, **entries: object) -> Path:
    """y = x + c with c in the file c.bin."""
    proto = model([node("Add", "x c", "y")], {"x": (4,)}, ["y"], {"c": np.zeros(4, np.float32)})
    (tensor,) = proto.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "c.bin", **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    path = folder / "external.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


@row(2)
def test_external_weights_are_checked_when_the_model_is_read(tmp_path: Path, runtime: Runtime):
    data = np.array([1, 2, 3, 4], "<f4").tobytes()
    path = external(tmp_path)
    with pytest.raises(ModelError, match=r"'c\.bin' is missing"):
        Interpreter.from_file(path)
    (tmp_path / "c.bin").write_bytes(data[:-1])
    with pytest.raises(ModelError, match="the file has 15"):
        Interpreter.from_file(path)
    (tmp_path / "c.bin").write_bytes(data)
    with Interpreter.from_file(path).create_session(runtime=runtime) as session:
        assert session({"x": np.zeros(4, np.float32)})["y"].tolist() == [1, 2, 3, 4]


@row(2)
def test_external_weights_with_another_checksum_are_refused(tmp_path: Path):
    data = np.array([1, 2, 3, 4], "<f4").tobytes()
    path = external(tmp_path, checksum=hashlib.sha1(data).hexdigest())
    (tmp_path / "c.bin").write_bytes(data)
    assert Interpreter.from_file(path).imported.value("c").constant.tolist() == [1, 2, 3, 4]
    (tmp_path / "c.bin").write_bytes(data[:-1] + b"\x42")
    with pytest.raises(ModelError, match=r"'c\.bin'.*checksum"):
        Interpreter.from_file(path)


@row(3)
@on_every_device
def test_after_release_sessions_run_and_resize_and_new_ones_are_refused(
    device: str, runtime: Runtime
):
    read = interpreter(CONVOLUTIONS)
    with read.create_session(config(device), runtime, {"x": (1, 3, 6, 6)}) as session:
        before = session({"x": image()})["y"]
        read.release_model()
        with pytest.raises(ModelReleased, match="release_model"):
            read.create_session(config(device), runtime)
        with pytest.raises(ModelReleased):
            _ = read.imported
        np.testing.assert_array_equal(session({"x": image()})["y"], before)
        session.resize({"x": (2, 3, 5, 5)})
        assert session({"x": image(2, 5)})["y"].shape == (2, 4)
    assert read.info.operators["Conv"] == 2
    assert list(read.inputs) == ["x"]


@row(3)
def test_release_frees_the_data_that_no_session_needs():
    read = interpreter(CONVOLUTIONS)
    graphs = [weakref.ref(read.imported), weakref.ref(read.graph)]
    assert all(graph() is not None for graph in graphs)
    read.release_model()
    gc.collect()
    assert all(graph() is None for graph in graphs)


@row(59)
def test_a_model_says_what_it_is_before_any_session():
    info = interpreter(CONVOLUTIONS).info
    assert {n: str(t) for n, t in info.inputs.items()} == {"x": "float32[n,3,h,w]"}
    assert info.outputs == ("y",)
    assert info.opset == 13
    assert info.operators == {
        "Conv": 2,
        "BatchNormalization": 1,
        "Relu": 1,
        "GlobalAveragePool": 1,
        "Flatten": 1,
        "Softmax": 1,
    }
    assert info.weights_nbytes == sum(w.nbytes for w in WEIGHTS.values())
    assert list(interpreter(TWO).info.inputs) == ["zebra", "ant"]


@row(59)
def test_support_names_what_a_backend_lacks_and_allocates_nothing(
    monkeypatch: pytest.MonkeyPatch, fresh: Runtime
):
    right = OpenCLBackend.why_not
    monkeypatch.setattr(
        OpenCLBackend,
        "why_not",
        lambda self, n: "not today" if n.op_type == "Softmax" else right(self, n),
    )
    answers = interpreter(CONVOLUTIONS).support(config(OPENCL), fresh, {"x": (1, 3, 6, 6)})
    found = {answer.backend: answer for answer in answers}
    assert found["opencl"].missing == {"Softmax 'the_y'": "not today"}
    assert found["cpu"].missing == {}
    assert found["opencl"].supported + 1 == found["cpu"].supported
    assert fresh.live().nbytes == 0
