"""Operators that the importer takes apart, against engines that have kernels of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from conformance import verify
from engine.errors import ParallaxError
from engine.interpreter import Interpreter
from engine.runtime import Runtime
from tests.model_writing import model, node

pytestmark = pytest.mark.one_driver

DEVICES = [d.strip() for d in os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",")]
RUNTIME = Runtime()
RNG = np.random.default_rng(2)
F = np.float32


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(F)


Case = tuple[str, int, dict[str, np.ndarray], dict[str, Any]]


EQUATIONS = (
    ("ij->ji", [(3, 17)]),
    ("ij->i", [(3, 17)]),
    ("ij->", [(3, 17)]),
    ("i,i", [(17,), (17,)]),
    ("i,j->ij", [(17,), (5,)]),
    ("ij, jk", [(3, 17), (17, 5)]),
    ("bij,bjk->bik", [(2, 3, 17), (2, 17, 5)]),
    ("bhid,bhjd->bhij", [(2, 3, 5, 17), (2, 3, 4, 17)]),
    ("bhwc,hkc->bhwk", [(2, 3, 5, 7), (3, 4, 7)]),
    ("ijk,il->ljk", [(2, 3, 17), (2, 5)]),
    ("ijk,jil->kl", [(5, 4, 3), (4, 5, 2)]),
    ("ab,bc,cd->ad", [(2, 3), (3, 17), (17, 4)]),
    ("ab,ab,ab->b", [(3, 17)] * 3),
    ("...ij,...jk->...ik", [(2, 1, 3, 17), (2, 4, 17, 5)]),
    ("...i->...", [(2, 3, 17)]),
    ("i...,i...->i...", [(3, 2, 17), (3, 2, 17)]),
    ("ij,kl->ik", [(3, 4), (5, 6)]),
    ("ij,jk->ik", [(3, 0), (0, 5)]),
    (",ij->ij", [(), (3, 4)]),
    ("ii->i", [(17, 17)]),
    ("iji,ik->jk", [(3, 2, 3), (3, 4)]),
    ("iiij->ij", [(3, 3, 3, 2)]),
)


def cases() -> Iterator[Case]:
    """Operator, opset, inputs, attributes."""
    ties = np.array([[1, 3, 3], [-1, -1, -1], [0, 5, 2]], F)
    for opset in (1, 11, 13):
        for axis in (1, 0, -1) if opset == 13 else (1, 0):
            yield "Hardmax", opset, {"x": floats(3, 17, 5)}, {"axis": axis}
            yield "Hardmax", opset, {"x": ties}, {"axis": axis}
    for p in (1, 2):
        for axis in (-1, 0, 1):
            for opset in (1, 22):
                yield "LpNormalization", opset, {"x": floats(3, 17, 5)}, {"p": p, "axis": axis}
    yield "LpNormalization", 22, {"x": np.zeros((2, 3), F)}, {}
    for p in (1, 2, 3):
        for opset in (2, 18):
            yield "GlobalLpPool", opset, {"x": floats(2, 3, 5, 7)}, {"p": p}
            window = {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "strides": [2, 1]}
            yield "LpPool", opset, {"x": floats(2, 3, 9, 17)}, {"p": p, **window}
    yield "GlobalLpPool", 1, {"x": floats(1, 2, 17)}, {"p": 2.5}
    same = {"kernel_shape": [3], "auto_pad": "SAME_UPPER", "strides": [2]}
    yield "LpPool", 18, {"x": floats(1, 2, 33)}, same
    yield "LpPool", 18, {"x": floats(1, 2, 33)}, {"kernel_shape": [2], "dilations": [3]}
    for k in (-2, 0, 1, 9):
        yield "EyeLike", 9, {"x": floats(4, 7)}, {"k": k}
        yield "EyeLike", 22, {"x": floats(7, 4)}, {"k": k, "dtype": TensorProto.INT32}
    yield "EyeLike", 9, {"x": np.zeros((2, 2), np.int64)}, {}
    yield "EyeLike", 9, {"x": floats(2, 3)}, {"dtype": TensorProto.BOOL}
    for dtype in (F, np.float64):
        hard = np.array([0, -0.0, 3, -3, 2.5, -2.5, np.inf, -np.inf, np.nan, 1e-3], dtype)
        yield "Mod", 28, {"x": np.repeat(hard, len(hard)), "w": np.tile(hard, len(hard))}, {}
    for equation, shapes in EQUATIONS:
        tensors = {f"x{i}": floats(*shape) for i, shape in enumerate(shapes)}
        yield "Einsum", 12, tensors, {"equation": equation}
    yield from of_positions()
    off = np.array([0.0, 2.9, -1.0, 7.0], F)
    values = np.array([2, 5], F)
    yield "OneHot", 11, {"x": off, "depth": np.array(3, F), "values": values}, {"axis": 0}


def of_positions() -> Iterator[Case]:
    """Operators that read or write by computed positions; signals."""
    for time, axes in ((0, (1, 0)), (1, (0, 1))):
        shape, lengths = ((9, 4), (4, 9))[time], np.array([9, 0, 1, 4])
        flags = {"time_axis": axes[1], "batch_axis": axes[0]}
        yield "ReverseSequence", 10, {"x": floats(*shape, 3), "n": lengths}, flags
    for mode, first in (("linear", [3, 0]), ("circular", [4, 11])):
        cache = {"past": floats(2, 3, 5, 2), "update": floats(2, 3, 2, 2), "at": np.array(first)}
        yield "TensorScatter", 24, cache, {"mode": mode}
    moved = {"past": floats(2, 5, 3), "update": floats(2, 4, 3)}
    yield "TensorScatter", 24, moved, {"axis": 1}
    window = {"strides": [2, 1], "dilations": [1, 2], "pads": [1, 0, 0, 1]}
    image = {"image": np.array([6, 5]), "block": np.array([3, 2])}
    yield "Col2Im", 18, {"x": floats(2, 2 * 6, 3 * 4), **image}, window
    places = RNG.permutation(2 * 7 * 8)[: 2 * 3 * 4].reshape(1, 2, 3, 4)
    unpool = {"kernel_shape": [3, 2], "strides": [2, 2]}
    yield "MaxUnpool", 11, {"x": floats(1, 2, 3, 4), "i": places}, unpool
    signal = {"x": floats(2, 33, 1), "step": np.array(5)}
    yield "STFT", 17, signal | {"window": floats(8)}, {}
    yield "STFT", 17, signal | {"window": floats(7)}, {"onesided": 0}
    yield "STFT", 17, signal | {"step": np.array(2**63 - 1), "window": floats(8)}, {}


CASES = {f"{i} {c[0]}-{c[1]} {c[3]}": c for i, c in enumerate(cases())}


def written(case: Case) -> bytes:
    op_type, opset, inputs, attributes = case
    proto = model(
        [node(op_type, " ".join(inputs), "y", **attributes)],
        {n: x.shape for n, x in inputs.items()},
        ["y"],
        opset=opset,
    )
    for info, x in zip(proto.graph.input, inputs.values(), strict=True):
        info.type.tensor_type.elem_type = onnx.helper.np_dtype_to_tensor_dtype(x.dtype)
    return proto.SerializeToString()


def outside(case: Case) -> np.ndarray:
    """onnxruntime's answer, or that of onnx's evaluator where onnxruntime has no kernel."""
    data, inputs = written(case), case[2]
    if case[:2] == ("GlobalLpPool", 1):
        p, x = case[3]["p"], np.abs(inputs["x"].astype(np.float64))
        return np.asarray((x**p).sum(2, keepdims=True) ** (1 / p)).astype(F)
    if case[0] not in ("Mod", "EyeLike", "TensorScatter", "STFT"):
        return np.asarray(onnxruntime.InferenceSession(data).run(None, inputs)[0])
    with np.errstate(all="ignore"):
        return np.asarray(ReferenceEvaluator(onnx.load_from_string(data)).run(None, inputs)[0])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", CASES)
def test_another_engine_gives_the_same(case: str, device: str) -> None:
    data, inputs = written(CASES[case]), CASES[case][2]
    report = verify(
        data, device=device, inputs=inputs, expected={"y": outside(CASES[case])}, runtime=RUNTIME
    )
    assert report.precisions[0].exit_code in (0, 3), str(report)
    for precision in report.precisions:
        assert not precision.failures, str(report)
        assert not precision.fallbacks


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_the_first_top_k_has_its_count_as_an_attribute(axis: int, device: str) -> None:
    """onnxruntime, and the newest form, have the same answer."""
    x = floats(5, 17)
    old = model([node("TopK", "x", "y i", k=4, axis=axis)], {"x": x.shape}, ["y", "i"], opset=1)
    y, i = onnxruntime.InferenceSession(old.SerializeToString()).run(None, {"x": x})
    report = verify(
        old.SerializeToString(), device=device, inputs={"x": x}, expected={"y": y, "i": i},
        runtime=RUNTIME, precisions=["high"],
    )  # fmt: skip
    assert report.precisions[0].exit_code == 0, str(report)


@pytest.mark.device_free
@pytest.mark.parametrize(
    ("case", "words"),
    [
        (("Hardmax", 13, {"x": floats(2, 3)}, {"axis": 2}), "axis=2 is no axis"),
        (("LpNormalization", 22, {"x": floats(2, 3)}, {"p": 3}), "p=3, expected 1 or 2"),
        (("LpPool", 18, {"x": floats(1, 1, 9)}, {"kernel_shape": [2], "p": 0}), "p=0, expected"),
        (
            ("LpPool", 18, {"x": floats(1, 1, 9)}, {"kernel_shape": [2], "ceil_mode": 1}),
            "ceil_mode",
        ),
        (("Einsum", 12, {"x": floats(2)}, {"equation": "i->ii"}), "'ii' names an axis"),
        (("Einsum", 12, {"x": floats(2, 3)}, {"equation": "ii->i"}), "9 elements"),
        (("Einsum", 12, {"x": floats(2, 2)}, {"equation": "ij,jk"}), "2 terms for 1 inputs"),
        (("Einsum", 12, {"x": floats(2, 2)}, {"equation": "i->i"}), "'i' for a tensor of 2 axes"),
        (("Einsum", 12, {"x": floats(2, 2)}, {"equation": "ij->k"}), "'k' of the result"),
        (("Einsum", 12, {"x": floats(2, 2)}, {"equation": "i1->i"}), "not letters"),
        (
            ("Einsum", 12, {"x": floats(2, 2), "w": floats(2, 3)}, {"equation": "i...,..."}),
            "numbers of axes",
        ),
        (("EyeLike", 9, {"x": floats(2, 3, 4)}, {}), "not two dimensions"),
        (
            (
                "ReverseSequence",
                10,
                {"x": floats(3, 7), "n": np.zeros(1, np.int64)},
                {"time_axis": 1, "batch_axis": 0},
            ),
            "Reshape",
        ),
        (
            (
                "MaxUnpool",
                11,
                {"x": floats(1, 1, 1), "i": np.zeros((1, 1, 1), np.int64)},
                {"kernel_shape": [1], "pads": [-(2**63), 0]},
            ),
            "do not fit into 64 bits",
        ),
        (("Mod", 27, {"x": floats(3), "w": floats(3)}, {}), "fmod=0 is for integers only"),
    ],
    ids=str,
)
def test_what_is_not_defined_is_refused(case: Case, words: str) -> None:
    with pytest.raises(ParallaxError, match=words):
        Interpreter.from_buffer(written(case)).create_session()


def test_paddings_come_in_pairs() -> None:
    x, i = floats(1, 1, 1), np.zeros((1, 1, 1), np.int64)
    odd = {"kernel_shape": [1], "pads": [0, 0, 0]}
    with pytest.raises(ParallaxError, match=r"pads=\(0, 0, 0\)"):
        Interpreter.from_buffer(written(("MaxUnpool", 11, {"x": x, "i": i}, odd)))
    sides = {"image": np.array([1]), "block": np.array([1])}
    with pytest.raises(ParallaxError, match=r"'pads': \(0, 0, 0\)"):
        Interpreter.from_buffer(written(("Col2Im", 18, {"x": x, **sides}, {"pads": [0, 0, 0]})))


def test_a_col2im_of_no_spatial_axes_is_refused() -> None:
    constants = {name: np.zeros(0, np.int64) for name in ("image", "block")}
    data = model(
        [node("Col2Im", "x image block", "y")], {"x": (1, 1, 1)}, ["y"], constants, opset=18
    )
    with pytest.raises(ParallaxError, match="for 0 spatial axes"):
        Interpreter.from_buffer(data.SerializeToString())
