"""onnxruntime's own operators, taken apart, against the kernels that it has for them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, defs, helper, numpy_helper

from conformance import verify
from engine.config import BackendConfig, ScheduleConfig
from engine.errors import ModelError, ParallaxError
from engine.interpreter import Interpreter
from engine.onnx_import.microsoft.body import Body
from engine.onnx_import.microsoft.schemas import SCHEMAS
from engine.runtime import Runtime
from tests.model_writing import model_bytes, node
from tests.quantized_values import QuantizedValues

pytestmark = pytest.mark.one_driver

DEVICES = [d.strip() for d in os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",")]
RUNTIME = Runtime()
RNG = np.random.default_rng(17)
DRAWN = QuantizedValues(RNG)
whole, weights, scales = DRAWN.whole, DRAWN.weights, DRAWN.scales
F = np.float32
DOMAIN = "com.microsoft"
OPTIONAL = defs.OpSchema.FormalParameterOption.Optional

Inputs = Mapping[str, np.ndarray]
Case = tuple[str, str, Inputs, dict[str, Any]]
"""Operator; its inputs -> its outputs, "-" for an omitted one; arrays; attributes."""


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(F)


def renamed(text: str, ending: str) -> str:
    return " ".join(name if name == "-" else f"{name}{ending}" for name in text.split())


def written(*cases: Case) -> tuple[bytes, dict[str, np.ndarray]]:
    """A model of operators side by side, and its feeds: the inputs whose names begin with x.

    All names of a case but the first end in its number.
    """
    nodes, given, outputs = [], {}, []
    for index, (op_type, call, inputs, attributes) in enumerate(cases):
        ins, outs = (renamed(part, f"_{index}" if index else "") for part in call.split("->"))
        domain = DOMAIN if (DOMAIN, op_type) in SCHEMAS else ""
        nodes.append(node(op_type, ins, outs, domain=domain, **attributes))
        arrays = {renamed(n, f"_{index}" if index else ""): x for n, x in inputs.items()}
        given |= {name: x for name, x in arrays.items() if name in ins.split()}
        outputs += [name for name in outs.split() if name != "-"]
    fed = {name: x for name, x in given.items() if name[0] == "x"}
    graph = helper.make_graph(
        nodes,
        "test",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
            for n, x in fed.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(x, n) for n, x in given.items() if n not in fed],
    )
    imports = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    return model.SerializeToString(), fed


def of_onnxruntime(data: bytes, feeds: Inputs) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


# --------------------------------------------------------------------- fused
def products() -> Iterator[Case]:
    for of_batch in (0, 1):
        for of_matrix in (0, 1):
            rows, batch = ((4, (2, 3)), (2, (3, 4)))[of_batch]
            x, flags = floats(2, 3, 4, 17), {"transA": of_matrix, "transBatchA": of_batch}
            inputs = {"x": x, "w": floats(*batch, rows if of_matrix else 17, 9)}
            yield "FusedMatMul", "x w -> y", inputs, {**flags, "alpha": 0.5}
            flags = {"transB": of_matrix, "transBatchB": of_batch}
            inputs = {"w": x, "x": floats(*batch, 5, 17 if of_matrix else rows)}
            yield "FusedMatMul", "x w -> y", inputs, flags
    vectors = {"x": floats(17), "w": floats(17, 5)}
    yield "FusedMatMul", "x w -> y", vectors, {"transA": 1}
    a, b, c = floats(5, 17), floats(17, 9), floats(9)
    scales = {"alpha": 0.5, "beta": 2.0}
    for activation, parameters in GEMM_ACTIVATIONS.items():
        more = {"activation": activation, **parameters, **scales}
        yield "FusedGemm", "x w c -> y", {"x": a, "w": b, "c": c}, more
    turned = {"transA": 1, "transB": 1, "activation": "Relu"}
    yield "FusedGemm", "x w -> y", {"x": a.T.copy(), "w": b.T.copy()}, turned


GEMM_ACTIVATIONS: dict[str, dict[str, float]] = {
    **{name: {} for name in ("Relu", "Tanh", "Sigmoid", "Softplus", "Softsign")},
    **{name: {"activation_alpha": 0.3} for name in ("LeakyRelu", "Elu", "ThresholdedRelu")},
    "HardSigmoid": {"activation_alpha": 0.3, "activation_beta": 0.4},
    "Selu": {"activation_alpha": 1.2, "activation_gamma": 1.1},
}
CONV_ACTIVATIONS: dict[str, list[float]] = {
    **{name: [] for name in ("Relu", "Tanh", "Sigmoid", "HardSwish")},
    "LeakyRelu": [0.3],
    "HardSigmoid": [0.3, 0.4],
    "Clip": [-0.5, 0.75],
}


def convolutions() -> Iterator[Case]:
    inputs = {"x": floats(2, 4, 9, 8), "w": floats(6, 2, 3, 3), "b": floats(6)}
    window = {"pads": [1, 0, 1, 1], "strides": [2, 1], "dilations": [1, 2], "group": 2}
    for activation, parameters in CONV_ACTIVATIONS.items():
        more = {"activation_params": parameters} if parameters else {}
        yield "FusedConv", "x w b -> y", inputs, {"activation": activation, **window, **more}
    same = {"auto_pad": "SAME_UPPER", "kernel_shape": [3, 3], "group": 2}
    plain = {"x": inputs["x"], "w": inputs["w"], "xz": floats(2, 6, 9, 8)}
    yield "FusedConv", "x w - xz -> y", plain, {**same, "activation": "Relu"}
    yield "FusedConv", "x w -> y", plain, same


def activations() -> Iterator[Case]:
    inputs = {"x": floats(3, 5, 17) * 3, "b": floats(17)}
    yield "Gelu", "x -> y", inputs, {}
    yield "BiasGelu", "x b -> y", inputs, {}
    yield "FastGelu", "x -> y", inputs, {}
    yield "FastGelu", "x b -> y", inputs, {}
    yield "QuickGelu", "x -> y", inputs, {}
    yield "QuickGelu", "x -> y", inputs, {"alpha": 0.5}


def normalizations() -> Iterator[Case]:
    x, skip, gamma, beta, bias = (floats(*s) for s in ((2, 3, 17), (2, 3, 17), (17,), (17,), (17,)))
    inputs = {"x": x, "xs": skip, "g": gamma, "beta": beta, "bias": bias}
    of_all = {**inputs, "xs": floats(3, 17)}
    large = {"epsilon": 0.25}
    yield "SkipLayerNormalization", "x xs g -> y mean deviation sum", inputs, {}
    yield "SkipLayerNormalization", "x xs g beta -> y", inputs, large
    yield "SkipLayerNormalization", "x xs g beta bias -> y - - sum", of_all, large
    yield "SkipLayerNormalization", "x xs g - bias -> y - - sum", inputs, {}
    yield "SkipSimplifiedLayerNormalization", "x xs g -> y", inputs, {}
    yield "SkipSimplifiedLayerNormalization", "x xs g bias -> y - deviation sum", of_all, large
    scale = {"x": x, "g": floats(3, 17)}
    yield "SimplifiedLayerNormalization", "x g -> y deviation", scale, {"axis": 1, **large}
    yield "SimplifiedLayerNormalization", "x g -> y deviation", scale, {"axis": -2}
    yield "SimplifiedLayerNormalization", "x g -> y", inputs, {}


# --------------------------------------------------------------------- quantised
BYTES = (np.uint8, np.int8)


def integer_products() -> Iterator[Case]:
    for a, b in ((np.uint8, np.int8), (np.uint8, np.uint8), (np.int8, np.int8)):
        inputs = {
            "x": whole(a, 2, 5, 33), "w": weights(b, 33, 9), "s": scales(), "ws": scales(9),
            "z": whole(a), "wz": np.zeros(9, b) if b == np.int8 else whole(b, 9), "b": floats(9),
        }  # fmt: skip
        yield "MatMulIntegerToFloat", "x w s ws z wz b -> y", inputs, {}
        one = {**inputs, "ws": scales(1)}
        yield "MatMulIntegerToFloat", "x w s ws -> y", one, {}
        column = {**one, "w": weights(b, 33), "s": scales(1), "b": floats(1)}
        yield "MatMulIntegerToFloat", "x w s ws - - b -> y", column, {}
        more = {"x": whole(a, 5, 33), "c": whole(np.int16, 9).astype(np.int32)}
        more |= {"ys": np.array(7, F), "yz": whole(a)}
        call = "x s z w ws wz c ys yz -> y"
        yield "QGemm", call, inputs | more, {"alpha": 0.5}
        yield "QGemm", "x s z w ws wz -> y", inputs | more, {}
        turned = {"x": more["x"].T.copy(), "w": inputs["w"].T.copy()}
        yield "QGemm", call, inputs | more | turned, {"transA": 1, "transB": 1}
    for b in BYTES:
        inputs = {"x": floats(5, 33), "w": weights(b, 33, 9), "s": scales(9), "b": floats(9)}
        zero = {"z": np.zeros(9, b) if b == np.int8 else whole(b, 9)}
        yield "DynamicQuantizeMatMul", "x w s z b -> y", inputs | zero, {}
        yield "DynamicQuantizeMatMul", "x w s -> y", inputs | {"s": scales(1)}, {}


def integers() -> Iterator[Case]:
    for dtype in BYTES:
        x, w = whole(dtype, 2, 6, 5, 7), whole(dtype, 6, 1, 7)
        a = {"x": x, "s": scales(), "z": whole(dtype)}
        b = {"w": w, "ws": scales(), "wz": whole(dtype)}
        y = {"ys": np.array(0.1, F), "yz": whole(dtype)}
        for op_type in ("QLinearAdd", "QLinearMul"):
            yield op_type, "x s z w ws wz ys yz -> y", a | b | y, {}
        yield "QLinearLeakyRelu", "x s z ys yz -> y", a | y, {"alpha": 0.3}
        yield "QLinearLeakyRelu", "x s - ys - -> y", a | y, {}
        part = {"ys": np.array(1 / 256, F), "yz": np.array(np.iinfo(dtype).min, dtype)}
        yield "QLinearSigmoid", "x s z ys yz -> y", a | part, {}
        yield "QLinearSigmoid", "x s - ys - -> y", a | part, {}
        for axis, opset in ((-1, 13), (1, 13), (2, 12), (-2, 11)):
            more = {"axis": axis, "opset": opset}
            yield "QLinearSoftmax", "x s z ys yz -> y", a | part, more
        yield "QLinearSoftmax", "x s - ys yz -> y", a | part, {"opset": 13}
        beside = {"w": whole(dtype, 2, 3, 5, 7), "ws": scales(), "wz": whole(dtype)}
        yield "QLinearConcat", "ys yz x s z w ws wz -> y", a | beside | y, {"axis": 1}
        yield "QLinearConcat", "ys yz x s z x s z -> y", a | y, {"axis": -1}
        window = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}
        yield "QLinearAveragePool", "x s z ys yz -> y", a | y, window
        full = {**window, "count_include_pad": 1}
        yield "QLinearAveragePool", "x s z ys yz -> y", a | y, full
        short = {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}
        yield "QLinearAveragePool", "x s z ys yz -> y", a | y, short
        same = {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "channels_last": 1}
        yield "QLinearAveragePool", "x s z ys yz -> y", a | y, same
        for last in (0, 1):
            more = {"channels_last": last}
            yield "QLinearGlobalAveragePool", "x s z ys yz -> y", a | y, more
        chosen = {"xc": whole(np.uint8, 2, 6, 5, 1) > 99, **a, **b, **y}
        yield "QLinearWhere", "xc x s z w ws wz ys yz -> y", chosen, {}
        yield "QuantizeLinear", "x s -> y", {"x": floats(4, 3) * 8, "s": scales()}, {}
        numbers = {"x": floats(4, 3, 5) * 8, "s": scales(3), "z": whole(dtype, 3)}
        yield "QuantizeLinear", "x s z -> y", numbers, {}
        yield "QuantizeLinear", "x s z -> y", numbers | {"s": scales(5), "z": w[0, 0, :5]}, LAST
        codes = {"x": whole(dtype, 4, 3, 5), "s": scales(3), "z": whole(dtype, 3)}
        yield "DequantizeLinear", "x s z -> y", codes, {}
        yield "DequantizeLinear", "x s -> y", codes | {"s": scales(5)}, LAST


LAST = {"axis": -1}


# --------------------------------------------------------------------- attention
def counts(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


def flags(*shape: int) -> np.ndarray:
    """Of a mask in which every row allows something."""
    found = RNG.integers(0, 2, shape).astype(np.int32)
    found[..., 0] = 1
    return found


def attentions() -> Iterator[Case]:
    heads, causal = {"num_heads": 4}, {"num_heads": 4, "unidirectional": 1}
    inputs = {"x": floats(2, 5, 24), "w": floats(24, 72) / 4, "b": floats(72)}
    yield "Attention", "x w b -> y", inputs, heads
    yield "Attention", "x w -> y", inputs, {**causal, "scale": 0.3}
    wide = {"w": floats(24, 80) / 4, "b": floats(80)}
    yield "Attention", "x w b -> y", inputs | wide, {**heads, "qkv_hidden_sizes": [24, 24, 32]}
    lengths = counts(3, 5, 0, 5, 10, 0, 3, 8)
    for mask in (counts(3, 5), counts(3, 5, 1, 0), lengths, flags(2, 5), flags(2, 5, 5)):
        yield "Attention", "x w b xm -> y", inputs | {"xm": mask}, heads
        more = {**causal, "mask_filter_value": -2.0}
        yield "Attention", "x w b xm -> y", inputs | {"xm": mask}, more
    past = {"xp": floats(2, 2, 4, 3, 6), "xm": flags(2, 8)}
    yield "Attention", "x w b - xp -> y present", inputs | past, causal
    yield "Attention", "x w b xm xp -> y present", inputs | past, heads
    biased = {"xm": flags(2, 5), "xa": floats(1, 4, 5, 5)}
    yield "Attention", "x w b xm - xa -> y present", inputs | biased, heads

    yield from grouped()
    inputs = {"x": floats(2, 5, 24), "xk": floats(2, 7, 24), "xv": floats(2, 7, 32)}
    op_type, bias = "MultiHeadAttention", {"b": floats(80)}
    itself = bias | {"xk": floats(2, 5, 24), "xv": floats(2, 5, 32)}
    yield op_type, "x xk xv -> y", inputs, {**heads, "scale": 0.3}
    yield op_type, "x xk xv b -> y", inputs | bias, heads
    yield op_type, "x xk xv b -> y", inputs | itself, {**causal, "scale": -0.3}
    for mask in (counts(3, 7), flags(2, 7), flags(2, 5, 7)):
        yield op_type, "x xk xv - xm -> y", inputs | {"xm": mask}, heads
        near = {"xm": np.minimum(mask, 5) if mask.ndim == 1 else mask[..., :5].copy()}
        more = {**causal, "mask_filter_value": -2.0}
        yield op_type, "x xk xv b xm -> y", inputs | itself | near, more
    yield op_type, "x xk xv - - xa -> y", inputs | {"xa": floats(1, 4, 5, 7)}, heads
    apart = {"xk": floats(2, 4, 7, 6), "xv": floats(2, 4, 7, 6)}
    yield op_type, "x xk xv -> y", inputs | apart, heads
    yield op_type, "x xk xv b -> y", inputs | apart | {"b": floats(72)}, heads
    lengths = counts(3, 7, 0, 5, 10, 0, 3, 10)  # and where rows begin and end, packed
    yield op_type, "x xk xv - xm -> y", inputs | {"xm": lengths}, heads
    old = {"xv": floats(2, 7, 24), "xo": floats(2, 4, 3, 6), "xw": floats(2, 4, 3, 6)}
    call = "x xk xv - - - xo xw -> y keys values"
    yield op_type, call, inputs | old, heads
    more = itself | old | {"xv": floats(2, 5, 24), "b": floats(72), "xm": flags(2, 8)}
    yield op_type, call.replace("- - -", "b xm -"), inputs | more, causal


def grouped() -> Iterator[Case]:
    """Four queries share two keys; a first prompt, one further token each, several of one."""
    op_type, heads = "GroupQueryAttention", {"num_heads": 4, "kv_num_heads": 2}
    angles = RNG.uniform(-3, 3, (16, 8)).astype(F)
    caches = {"c": np.cos(angles), "s": np.sin(angles)}
    for batch, queries, kept, ends in ((2, 5, 0, (4, 4)), (2, 1, 6, (6, 3)), (1, 3, 9, (6,))):
        inputs = {
            "x": floats(batch, queries, 64), "xk": floats(batch, queries, 32),
            "xv": floats(batch, queries, 32), "n": counts(*ends),
            "t": np.array(max(ends) + 1, np.int32),
        } | caches  # fmt: skip
        past = {name: floats(batch, 2, kept, 16) for name in ("xo", "xw")} if kept else {}
        old = "xo xw" if kept else "- -"
        call = f"x xk xv {old} n t -> y keys values"
        yield op_type, call, inputs | past, heads
        turned = f"x xk xv {old} n t c s -> y keys values"
        yield op_type, turned, inputs | past, {**heads, "do_rotary": 1, "rotary_interleaved": 1}
        packed = {"x": floats(batch, queries, 128)}
        packing = f"x - - {old} n t c s -> y{' keys values' if kept else ''}"
        yield op_type, packing, inputs | past | packed, {**heads, "do_rotary": 1}
        counted = {"xn": inputs["n"], "xt": inputs["t"]}
        call = f"x xk xv {old} xn xt -> y keys values"
        yield op_type, call, inputs | past | counted, heads
        placed = {"xi": np.tile(np.arange(3, 3 + queries), (batch, 1))}
        call = f"x xk xv {old} n t c s xi -> y keys values"
        yield op_type, call, inputs | past | placed, {**heads, "do_rotary": 1}
        more = {**heads, "local_window_size": 2, "softcap": 0.75, "scale": 0.3}
        biased = {"xa": floats(1, 4, queries, max(ends) + 1)}
        call = f"x xk xv {old} n t - - - xa -> y keys values"
        yield op_type, call, inputs | past | biased, more


def transformers() -> Iterator[Case]:
    angles = RNG.uniform(-3, 3, (16, 4)).astype(F)
    caches = {"c": np.cos(angles), "s": np.sin(angles)}
    ids = {"xi": RNG.integers(0, 16, (2, 5))}
    flat, apart = {"x": floats(2, 5, 24)}, {"x": floats(2, 3, 5, 8)}
    op_type, call = "RotaryEmbedding", "x xi c s -> y"
    for way in (0, 1):
        yield op_type, call, flat | ids | caches, {"interleaved": way}
        yield op_type, call, apart | ids | caches, {"interleaved": way}
    yield op_type, call, flat | {"xi": np.array([4])} | caches, {}
    yield op_type, call, apart | {"xi": np.array([4])} | caches, {}
    partial = {"x": floats(2, 5, 36), **ids, **caches}
    yield op_type, call, partial, {"num_heads": 3, "rotary_embedding_dim": 8}

    words = {"xi": RNG.integers(0, 9, (2, 5)).astype(np.int32), "w": floats(9, 17)}
    more = {"p": floats(7, 17), "g": floats(17), "b": floats(17)}
    segments = {"xs": RNG.integers(0, 2, (2, 5)).astype(np.int32), "s": floats(2, 17)}
    numbers = {"xm": RNG.integers(0, 4, (2, 5)).astype(np.int32), "xp": words["xi"] % 7}
    every = {**words, **more, **segments, **numbers}
    call = "xi xs w p s g b xm xp -> y lengths sum"
    yield "EmbedLayerNormalization", call, every, {"epsilon": 0.25}
    yield "EmbedLayerNormalization", "xi - w p - g b -> y lengths", every, {"mask_index_type": 1}
    yield "EmbedLayerNormalization", "xi - w p - g b xm -> y", every, {"mask_index_type": 0}

    for bits in (4, 8):
        for k in (64, 70):
            a, scale, bias = floats(3, k), scales(9, -(-k // 32)) / 4, floats(9)
            codes = {"b": whole(np.uint8, 9, scale.shape[1], 4 * bits), "s": scale, "c": bias}
            sizes = {"K": k, "N": 9, "block_size": 32, "bits": bits}
            packed = {"z": whole(np.uint8, 9, -(-scale.shape[1] * bits // 8))}
            yield "MatMulNBits", "x b s -> y", {"x": a} | codes, sizes
            yield "MatMulNBits", "x b s z - c -> y", {"x": a} | codes | packed, sizes
    real = {"z": RNG.uniform(5, 10, scale.shape).astype(F), "b": whole(np.uint8, 9, 3, 16)}
    more = {**sizes, "bits": 4, "accuracy_level": 1}
    yield "MatMulNBits", "x b s z -> y", {"x": a} | codes | real, more


FAMILIES = (
    products,
    convolutions,
    activations,
    normalizations,
    integer_products,
    integers,
    attentions,
    transformers,
)
CASES = {
    f"{i} {case[0]} {case[1]} {case[3]}": case
    for i, case in enumerate(case for family in FAMILIES for case in family())
}


OPERATORS = {case[0]: [c for c in CASES.values() if c[0] == case[0]] for case in CASES.values()}
ROUNDED_ONCE = ("MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QGemm")
"""Products that are computed exactly, where onnxruntime computes in float."""
ROUNDINGS = 5
"""Of onnxruntime: the product, two scales, their product and that of both, the sum."""


@pytest.mark.device_free
@pytest.mark.parametrize("case", CASES)
def test_a_call_gives_what_onnxruntime_gives(case: str) -> None:
    assert_alike("cpu", CASES[case])


@pytest.mark.parametrize("device", [device for device in DEVICES if device != "cpu"])
@pytest.mark.parametrize("op_type", OPERATORS)
def test_a_device_gives_what_onnxruntime_gives(op_type: str, device: str) -> None:
    assert_alike(device, *OPERATORS[op_type])


def assert_alike(device: str, *cases: Case) -> None:
    """Floats at the derived bounds; integers are the same at every precision."""
    data, feeds = written(*cases)
    expected, op_type = of_onnxruntime(data, feeds), cases[0][0]
    comparable = None if op_type in ROUNDED_ONCE else expected
    if op_type.startswith("QLinear"):
        for name, y in run(data, feeds, device, "normal").items():
            np.testing.assert_array_equal(y, expected[name])
    if device == "cpu" or not op_type.startswith("Q"):
        report = verify(data, device=device, inputs=feeds, expected=comparable, runtime=RUNTIME)
        assert report.precisions[0].exit_code == 0, str(report)
        for precision in report.precisions:
            assert not precision.failures, str(report)
            assert not precision.fallbacks
    if op_type in ROUNDED_ONCE:
        ours, bias = run(data, feeds, device, "high"), max(np.abs(c[2]["b"]).max() for c in cases)
        for name, y in expected.items():
            bound = ROUNDINGS * 2.0**-24 * (np.abs(y) + bias)
            assert (np.abs(ours[name].astype(np.float64) - y) <= bound).all()


def run(data: bytes, feeds: Inputs, device: str, precision: str) -> dict[str, np.ndarray]:
    with Interpreter.from_buffer(data).create_session(config(device, precision)) as session:
        return session(feeds)


def config(device: str, precision: str) -> ScheduleConfig:
    if device == "cpu":
        return ScheduleConfig()
    wanted = BackendConfig(precision=precision)
    return ScheduleConfig("opencl", device=device, strict=True, backend_config=wanted)


# --------------------------------------------------------------------- what the cases hold
UNREAD: dict[str, set[str]] = {
    "Attention": {"do_rotary", "rotary_embedding_dim", "past_present_share_buffer"}
    | {"past_sequence_length"},
    "EmbedLayerNormalization": {"mask_index_type"},
    "GroupQueryAttention": {"causal", "qk_output", "sliding_window_cache", "kv_cache_bit_width"}
    | {"smooth_softmax", "k_quant_type", "v_quant_type", "qk_norm_epsilon", "q_norm_epsilon"}
    | {"k_norm_epsilon", "head_sink", "k_scale", "v_scale", "q_norm_weight", "k_norm_weight"}
    | {"query_seqlens", "output_qk"},
    "MatMulNBits": {"weight_prepacked", "g_idx"},
    "MultiHeadAttention": {"past_sequence_length", "cache_indirection", "qk"},
    "RotaryEmbedding": {"scale", "is_packed_batching"},
    "SimplifiedLayerNormalization": {"stash_type"},
    "SkipSimplifiedLayerNormalization": {"mean"},
}
"""Of each operator, what a call may not have, or has without effect: refusals are below."""
ELSEWHERE = {
    "QLinearAdd": {"A_zero_point", "B_zero_point", "C_zero_point"},
    "QLinearMul": {"A_zero_point", "B_zero_point", "C_zero_point"},
    "QLinearAveragePool": {"x_zero_point", "y_zero_point"},
    "MultiHeadAttention": {"key", "value"},
}
"""What a test of its own leaves out, or is refused without, here or by onnxruntime."""
AS_GOOD = {
    "FusedConv": {"kernel_shape"},
    "MatMulNBits": {"accuracy_level"},
    "RotaryEmbedding": {"num_heads"},
}
"""Attributes that change no result: what is asked for at least, what follows from others."""


def schema_of(op_type: str) -> defs.OpSchema:
    return SCHEMAS.get((DOMAIN, op_type)) or SCHEMAS["", op_type]


def given(parameters: Any, names: str) -> set[str]:
    return {p.name for p, name in zip(parameters, names.split(), strict=False) if name != "-"}


@pytest.mark.device_free
@pytest.mark.parametrize("op_type", OPERATORS)
def test_the_cases_give_and_leave_out_all_that_a_call_may_have(op_type: str) -> None:
    schema, unread = schema_of(op_type), UNREAD.get(op_type, set())
    options = [p for p in (*schema.inputs, *schema.outputs) if p.option == OPTIONAL]
    seen = []
    for _, call, _, attributes in OPERATORS[op_type]:
        ins, outs = call.split("->")
        seen.append(given(schema.inputs, ins) | given(schema.outputs, outs) | attributes.keys())
    names = {p.name for p in options} | schema.attributes.keys() - unread
    assert names - unread == {name for name in names - unread if any(name in s for s in seen)}
    always = {p.name for p in options if all(p.name in s for s in seen)}
    assert always == ELSEWHERE.get(op_type, set())


def attributes_of_cases() -> Iterator[tuple[str, str]]:
    for op_type in OPERATORS:
        without_effect = UNREAD.get(op_type, set()) | AS_GOOD.get(op_type, set())
        for name, attribute in schema_of(op_type).attributes.items():
            if not attribute.required and name not in without_effect:
                yield op_type, name


@pytest.mark.device_free
@pytest.mark.parametrize(("op_type", "name"), list(attributes_of_cases()))
def test_an_attribute_that_was_not_read_would_be_noticed(
    op_type: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Body.attribute

    def deaf(self: Body, asked: str) -> Any:
        if asked == name:
            self._attributes.pop(name, None)
        return read(self, asked)

    monkeypatch.setattr(Body, "attribute", deaf)
    assert any(is_noticed(case) for case in OPERATORS[op_type] if name in case[3])


def is_noticed(case: Case) -> bool:
    data, feeds = written(case)
    expected = of_onnxruntime(data, feeds)
    try:
        ours = run(data, feeds, "cpu", "high")
    except ParallaxError:
        return True
    return not all(
        ours[name].shape == y.shape and np.allclose(ours[name], y, 1e-3, 1e-3)
        for name, y in expected.items()
    )


# --------------------------------------------------------------------- what is not rounded alike
STEPS, HIDDEN = 3, 8


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("kind", "direction"),
    [(np.int8, "forward"), (np.int8, "bidirectional"), (np.uint8, "reverse")],
)
def test_a_quantised_lstm_is_as_near_as_a_rounded_h_allows(
    kind: Any, direction: str, device: str
) -> None:
    count = 2 if direction == "bidirectional" else 1
    by_columns = (count, 4 * HIDDEN) if kind == np.int8 else (count,)
    middle = np.zeros(by_columns, kind) if kind == np.int8 else np.full(by_columns, 128, kind)
    codes = [RNG.integers(-60, 61, (count, n, 4 * HIDDEN)) for n in (5, HIDDEN)]
    w, r = ((code + (0 if kind == np.int8 else 128)).astype(kind) for code in codes)
    inputs = {
        "x": floats(STEPS, 2, 5), "w": w, "r": r, "b": floats(count, 8 * HIDDEN) / 4,
        "n": np.array([STEPS, STEPS - 1], np.int32),
        "h": floats(count, 2, HIDDEN) / 4, "c": floats(count, 2, HIDDEN) / 4,
        "p": floats(count, 3 * HIDDEN) / 4, "ws": scales(*by_columns) / 16, "z": middle,
        "rs": scales(*by_columns) / 16,
    }  # fmt: skip
    attributes = {"hidden_size": HIDDEN, "direction": direction, "clip": 3.0}
    if kind == np.uint8:
        attributes["activations"] = ["HardSigmoid", "Tanh", "Tanh"] * count
        attributes |= {"activation_alpha": [0.25], "activation_beta": [0.4], "input_forget": 1}
    call = "x w r b n h c p ws z rs z -> y yh yc"
    data, feeds = written(("DynamicQuantizeLSTM", call, inputs, attributes))
    expected = of_onnxruntime(data, feeds)
    with Interpreter.from_buffer(data).create_session(config(device, "high")) as session:
        ours = session(feeds)
    r_scale = inputs["rs"].reshape(count, 1, -1)
    reach = np.abs(codes[1] * r_scale).sum(1).max()
    states = [np.abs(inputs["c"]).max(), np.abs(expected["y"]).max(), np.abs(inputs["h"]).max()]
    bound = error_of_a_rounded_h(float(reach), float(states[0]), float(max(states[1:])))
    for name, theirs in expected.items():
        assert np.abs(ours[name] - theirs).max() <= bound


def error_of_a_rounded_h(reach: float, cell: float, h: float) -> float:
    """After all steps, to first order: gates in [0, 1] of slope 1/4, candidates of slope 1.

    Args:
        reach: the most that the gates take of errors of 1 in h. cell, h: limits of |c| and |h|.
    """
    of_h = of_cell = 0.0
    for step in range(STEPS):
        of_sum = reach * (of_h + h / 255)  # h is rounded to a step of 2 h / 255 at most
        of_cell = of_cell + of_sum * ((cell + step) / 4 + 1 / 4 + 1)
        of_h = of_cell + of_sum / 4
    return of_h


@pytest.mark.device_free
@pytest.mark.parametrize("op_type", ["QLinearAdd", "QLinearMul", "QLinearAveragePool"])
def test_a_zero_point_that_is_left_out_is_zero(op_type: str) -> None:
    """onnxruntime needs the zero points that its own schema calls optional."""
    case = next(c for c in CASES.values() if c[0] == op_type)
    zero = np.array(0, np.uint8)
    zeros = {**case[2], "z": zero, "wz": zero, "yz": zero}
    data, feeds = written((op_type, case[1], zeros, case[3]))
    expected = of_onnxruntime(data, feeds)["y"]
    call = " ".join("-" if name in ("z", "wz", "yz") else name for name in case[1].split())
    data, _ = written((op_type, call, case[2], case[3]))
    np.testing.assert_array_equal(run(data, feeds, "cpu", "high")["y"], expected)


@pytest.mark.device_free
def test_bfloat16_is_rounded_once_for_the_whole_operator() -> None:
    """Not after the sum, before the Gelu of it."""
    x, b = (floats(3, 17).astype(ml_dtypes.bfloat16).astype(F), floats(17))
    b = b.astype(ml_dtypes.bfloat16).astype(F)
    gelu = node("BiasGelu", "a c", "d", domain=DOMAIN)
    narrow = [node("Cast", name, to, to=TensorProto.BFLOAT16) for name, to in ("xa", "bc")]
    nodes = [*narrow, gelu, node("Cast", "d", "y", to=TensorProto.FLOAT)]
    data = model_bytes(nodes, {"x": x.shape}, ["y"], {"b": b}, domains=[DOMAIN])
    in_float, feeds = written(("BiasGelu", "x b -> y", {"x": x, "b": b}, {}))
    expected = run(in_float, feeds, "cpu", "high")["y"].astype(ml_dtypes.bfloat16).astype(F)
    np.testing.assert_array_equal(run(data, {"x": x}, "cpu", "high")["y"], expected)


# --------------------------------------------------------------------- refusals
X, W = floats(2, 17), floats(17, 5)
A, ONE, TWO = whole(np.uint8, 3, 4), scales(1), scales(2)
ZERO = np.array(3, np.uint8)
QKV = {
    "x": floats(2, 5, 24), "w": floats(24, 72), "n": counts(4, 4), "t": np.array(5, np.int32),
    "i": np.zeros((2, 5), np.int64), "s": scales(3), "k": floats(2, 5, 12),
    "low": np.array(4, np.int32), "most": np.array(8, np.int32), "high": np.array(9, np.int32),
    "high2": counts(5, 4), "low2": counts(-1, 4), "low3": counts(3, 7), "p": floats(2, 2, 3, 6),
}  # fmt: skip
PAST = floats(2, 4, 3, 6)
REFUSED: list[tuple[Case, str]] = [
    (("BiasGelu", "x w -> y", {"x": X, "w": W.astype("d")}, {}), "B is float64 and A float32"),
    (("Gelu", "x -> y", {"x": A}, {}), "X is uint8, expected"),
    (("Gelu", "x -> y", {"x": X}, {"approximate": "tanh"}), "no attribute 'approximate' here"),
    (("FusedMatMul", "x w -> y", {"x": X, "w": W}, {"transA": 2}), "transA=2, expected 0 or 1"),
    (("FusedMatMul", "x w -> y", {"x": X, "w": W}, {"alpha": np.nan}), "expected finite"),
    (("FusedGemm", "x w -> y", {"x": X, "w": W}, {}), "there is no activation"),
    (("FusedGemm", "x w -> y", {"x": X, "w": W}, {"activation": "Elu"}), "Elu needs activation_a"),
    (("FusedGemm", "x w -> y", {"x": X, "w": W}, {"activation": "Affine"}), "'Affine' is not sup"),
    (
        ("FusedGemm", "x w -> y", {"x": X, "w": W}, {"activation": "Relu", "activation_beta": 1.0}),
        "attribute 'activation_beta' is not supported",
    ),
    (
        ("FusedConv", "x w -> y", {"x": X, "w": W}, {"activation": "Clip"}),
        "0 activation_params for Clip, expected 2",
    ),
    (("FusedConv", "x w -> y", {"x": X, "w": W}, {"activation": "Elu"}), "'Elu' is not supported"),
    (
        ("SkipSimplifiedLayerNormalization", "x x g -> y mean", {"x": X, "g": X[0]}, {}),
        "output 'mean' is not supported",
    ),
    (
        ("SimplifiedLayerNormalization", "x g -> y", {"x": X, "g": X[0]}, {"stash_type": 10}),
        "attribute 'stash_type' is not supported",
    ),
    *((("SimplifiedLayerNormalization", "x g -> y", {"x": X, "g": X[0]}, {"axis": axis}),
       f"axis={axis} is no axis of a tensor of rank 2") for axis in (2, -3)),
    (  # onnxruntime reads what lies behind the scales
        ("MatMulIntegerToFloat", "x w s t -> y",
         {"x": A, "w": whole(np.uint8, 4, 5), "s": ONE, "t": floats(3, 1)}, {}),
        "input 'b_scale' has shape .3, 1., expected",
    ),
    (  # where onnxruntime adds a part of the bias
        ("MatMulIntegerToFloat", "x w s t -> y",
         {"x": A, "w": whole(np.uint8, 4, 5), "s": ONE.reshape(1, 1), "t": ONE}, {}),
        "input 'a_scale' has shape .1, 1., expected",
    ),
    (
        ("MatMulIntegerToFloat", "x w s t -> y",
         {"x": A, "w": whole(np.uint8, 4), "s": ONE, "t": floats(3)}, {}),
        "input 'b_scale' has shape .3., expected",
    ),
    (
        ("MatMulIntegerToFloat", "x w s t -> y",
         {"x": A, "w": whole(np.uint8, 4, 5), "s": ONE, "t": floats(1, 1, 5)}, {}),
        "input 'b_scale' has shape .1, 1, 5., expected",
    ),
    (("QLinearSigmoid", "x s - t - -> y", {"x": A, "s": TWO, "t": ONE}, {}), "expected one number"),
    (
        ("QLinearSigmoid", "x s z t - -> y", {"x": A, "s": ONE, "z": A[0, :1].view("i1"), "t": ONE},
         {}),
        "X_zero_point is int8 and X uint8, expected one dtype",
    ),
    (
        ("QLinearAveragePool", "x s - s - -> y", {"x": A, "s": ONE},
         {"kernel_shape": [1], "ceil_mode": 1, "count_include_pad": 1}),
        "ceil_mode with count_include_pad is not supported",
    ),
    (
        ("QLinearConcat", "s z x s -> y", {"x": A, "s": ONE, "z": ZERO}, {"axis": 0}),
        "2 inputs to join, expected three for each",
    ),
    (
        ("QLinearConcat", "s z x z z -> y", {"x": A, "s": ONE, "z": ZERO}, {"axis": 0}),
        "scale 'inputs_1' is uint8, expected float32",
    ),
    (("QLinearConcat", "s z x s z -> y", {"x": A, "s": ONE, "z": ZERO}, {}), "'axis' is missing"),
    (
        ("QGemm", "x s z x s z - t -> y", {"x": A, "s": ONE, "z": ZERO, "t": ONE}, {}),
        "y_scale and y_zero_point are given together",
    ),
    (
        ("QLinearSoftmax", "x s - s z -> y", {"x": A, "s": ONE, "z": ZERO},
         {"axis": 2, "opset": 13}),
        "axis=2 is no axis of a tensor of rank 2",
    ),
    *((("Attention", "x w -> y", QKV, {"num_heads": 4, **more}), words) for more, words in (
        ({"do_rotary": 1}, "do_rotary=1 is not supported, only 0"),
        ({"num_heads": 0}, "num_heads=0, expected 1 or more"),
        ({"unidirectional": 2}, "unidirectional=2, expected 0 or 1"),
        ({"rotary_embedding_dim": 8}, "attribute 'rotary_embedding_dim' is not supported"),
        ({"qkv_hidden_sizes": [24, 24]}, "expected three numbers"),
    )),
    (
        ("Attention", "x w - m -> y", QKV | {"m": flags(2, 1, 5, 5)}, {"num_heads": 4}),
        "a mask of 4 axes is not supported",
    ),
    (("MultiHeadAttention", "x -> y", QKV, {"num_heads": 4}), "packed with others are not supp"),
    *((("MultiHeadAttention", f"x x x - {call} -> y", QKV | {"p": PAST}, {"num_heads": 4}), words)
      for call, words in (
        ("- - p", "past_key and past_value are given together or not at all"),
        ("- - - p", "past_key and past_value are given together or not at all"),
    )),
    (
        ("MultiHeadAttention", "x x x -> y k v qk", QKV, {"num_heads": 4}),
        "output 'qk' is not supported",
    ),
    *((("GroupQueryAttention", call, QKV, {"num_heads": 4, "kv_num_heads": 2, **more}), words)
      for call, more, words in (
        ("x x x - - n t -> y", {"smooth_softmax": 1}, "smooth_softmax=1 is not supported"),
        ("x x x - - n t -> y", {"kv_num_heads": 3}, "num_heads=4 is no multiple of kv_num_hea"),
        ("x x x - - n t -> y", {"do_rotary": 1}, "do_rotary=1 needs cos_cache and sin_cache"),
        ("x x - - - n t -> y", {}, "key and value are given together"),
        ("x k k - - n t -> y", {"local_window_size": 0}, "expected 1 or more, or -1 for no window"),
        ("x x x - - n t -> y", {"k_quant_type": "PER_TENSOR"}, "'k_quant_type' is not supported"),
        ("x x x - - n t - - - - w -> y", {}, "input 'head_sink' is not supported"),
        ("x k k p - n t -> y", {}, "past_key and past_value are given together or not at all"),
        ("x k k - - n low -> y", {}, "'total_sequence_length' is 4, expected 5 to 5"),
        ("x k k - - n high -> y", {}, "'total_sequence_length' is 9, expected 5 to 5"),
        ("x k k p p n high -> y", {}, "'total_sequence_length' is 9, expected 5 to 8"),
        ("x k k - - high2 t -> y", {}, "'seqlens_k' is .5, 4., expected 0 to 4"),
        ("x k k - - low2 t -> y", {}, "'seqlens_k' is .-1, 4., expected 0 to 4"),
        ("x k k p p low3 most -> y", {}, "'seqlens_k' is .3, 7., expected 4 to 7"),
    )),
    *((("RotaryEmbedding", "x i w w -> y", QKV, more), words) for more, words in (
        ({"scale": 2.0}, "scale=2.0 is not supported, only 1.0"),
        ({"num_heads": -3}, "num_heads=-3, expected 0 or more"),
        ({"rotary_embedding_dim": -8}, "rotary_embedding_dim=-8, expected 0 or more"),
        ({"is_packed_batching": 1}, "is_packed_batching=1 is not supported"),
        ({"num_heads": 2, "rotary_embedding_dim": 8}, "'cos_cache' has shape .24, 72., expected"),
    )),
    *((("MatMulNBits", "x a s -> y", QKV | {"a": A}, {"K": 24, "N": 3, "block_size": 32, **more}),
       words) for more, words in (
        ({"bits": 3}, "bits=3 is not supported, only 2, 4 and 8"),
        ({"block_size": 0}, "block_size=0, expected 1 or more"),
        ({"weight_prepacked": 1}, "weight_prepacked=1 is not supported"),
    )),
]  # fmt: skip


@pytest.mark.device_free
@pytest.mark.parametrize(("case", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_would_not_be_heeded_is_refused(case: Case, words: str) -> None:
    data, _ = written(case)
    with pytest.raises(ParallaxError, match=rf"{case[0]} 'the_y'.*{words}"):
        Interpreter.from_buffer(data).create_session()


@pytest.mark.device_free
def test_an_empty_list_is_an_attribute_too() -> None:
    """As that of no strides, which are 1 then."""
    case = next(c for c in OPERATORS["FusedConv"] if "auto_pad" in c[3] and "xz" not in c[1])
    data, feeds = written(case)
    model = onnx.load_from_string(data)
    empty = helper.make_attribute("strides", [], attr_type=onnx.AttributeProto.INTS)
    model.graph.node[0].attribute.append(empty)
    ours = [run(d, feeds, "cpu", "high")["y"] for d in (data, model.SerializeToString())]
    np.testing.assert_array_equal(*ours)


IDS = {"x": np.full((2, 5), 9, np.int32), "w": floats(9, 17), "g": floats(17)}
PLACED: list[tuple[Case, str]] = [
    (("Attention", "x w -> y", QKV, {"num_heads": 5}), "(Reshape 'the_y/Reshape'): Reshape: sh"),
    (
        ("EmbedLayerNormalization", "x - w w - g g -> y", IDS, {}),
        "(Gather 'the_y/Gather'): Gather: index 9 at (0, 0) of its indices is outside [-9, 8]",
    ),
]
"""Calls that are known to be wrong when a part of the body is bound, or run."""


@pytest.mark.device_free
@pytest.mark.parametrize(("case", "words"), PLACED, ids=[case[0] for case, _ in PLACED])
def test_an_error_in_a_body_names_the_call(case: Case, words: str) -> None:
    data, feeds = written(case)
    with pytest.raises(ParallaxError, match=re.escape(f"{case[0]} 'the_y' {words}")):
        run(data, feeds, "cpu", "high")


# --------------------------------------------------------------------- shapes
Shapes = dict[str, tuple[int, ...]]
HEADS = {"num_heads": 2}
BLOCKS = {"K": 64, "N": 8, "bits": 4, "block_size": 32}
GROUPS = {"num_heads": 4, "kv_num_heads": 2}
SHAPES: dict[str, tuple[Shapes, dict[str, Any], list[Shapes]]] = {
    "Attention": (
        {"input": (2, 3, 6), "weights": (6, 24), "bias": (24,)}, HEADS,
        [{"bias": (1,)}, {"input": (3, 6)}, {"mask_index": (1,)}, {"mask_index": (1, 3)},
         {"attention_bias": (3,)}, {"attention_bias": (2, 3, 3, 3)},
         {"past": (2, 1, 2, 4, 4)}, {"weights": (5, 24)}],
    ),
    "BiasGelu": ({"A": (3, 4), "B": (4,)}, {}, [{"B": (1,)}, {"B": (3, 4)}, {"A": ()}]),
    "DynamicQuantizeMatMul": (
        {"A": (2, 4), "B": (4, 5), "b_scale": (5,), "bias": (5,)}, {},
        [{"bias": (1,)}, {"b_scale": (4, 1)}, {"b_scale": (3,)}],
    ),
    "DynamicQuantizeLSTM": (
        {"X": (3, 2, 5), "W": (1, 5, 32), "R": (1, 8, 32), "W_scale": (1,), "R_scale": (1, 32)}
        | {"W_zero_point": (1,), "R_zero_point": (1, 32)}, {"hidden_size": 8},
        [{"W_scale": (2,)}, {"R_scale": (1, 8)}, {"R_zero_point": (2,)}],
    ),
    "EmbedLayerNormalization": (
        {"input_ids": (2, 3), "word_embedding": (5, 8), "position_embedding": (4, 8)}
        | {"gamma": (8,), "beta": (8,)}, {},
        [{"gamma": (1,)}, {"mask": (1, 3)}, {"position_ids": (2, 1)}],
    ),
    "FastGelu": ({"X": (3, 4), "bias": (4,)}, {}, [{"bias": (1,)}, {"bias": (3, 4)}]),
    "FusedConv": (
        {"X": (1, 2, 5, 5), "W": (3, 2, 3, 3), "B": (3,), "Z": (1, 3, 3, 3)},
        {"activation": "Relu"},
        [{"Z": (4, 3, 3, 3)}, {"Z": (3,)}, {"Z": (2, 1, 3, 3, 3)}, {"Z": (1, 3, 1, 1)}],
    ),
    "FusedGemm": (
        {"A": (3, 4), "B": (4, 5)}, {"activation": "Relu"}, [{"C": (4, 5)}, {"C": (3,)}],
    ),
    "FusedMatMul": (
        {"A": (4, 3, 5), "B": (5, 3, 6)}, {"transBatchA": 1, "transBatchB": 1},
        [{"A": (4, 5)}, {"B": (5,)}, {"B": (1, 5, 3, 6)}],
    ),
    "GroupQueryAttention": (
        {"query": (2, 3, 64), "key": (2, 3, 32), "value": (2, 3, 32), "seqlens_k": (2,)}
        | {"total_sequence_length": ()}, GROUPS,
        [{"seqlens_k": (1,)}, {"query": (3, 64)}, {"key": (2, 2, 32)}, {"value": (2, 2, 32)},
         {"total_sequence_length": (2,)}, {"attention_bias": (3,)}],
    ),
    "MatMulIntegerToFloat": (
        {"A": (3, 4), "B": (4, 5), "a_scale": (), "b_scale": (5,), "bias": (5,)}, {},
        [{"b_scale": (3,)}, {"bias": (1,)}, {"a_scale": (3,)}, {"b_zero_point": (3, 1)}],
    ),
    "MatMulNBits": (
        {"A": (2, 64), "B": (8, 2, 16), "scales": (8, 2), "zero_points": (8, 1), "bias": (8,)},
        BLOCKS,
        [{"B": (2, 8, 16)}, {"scales": (2, 8)}, {"zero_points": (8, 2)}, {"bias": (1,)},
         {"A": (2, 1)}],
    ),
    "MultiHeadAttention": (
        {"query": (2, 3, 8), "key": (2, 5, 8), "value": (2, 5, 8)}, HEADS,
        [{"key": (1, 5, 8)}, {"value": (1, 5, 8)}, {"bias": (1,)}, {"key_padding_mask": (1, 5)},
         {"key_padding_mask": (2, 1)}, {"key_padding_mask": (4,)}, {"key_padding_mask": (1,)},
         {"attention_bias": (3, 5)}],
    ),
    "QGemm": (
        {"A": (3, 4), "a_scale": (), "a_zero_point": (), "B": (4, 5), "b_scale": (5,)}
        | {"b_zero_point": (5,)}, {}, [{"b_scale": (3, 1)}, {"C": (2, 3, 5)}],
    ),
    "RotaryEmbedding": (
        {"input": (2, 3, 16), "position_ids": (2, 3), "cos_cache": (6, 4), "sin_cache": (6, 4)},
        HEADS,
        [{"position_ids": (3,)}, {"position_ids": (1, 3)}, {"input": (2, 3)},
         {"sin_cache": (5, 4)}, {"cos_cache": (6, 3)}],
    ),
    "SkipLayerNormalization": (
        {"input": (2, 3, 8), "skip": (2, 3, 8), "gamma": (8,), "beta": (8,), "bias": (8,)}, {},
        [{"gamma": (1,)}, {"beta": (1,)}, {"bias": (1,)}, {"bias": (2, 3, 8)}, {"skip": (2, 1, 8)},
         {"skip": (3, 1)}],
    ),
    "SkipSimplifiedLayerNormalization": (
        {"input": (2, 3, 8), "skip": (3, 8), "gamma": (8,), "bias": (8,)}, {},
        [{"gamma": (1,)}, {"bias": (1,)}, {"skip": (8,)}],
    ),
}  # fmt: skip
"""Of each operator shapes that it takes, attributes, and shapes instead that it does not."""
WRONG = [(op_type, wrong) for op_type, (_, _, wrongs) in SHAPES.items() for wrong in wrongs]


def zeros_of(op_type: str, instead: Shapes) -> Case:
    """A call with inputs of those shapes, all fed, of the first dtype that the schema allows."""
    schema, (shapes, attributes, _) = schema_of(op_type), SHAPES[op_type]
    shapes = shapes | instead
    first = {t.type_param_str: t.allowed_type_strs[0] for t in schema.type_constraints}
    call, arrays = [], {}
    for parameter in schema.inputs:
        call.append(f"x{parameter.name}" if parameter.name in shapes else "-")
        if parameter.name in shapes:
            kind = first.get(parameter.type_str, parameter.type_str)[len("tensor(") : -1]
            dtype = F if kind == "float" else np.dtype(kind)
            arrays[call[-1]] = np.zeros(shapes[parameter.name], dtype)
    if op_type == "GroupQueryAttention":
        arrays["xseqlens_k"] += 2
        arrays["xtotal_sequence_length"] += 3
    outputs = "y lengths" if op_type == "EmbedLayerNormalization" else "y"
    return op_type, f"{' '.join(call)} -> {outputs}", arrays, attributes


@pytest.mark.device_free
@pytest.mark.parametrize("op_type", SHAPES)
def test_the_right_shapes_are_taken(op_type: str) -> None:
    assert not is_noticed(zeros_of(op_type, {}))


@pytest.mark.device_free
@pytest.mark.parametrize(("op_type", "wrong"), WRONG, ids=str)
def test_an_input_of_a_wrong_shape_is_refused_by_name(op_type: str, wrong: Shapes) -> None:
    """As onnxruntime refuses it, instead of broadcasting."""
    data, feeds = written(zeros_of(op_type, wrong))
    ((name, shape),) = wrong.items()
    got = re.escape(f"input '{name}' has shape ({', '.join(map(str, shape))}), expected ")
    with pytest.raises(ModelError, match=f"{op_type} 'the_y': {got}"):
        Interpreter.from_buffer(data).create_session()
    with pytest.raises(Exception, match="ONNXRuntimeError"):
        of_onnxruntime(data, feeds)
