"""RMSNormalization beside the body by which ONNX defines it, and beside onnxruntime."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

from engine.interpreter import Interpreter
from engine.ir.types import BFLOAT16
from engine.onnx_import import load_model
from engine.ops import OPERATORS
from tests.model_writing import model_bytes, node

pytestmark = pytest.mark.device_free

SHAPE = (2, 3, 17)
X = np.random.default_rng(3).uniform(-300, 300, SHAPE)  # squares leave the range of half
CALLS = [
    ((17,), {}),
    ((17,), {"axis": 2, "epsilon": 0.5}),
    ((3, 17), {"axis": -2}),
    ((), {"axis": 0}),
    ((3, 1), {}),
]
ROUNDINGS = {np.float32: 32 * 2**-24, np.float16: 4 * 2**-11}
"""In float of twenty operations and a sum of 51, in half the two of the body and one."""
BODY = {"Shape", "Range", "ReduceMean", "Sqrt"}


def of_call(scale: np.ndarray, x: str, attributes: dict[str, object]) -> bytes:
    """A model of the input in float, and one call of it in the dtype of the scale."""
    to = {"float32": 1, "float16": 10, "float64": 11, "bfloat16": 16}[scale.dtype.name]
    nodes = [
        node("Cast", "x", "narrow", to=to),
        node("RMSNormalization", f"{x} scale", "z", **attributes),
        node("Cast", "z", "y", to=TensorProto.FLOAT),
    ]
    return model_bytes(nodes, {"x": SHAPE}, ["y"], {"scale": scale}, opset=23)


def computed(data: bytes) -> np.ndarray:
    with Interpreter.from_buffer(data).create_session() as session:
        return session({"x": X.astype(np.float32)})["y"]


def op_types(data: bytes) -> set[str]:
    return {n.op_type for n in load_model(data).nodes}


@pytest.mark.parametrize("dtype", ROUNDINGS)
@pytest.mark.parametrize(("shape", "attributes"), CALLS)
def test_the_kernel_computes_what_the_body_and_onnxruntime_do(
    shape: tuple[int, ...],
    attributes: dict[str, object],
    dtype: type,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scale = np.random.default_rng(5).uniform(0.5, 1.5, shape).astype(dtype)
    data = of_call(scale, "narrow", attributes)
    assert "RMSNormalization" in op_types(data)
    ours = computed(data)
    theirs = onnxruntime.InferenceSession(data).run(None, {"x": X.astype(np.float32)})[0]
    np.testing.assert_allclose(ours, theirs, rtol=ROUNDINGS[dtype])
    monkeypatch.delitem(OPERATORS, "RMSNormalization")
    assert op_types(data) >= BODY
    np.testing.assert_allclose(ours, computed(data), rtol=ROUNDINGS[dtype])


@pytest.mark.parametrize(
    ("dtype", "stash"), [(np.float64, 1), (np.float32, 10), (np.float32, 11), (np.float16, 16)]
)
def test_what_the_kernel_does_not_take_goes_to_the_body(dtype: type, stash: int) -> None:
    data = of_call(np.ones(17, dtype), "narrow", {"stash_type": stash})
    assert op_types(data) >= BODY


def test_doubles_are_cut_to_float_by_their_stash_type() -> None:
    """Quotients are floats; a scale of a power of two keeps them so."""
    scale = np.full(1, 2.0**24)
    nodes = [node("RMSNormalization", "x scale", "y", epsilon=0.0)]
    data = model_bytes(nodes, {}, ["y"], {"x": np.array([3.0, 1.0]), "scale": scale}, opset=23)
    with Interpreter.from_buffer(data).create_session() as session:
        y = session({})["y"]
    assert y.dtype == np.float64
    np.testing.assert_array_equal(y, y.astype(np.float32))
    assert abs(y / 2**24 - np.array([3, 1]) / np.sqrt(5)).max() > 2**-40


def test_bfloat16_is_computed_in_float_by_the_kernel() -> None:
    data = of_call(np.full(17, 0.75, BFLOAT16), "narrow", {})
    assert [n.op_type for n in load_model(data).nodes] == [
        *("Cast", "Cast", "RMSNormalization", "Cast", "Cast"),
    ]
    x = X.astype(BFLOAT16).astype(np.float64)
    expected = 0.75 * x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(computed(data), expected, rtol=1.01 * 2**-8)


@pytest.mark.parametrize(("dtype", "other"), [(np.float32, np.float16), (np.float16, np.float32)])
def test_the_result_has_the_dtype_of_the_scale(dtype: type, other: type) -> None:
    """What is normalized has it before it is scaled."""
    scale = np.random.default_rng(5).uniform(0.5, 1.5, 17).astype(other)
    x = X.astype(dtype)
    named = {"x": x, "scale": scale, "ones": np.ones(17, dtype)}
    mixed, alike = (
        model_bytes([node("RMSNormalization", f"x {s}", "y")], {}, ["y"], named, opset=23)
        for s in ("scale", "ones")
    )
    (normalized,) = onnxruntime.InferenceSession(alike).run(None, {})
    with Interpreter.from_buffer(mixed).create_session() as session:
        y = session({})["y"]
    assert y.dtype == other
    expected = normalized.astype(other) * scale
    np.testing.assert_allclose(y, expected, rtol=2 * ROUNDINGS[np.float16])
