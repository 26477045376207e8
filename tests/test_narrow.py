"""bfloat16, 8-bit floats, elements of 4 and 2 bits: from the file to the outputs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, defs, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.ops.op_cast import cast_to
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NotImplementedThere

from conformance import verify
from conformance.inputs import random_inputs
from engine.config import BackendConfig, ForwardType, Precision, ScheduleConfig
from engine.errors import InputError, ModelError, UnsupportedError
from engine.interpreter import Interpreter
from engine.ir.types import (
    BFLOAT16,
    FLOAT,
    FLOAT4E2M1,
    FLOAT8E8M0,
    FLOAT16,
    FLOATS,
    FLOATS8,
    NARROW,
    NARROW_FLOATS,
    NARROW_INTEGERS,
    bits_of,
    element_bits,
)
from engine.onnx_import import OPSET_MAX, load_model
from engine.ops import OPERATORS
from engine.ops.cast import CAST, DTYPES, NUMBERS
from engine.ops.spec import Call
from engine.runtime import Runtime
from parallax.cli import main
from properties.choose import SeededChoose
from properties.devices import targets_on
from properties.single import Case, draw_case, run_case

DEVICES = [d.strip() for d in os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",")]
RUNTIME = Runtime()
CPU = RUNTIME.backend(ForwardType.CPU, ScheduleConfig())
device_free = pytest.mark.device_free
by_name = sorted(NARROW, key=lambda d: NUMBERS[d])

Array = np.ndarray


def every(dtype: np.dtype) -> Array:
    """Every value that a narrow dtype has."""
    if dtype in NARROW_INTEGERS:
        return np.arange(2 ** element_bits(dtype)).astype(dtype)
    bits = np.arange(2 ** element_bits(dtype), dtype=np.uint16)
    return bits.astype(f"u{dtype.itemsize}").view(dtype)


def one_node(op_type: str, inputs: dict[str, Array], opset: int = OPSET_MAX, **more: Any) -> bytes:
    """A model whose inputs are all fed."""
    graph = helper.make_graph(
        [helper.make_node(op_type, list(inputs), ["y"], **more)],
        "g",
        [helper.make_tensor_value_info(n, NUMBERS[x.dtype], x.shape) for n, x in inputs.items()],
        [helper.make_empty_tensor_value_info("y")],
    )
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=11).SerializeToString()


def computed(model: bytes, feeds: dict[str, Array], device: str = "cpu") -> Array:
    high = BackendConfig(precision=Precision.HIGH)
    there = ScheduleConfig("opencl", device=device, strict=True, backend_config=high)
    with (
        Interpreter.from_buffer(model) as interpreter,
        interpreter.create_session(None if device == "cpu" else there, RUNTIME) as session,
    ):
        session.run(feeds)
        return session.read("y")


def same(a: Array, b: Array) -> Array:
    with np.errstate(invalid="ignore"):
        a, b = a.astype(np.float64), b.astype(np.float64)
    return (a == b) | (np.isnan(a) & np.isnan(b))


# --------------------------------------------------------------------------- Cast
def kernel_and_reference(x: Array, to: np.dtype, **more: Any) -> tuple[Array, Array]:
    call = _call(x, to, **more)
    outcome = run_case(CPU, Case("Cast", call))
    assert outcome is not None
    wide = x.astype(np.float64) if x.dtype in FLOATS | NARROW_FLOATS else x
    return outcome.outputs[0], CAST.reference((wide,), call.attributes)[0]


def _call(x: Array, to: np.dtype, **more: Any) -> Call:
    return Call((x,), {"to": NUMBERS[to], **more})


def modes(to: np.dtype) -> Iterator[dict[str, Any]]:
    for saturate in (1, 0) if to in FLOATS8 | {FLOAT8E8M0} else (1,):
        for mode in ("up", "down", "nearest") if to == FLOAT8E8M0 else ("up",):
            yield {"saturate": saturate, "round_mode": mode}


def drawn(dtype: np.dtype) -> Array:
    """Of every size, near powers of two, and halfway between what narrow formats hold."""
    rng = np.random.default_rng(3)
    powers = 2 ** rng.integers(0, 63, 4000)
    whole = powers + powers // 2 * rng.integers(0, 2, 4000) + rng.integers(-2, 3, 4000)
    ties = powers // 256 * (257 + 2 * rng.integers(0, 99, 4000)) + rng.integers(-1, 2, 4000)
    numbers = np.concatenate([whole, -whole, ties, -ties])
    if dtype == np.uint64:
        return np.concatenate([numbers.view(dtype), np.array([2**64 - 1, 2**63 + 1], dtype)])
    if dtype.kind == "i":
        return numbers.astype(dtype)
    sizes = np.ldexp(1.0, rng.integers(-160, 140, numbers.size))
    with np.errstate(over="ignore"):
        return np.concatenate([numbers * 1.0, numbers * sizes * 2.0**-40]).astype(dtype)


@device_free
@pytest.mark.parametrize("to", by_name, ids=str)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_what_a_narrow_format_gets_is_rounded_once(to: np.dtype) -> None:
    others = map(np.dtype, ("f4", "f8", "i1", "i4", "i8", "u8"))
    sources = [every(BFLOAT16), every(BFLOAT16).view(FLOAT16), *map(drawn, others)]
    sources += [np.array([True, False]), *(every(d) for d in NARROW - {BFLOAT16})]
    for x in sources:
        for more in modes(to):
            got, expected = kernel_and_reference(x, to, **more)
            wrong = np.flatnonzero(~same(got, expected))
            assert not wrong.size, (
                x.dtype,
                more,
                x[wrong[:3]],
                got[wrong[:3]],
                expected[wrong[:3]],
            )


@device_free
@pytest.mark.parametrize("source", by_name, ids=str)
def test_what_a_narrow_format_holds_becomes_what_it_is(source: np.dtype) -> None:
    x = (
        every(source)[~np.isnan(every(source).astype(FLOAT))]
        if source == BFLOAT16
        else every(source)
    )
    for to in DTYPES.values():
        got, expected = kernel_and_reference(x, to)
        assert same(got, expected).all(), to


@device_free
@pytest.mark.parametrize("source", [FLOAT16, BFLOAT16], ids=str)
@pytest.mark.parametrize("to", by_name, ids=str)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_onnx_and_onnxruntime_round_alike(to: np.dtype, source: np.dtype) -> None:
    """All 65,536 values; not those of which ONNX leaves the result open, or contradicts itself."""
    x = every(BFLOAT16).view(source)
    size = np.abs(x.astype(np.float64))
    if to in NARROW_INTEGERS:
        x = x[size < 2**31]
    if to == FLOAT8E8M0:  # the evaluator makes NaN of infinities, and knows no exponent below -126
        x = x[(size >= 2.0**-126) & (size < 2.0**127)]
    for more in modes(to):
        ours, _ = kernel_and_reference(x, to, **more)
        theirs = cast_to(x, NUMBERS[to], bool(more["saturate"]), more["round_mode"])
        assert same(ours, theirs).all(), (more, x[~same(ours, theirs)][:5])
        inside, found = by_onnxruntime(x, to, more)
        assert (found is None) == (to == FLOAT4E2M1)
        if found is not None:
            assert same(ours[inside], found).all(), more


def session_of(model: bytes) -> onnxruntime.InferenceSession | None:
    """None where onnxruntime has no kernel; what else is wrong with a model is raised."""
    try:
        return onnxruntime.InferenceSession(model)
    except NotImplementedThere:
        return None


def by_onnxruntime(x: Array, to: np.dtype, more: dict[str, Any]) -> tuple[Array, Array | None]:
    """Which elements it reads as ONNX does, and what it makes of them; None where it cannot."""
    wide = x.astype(np.float64)
    inside = np.ones(x.shape, bool)
    if to in NARROW_INTEGERS:  # it rounds, where ONNX truncates
        inside = (wide == np.rint(wide)) & np.isin(wide, every(to).astype(np.float64))
    if to == FLOAT8E8M0:
        inside = wide > 0
    if (
        to in FLOATS8 and not more["saturate"]
    ):  # just above, it saturates, or gives NaN for infinity
        most = float(ml_dtypes.finfo(to).max)
        inside = ~((np.abs(wide) > most) & (np.abs(wide) < most * 1.2))
    back = np.dtype(np.int8) if to in NARROW_INTEGERS else FLOAT
    kept = {k: v for k, v in more.items() if to in FLOATS8 | {FLOAT8E8M0} and k == "saturate"}
    kept |= {"round_mode": more["round_mode"]} if to == FLOAT8E8M0 else {}
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["x"], ["n"], to=NUMBERS[to], **kept),
            helper.make_node("Cast", ["n"], ["y"], to=NUMBERS[back]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])],
        [helper.make_tensor_value_info("y", NUMBERS[back], [None])],
    )
    imports = [helper.make_opsetid("", 25 if element_bits(to) == 2 else 24)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=11)
    session = session_of(model.SerializeToString())
    if session is None:
        return inside, None
    (found,) = session.run(None, {"x": x[inside].astype(np.float32)})
    return inside, found


# --------------------------------------------------------------------------- quantisation
def quantised(dtype: np.dtype, scale: Array, zero: Array, **more: Any) -> bytes:
    """What x is quantised to, in the scale's dtype, and constants that are dequantised."""
    constants = {"s": scale, "z": zero, "c": np.resize(every(dtype), (4, 6))}
    if dtype in NARROW_FLOATS:
        constants["c"] = np.resize(every(dtype)[:24], (4, 6))
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], **more),
            helper.make_node("Cast", ["q"], ["f"], to=NUMBERS[scale.dtype]),
            helper.make_node("DequantizeLinear", ["c", "s", "z"], ["d"], **more),
            helper.make_node("Concat", ["f", "d"], ["y"], axis=0),
        ],
        "g",
        [helper.make_tensor_value_info("x", NUMBERS[scale.dtype], [4, 6])],
        [helper.make_tensor_value_info("y", NUMBERS[scale.dtype], [8, 6])],
        [numpy_helper.from_array(x, n) for n, x in constants.items()],
    )
    imports = [helper.make_opsetid("", 25 if element_bits(dtype) == 2 else 23)]
    return helper.make_model(graph, opset_imports=imports, ir_version=11).SerializeToString()


LAYOUTS: dict[str, tuple[tuple[int, ...], dict[str, int]]] = {
    "of all": ((), {}),
    "by rows": ((4,), {"axis": 0}),
    "by blocks": ((4, 2), {"axis": 1, "block_size": 3}),
}


@device_free
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [d for d in by_name if d not in (BFLOAT16, FLOAT8E8M0)], ids=str)
def test_numbers_are_quantised_as_onnx_and_onnxruntime_do(dtype: np.dtype, layout: str) -> None:
    shape, more = LAYOUTS[layout]
    rng = np.random.default_rng(4)
    x = (rng.normal(size=(4, 6)) * 3).astype(FLOAT)
    x[0, :4] = 1e6, -1e6, 2.5, -0.5
    scale = rng.uniform(0.1, 0.9, shape).astype(FLOAT)
    zero = np.full(shape, 1 if dtype in NARROW_INTEGERS else 0).astype(dtype)
    model = quantised(dtype, scale, zero, **more)
    ours = computed(model, {"x": x})
    theirs = ReferenceEvaluator(onnx.ModelProto.FromString(model)).run(None, {"x": x})[0]
    np.testing.assert_array_equal(ours, theirs)
    session = session_of(model)
    assert (session is None) == (dtype == FLOAT4E2M1)
    if session is not None:
        np.testing.assert_array_equal(ours, session.run(None, {"x": x})[0])


@device_free
def test_a_quotient_has_the_precision_of_its_scale() -> None:
    x = np.linspace(-0.7, 0.7, 24, dtype=FLOAT).reshape(4, 6).astype(BFLOAT16)
    scale, zero = np.array(0.1, BFLOAT16), np.array(1, ml_dtypes.int4)
    ours = computed(quantised(zero.dtype, scale, zero), {"x": x})
    quotient = (x.astype(FLOAT) / scale.astype(FLOAT)).astype(BFLOAT16).astype(FLOAT)
    q = np.clip(np.rint(quotient) + 1, -8, 7)
    d = (np.resize(np.arange(16).astype(ml_dtypes.int4), (4, 6)).astype(FLOAT) - 1) * FLOAT.type(
        scale
    )
    assert same(ours, np.concatenate([q, d]).astype(BFLOAT16)).all()


# --------------------------------------------------------------------------- files
def tensor_of(x: Array, how: str) -> TensorProto:
    tensor = numpy_helper.from_array(x, "c")
    if how == "int32_data":
        raw = np.frombuffer(tensor.raw_data, np.uint16 if x.dtype == BFLOAT16 else np.uint8)
        tensor.ClearField("raw_data")
        tensor.int32_data.extend(raw.tolist())
    return tensor


def with_constant(tensor: TensorProto) -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["y"])],
        "g",
        [],
        [helper.make_empty_tensor_value_info("y")],
        [tensor],
    )
    imports = [helper.make_opsetid("", OPSET_MAX)]
    return helper.make_model(graph, opset_imports=imports, ir_version=11).SerializeToString()


@device_free
@pytest.mark.parametrize("how", ["raw_data", "int32_data"])
@pytest.mark.parametrize("dtype", by_name, ids=str)
def test_constants_are_read_as_they_are_packed(dtype: np.dtype, how: str) -> None:
    for count in (1, 2, 3, 5, 255):
        x = np.resize(every(dtype)[1:], count)
        y = computed(with_constant(tensor_of(x, how)), {})
        assert y.dtype == dtype
        assert np.array_equal(bits_of(y), bits_of(x))


@device_free
@pytest.mark.parametrize("how", ["raw_data", "int32_data"])
def test_packed_data_of_another_length_is_refused(how: str) -> None:
    tensor = tensor_of(np.ones(5, ml_dtypes.int4), how)
    tensor.dims[0] = 7
    with pytest.raises(ModelError, match=r"shape \(7,\).* needs 4 .*has 3"):
        load_model(with_constant(tensor))


@device_free
@pytest.mark.parametrize("dtype", [ml_dtypes.int4, ml_dtypes.uint2, ml_dtypes.bfloat16])
def test_large_constants_stay_in_the_file(tmp_path: Path, dtype: Any) -> None:
    x = np.resize(every(np.dtype(dtype)), 2**19 + 3)
    file = tmp_path / "model.onnx"
    file.write_bytes(with_constant(numpy_helper.from_array(x, "c")))
    with Interpreter.from_file(file) as interpreter:
        (given,) = interpreter.imported.nodes[0].inputs
        assert given is not None
        constant = given.contents
        assert constant is not None
        assert constant.can_rest
        parts = list(constant.parts(30_001, 1))
        assert len(parts) > 9
        assert np.array_equal(bits_of(np.concatenate(parts)), bits_of(x))


# --------------------------------------------------------------------------- operators
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("op_type", [op for op, spec in OPERATORS.items() if spec.moves])
def test_what_only_moves_keeps_every_bit(op_type: str, device: str) -> None:
    backend = targets_on(RUNTIME, device)[0][0].backend
    for seed in range(2):
        for dtype in by_name if device == "cpu" else by_name[:2]:
            call = retyped(op_type, draw_case(op_type, SeededChoose(seed)).call, dtype)
            spec = OPERATORS[op_type]
            case = Case(op_type, call, spec.constant_inputs)
            outcome = run_case(backend, case)
            if outcome is None:
                return  # refused: the engine answers itself
            expected = spec.reference(call.inputs, call.attributes)
            for got, right in zip(outcome.outputs, map(np.asarray, expected), strict=True):
                assert np.array_equal(bits_of(got), bits_of(right.astype(got.dtype)))


def retyped(op_type: str, call: Call, dtype: np.dtype) -> Call:
    """The call with other elements in what it moves."""
    first = call.inputs[0].dtype if op_type != "OneHot" else call.inputs[2].dtype
    constants = OPERATORS[op_type].constant_inputs
    attributes = dict(call.attributes)
    if op_type == "ConstantOfShape":
        return Call(call.inputs, {"value": every(dtype)[3:4]})
    inputs = []
    for i, x in enumerate(call.inputs):
        moved = x is not None and x.dtype == first and i not in constants
        moved = moved and (op_type != "OneHot" or i == 2)
        moved = moved and (i == 0 or op_type in ("Concat", "OneHot", "Pad"))
        inputs.append(np.resize(every(dtype), x.shape) if moved else x)
    if op_type == "Pad" and dtype == FLOAT8E8M0:
        attributes["mode"], inputs = "edge", [inputs[0], np.abs(inputs[1]), None, *inputs[3:]]
    return Call(tuple(inputs), attributes)


def widened() -> list[str]:
    """Operators that ONNX defines on bfloat16 and that compute."""
    found = []
    for op_type, spec in OPERATORS.items():
        if defs.has(op_type) and not spec.moves and op_type not in ("Cast", "BitCast"):
            schema = defs.get_schema(op_type, OPSET_MAX, "")
            allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
            first = next(iter(schema.inputs)).type_str
            if "tensor(bfloat16)" in allowed.get(first, ()):
                found.append(op_type)
    return found


@device_free
@pytest.mark.parametrize("op_type", widened())
def test_operators_compute_bfloat16_in_float_and_round_once(op_type: str) -> None:
    schema = defs.get_schema(op_type, OPSET_MAX, "")
    formals = [f.type_str for f in schema.inputs]
    ran = 0
    for seed in range(40):
        call = draw_case(op_type, SeededChoose(seed)).call
        first = call.inputs[0]
        if first.dtype not in FLOATS or not first.size:
            continue
        narrow, wide = {}, {}
        for i, x in enumerate(call.inputs):
            if x is not None:
                computes = formals[min(i, len(formals) - 1)] == formals[0] or x.dtype in FLOATS
                with np.errstate(all="ignore"):
                    narrow[f"x{i}"] = x.astype(BFLOAT16) if computes else x
                    wide[f"x{i}"] = narrow[f"x{i}"].astype(FLOAT) if computes else x
        names = [f"x{i}" if x is not None else "" for i, x in enumerate(call.inputs)]
        got, expected = (result(op_type, names, given, call.attributes) for given in (narrow, wide))
        if expected.dtype == FLOAT:
            with np.errstate(all="ignore"):
                expected = expected.astype(BFLOAT16)
        assert got.dtype == expected.dtype
        assert same(got, expected).all()
        ran += 1
        if ran == 3:
            return
    assert ran


def result(op_type: str, names: list[str], given: dict[str, Array], attributes: Any) -> Array:
    """The first output; what must be known before the run is constant."""
    spec = OPERATORS[op_type]
    constants = {names[i] for i in spec.constant_inputs if i < len(names)} & set(given)
    schema = defs.get_schema(op_type, OPSET_MAX, "")
    outputs = ["y", "i"] if op_type == "TopK" else ["y"]
    known = {k: v for k, v in attributes.items() if k in schema.attributes}
    graph = helper.make_graph(
        [helper.make_node(op_type, names, outputs, **known)],
        "g",
        [
            helper.make_tensor_value_info(n, NUMBERS[x.dtype], x.shape)
            for n, x in given.items()
            if n not in constants
        ],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(given[n], n) for n in constants],
    )
    imports = [helper.make_opsetid("", OPSET_MAX)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=11).SerializeToString()
    return computed(model, {n: x for n, x in given.items() if n not in constants})


@device_free
def test_what_onnx_does_not_allow_stays_refused() -> None:
    x = np.ones(3, ml_dtypes.float8_e5m2)
    with pytest.raises(UnsupportedError, match="Add: input of dtype float8_e5m2 is not supported"):
        computed(one_node("Add", {"a": x, "b": x}), {"a": x, "b": x})
    x = np.ones(3, BFLOAT16)
    with pytest.raises(UnsupportedError, match="bfloat16"):
        computed(one_node("Relu", {"a": x}, opset=6), {"a": x})


# --------------------------------------------------------------------------- in and out
def chain() -> bytes:
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["m"]),
            helper.make_node("Add", ["m", "x"], ["a"]),
            helper.make_node("Softmax", ["a"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.BFLOAT16, ["n", 8])],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(np.eye(8).astype(BFLOAT16), "w")],
    )
    imports = [helper.make_opsetid("", OPSET_MAX)]
    return helper.make_model(graph, opset_imports=imports, ir_version=11).SerializeToString()


@pytest.mark.parametrize("device", [d for d in DEVICES if d != "cpu"])
@pytest.mark.parametrize("dtype", sorted(FLOATS8, key=str), ids=str)
@pytest.mark.filterwarnings("ignore:invalid value|overflow")
def test_devices_cast_8_bit_floats_as_ml_dtypes_does(dtype: np.dtype, device: str) -> None:
    """All halves become them, by both rules, and all of their codes become floats."""
    halves, codes = every(FLOAT16), every(dtype)
    most = np.array(ml_dtypes.finfo(dtype).max, FLOAT16)
    for saturate, x in ((0, halves), (1, np.clip(halves, -most, most))):
        model = one_node("Cast", {"x": halves}, to=NUMBERS[dtype], saturate=saturate)
        y = computed(model, {"x": halves}, device)
        np.testing.assert_array_equal(y.view(np.uint8), x.astype(dtype).view(np.uint8))
    model = one_node("Cast", {"x": codes}, to=NUMBERS[FLOAT])
    np.testing.assert_array_equal(computed(model, {"x": codes}, device), codes.astype(FLOAT))


@pytest.mark.parametrize("device", DEVICES)
def test_a_model_of_bfloat16_is_verified(device: str) -> None:
    with Interpreter.from_buffer(chain()) as interpreter:
        feeds = random_inputs(interpreter, {"x": (5, 8)})
    assert feeds["x"].dtype == BFLOAT16
    report = verify(chain(), device=device, inputs=feeds, runtime=RUNTIME)
    assert report.exit_code == 0, str(report)
    assert not any(p.fallbacks for p in report.precisions)


@device_free
def test_numbers_and_arrays_go_in_and_come_out_as_ml_dtypes_has_them() -> None:
    with Interpreter.from_buffer(chain()) as interpreter:
        session = interpreter.create_session(shapes={"x": (1, 8)})
        with session:
            session.run({"x": [[0.5] * 8]})
            assert session.read("y").dtype == BFLOAT16
            with pytest.raises(InputError, match=r"astype\(ml_dtypes.bfloat16\)"):
                session.run({"x": np.ones((1, 8), np.float32)})
            with pytest.raises(InputError, match="do not fit into bfloat16"):
                session.run({"x": [[1e39] * 8]})
            with pytest.raises(InputError, match="no DLPack of bfloat16"):
                session.output().__dlpack__()


@device_free
@pytest.mark.parametrize("dtype", by_name, ids=str)
def test_random_inputs_have_every_dtype(dtype: np.dtype) -> None:
    x = np.ones(300, dtype)
    with Interpreter.from_buffer(one_node("Identity", {"x": x})) as interpreter:
        drawn_ = random_inputs(interpreter)["x"]
    assert drawn_.dtype == dtype
    assert len(np.unique(bits_of(drawn_))) > min(2 ** element_bits(dtype) - 1, 3)


@device_free
@pytest.mark.parametrize("dtype", by_name, ids=str)
def test_files_keep_the_bytes(tmp_path: Path, dtype: np.dtype) -> None:
    x = every(dtype)
    model, given, made = (str(tmp_path / n) for n in ("m.onnx", "x.npz", "y.npz"))
    Path(model).write_bytes(one_node("Identity", {"x": x}))
    np.savez(given, x=x.view(f"V{x.itemsize}"))
    assert main(["run", model, "--inputs", given, "--outputs", made, "--device", "cpu"]) == 0
    with np.load(made) as arrays:
        assert np.array_equal(bits_of(arrays["y"].view(dtype)), bits_of(x))


@device_free
@pytest.mark.parametrize("dtype", sorted(NARROW_INTEGERS, key=str), ids=str)
def test_limits_beyond_a_narrow_integer_are_refused(dtype: np.dtype) -> None:
    model = one_node("Clip", {"x": np.ones(3, dtype)}, opset=10, max=2.0)
    with pytest.raises((ModelError, UnsupportedError), match="Clip"):
        Interpreter.from_buffer(model)
