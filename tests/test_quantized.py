"""Quantised operators against onnxruntime, integer for integer, and models that it quantised."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from onnxruntime import quantization

from conformance import verify
from engine.config import BackendConfig, ScheduleConfig
from engine.errors import ParallaxError
from engine.interpreter import Interpreter
from engine.runtime import Runtime
from fixtures.models.corpus import by_name
from tests.model_writing import node
from tests.quantized_values import QuantizedValues

pytestmark = pytest.mark.one_driver

DEVICES = [d.strip() for d in os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",")]
QUANTISED_AS_IT_RUNS = {"DynamicQuantizeLinear", "MatMulInteger", "ConvInteger"}
RUNTIME = Runtime()
RNG = np.random.default_rng(11)
DRAWN = QuantizedValues(RNG)
whole, weights, scales = DRAWN.whole, DRAWN.weights, DRAWN.scales
F = np.float32


def single(
    op_type: str, inputs: Mapping[str, np.ndarray | None], opset: int, **attributes: Any
) -> tuple[bytes, dict[str, np.ndarray]]:
    """A model of one operator, whose first input is fed, and the feeds."""
    given = {n: x for n, x in inputs.items() if x is not None}
    first = next(iter(given))
    kind = helper.np_dtype_to_tensor_dtype(given[first].dtype)
    names = " ".join(n if x is not None else "-" for n, x in inputs.items())
    graph = helper.make_graph(
        [node(op_type, names, "y", **attributes)],
        "g",
        [helper.make_tensor_value_info(first, kind, given[first].shape)],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(x, n) for n, x in given.items() if n != first],
    )
    imports = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    return model.SerializeToString(), {first: given[first]}


def floats(*shape: int) -> np.ndarray:
    """With ties, and with what no integer of eight bits holds."""
    x = np.asarray(RNG.normal(size=shape), F) * 8
    x.flat[::3] = np.round(x.flat[::3] * 2) / 2
    x.flat[:2] = 1e6, -1e6
    return np.asarray(x)


def cases() -> dict[str, tuple[str, dict[str, np.ndarray | None], int, dict[str, Any]]]:
    found: dict[str, tuple[str, dict[str, np.ndarray | None], int, dict[str, Any]]] = {}
    for dtype in (np.int8, np.uint8, np.int16, np.uint16):
        zero = whole(dtype)
        for name, shape, more in (
            ("of all", (), {}),
            ("by channels", (3,), {}),
            ("by the last", (5,), {"axis": -1}),
            ("by blocks", (2, 2, 5), {"axis": 1, "block_size": 2}),
        ):
            kind = np.dtype(dtype).name
            points = np.broadcast_to(zero, shape).copy()
            x: dict[str, np.ndarray | None] = {
                "x": floats(2, 3, 5),
                "s": scales(*shape),
                "z": points,
            }
            found[f"quantize {kind} {name}"] = ("QuantizeLinear", x, 21, more)
            x = {"x": whole(dtype, 2, 3, 5), "s": scales(*shape), "z": points}
            found[f"dequantize {kind} {name}"] = ("DequantizeLinear", x, 21, more)
    wide: dict[str, np.ndarray | None] = {"x": floats(7, 4), "s": scales(1, 4)}
    found["quantize in one block, huge"] = (
        "QuantizeLinear", wide, 21, {"axis": 0, "block_size": 2**30}
    )  # fmt: skip
    half = {"x": np.full(4, 0.5, F), "s": np.array(1, F)}
    found["quantize without a zero point"] = ("QuantizeLinear", {**half}, 13, {})
    one = np.array([0.25], F)
    point = np.array([7], np.uint8)
    found["quantize a scalar by vectors of one"] = (
        "QuantizeLinear", {"x": floats(), "s": one, "z": point}, 21, {}
    )  # fmt: skip
    found["dequantize a scalar by vectors of one"] = (
        "DequantizeLinear", {"x": whole(np.uint8), "s": one, "z": point}, 21, {}
    )  # fmt: skip
    found["dequantize int32"] = (
        "DequantizeLinear",
        {"x": whole(np.int32, 9), "s": one},
        13,
        {"axis": 0},
    )
    for a, b in ((np.uint8, np.int8), (np.int8, np.int8), (np.uint8, np.uint8)):
        name = f"{np.dtype(a).name} {np.dtype(b).name}"
        matrices: dict[str, np.ndarray | None] = {"a": whole(a, 2, 17, 33), "b": weights(b, 33, 9)}
        found[f"products of {name}"] = ("MatMulInteger", {**matrices}, 10, {})
        points_ = {"az": whole(a), "bz": whole(b, 9)}
        found[f"products of {name}, by columns"] = ("MatMulInteger", matrices | points_, 10, {})
        scaled = {
            "a": matrices["a"], "as": scales(), "az": whole(a), "b": matrices["b"], "bs": scales(),
            "bz": whole(b), "ys": np.array(7, F), "yz": whole(a),
        }  # fmt: skip
        found[f"scaled products of {name}"] = ("QLinearMatMul", scaled, 10, {})
        image, kernel = whole(a, 2, 6, 9, 8), weights(b, 8, 3, 3, 3)
        window = {"pads": [1, 0, 1, 1], "strides": [2, 1], "group": 2}
        maps = {
            "x": image, "xs": scales(), "xz": whole(a), "w": kernel, "ws": scales(8),
            "wz": np.zeros(8, b) if b == np.int8 else whole(b),
            "ys": np.array(9, F), "yz": whole(a),
            "bias": whole(np.int16, 8).astype(np.int32),
        }  # fmt: skip
        found[f"scaled maps of {name}"] = ("QLinearConv", maps, 10, window)
        if a == np.uint8:
            integers: dict[str, np.ndarray | None] = {"x": image, "w": kernel, "xz": whole(a)}
            found[f"maps of {name}"] = ("ConvInteger", integers, 10, window)
    return found


CASES = cases()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", CASES)
def test_a_quantised_operator_gives_what_onnxruntime_gives(case: str, device: str) -> None:
    op_type, inputs, opset, attributes = CASES[case]
    data, feeds = single(op_type, inputs, opset, **attributes)
    (theirs, *_) = onnxruntime.InferenceSession(data).run(None, feeds)
    for precision in ("high", "normal"):
        floats_in_half = precision == "normal" and device != "cpu"
        if floats_in_half and op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue
        with Interpreter.from_buffer(data).create_session(config(device, precision)) as session:
            ours = session(feeds)["y"]
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(17,), (2, 17, 1), (2, 1, 1)], ids=str)
def test_zero_points_of_rows_are_those_of_each_row(shape: tuple[int, ...], device: str) -> None:
    """onnxruntime has none; ONNX: 'zero point tensor may have shape [D1, D2, M, 1]'."""
    a, b, zeros = whole(np.uint8, 2, 17, 9), whole(np.int8, 9, 5), whole(np.uint8, *shape)
    data, feeds = single("MatMulInteger", {"a": a, "b": b, "az": zeros}, 10)
    with Interpreter.from_buffer(data).create_session(config(device, "normal")) as session:
        y = session(feeds)["y"]
    rows = zeros[:, None] if zeros.ndim == 1 else zeros
    np.testing.assert_array_equal(y, (a.astype(np.int32) - rows) @ b.astype(np.int32))


def config(device: str, precision: str) -> ScheduleConfig:
    if device == "cpu":
        return ScheduleConfig()
    wanted = BackendConfig(precision=precision)
    return ScheduleConfig("opencl", device=device, strict=True, backend_config=wanted)


@pytest.mark.device_free
@pytest.mark.parametrize(
    ("op_type", "inputs", "more", "words"),
    [
        ("QuantizeLinear", {"x": floats(2, 3), "s": scales(4)}, {}, "do not broadcast"),
        ("QuantizeLinear", {"x": floats(2, 3), "s": scales(3)}, {"axis": 5}, "axis=5 is outside"),
        (
            "QuantizeLinear",
            {"x": floats(2, 3), "s": scales(2, 3)},
            {"block_size": -1},
            "block_size",
        ),
        ("MatMulInteger", {"a": whole(np.int8, 2, 3), "b": whole(np.int8, 4, 2)}, {}, "MatMul"),
        ("MatMulInteger", {"a": floats(2, 3), "b": whole(np.int8, 3, 2)}, {}, "is float32, exp"),
        ("ConvInteger", {"x": whole(np.int32, 1, 1, 3), "w": whole(np.int8, 1, 1, 1)}, {}, "int32"),
        ("QuantizeLinear", {"x": floats(3), "s": scales(), "z": whole(np.int32)}, {}, "y_zero_po"),
        ("QuantizeLinear", {"x": floats(3), "s": scales()}, {"output_dtype": 1}, "cannot be here"),
        ("QuantizeLinear", {"x": floats(3), "s": scales()}, {"output_dtype": 14}, "COMPLEX64"),
        ("QuantizeLinear", {"x": floats(3), "s": scales()}, {"output_dtype": 99}, "not an ONNX"),
        (
            "QuantizeLinear",
            {"x": floats(3), "s": scales(), "z": whole(np.uint8)},
            {"output_dtype": 3},
            "not that of its zero point",
        ),
        (
            "QuantizeLinear",
            {"x": floats(2, 3), "s": scales(), "z": whole(np.uint8, 3)},
            {},
            "scale and zero point have",
        ),
        ("QuantizeLinear", {"x": floats(2, 3), "s": scales(2, 3)}, {}, "expected one number"),
        (
            "QuantizeLinear",
            {"x": floats(4, 7), "s": scales(4, 5)},
            {"block_size": 3},
            r"expected \(4, 3\)",
        ),
        (
            "DequantizeLinear",
            {"x": whole(np.uint8, 3), "s": scales(), "z": whole(np.int8)},
            {},
            "x_zero_point is int8",
        ),
        (
            "DequantizeLinear",
            {"x": whole(np.uint8, 3), "s": scales(), "z": whole(np.uint8, 1, 1)},
            {},
            "scale and zero point have",
        ),
        ("DequantizeLinear", {"x": floats(3), "s": scales()}, {}, "x is float32"),
        (
            "DequantizeLinear",
            {"x": whole(np.int8, 3), "s": whole(np.int32)},
            {},
            "x_scale is int32",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    op_type: str, inputs: dict[str, np.ndarray], more: dict[str, Any], words: str
) -> None:
    data, _ = single(op_type, inputs, 21, **more)
    with pytest.raises(ParallaxError, match=words):
        Interpreter.from_buffer(data).create_session()


class Samples(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Random inputs to calibrate by."""

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        rng = np.random.default_rng(0)
        self._left = [{name: rng.normal(size=shape).astype(F)} for _ in range(3)]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self._left.pop() if self._left else None


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("per_channel", [False, True], ids=["per tensor", "per channel"])
def test_a_model_that_onnxruntime_quantised_verifies(
    device: str, per_channel: bool, tmp_path: Path
) -> None:
    model = by_name("tiny_resnet")
    proto = onnx.load(model.path)
    (info,) = proto.graph.input
    shape = tuple(d.dim_value or 1 for d in info.type.tensor_type.shape.dim)
    quantised = tmp_path / "quantised.onnx"
    quantization.quantize_static(
        str(model.path),
        str(quantised),
        Samples(info.name, shape),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=per_channel,
    )
    assert any(n.op_type == "DequantizeLinear" for n in onnx.load(quantised).graph.node)
    x = np.random.default_rng(5).normal(size=shape).astype(F)
    options = onnxruntime.SessionOptions()  # its fusions compute in other steps than the file has
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(quantised, options)
    expected = dict(zip([o.name for o in session.get_outputs()], session.run(None, {info.name: x})))
    report = verify(
        quantised, device=device, inputs={info.name: x}, expected=expected, runtime=RUNTIME
    )
    assert report.precisions[0].exit_code == 0, str(report)
    for precision in report.precisions:
        assert not precision.failures, str(report)
        assert precision.verified


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("name", "per_channel"), [("tiny_audio", False), ("tiny_transformer", True)]
)
def test_a_model_quantised_while_it_runs_verifies(
    device: str, name: str, per_channel: bool, tmp_path: Path
) -> None:
    """Of a Conv and of a MatMul; sums of integers go beyond half, and nothing may overflow."""
    model, quantised = by_name(name), tmp_path / "quantised.onnx"
    quantization.quantize_dynamic(model.path, quantised, per_channel=per_channel, reduce_range=True)
    found = {n.op_type for n in onnx.load(quantised).graph.node}
    assert {"DynamicQuantizeLinear"} < found & QUANTISED_AS_IT_RUNS
    feeds = model.feeds(5)
    session = onnxruntime.InferenceSession(quantised)
    names = [o.name for o in session.get_outputs()]
    expected = dict(zip(names, session.run(names, feeds), strict=True))
    report = verify(quantised, device=device, inputs=feeds, expected=expected, runtime=RUNTIME)
    assert report.exit_code == 0, str(report)
    for precision in report.precisions:
        assert precision.verified
        assert not precision.overflows
