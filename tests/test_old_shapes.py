"""Older forms on tensors that rewrites forget: empty ones, scalars, six axes.

The witnesses are onnxruntime without optimisations, which runs opset 7 and newer as they are, and
onnx's own evaluator where onnxruntime has no kernel or fails.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import parallax as px
from engine.errors import ParallaxError
from engine.onnx_import.opsets import RULES
from engine.onnx_import.support import is_known
from tests.model_writing import node

pytestmark = pytest.mark.device_free

Shape = tuple[int, ...]
SHAPES: tuple[Shape, ...] = (
    *((), (3,), (2, 3)),
    *((0,), (0, 0), (3, 0), (0, 2, 3), (2, 0, 3), (2, 3, 0), (0, 3, 4, 4), (1, 0, 4, 4)),
    *((2, 1, 3, 1, 2, 2), (1, 2, 0, 1, 2, 2), (1, 1, 2, 2, 1, 1)),
)
OLDEST = 7
"""What onnxruntime promises to run."""


@dataclass(frozen=True)
class Case:
    """One node at an opset on an input of a shape."""

    opset: int
    op: NodeProto
    shape: Shape
    constants: Mapping[str, np.ndarray]

    def model(self) -> bytes:
        """The input is declared as it is."""
        (*_, last) = self.op.output
        graph = helper.make_graph(
            [self.op],
            "old",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_empty_tensor_value_info(last)],
            [numpy_helper.from_array(a, n) for n, a in self.constants.items()],
        )
        opset = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()

    def feeds(self) -> dict[str, np.ndarray]:
        """Both signs, an infinity of each, where there is room."""
        x = np.linspace(-2, 2, int(np.prod(self.shape)), dtype=np.float32).reshape(self.shape)
        return {"x": x}


def axes_of(shape: Shape) -> list[list[int]]:
    """One axis from each end, two, all."""
    rank = len(shape)
    found = [[0], [-1], [0, rank - 1], list(range(rank))]
    return [list(a) for a in dict.fromkeys(tuple(f) for f in found) if rank and len({*a}) == len(a)]


Nodes = Callable[[Shape], Iterator[NodeProto]]


def plain(op: str, *attributes: Mapping[str, object]) -> Nodes:
    return lambda shape: (node(op, "x", "y", **a) for a in attributes)


def by_axis(op: str) -> Nodes:
    """At its default, and along every axis that there is."""
    return lambda shape: (
        node(op, "x", "y", **({} if axis is None else {"axis": axis}))
        for axis in (None, *range(-len(shape), len(shape)))
        if axis is not None or len(shape) > 1
    )


def reduction(op: str) -> Nodes:
    return lambda shape: (
        node(op, "x", "y", **({"axes": axes} if axes else {}), keepdims=keep)
        for axes in (None, *axes_of(shape))
        for keep in (0, 1)
    )


def squeeze(shape: Shape) -> Iterator[NodeProto]:
    yield node("Squeeze", "x", "y")
    yield from (node("Squeeze", "x", "y", axes=[a]) for a, n in enumerate(shape) if n == 1)


def unsqueeze(shape: Shape) -> Iterator[NodeProto]:
    rank = len(shape)
    yield from (node("Unsqueeze", "x", "y", axes=a) for a in ([0], [rank], [0, rank + 1]))


def slices(shape: Shape) -> Iterator[NodeProto]:
    rank = len(shape)
    if rank:
        yield node("Slice", "x", "y", starts=[0] * rank, ends=[1] * rank)
        yield node("Slice", "x", "y", starts=[1], ends=[1000], axes=[rank - 1])
        yield node("Slice", "x", "y", starts=[-1], ends=[-1000], axes=[0])


def split(shape: Shape) -> Iterator[NodeProto]:
    for axis, n in enumerate(shape):
        yield node("Split", "x", "z y", axis=axis, split=[n // 2, n - n // 2])
        if n % 2 == 0:
            yield node("Split", "x", "z y", axis=axis)


def pad(shape: Shape) -> Iterator[NodeProto]:
    rank = len(shape)
    if rank:
        yield node("Pad", "x", "y", pads=[1, *[0] * (2 * rank - 1)])
        yield node("Pad", "x", "y", pads=[*[0] * (2 * rank - 1), 2], value=1.5)


def upsample(op: str) -> Nodes:
    def nodes(shape: Shape) -> Iterator[NodeProto]:
        if shape:
            yield node(op, "x scales", "y", mode="nearest")

    return nodes


def sums(shape: Shape) -> Iterator[NodeProto]:
    yield node("Sum", "x x", "y")
    yield node("Sum", "x x x", "y")


NODES: dict[str, tuple[Nodes, Sequence[int]]] = {
    "Clip": (plain("Clip", {}, {"min": -1.0}, {"max": 0.5}, {"min": -1.0, "max": 0.5}), (7, 10)),
    "Cast": (plain("Cast", {"to": TensorProto.INT64}), (7, 12)),
    "Dropout": (plain("Dropout", {}), (7, 11, 13)),
    **{op: (by_axis(op), (7, 11, 12)) for op in ("Softmax", "LogSoftmax")},
    **{op: (reduction(op), (below - 1,)) for op, ((below, _), *_) in RULES.items()
       if op.startswith("Reduce")},
    "Squeeze": (squeeze, (7, 12)),
    "Unsqueeze": (unsqueeze, (7, 12)),
    "Slice": (slices, (7, 9)),
    "Split": (split, (7, 12)),
    "Pad": (pad, (7, 10)),
    "Resize": (upsample("Resize"), (10,)),
    "Upsample": (upsample("Upsample"), (9,)),
    "Sum": (sums, (7, 8, 13)),
}  # fmt: skip
ELSEWHERE = {
    **dict.fromkeys(("Add", "Div", "Mul", "Pow", "Sub", "And", "Equal", "Greater"), "below 7"),
    **dict.fromkeys(("Less", "Or", "Xor", "Concat", "Gemm", "PRelu", "Reshape", "Tile"), "below 7"),
    "BitCast": "nothing but a check",
    **dict.fromkeys(
        ("Bernoulli", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
        "a seed and a dtype: test_noise.py",
    ),
    **dict.fromkeys(
        ("Col2Im", "MaxUnpool", "ReverseSequence", "TensorScatter"),
        "taken apart: test_composed.py",
    ),
    **dict.fromkeys(("DFT", "STFT"), "the axis of signals: the suite of ONNX, test_composed.py"),
    "RoiAlign": "a shift by half a pixel: properties/test_witnessed.py",
    "GridSample": "two names of modes: properties/test_witnessed.py",
    "BatchNormalization": "two axes at least, and none of them changes",
    "Compress": "taken apart: test_stages.py",
    "GroupNormalization": "its older form is refused",
    "ImageDecoder": "nothing but a check: test_images.py",
    "RMSNormalization": "two dtypes: test_rms_normalization.py",
    "RotaryEmbedding": "positions that Gather looks up: the suite of ONNX",
    **dict.fromkeys(
        ("Einsum", "EyeLike", "GlobalLpPool", "Hardmax", "LpNormalization", "LpPool", "Mod"),
        "taken apart: test_composed.py",
    ),
    **dict.fromkeys(("IsInf", "OneHot", "TopK"), "test_composed.py, or the suite of ONNX"),
    **dict.fromkeys(
        ("ConvInteger", "DequantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul"),
        "taken apart: test_quantized.py",
    ),
    "QuantizeLinear": "taken apart: test_quantized.py",
    "Scatter": "another name of ScatterElements",
    **dict.fromkeys(("GRU", "LSTM", "RNN"), "their shapes stay: test_old_opsets.py"),
}
"""Rules without a case here, and why; what changed below opset 7 is in test_old_opsets.py."""


def constants_of(op: NodeProto, shape: Shape) -> dict[str, np.ndarray]:
    return {"scales": np.array([1] * (len(shape) - 1) + [2], "f4")} if "scales" in op.input else {}


CASES = [
    pytest.param(
        Case(opset, op, shape, constants_of(op, shape)),
        id=f"{name}-{opset} {list(shape)} "
        + ",".join(f"{a.name}={helper.get_attribute_value(a)}" for a in op.attribute),
    )
    for name, (nodes, opsets) in NODES.items()
    for opset in dict.fromkeys(opsets)
    for shape in SHAPES
    for op in nodes(shape)
]


def of_onnxruntime(case: Case) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(case.model(), options, ["CPUExecutionProvider"])
    return np.asarray(session.run(None, case.feeds())[0])


def of_the_evaluator(case: Case) -> np.ndarray:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of means of nothing
        model = onnx.load_from_string(case.model())
        return np.asarray(ReferenceEvaluator(model).run(None, case.feeds())[0])


def of_the_session(case: Case) -> np.ndarray:
    with px.Interpreter.from_buffer(case.model()).create_session() as session:
        session.run(case.feeds())
        return np.array(session.read(case.op.output[-1]))


def outcomes(case: Case) -> tuple[np.ndarray | Exception, ...]:
    """Ours, onnxruntime's and the evaluator's: a result, or what was raised."""
    found: list[np.ndarray | Exception] = []
    for run in (of_the_session, of_onnxruntime, of_the_evaluator):
        try:
            found.append(run(case))
        except Exception as error:  # of whatever kind engines of others raise
            found.append(error)
    return tuple(found)


def agree(a: np.ndarray | Exception, b: np.ndarray | Exception) -> bool:
    if isinstance(a, Exception) or isinstance(b, Exception) or a.shape != b.shape:
        return False
    return np.allclose(a.astype(float), b.astype(float), 1e-5, 1e-6, equal_nan=True)


@pytest.mark.parametrize("case", CASES)
def test_an_older_form_computes_what_another_engine_does(case: Case) -> None:
    """Or, where neither of them can, is refused or computed by our reading alone."""
    ours, *witnesses = outcomes(case)
    assert isinstance(ours, np.ndarray | ParallaxError)
    if all(isinstance(w, Exception) for w in witnesses):
        pytest.skip("no witness runs it")
    assert any(agree(ours, w) for w in witnesses), (ours, *witnesses)


def test_every_rule_of_the_importer_has_a_case() -> None:
    supported = {op for op in RULES if is_known(op)}
    assert supported == {*NODES, *ELSEWHERE}
