"""Engines that are not ours read ONNX as our references do: attributes, defaults, special values.

Every backend is judged by an operator's reference; what that misreads, they all miss. So the
reference itself, importer included, is compared with onnxruntime and onnx's own evaluator.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from engine.errors import UnsupportedError
from engine.onnx_import import load_model
from engine.ops import OPERATORS, unary
from engine.ops.spec import Operand
from tests.graph_reference import run_reference
from tests.model_writing import model, model_bytes, node

pytestmark = pytest.mark.device_free

Attributes = Mapping[str, object]
OPSET = {"Swish": 24}
"""Where 18 does not have the operator yet."""


def of_onnxruntime(data: bytes, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def of_the_evaluator(data: bytes, x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # exp of branches that it computes and drops
        return ReferenceEvaluator(onnx.load_from_string(data)).run(None, {"x": x})[0]


every_witness = pytest.mark.parametrize("witness", [of_onnxruntime, of_the_evaluator])
Witness = Callable[[bytes, np.ndarray], np.ndarray]
X = np.array([-1e4, -0.0, *np.linspace(-2, 2, 65), 1e4])
"""Multiples of 1/16: both sides of every threshold, and the thresholds themselves."""
NOT_FINITE = np.array([-np.inf, np.inf, np.nan])


def model_of(op_type: str, attributes: Attributes, x: np.ndarray) -> bytes:
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    graph = helper.make_graph(
        [node(op_type, "x", "y", **attributes)],
        "test",
        [helper.make_tensor_value_info("x", kind, x.shape)],
        [helper.make_empty_tensor_value_info("y")],
    )
    opset = helper.make_opsetid("", OPSET.get(op_type, 18))
    return helper.make_model(graph, opset_imports=[opset], ir_version=10).SerializeToString()


def assert_agree(witness: Witness, op_type: str, attributes: Attributes, x: np.ndarray) -> None:
    data = model_of(op_type, attributes, x)
    want = witness(data, x)
    got = run_reference(load_model(data), {"x": x})["y"].astype(x.dtype)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6, equal_nan=True)


WITH_ATTRIBUTES = {
    f"{u.op_type}-{which}": (u.op_type, {k: v[which] for k, v in u.attributes.items()})
    for u in unary.FUNCTIONS
    for which in (0, -1)
    if u.attributes
}


@every_witness
@pytest.mark.parametrize("case", WITH_ATTRIBUTES)
def test_attributes_mean_what_others_take_them_for(case: str, witness: Witness) -> None:
    op_type, attributes = WITH_ATTRIBUTES[case]
    assert_agree(witness, op_type, attributes, X.astype(np.float32))


@every_witness
@pytest.mark.parametrize("op_type", [u.op_type for u in unary.FUNCTIONS if u.attributes])
def test_defaults_are_those_of_others(op_type: str, witness: Witness) -> None:
    assert_agree(witness, op_type, {}, X.astype(np.float32))


SHRINKS = [{}, {"lambd": 1.25}, {"bias": 0.75}, {"lambd": 1.25, "bias": -0.25}, {"lambd": -0.5}]


@every_witness
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("attributes", SHRINKS, ids=str)
def test_shrink_is_read_alike(attributes: Attributes, dtype: type, witness: Witness) -> None:
    assert_agree(witness, "Shrink", attributes, np.concatenate([X, NOT_FINITE]).astype(dtype))


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint8])
def test_shrink_refuses_the_integers_that_onnx_allows(dtype: type) -> None:
    x = np.array([1, 2], dtype)
    operand = Operand(load_model(model_of("Shrink", {}, x)).inputs[0].known_type)
    with pytest.raises(UnsupportedError, match=rf"^Shrink: input of dtype {x.dtype} is not supp"):
        OPERATORS["Shrink"].infer_types([operand], {})


# ---------------------------------------------------------------------- what ONNX leaves open
def outcome(run: Callable[[], np.ndarray]) -> np.ndarray | None:
    """None where an engine refuses."""
    try:
        return np.asarray(run())
    except Exception as error:  # classes of onnxruntime have no base of their own
        if not ("padding values must" in str(error) or "would pad" in str(error)):
            raise
        return None


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool"])
def test_pools_refuse_the_padding_that_onnxruntime_refuses(op_type: str, auto_pad: str) -> None:
    refused = 0
    for kernel, stride, n in itertools.product((1, 2, 3), (1, 2, 3, 4), range(1, 10)):
        x = np.arange(n, dtype=np.float32).reshape(1, 1, n)
        attributes = {"kernel_shape": [kernel], "strides": [stride], "auto_pad": auto_pad}
        data = model_of(op_type, attributes, x)
        want = outcome(lambda data=data, x=x: of_onnxruntime(data, x))
        got = outcome(lambda data=data, x=x: run_reference(load_model(data), {"x": x})["y"])
        assert (got is None) == (want is None)
        if got is None or want is None:
            refused += 1
        else:
            np.testing.assert_allclose(got, want, rtol=1e-6)
    assert refused > 10


@pytest.mark.parametrize("to", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"])
@pytest.mark.parametrize("source", ["f2", "f4", "f8"])
def test_casts_to_integers_agree_within_the_range_and_saturate_beyond(source: str, to: str) -> None:
    limits = np.iinfo(to)
    wide = np.array([0, -0.0, 0.99, 1.5, 100.9, 127, -0.5, -1.5, -100.9, -128])
    inside = wide[(wide > float(limits.min) - 1) & (wide < float(limits.max) + 1)].astype(source)
    data = model_of("Cast", {"to": helper.np_dtype_to_tensor_dtype(np.dtype(to))}, inside)
    got = run_reference(load_model(data), {"x": inside})["y"]
    np.testing.assert_array_equal(got, of_onnxruntime(data, inside))
    beyond = np.array([np.nan, np.inf, -np.inf], source)
    data = model_of("Cast", {"to": helper.np_dtype_to_tensor_dtype(np.dtype(to))}, beyond)
    got = run_reference(load_model(data), {"x": beyond})["y"]
    assert got.tolist() == [0, limits.max, limits.min]


@pytest.mark.parametrize(("low", "high"), [(np.nan, 2.0), (0.0, np.nan), (np.nan, np.nan), (3, -3)])
def test_a_limit_that_is_nan_limits_nothing(low: float, high: float) -> None:
    limits = {"low": np.array(low, "f4"), "high": np.array(high, "f4")}
    data = model([node("Clip", "x low high", "y")], {"x": (None,)}, ["y"], limits)
    data, x = data.SerializeToString(), np.concatenate([X, NOT_FINITE]).astype(np.float32)
    got = run_reference(load_model(data), {"x": x})["y"]
    np.testing.assert_array_equal(got.astype(np.float32), of_onnxruntime(data, x))


@every_witness
@pytest.mark.parametrize("edges", [(100, 3000), (3000, 100), (1000, 1001)], ids=str)
def test_mel_weights_of_rising_and_falling_edges(edges: tuple[int, int], witness: Witness) -> None:
    """Where the edges fall, no triangle is left."""
    numbers = [*(np.array(v, np.int64) for v in (3, 64, 8192)), *np.array(edges, np.float32)]
    constants = {f"x{i}": np.asarray(v) for i, v in enumerate(numbers)}
    nodes = [node("MelWeightMatrix", " ".join(constants), "w"), node("Add", "w x", "y")]
    x = np.zeros((33, 3), np.float32)
    data = model_bytes(nodes, {"x": x.shape}, ["y"], constants, opset=18)
    (got,) = run_reference(load_model(data), {"x": x}).values()
    np.testing.assert_allclose(got, witness(data, x), rtol=1e-6)
    assert got.any() == (edges[0] <= edges[1])


@every_witness
@pytest.mark.parametrize("mode", ["avg", "max"])
def test_roi_align_reads_no_pixel_but_those_beside_its_samples(mode: str, witness: Witness) -> None:
    """An infinite pixel beyond a region is none of its business."""
    x = np.arange(30, dtype=np.float32).reshape(1, 1, 5, 6)
    x[0, 0, 4, 5], x[0, 0, 0, 4] = np.nan, np.inf
    rois = np.array([[0, 1, 2, 3], [0, 0, 2, 2]], np.float32)
    constants = {"rois": rois, "batch": np.zeros(2, np.int64)}
    given = {"mode": mode, "output_height": 2, "output_width": 2, "sampling_ratio": 2}
    nodes = [node("RoiAlign", "x rois batch", "y", **given)]
    data = model_bytes(nodes, {"x": x.shape}, ["y"], constants, opset=18)
    (got,) = run_reference(load_model(data), {"x": x}).values()
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, witness(data, x), rtol=1e-6)
