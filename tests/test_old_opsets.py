"""Opsets 1 to 6: every older form means what ONNX's text says, and what another engine computes.

The witness is onnx's version converter followed by onnxruntime without optimisations. Neither runs
these opsets whole: where the witness fails, the reason is in WITNESS_FAILS, and what ONNX's text
says stands as NumPy beside each case.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import NodeProto, TensorProto, defs, helper, numpy_helper, version_converter

import parallax as px
from conformance.report import Agreement
from engine.errors import ModelError, ParallaxError, UnsupportedError
from engine.ir.graph import Graph
from engine.onnx_import import OPSET_MAX, load_model
from engine.onnx_import.opsets import HINTS, REWRITTEN_AWAY, changed_defaults
from engine.ops import OPERATORS
from tests.graph_reference import run_reference, wide
from tests.model_writing import model, node

pytestmark = pytest.mark.device_free

Arrays = Mapping[str, np.ndarray]
RNG = np.random.default_rng(0)
OLD = range(1, 7)


def floats(*shape: int) -> np.ndarray:
    return np.asarray(RNG.standard_normal(shape), np.float32)


def booleans(*shape: int) -> np.ndarray:
    return np.asarray(RNG.random(shape) > 0.5)


X = floats(2, 3, 4, 5)
POSITIVE = np.abs(X) + 0.5
ENDS = np.array([-np.inf, np.inf, np.nan, 3e38, -3e38, 0.25], np.float32)


@dataclass(frozen=True)
class Case:
    """One older form. `y` is what ONNX's text says of the inputs, in their order."""

    opset: int
    nodes: Sequence[NodeProto]
    inputs: Arrays
    y: Callable[..., np.ndarray]
    constants: Arrays = field(default_factory=dict)

    def model(self) -> bytes:
        """As old files are: initialisers are inputs, too."""
        arrays = {**self.inputs, **self.constants}
        infos = [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in arrays.items()
        ]
        dtype = TensorProto.BOOL if self.expected().dtype == np.bool_ else TensorProto.FLOAT
        dtype = TensorProto.INT64 if self.expected().dtype == np.int64 else dtype
        graph = helper.make_graph(
            list(self.nodes),
            "old",
            infos,
            [helper.make_tensor_value_info("y", dtype, None)],
            [numpy_helper.from_array(a, n) for n, a in self.constants.items()],
        )
        opset = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opset, ir_version=3).SerializeToString()

    def expected(self) -> np.ndarray:
        """By NumPy, floating point in float64."""
        with np.errstate(all="ignore"):
            return np.asarray(self.y(*map(wide, (*self.inputs.values(), *self.constants.values()))))


def broadcast(
    op: str, opset: int, a: np.ndarray, b: np.ndarray, as_b: Sequence[int], **attributes: int
) -> Case:
    """A binary operator whose B, seen in the shape `as_b`, broadcasts by today's rules."""
    functions = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}
    functions |= {"Pow": np.power, "Greater": np.greater, "Less": np.less, "Equal": np.equal}
    functions |= {"And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor}
    nodes = [node(op, "a b", "y", broadcast=1, **attributes)]
    return Case(opset, nodes, {"a": a, "b": b}, lambda a, b: functions[op](a, b.reshape(as_b)))


def unary(op: str, opset: int, y: Callable, x: np.ndarray = X, **attributes: object) -> Case:
    return Case(opset, [node(op, "x", "y", **attributes)], {"x": x}, y)


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    flat = x.reshape(int(np.prod(x.shape[:axis])), -1)
    powers = np.exp(flat - flat.max(1, keepdims=True))
    return (powers / powers.sum(1, keepdims=True)).reshape(x.shape)


def f32(value: float) -> float:
    """A number as an attribute holds it."""
    return float(np.float32(value))


def per_channel(a: np.ndarray) -> np.ndarray:
    return a.reshape(-1, 1, 1)


def normalised(
    x: np.ndarray, s: np.ndarray, b: np.ndarray, m: np.ndarray, v: np.ndarray
) -> np.ndarray:
    s, b, m, v = map(per_channel, (s, b, m, v))
    return s * (x - m) / np.sqrt(v + f32(1e-5)) + b


def averages_without_padding(x: np.ndarray) -> np.ndarray:
    """Windows of 2 x 2 over one row and one column of padding in front."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 0), (1, 0)), constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2, 2), (2, 3))
    return np.nanmean(windows, (-2, -1))


def neighbours(x: np.ndarray) -> np.ndarray:
    """The sums of every three channels."""
    padded = np.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)))
    return np.lib.stride_tricks.sliding_window_view(padded, 3, 1).sum(-1)


STATISTICS = {n: np.abs(floats(3)) + 0.5 for n in "sbmv"}
BATCH_NORM = "x s b m v"
RECURRENT = (("RNN", 1), ("LSTM", 1), ("GRU", 1), ("GRU", 3))


def recurrent(op: str, opset: int) -> Case:
    """One step from a state of 0, which R does not meet; B is left out, too."""
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[op]

    def y(x: np.ndarray, w: np.ndarray, r: np.ndarray) -> np.ndarray:
        sums = np.split((x @ w[0].T)[:, None], gates, -1)
        if op == "RNN":
            return np.tanh(sums[0])
        first = 1 / (1 + np.exp(-sums[0]))
        if op == "GRU":
            return (1 - first) * np.tanh(sums[2])
        return np.tanh(first * np.tanh(sums[3])) / (1 + np.exp(-sums[1]))

    inputs = {"x": floats(1, 2, 3)}
    constants = {"w": floats(1, gates * 4, 3), "r": floats(1, gates * 4, 4)}
    nodes = [node(op, "x w r", "y h", hidden_size=4, output_sequence=1)]
    return Case(opset, nodes, inputs, y, constants)


CASES: dict[str, Case] = {
    # ------------------------------------------------------------ broadcasting
    **{
        f"{op}-{opset} at axis 1": broadcast(
            op, opset, POSITIVE, POSITIVE[0, :, :, 0], (3, 4, 1), axis=1
        )
        for op in ("Add", "Sub", "Mul", "Div")
        for opset in (1, 6)
    },
    "Pow-1 at axis 1": broadcast("Pow", 1, POSITIVE, floats(3), (3, 1, 1), axis=1),
    "Greater-1 at axis 0": broadcast("Greater", 1, X, floats(2), (2, 1, 1, 1), axis=0),
    "Less-1 at the end": broadcast("Less", 6, X, floats(5), (5,), axis=3),
    "Equal-1 at axis 2": broadcast(
        "Equal", 1, RNG.integers(0, 3, (2, 3, 4)), RNG.integers(0, 3, 4), (4,), axis=2
    ),
    **{
        f"{op}-1 at axis 0": broadcast(op, 1, booleans(2, 3), booleans(2), (2, 1), axis=0)
        for op in ("And", "Or", "Xor")
    },
    "Add-6 at the end": broadcast("Add", 6, X, floats(4, 5), (4, 5)),
    "Add-6 a scalar": broadcast("Add", 6, X, floats(), ()),
    "Add-6 one element of rank 2": broadcast("Add", 6, X, floats(1, 1), (1, 1)),
    "Add-6 one element, whatever axis": broadcast("Add", 6, X, floats(1), (1,), axis=0),
    "Add-6 scalars": broadcast("Add", 6, floats(), floats(), ()),
    "Add-6 of rank 6": broadcast(
        "Add", 6, floats(2, 1, 3, 2, 2, 2), floats(3, 2), (3, 2, 1, 1), axis=2
    ),
    "Add-6 of nothing": broadcast("Add", 6, floats(0, 3, 4), floats(3), (3, 1), axis=1),
    "Mul-6 the same shape": Case(
        6, [node("Mul", "a b", "y")], {"a": X, "b": POSITIVE}, lambda a, b: a * b
    ),
    "Mul-1 with a hint": Case(
        1,
        [node("Mul", "a b", "y", consumed_inputs=[0, 0])],
        {"a": X, "b": POSITIVE},
        lambda a, b: a * b,
    ),
    "Add-6 behind a pool": Case(
        6,
        [
            node("MaxPool", "x", "p", kernel_shape=[2, 2]),
            node("Add", "p b", "y", broadcast=1, axis=1),
        ],
        {"x": X, "b": floats(3)},
        lambda x, b: (
            np.lib.stride_tricks.sliding_window_view(x, (2, 2), (2, 3)).max((-2, -1))
            + per_channel(b)
        ),
    ),
    "Gemm-6": Case(
        6,
        [node("Gemm", "a b c", "y", broadcast=1, transB=1, alpha=0.5, beta=2.0)],
        {"a": floats(2, 3), "b": floats(4, 3), "c": floats(4)},
        lambda a, b, c: 0.5 * a @ b.T + 2 * c,
    ),
    "Gemm-1 one element": Case(
        1,
        [node("Gemm", "a b c", "y", broadcast=1)],
        {"a": floats(2, 3), "b": floats(3, 4), "c": floats(1)},
        lambda a, b, c: a @ b + c,
    ),
    "Gemm-6 of nothing": Case(
        6,
        [node("Gemm", "a b c", "y", broadcast=1)],
        {"a": floats(0, 3), "b": floats(3, 4), "c": floats(4)},
        lambda a, b, c: a @ b + c,
    ),
    "PRelu-6 of nothing": Case(
        6,
        [node("PRelu", "x s", "y")],
        {"x": floats(0, 3, 4), "s": floats(3)},
        lambda x, s: np.where(x < 0, s[:, None] * x, x),
    ),
    "PRelu-6 of rank 6": Case(
        6,
        [node("PRelu", "x s", "y")],
        {"x": floats(1, 3, 2, 1, 2, 2), "s": floats(3)},
        lambda x, s: np.where(x < 0, s.reshape(-1, 1, 1, 1, 1) * x, x),
    ),
    "PRelu-6 a slope per channel": Case(
        6,
        [node("PRelu", "x s", "y")],
        {"x": X, "s": floats(3)},
        lambda x, s: np.where(x < 0, per_channel(s) * x, x),
    ),
    "PRelu-1 one slope": Case(
        1,
        [node("PRelu", "x s", "y", consumed_inputs=[0, 0])],
        {"x": X, "s": floats(1)},
        lambda x, s: np.where(x < 0, s * x, x),
    ),
    # ------------------------------------------------------------ defaults
    "Selu-1": unary(
        "Selu",
        1,
        lambda x: f32(1.0507) * np.where(x > 0, x, f32(1.6732) * np.expm1(x)),
    ),
    "Concat-1": Case(
        1,
        [node("Concat", "x z", "y")],
        {"x": X, "z": floats(2, 2, 4, 5)},
        lambda *parts: np.concatenate(parts, 1),
    ),
    "Softmax-1": unary("Softmax", 1, lambda x: softmax(x, 1)),
    "Softmax-1 at axis 2": unary("Softmax", 1, lambda x: softmax(x, 2), axis=2),
    "Softmax-1 at axis 3": unary("Softmax", 1, lambda x: softmax(x, 3), axis=3),
    "Softmax-1 of nothing": unary("Softmax", 1, lambda x: x, floats(2, 3, 0)),
    "LogSoftmax-1 at axis 0": unary("LogSoftmax", 1, lambda x: np.log(softmax(x, 0)), axis=0),
    "HardSigmoid-1": unary("HardSigmoid", 1, lambda x: np.clip(f32(0.2) * x + 0.5, 0, 1)),
    "LRN-1": unary("LRN", 1, lambda x: x / (1 + f32(1e-4) / 3 * neighbours(x * x)) ** 0.75, size=3),
    # ------------------------------------------------------------ attributes
    "Clip-1": unary("Clip", 1, lambda x: np.clip(x, -1, 0.5), min=-1.0, max=0.5),
    "Clip-1 above": unary("Clip", 1, lambda x: np.minimum(x, 0.5), max=0.5),
    "Clip-6": unary("Clip", 6, lambda x: np.clip(x, -1, 0.5), min=-1.0, max=0.5),
    "Clip-6 below": unary("Clip", 6, lambda x: np.maximum(x, -0.5), min=-0.5),
    "Clip-1 of infinities": unary("Clip", 1, lambda x: np.minimum(x, 0.5), ENDS, max=0.5),
    "Clip-6 of infinities": unary(
        "Clip", 6, lambda x: np.clip(x, np.float32(-3.4028234663852886e38), 0.5), ENDS, max=0.5
    ),
    "Clip-6 of infinities, below": unary(
        "Clip", 6, lambda x: np.clip(x, -0.5, np.float32(3.4028234663852886e38)), ENDS, min=-0.5
    ),
    "Clip-6 of a scalar": unary("Clip", 6, lambda x: np.maximum(x, 0.5), floats(), min=0.5),
    "Cast-1": Case(
        1,
        [node("Cast", "x", "i", to="INT32"), node("Cast", "i", "y", to="FLOAT")],
        {"x": 5 * X},
        np.trunc,
    ),
    "Cast-6": unary("Cast", 6, lambda x: x.astype(np.int64), 5 * X, to=TensorProto.INT64),
    "Reshape-1": unary("Reshape", 1, lambda x: x.reshape(2, -1, 2), shape=[0, -1, 2]),
    "Reshape-1 of nothing": unary(
        "Reshape", 1, lambda x: x.reshape(0, 12), floats(0, 3, 4), shape=[0, 12]
    ),
    "Pad-1": unary(
        "Pad",
        1,
        lambda x: np.pad(x, ((0, 0), (0, 0), (1, 0), (2, 3)), constant_values=1.5),
        paddings=[0, 0, 1, 2, 0, 0, 0, 3],
        value=1.5,
    ),
    "Pad-2": unary(
        "Pad",
        2,
        lambda x: np.pad(x, ((0, 0), (0, 0), (1, 0), (2, 3)), mode="reflect"),
        pads=[0, 0, 1, 2, 0, 0, 0, 3],
        mode="reflect",
    ),
    "Pad-2 with a value": unary(
        "Pad",
        2,
        lambda x: np.pad(x, ((0, 0), (0, 0), (0, 0), (0, 1)), constant_values=1.5),
        pads=[0, 0, 0, 0, 0, 0, 0, 1],
        value=1.5,
    ),
    "Pad-1 of nothing": unary(
        "Pad", 1, lambda x: np.pad(x, ((1, 0), (0, 0))), floats(0, 3), paddings=[1, 0, 0, 0]
    ),
    "Concat-1 of nothing": Case(
        1,
        [node("Concat", "x z", "y")],
        {"x": floats(2, 0), "z": floats(2, 3)},
        lambda *parts: np.concatenate(parts, 1),
    ),
    "Slice-1": unary(
        "Slice", 1, lambda x: x[:, 1:, :, -2:-1], starts=[1, -2], ends=[1000, -1], axes=[1, 3]
    ),
    "Split-2 of nothing": Case(
        2, [node("Split", "x", "z y", axis=1)], {"x": floats(2, 0, 3)}, lambda x: x
    ),
    "Split-1 of rank 6": Case(
        1,
        [node("Split", "x", "z y", axis=5, split=[1, 2])],
        {"x": floats(1, 2, 1, 2, 1, 3)},
        lambda x: x[..., 1:],
    ),
    "Split-1 by attribute": Case(
        1,
        [node("Split", "x", "z y", axis=3, split=[2, 3])],
        {"x": X},
        lambda x: x[..., 2:],
    ),
    "Split-1 by input": Case(
        1,
        [node("Split", "x s", "z y", axis=3)],
        {"x": X},
        lambda x, _: x[..., 2:],
        {"s": np.array([2, 3], np.float32)},
    ),
    "Split-1 equally": Case(
        1, [node("Split", "x", "z y", axis=2)], {"x": X}, lambda x: x[:, :, 2:]
    ),
    "Split-2 along axis 0": Case(2, [node("Split", "x", "z y")], {"x": X}, lambda x: x[1:]),
    "Split-2": Case(
        2, [node("Split", "x", "z y", axis=1, split=[1, 2])], {"x": X}, lambda x: x[:, 1:]
    ),
    "Squeeze-1": unary("Squeeze", 1, lambda x: x.reshape(3, 2), floats(1, 3, 1, 2), axes=[0, 2]),
    "Squeeze-1 all": unary("Squeeze", 1, lambda x: x.reshape(3), floats(1, 3, 1)),
    "Unsqueeze-1": unary(
        "Unsqueeze", 1, lambda x: x.reshape(1, 3, 2, 1), floats(3, 2), axes=[0, 3]
    ),
    "Tile-1": Case(
        1,
        [node("Tile", "x t a", "y")],
        {"x": X},
        lambda x, *_: np.tile(x, (1, 1, 3, 1)),
        {"t": np.array(3, np.float32), "a": np.array(2, np.float32)},
    ),
    "Tile-1 of nothing": Case(
        1,
        [node("Tile", "x t a", "y")],
        {"x": floats(2, 0)},
        lambda x, *_: np.tile(x, (3, 1)),
        {"t": np.array(3, np.float32), "a": np.array(0, np.float32)},
    ),
    "Tile-6": Case(
        6,
        [node("Tile", "x r", "y")],
        {"x": X},
        lambda x, r: np.tile(x, r),
        {"r": np.array([1, 2, 1, 3])},
    ),
    "Upsample-1 nearest": unary(
        "Upsample", 1, lambda x: x.repeat(2, 2).repeat(3, 3), height_scale=2.0, width_scale=3.0
    ),
    "Upsample-1 bilinear": unary(
        "Upsample",
        1,
        lambda x: np.array(
            [[[[1, 1.5, 2, 2], [2, 2.5, 3, 3], [3, 3.5, 4, 4], [3, 3.5, 4, 4]]]], "f4"
        ),
        np.array([[[[1, 2], [3, 4]]]], np.float32),
        height_scale=2.0,
        width_scale=2.0,
        mode="bilinear",
    ),
    # ------------------------------------------------------------ training
    "BatchNormalization-6": Case(
        6,
        [node("BatchNormalization", BATCH_NORM, "y", is_test=1, spatial=1)],
        {"x": X},
        normalised,
        STATISTICS,
    ),
    "BatchNormalization-1": Case(
        1,
        [
            node(
                "BatchNormalization",
                BATCH_NORM,
                "y",
                is_test=1,
                spatial=1,
                consumed_inputs=[0, 0, 0, 1, 1],
            )
        ],
        {"x": X},
        normalised,
        STATISTICS,
    ),
    "Dropout-1": unary("Dropout", 1, lambda x: x, is_test=1, ratio=0.9, consumed_inputs=[0]),
    "Dropout-6": unary("Dropout", 6, lambda x: x, is_test=1, ratio=0.9),
    # ------------------------------------------------------------ recurrent
    **{f"{op}-{opset}": recurrent(op, opset) for op, opset in RECURRENT},
    # ------------------------------------------------------------ as today
    "Max-1": Case(1, [node("Max", "x z", "y")], {"x": X, "z": POSITIVE}, np.maximum),
    "Sum-1": Case(
        1, [node("Sum", "x z w", "y")], {"x": X, "z": POSITIVE, "w": X}, lambda x, z, w: x + z + w
    ),
    "Mean-6": Case(
        6, [node("Mean", "x z", "y")], {"x": X, "z": POSITIVE}, lambda x, z: (x + z) / 2
    ),
    "AveragePool-1": unary(
        "AveragePool", 1, averages_without_padding, kernel_shape=[2, 2], pads=[1, 1, 0, 0]
    ),
    "ReduceMean-1": unary("ReduceMean", 1, lambda x: x.mean((1, 3)), axes=[1, -1], keepdims=0),
    "Elu-1": unary("Elu", 1, lambda x: np.where(x > 0, x, np.expm1(x)), consumed_inputs=[0]),
    "Flatten-1": unary("Flatten", 1, lambda x: x.reshape(6, 20), axis=2),
}

NO_ADAPTER = "the converter has no adapter for this older form"
LAST_AXES = "the converter checks B against the last axes of A, whatever axis says"
WITNESS_FAILS = {
    **{f"{op}-{v} at axis 1": LAST_AXES for op in ("Add", "Sub", "Mul", "Div") for v in (1, 6)},
    **dict.fromkeys(("Pow-1 at axis 1", "Add-6 of rank 6", "Add-6 of nothing"), LAST_AXES),
    "Add-6 behind a pool": LAST_AXES,
    "Add-6 one element, whatever axis": "the converter makes a model that does not load",
    **{f"{op}-1 at axis 0": NO_ADAPTER for op in ("Greater", "And", "Or", "Xor")},
    **dict.fromkeys(("Less-1 at the end", "Equal-1 at axis 2"), NO_ADAPTER),
    **{
        f"Split-1 {how}": NO_ADAPTER for how in ("by attribute", "by input", "equally", "of rank 6")
    },
    **{f"{op}-{opset}": NO_ADAPTER for op, opset in RECURRENT},
    **dict.fromkeys(("Cast-1", "Pad-1", "Tile-1"), NO_ADAPTER),
    **dict.fromkeys(("Pad-1 of nothing", "Tile-1 of nothing"), NO_ADAPTER),
    **{
        f"PRelu-6 {which}": "the converter leaves the slope at the last axis"
        for which in ("a slope per channel", "of nothing", "of rank 6")
    },
    "Clip-1 of infinities": "the converter takes the limits of opset 6, which opset 1 has not",
    "Selu-1": "the converter takes the constants of opset 6",
    "Softmax-1 of nothing": "the converter's Reshape copies an extent that is not there",
    "Upsample-1 bilinear": "the converter keeps the name of the mode, which opset 7 does not know",
}
"""Cases that the witness cannot run, or gets wrong, and why; a test sees when that changes."""

each = pytest.mark.parametrize("name", CASES)


def witness(case: Case) -> np.ndarray:
    """What onnxruntime computes of the converted model."""
    model = onnx.load_from_string(case.model())
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    converted = version_converter.convert_version(model, 13).SerializeToString()
    session = onnxruntime.InferenceSession(converted, options, ["CPUExecutionProvider"])
    (y,) = session.run(["y"], dict(case.inputs))
    return np.asarray(y)


def agrees_with_the_witness(case: Case) -> bool:
    """By the project's judge of stored outputs; False where the witness fails."""
    try:
        y = witness(case)
    except Exception:  # of whatever kind the converter and the engine of others raise
        return False
    report = px.verify(case.model(), device="cpu", inputs=case.inputs, expected={"y": y})
    (precision,) = report.precisions
    return [check.verdict for check in precision.stored] == [Agreement.AGREE]


@each
def test_an_older_form_means_what_the_text_of_onnx_says(name: str) -> None:
    case = CASES[name]
    got, expected = run_reference(load_model(case.model()), case.inputs)["y"], case.expected()
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=2.0**-40, atol=2.0**-40)


@each
def test_an_older_form_computes_what_the_witness_computes(name: str) -> None:
    assert agrees_with_the_witness(CASES[name]) == (name not in WITNESS_FAILS)


# ---------------------------------------------------------------------- nothing is left out
def schemas(op_type: str, opsets: range) -> dict[int, defs.OpSchema]:
    """Opset -> schema, of those in which the operator exists."""
    found = {}
    for opset in opsets:
        with contextlib.suppress(defs.SchemaError):
            found[opset] = defs.get_schema(op_type, opset, "")
    return found


def has_gone(op_type: str, opset: int, attribute: str) -> bool:
    newest = defs.get_schema(op_type, OPSET_MAX, "")
    return newest.deprecated or attribute not in newest.attributes


def test_every_attribute_that_has_gone_is_in_a_case() -> None:
    gone = {
        (op_type, opset, name)
        for op_type in {*OPERATORS, *REWRITTEN_AWAY}
        for schema in schemas(op_type, OLD).values()
        for name in schema.attributes
        for opset in [schema.since_version]
        if name not in HINTS and has_gone(op_type, opset, name)
    }
    used = {
        (n.op_type, defs.get_schema(n.op_type, case.opset, "").since_version, a.name)
        for case in CASES.values()
        for n in case.nodes
        for a in n.attribute
    }
    known_elsewhere = {(op, 1, "axes") for op in OPERATORS if op.startswith("Reduce")}
    known_elsewhere.add(("TopK", 1, "k"))  # tests/test_composed.py
    assert gone - known_elsewhere - used == set()


@each
def test_what_is_imported_has_no_attribute_that_has_gone(name: str) -> None:
    for imported in load_model(CASES[name].model()).nodes:
        newest = defs.get_schema(imported.op_type, OPSET_MAX, "")
        assert set(imported.attributes) <= set(newest.attributes)


def test_defaults_that_changed_are_exactly_these() -> None:
    changed = {
        (op_type, schema.since_version, name)
        for op_type in OPERATORS
        for opset, schema in schemas(op_type, range(1, OPSET_MAX + 1)).items()
        for name in changed_defaults(op_type, opset)
    }
    assert changed == {
        *(("Selu", 1, "alpha"), ("Selu", 1, "gamma")),
        *((op, v, "axis") for op in ("Softmax", "LogSoftmax") for v in (1, 11)),
        ("GRU", 1, "direction"),  # "foward"
        ("GridSample", 16, "mode"),
    }


def test_the_default_axis_of_concat_is_the_one_of_its_text() -> None:
    axis = defs.get_schema("Concat", 1, "").attributes["axis"]
    assert not axis.default_value.name
    assert "Default value is 1" in axis.description


# ---------------------------------------------------------------------- refusals
def old(opset: int, nodes: Sequence[NodeProto], **shapes: Sequence[int]) -> Graph:
    inputs = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    return load_model(Case(opset, nodes, inputs, lambda *_: np.zeros(1)).model())


ALL: dict[str, Sequence[int]] = {"x": (1, 3), **dict.fromkeys("sbmv", (3,))}
REFUSED: dict[str, tuple[Callable[[], Graph], type[ParallaxError], str]] = {
    "Dropout in training": (
        lambda: old(6, [node("Dropout", "x", "y")], x=(2,)),
        UnsupportedError,
        "is_test=0 means training",
    ),
    "statistics of training": (
        lambda: old(6, [node("BatchNormalization", BATCH_NORM, "y")], **ALL),
        UnsupportedError,
        "is_test=0 means training",
    ),
    "statistics for single elements": (
        lambda: old(6, [node("BatchNormalization", BATCH_NORM, "y", is_test=1, spatial=0)], **ALL),
        UnsupportedError,
        "spatial=0",
    ),
    "other ranks without broadcast": (
        lambda: old(6, [node("Add", "x z", "y")], x=(2, 3), z=(3,)),
        ModelError,
        "broadcast=0 does not bring inputs of rank 2 and 1 together",
    ),
    "B of the higher rank": (
        lambda: old(6, [node("Add", "x z", "y", broadcast=1)], x=(3,), z=(2, 3)),
        ModelError,
        "broadcast=1 does not bring inputs of rank 1 and 2 together",
    ),
    "axes that do not fit": (
        lambda: old(6, [node("Add", "x z", "y", broadcast=1, axis=1)], x=(2, 3), z=(3, 3)),
        ModelError,
        "2 axes from axis=1 on do not fit into an input of rank 2",
    ),
    "an axis from the end": (
        lambda: old(6, [node("Add", "x z", "y", broadcast=1, axis=-1)], x=(2, 3), z=(3,)),
        ModelError,
        "axis=-1 on do not fit",
    ),
    "an unknown rank": (
        lambda: old(
            6,
            [
                node("Squeeze", "x", "f"),
                node("Add", "f z", "y", broadcast=1, axis=0),
            ],
            x=(1, 3, 4),
            z=(3,),
        ),
        UnsupportedError,
        "needs the ranks of both inputs",
    ),
    "slopes of several axes": (
        lambda: old(6, [node("PRelu", "x z", "y")], x=(1, 3, 2), z=(3, 1)),
        UnsupportedError,
        "defines slopes of rank 1",
    ),
    "an element type by a wrong name": (
        lambda: old(1, [node("Cast", "x", "y", to="float")], x=(2,)),
        ModelError,
        "to='float' is no element type",
    ),
    "Reshape to nowhere": (
        lambda: old(1, [node("Reshape", "x", "y")], x=(2,)),
        ModelError,
        "attribute 'shape' is missing",
    ),
    "Split along no axis": (
        lambda: old(1, [node("Split", "x", "y z", split=[1, 1])], x=(2,)),
        UnsupportedError,
        "does not define along which axis",
    ),
    "Split by a computed input": (
        lambda: old(1, [node("Split", "x s", "y z", axis=0)], x=(2,), s=(2,)),
        UnsupportedError,
        "split is computed at run time",
    ),
    "Tile by a computed input": (
        lambda: old(1, [node("Tile", "x t a", "y")], x=(2,), t=(), a=()),
        UnsupportedError,
        "tiles is computed at run time",
    ),
    "Softmax along an axis that is not there": (
        lambda: old(1, [node("Softmax", "x", "y")], x=(2,)),
        ModelError,
        r"axis=1 is outside \[-1, 0\]",
    ),
    "an attribute of a later opset": (
        lambda: old(6, [node("LRN", "x", "y", size=3, axis=1)], x=(1, 1, 2)),
        ModelError,
        "opset 6 has no attribute 'axis'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_an_older_opset_does_not_define_is_refused(name: str) -> None:
    build, kind, match = REFUSED[name]
    with pytest.raises(kind, match=match):
        build()


@pytest.mark.parametrize("opset", [1, 11])
def test_an_empty_list_of_axes_squeezes_them_all_as_in_other_engines(opset: int) -> None:
    squeeze = node("Squeeze", "x", "y")
    squeeze.attribute.add(name="axes", type=onnx.AttributeProto.INTS)
    data = model([squeeze], {"x": (1, 3, 1)}, ["y"], opset=opset).SerializeToString()
    x = np.arange(3, dtype=np.float32).reshape(1, 3, 1)
    assert run_reference(load_model(data), {"x": x})["y"].shape == (3,)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": x})[0].shape == (3,)
