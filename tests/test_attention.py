"""Attention beside the body by which ONNX defines it, and beside onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

from engine.errors import ModelError, UnsupportedError
from engine.interpreter import Interpreter
from engine.onnx_import import load_model
from engine.ops import OPERATORS
from tests.model_writing import model_bytes, node

pytestmark = pytest.mark.device_free

HEADS = {"q_num_heads": 4, "kv_num_heads": 2}
QUERIES, KEYS, ROWS = (2, 4, 3, 8), (2, 2, 5, 8), (2, 3, 32)
FLOATS = {"q": QUERIES, "k": KEYS, "v": (2, 2, 5, 6)}
IN_ROWS = {"q": ROWS, "k": (2, 5, 16), "v": (2, 5, 12)}
PAST = {"pk": (2, 2, 7, 8), "pv": (2, 2, 7, 6)}
BODY = {"Softmax", "MatMul"}


def drawn(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def allowed(*shape: int) -> np.ndarray:
    """The first key is, so that each query sees one."""
    mask = drawn(shape, 99) > 0
    mask[..., 0] = True
    return mask


MASKS = {"flags": allowed(3, 5), "m": drawn((2, 1, 3, 5), 7), "n": np.array([5, 3])}
CALLS: tuple[tuple[str, dict[str, tuple[int, ...]], dict[str, Any]], ...] = (
    ("q k v -> y", FLOATS, {}),
    ("q k v -> y", IN_ROWS, {**HEADS, "is_causal": 1, "scale": 0.3}),
    ("q k v flags -> y", FLOATS, {"softcap": 0.5}),
    ("q k v m -> y", IN_ROWS, HEADS),
    ("q k v - pk pv -> y a b", {**IN_ROWS, **PAST}, {**HEADS, "is_causal": 1}),
    ("q k v - - - n -> y", FLOATS, {"is_causal": 1}),
    ("q k v -> y a b", IN_ROWS, HEADS),
)


def of_call(
    call: str,
    given: dict[str, tuple[Any, ...]],
    opset: int = 24,
    constants: dict[str, np.ndarray] | None = None,
    **attributes: Any,
) -> bytes:
    inputs, outputs = call.split(" -> ")
    known = {n: x for n, x in (constants or MASKS).items() if n in inputs.split()}
    attention = node("Attention", inputs, outputs, **attributes)
    return model_bytes([attention], given, outputs.split(), known, opset=opset)


def computed(data: bytes, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    with Interpreter.from_buffer(data).create_session() as session:
        return list(session(feeds).values())


def op_types(data: bytes) -> set[str]:
    return {n.op_type for n in load_model(data).nodes}


@pytest.mark.parametrize(("call", "given", "attributes"), CALLS)
def test_the_kernel_computes_what_the_body_and_onnxruntime_do(
    call: str,
    given: dict[str, tuple[int, ...]],
    attributes: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = of_call(call, given, **attributes)
    feeds = {name: drawn(shape, i) for i, (name, shape) in enumerate(given.items())}
    assert op_types(data) == {"Attention"}
    ours = computed(data, feeds)
    theirs = onnxruntime.InferenceSession(data).run(None, feeds)
    monkeypatch.delitem(OPERATORS, "Attention")
    assert op_types(data) >= BODY
    for y, other, defined in zip(ours, theirs, computed(data, feeds), strict=True):
        np.testing.assert_allclose(y, other, atol=1e-5)
        np.testing.assert_allclose(y, defined, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "attributes"),
    [
        ("q k v -> y", {"softmax_precision": TensorProto.DOUBLE}),
        ("q k v - - - - -> y a b scores", {}),
        ("q k v whole -> y", {}),
        ("q k v column -> y", {}),
    ],
)
def test_what_the_kernel_does_not_take_goes_to_the_body(
    call: str, attributes: dict[str, Any]
) -> None:
    masks = {"whole": np.ones((3, 5), np.int32), "column": np.ones((3, 1), np.bool_)}
    assert op_types(of_call(call, FLOATS, constants=masks, **attributes)) >= BODY


def test_doubles_go_to_the_body() -> None:
    doubles = {name: drawn(shape, 1).astype(np.float64) for name, shape in FLOATS.items()}
    data = of_call("q k v -> y", {}, constants=doubles)
    assert op_types(data) >= BODY


@pytest.mark.parametrize(("opset", "sees"), [(23, "all"), (24, "the first")])
def test_a_mask_of_one_column_is_what_its_opset_says(opset: int, sees: str) -> None:
    mask = {"column": np.zeros((3, 1), np.float32)}
    data = of_call("q k v column -> y", FLOATS, opset, mask)
    feeds = {name: drawn(shape, i) for i, (name, shape) in enumerate(FLOATS.items())}
    (y,) = computed(data, feeds)
    first = np.repeat(feeds["v"][:, :, :1], 2, axis=1) + 0 * y
    assert np.allclose(y, first, atol=1e-6) == (sees == "the first")


def test_a_mode_of_scores_that_there_is_not_is_refused() -> None:
    with pytest.raises(ModelError, match="qk_matmul_output_mode=9, expected 0 to 3"):
        Interpreter.from_buffer(
            of_call("q k v -> y a b s", IN_ROWS, **HEADS, qk_matmul_output_mode=9)
        )


def test_a_mask_that_comes_to_one_column_is_refused() -> None:
    given = {**FLOATS, "column": (3, "columns")}
    data = of_call("q k v column -> y", given)
    feeds = {name: drawn(shape, i) for i, (name, shape) in enumerate(FLOATS.items())}
    with Interpreter.from_buffer(data).create_session() as session:
        assert session({**feeds, "column": drawn((3, 5), 9)})["y"].shape == (2, 4, 3, 6)
        with pytest.raises(UnsupportedError, match=r"Attention 'the_y': .*one column for 5 keys"):
            session({**feeds, "column": drawn((3, 1), 9)})


def test_a_query_that_sees_no_key_gives_0() -> None:
    mask = {"flags": np.array([[False] * 5, [True] * 5, [False] * 5])}
    feeds = {name: drawn(shape, i) for i, (name, shape) in enumerate(FLOATS.items())}
    (y,) = computed(of_call("q k v flags -> y", FLOATS, constants=mask), feeds)
    assert not y[:, :, 0::2].any()
    assert y[:, :, 1].all()
