"""Arrays in and out: what lends its data is taken, and tensors are arrays to others."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

import parallax as px
from engine.arrays import array_of
from engine.ir.types import TensorType
from tests.features.subjects import CHAIN, DEVICES, chain_of, config, rows_of
from tests.model_writing import model_bytes, node

pytestmark = pytest.mark.one_driver


class Lender:
    """A tensor of another library: DLPack and nothing else."""

    def __init__(self, data: np.ndarray | None) -> None:
        self.data = data

    def __dlpack__(self, **options: Any) -> Any:
        if self.data is None:
            raise BufferError("it lies on another device")
        return self.data.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0) if self.data is not None else (2, 0)


class Elsewhere:
    """A tensor of a library that refuses to copy from its device unasked."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError("use .get() first")


def read_only(data: np.ndarray) -> np.ndarray:
    copy = data.copy()
    copy.flags.writeable = False
    return copy


@pytest.fixture(params=DEVICES)
def session(request: pytest.FixtureRequest):
    model = px.Interpreter.from_buffer(CHAIN)
    with model.create_session(config(request.param), shapes={"x": (2, 4)}) as made:
        yield made


# ------------------------------------------------------------------------- in
X = rows_of(2)
LENT = {
    "read-only": read_only(X),
    "Fortran": np.asfortranarray(X),
    "DLPack": Lender(X),
    "memoryview": memoryview(X),
    "lists": X.astype(float).tolist(),
    "lists of arrays": list(X),
    "a subclass": X.view(np.matrix),
}


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("kind", LENT)
def test_whatever_lends_its_data_goes_in_everywhere(session: px.Session, kind: str):
    given = LENT[kind]
    expected = chain_of(X)
    np.testing.assert_allclose(session({"x": given})["y"], expected, rtol=1e-5)
    session.write("x", np.zeros_like(X))
    session.input().write(given)
    np.testing.assert_array_equal(session.input().read(), X)
    with px.Module.load(CHAIN, config=session.config) as module:
        np.testing.assert_allclose(module(given), expected, rtol=1e-5)
        if kind != "lists":
            np.testing.assert_allclose(module(px.Var(given)), expected, rtol=1e-5)


def test_tensors_and_vars_go_in_too(session: px.Session):
    expected = chain_of(chain_of(X))
    session.run({"x": X})
    np.testing.assert_allclose(session({"x": session.output()})["y"], expected, rtol=1e-5)
    with px.Module.load(CHAIN, config=session.config) as module:
        np.testing.assert_allclose(session({"x": module(X)})["y"], expected, rtol=1e-5)


def test_a_flat_buffer_has_the_dtype_it_says():
    data = model_bytes([node("Identity", "x", "y")], {"x": (3,)}, ["y"], dtype=TensorProto.UINT8)
    with px.Interpreter.from_buffer(data).create_session() as session:
        for given in (b"abc", bytearray(b"abc"), memoryview(b"abc"), array.array("B", b"abc")):
            np.testing.assert_array_equal(session({"x": given})["y"], [97, 98, 99])
        with pytest.raises(px.InputError, match=r"got int8\[3\], expected uint8\[3\]"):
            session({"x": array.array("b", b"abc")})


@pytest.mark.parametrize(
    ("numbers", "dtype", "words"),
    [
        ([1, 2], np.float32, ""),
        ([True, 0.5], np.float16, ""),
        ([float("nan"), float("-inf")], np.float32, ""),
        ([], np.int64, ""),
        (3, np.int8, ""),
        ([True], np.bool_, ""),
        ([1.0], np.int64, "its numbers make float64, expected int64"),
        ([2**63, 1], np.int64, "expected int64"),
        ([float("inf"), 1], np.int64, "its numbers make float64, expected int64"),
        ([1], np.bool_, "its numbers make int64, expected bool"),
        ([300], np.uint8, "its numbers do not fit into uint8"),
        ([-1], np.uint8, "its numbers do not fit into uint8"),
        ([1e300], np.float32, "its numbers do not fit into float32"),
        ([np.float64(1)], np.float32, r"got float64\[1\], expected float32"),
        ([np.zeros(2)], np.float32, r"got float64\[1, 2\], expected float32"),
        ([2**70], np.int64, "expected an array of numbers"),
        (["1"], np.float32, "expected an array of numbers"),
        ([[1], [1, 2]], np.float32, "cannot be read as an array"),
    ],
)
def test_python_numbers_take_the_dtype_that_can_hold_them(numbers: Any, dtype: type, words: str):
    wanted = TensorType(np.dtype(dtype), ("n",))
    if words:
        with pytest.raises(px.InputError, match=words):
            array_of("x", numbers, wanted)
    else:
        got = array_of("x", numbers, wanted)
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, np.asarray(numbers))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (Lender(None), "a Lender cannot be read as an array: it lies on another device"),
        (Elsewhere(), r"an Elsewhere cannot be read as an array: use \.get\(\) first"),
        (np.ma.masked_array(X, X > 0), "masked arrays are not supported"),
        (X.astype(np.float64), r"as in array\.astype\(np\.float32\)"),
        (X.astype(np.complex64), r"got complex64\[2, 4\], expected float32"),
        (X.astype(object), "expected an array of numbers"),
        ("text", "got 'text', expected an array of numbers"),
        (np.zeros((2, 4), "M8[s]"), "expected an array of numbers"),
    ],
)
def test_what_cannot_go_in_is_refused_in_words(given: Any, words: str):
    with px.Interpreter.from_buffer(CHAIN).create_session(shapes={"x": (2, 4)}) as session:
        for call in (lambda: session.write("x", given), lambda: session({"x": given})):
            with pytest.raises(px.InputError, match=f"input 'x': .*{words}"):
                call()


# ------------------------------------------------------------------------- out
def test_numpy_and_dlpack_see_a_tensor_as_its_array(session: px.Session):
    expected = session({"x": X})["y"]
    y = session.output()
    for got in (np.asarray(y), np.array(y), np.from_dlpack(y)):
        np.testing.assert_array_equal(got, expected, strict=True)
    assert np.asarray(y, dtype=np.float64).dtype == np.float64
    np.asarray(y)[:] = 0
    np.testing.assert_array_equal(y.read(), expected)
    assert y.__dlpack_device__() == (1, 0)
    with pytest.raises(px.InputError, match="cannot be given without a copy"):
        y.__array__(copy=False)


def test_numpy_and_dlpack_see_a_var_as_its_array(session: px.Session):
    with px.Module.load(CHAIN, config=session.config) as module:
        expected = module(X).read_map()
        for var in (module(X), px.Var(expected)):
            np.testing.assert_array_equal(np.asarray(var), expected, strict=True)
            np.testing.assert_array_equal(np.from_dlpack(var), expected, strict=True)
            assert np.shares_memory(np.asarray(var), var.read_map())
            assert np.shares_memory(var.__array__(copy=False), var.read_map())
            assert not np.asarray(var).flags.writeable
            for copied in (np.array(var), var.__array__(copy=True), np.asarray(var, np.float64)):
                assert not np.shares_memory(copied, var.read_map())
                copied[:] = 0
            np.testing.assert_array_equal(var.read_map(), expected)
            with pytest.raises(px.InputError, match="cannot be given without a copy"):
                var.__array__(np.float64, copy=False)


def test_an_array_from_dlpack_is_no_window_on_the_var():
    """Consumers of the first DLPack protocol cannot be told that memory is read-only."""
    var = px.Var(X)
    assert not np.shares_memory(np.from_dlpack(var), var.read_map())
    assert not np.shares_memory(np.from_dlpack(Lender(var)), var.read_map())


def test_what_holds_no_data_raises_the_same_through_numpy(session: px.Session):
    for tensor in (session.input(), session.output()):
        for call in (
            tensor.read,
            lambda t=tensor: np.asarray(t),
            lambda t=tensor: np.from_dlpack(t),
        ):
            with pytest.raises(px.InputError, match="holds no data"):
                call()
    with px.Module.load(CHAIN, config=session.config) as module:
        unread = module(X)
    with pytest.raises(px.ClosedError, match="not read before its Module was closed"):
        np.asarray(unread)
