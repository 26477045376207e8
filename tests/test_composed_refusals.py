"""Calls that operators which the importer takes apart must refuse, before any kernel runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnxruntime
import pytest

from conformance.devices import config_of, target_of
from engine.errors import ModelError, ShapeError
from engine.interpreter import Interpreter
from engine.ops.spec import Call
from engine.runtime import Runtime
from properties.refusals import check_refused
from tests.model_writing import model_bytes, node

pytestmark = pytest.mark.one_driver

DEVICES = [d.strip() for d in os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",")]
RUNTIME = Runtime()


def floats(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def flags(*values: int) -> np.ndarray:
    return np.array(values, np.bool_)


def bytes_(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.uint8)


NUMBER = np.array(2)
HEADS, POSITIONS = floats(1, 2, 3, 4), np.zeros((1, 3), np.int64)
CACHE, NEW = floats(1, 1, 4, 2), floats(1, 1, 2, 2)
SCALE, ZERO = floats(), bytes_()
Rejects = dict[str, list[tuple[tuple[np.ndarray | None, ...], dict[str, Any]]]]
REJECTS: Rejects = {
    "Compress": [
        ((floats(3), flags(1, 0)), {"axis": 1}),
        ((floats(2, 3), np.zeros((2, 2), np.bool_)), {}),
        ((floats(3), floats(3)), {}),
    ],
    "Hardmax": [((floats(3),), {"axis": 1}), ((ints(1, 2),), {})],
    "LpNormalization": [((floats(3),), {"axis": 1}), ((floats(3),), {"p": 3})],
    "LpPool": [((floats(1, 1, 3),), {"kernel_shape": [5]}), ((floats(1, 1, 3),), {})],
    "GlobalLpPool": [((floats(1, 1),), {}), ((floats(1, 1, 3),), {"p": 0})],
    "EyeLike": [((floats(3),), {}), ((floats(2, 2),), {"dtype": 8})],
    "Einsum": [
        ((floats(2), floats(3)), {"equation": "i,i->"}),
        ((floats(2),), {"equation": "ij->i"}),
        ((floats(2),), {"equation": "i->j"}),
    ],
    "STFT": [
        ((floats(8), NUMBER, floats(3)), {}),
        ((floats(1, 8, 1), NUMBER, floats(3), np.array(4)), {}),
        ((floats(1, 8, 2), NUMBER, None, np.array(4)), {"onesided": 1}),
    ],
    "Col2Im": [
        ((floats(1, 5, 1), ints(2, 2), ints(2, 2)), {}),
        ((floats(1, 4, 1), ints(2, 2), ints(2)), {}),
        ((floats(1, 4, 1), ints(-2, 2), ints(2, 2)), {}),
        ((floats(1, 4, 1), ints(2, 2), ints(2, 2)), {"strides": [0, 1]}),
    ],
    "MaxUnpool": [
        ((floats(1, 1, 2), ints(0, 1)), {"kernel_shape": [2]}),
        ((floats(1, 1, 2), ints(0, 1, 2).reshape(1, 1, 3)), {"kernel_shape": [2]}),
        ((floats(2), ints(0, 1)), {"kernel_shape": [2]}),
    ],
    "ReverseSequence": [
        ((floats(3, 2), ints(1)), {}),
        ((floats(3, 2), floats(2)), {}),
        ((floats(3), ints(1)), {}),
        ((floats(3, 2), ints(1, 1)), {"batch_axis": 2}),
    ],
    "TensorScatter": [
        ((CACHE, floats(1, 1, 5, 2), ints(0)), {}),
        ((CACHE, floats(1, 1, 2, 3), ints(0)), {}),
        ((CACHE, NEW, ints(0)), {"axis": 0}),
        ((CACHE, NEW, ints(0)), {"mode": "x"}),
    ],
    "QuantizeLinear": [
        ((floats(2, 3), floats(2), bytes_(2)), {}),
        ((floats(2, 3), floats(3), bytes_(3)), {"axis": 5}),
        ((floats(2, 3), floats(1, 2), bytes_(1, 2)), {"block_size": 2, "axis": 0}),
    ],
    "DequantizeLinear": [
        ((bytes_(2, 3), SCALE, np.zeros((), np.int8)), {}),
        ((bytes_(2, 3), floats(5, 2), bytes_(5, 2)), {"block_size": 2}),
    ],
    "MatMulInteger": [
        ((bytes_(2, 3), bytes_(2, 3)), {}),
        ((bytes_(2, 3), bytes_(3, 2), bytes_(3)), {}),
    ],
    "ConvInteger": [
        ((bytes_(1, 1, 3), bytes_(1, 2, 1)), {}),
        ((bytes_(1, 1, 3), bytes_(1, 1, 1), ZERO, bytes_(3)), {}),
        ((bytes_(1, 1, 3), bytes_(1, 1, 1), bytes_(1, 1, 1)), {}),
        ((bytes_(1, 1, 3), bytes_(1, 1, 1), ZERO, bytes_(1, 1, 1)), {}),
    ],
    "QLinearConv": [
        (
            (bytes_(1, 1, 3), SCALE, ZERO, bytes_(1, 1, 1), floats(3), ZERO, SCALE, ZERO),
            {},
        ),
    ],
    "DynamicQuantizeLinear": [((ints(1, 2),), {})],
    "HannWindow": [((np.array(2**62),), {}), ((ints(3, 3),), {})],
    "AffineGrid": [((floats(1, 2, 3), ints(1, 1, 2)), {})],
    "NegativeLogLikelihoodLoss": [
        ((floats(2, 3), ints(0, 0, 0)), {}),
        ((floats(2, 3), ints(0, 0)), {"reduction": "max"}),
        ((floats(2, 3), floats(2)), {}),
        ((floats(2, 3), ints(0, 0), floats(2)), {}),
        ((floats(2, 3, 4), np.zeros((2, 4), np.int64), floats(4)), {}),
    ],
    "SoftmaxCrossEntropyLoss": [
        ((floats(2, 3), ints(0, 0)), {"reduction": "max"}),
        ((floats(2, 3), ints(0, 0), floats(1)), {}),
    ],
    "RMSNormalization": [((np.ones((2, 3)), np.ones(1)), {"axis": axis}) for axis in (2, -3)],
    "RotaryEmbedding": [
        ((HEADS, floats(5, 3), floats(5, 3), POSITIONS), {}),
        ((HEADS, floats(5, 1), floats(5, 1), POSITIONS), {}),
        ((HEADS, floats(5, 2), floats(5, 2), POSITIONS), {"rotary_embedding_dim": 2}),
        ((HEADS, floats(1, 3, 3), floats(1, 3, 3)), {}),
        ((HEADS, floats(1, 3, 2), floats(1, 3, 2), POSITIONS), {}),
        ((HEADS, floats(5, 2), floats(5, 2), POSITIONS.astype(np.int32)), {}),
        ((floats(1, 3, 8), floats(5, 4), floats(5, 4), POSITIONS), {"num_heads": 2}),
    ],
    "CenterCropPad": [
        ((floats(2, 5), ints(3)), {"axes": [-3]}),
        ((floats(2, 5), ints(3, 4)), {"axes": [1, -1]}),
    ],
    "MeanVarianceNormalization": [((floats(2, 3),), {"axes": [5]})],
}


def calls() -> Iterator[tuple[str, Call]]:
    for op_type, rejects in REJECTS.items():
        yield from ((op_type, Call(inputs, attributes)) for inputs, attributes in rejects)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("op_type", "call"), list(calls()))
def test_invalid_calls_are_refused_by_what_is_taken_apart(
    op_type: str, call: Call, device: str
) -> None:
    check_refused(op_type, call, config_of(target_of(device, RUNTIME)), RUNTIME)


@pytest.mark.device_free
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("condition", [(1, 0, 1, 1, 1, 1, 1, 1), (0, 1), (), (1, 1, 1)])
def test_a_condition_may_have_more_or_fewer_elements_than_the_axis(
    axis: int | None, condition: tuple[int, ...]
) -> None:
    attributes = {} if axis is None else {"axis": axis}
    given = {"c": flags(*condition)}
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    data = model_bytes([node("Compress", "x c", "y", **attributes)], {"x": (2, 3)}, ["y"], given)
    theirs = onnxruntime.InferenceSession(data).run(None, {"x": x})[0]
    with Interpreter.from_buffer(data).create_session() as session:
        np.testing.assert_array_equal(session({"x": x})["y"], theirs)


@pytest.mark.device_free
def test_a_signal_shorter_than_a_frame_has_none() -> None:
    constants = {"step": np.array(3), "length": np.array(4)}
    data = model_bytes(
        [node("STFT", "x step - length", "y")],
        {"x": (1, "n", 1)},
        ["y"],
        constants,
        opset=17,
    )
    with Interpreter.from_buffer(data).create_session() as session:
        for n, frames in ((2, 0), (3, 0), (4, 1), (6, 1), (7, 2)):
            assert session({"x": floats(1, n, 1)})["y"].shape == (1, frames, 3, 2)


@pytest.mark.device_free
def test_a_step_that_is_fed_is_as_one_that_is_constant() -> None:
    nodes = [node("Cast", "s", "step", to=7), node("STFT", "x step - length", "y")]
    data = model_bytes(nodes, {"x": (1, 8, 1), "s": ()}, ["y"], {"length": np.array(4)}, opset=17)
    with Interpreter.from_buffer(data).create_session() as session:
        assert session({"x": floats(1, 8, 1), "s": floats() * 3})["y"].shape == (1, 2, 3, 2)
        for step in (0, -2):
            with pytest.raises(ShapeError, match=r"Range 'the_y/Range'.*expected a step != 0"):
                session({"x": floats(1, 8, 1), "s": floats() * step})


@pytest.mark.device_free
def test_weights_of_classes_are_counted_where_classes_are_not_known_before() -> None:
    data = model_bytes(
        [node("NegativeLogLikelihoodLoss", "x labels w", "y")],
        {"x": (2, "classes"), "w": ("weights",)},
        ["y"],
        {"labels": ints(0, 1)},
    )
    with Interpreter.from_buffer(data).create_session() as session:
        assert session({"x": floats(2, 3), "w": floats(3)})["y"] == -1
        with pytest.raises(ShapeError, match="Reshape 'the_y/Reshape'"):
            session({"x": floats(2, 3), "w": floats(4)})


@pytest.mark.device_free
@pytest.mark.parametrize("step", [0, -2])
def test_frames_no_step_apart_are_refused(step: int) -> None:
    data = model_bytes(
        [node("STFT", "x step - length", "y")],
        {"x": (1, 8, 1)},
        ["y"],
        {"step": np.array(step), "length": np.array(4)},
        opset=17,
    )
    with pytest.raises(ModelError, match=rf"STFT 'the_y': frame_step={step}, expected at least 1"):
        Interpreter.from_buffer(data)


@pytest.mark.device_free
def test_a_constant_length_below_0_is_refused() -> None:
    data = model_bytes(
        [node("ReverseSequence", "x lengths", "y")],
        {"x": (3, 2)},
        ["y"],
        {"lengths": np.array([1, -2])},
    )
    with pytest.raises(ModelError, match="'the_y': sequence_lens holds -2, expected 0 or more"):
        Interpreter.from_buffer(data)
