"""Engines that are not ours under judgement: right ones pass, and a wrong node is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from conformance.engines import engine_of
from conformance.engines.engine import Arrays, Engine
from conformance.engines.judged import verify_engine
from conformance.report import (
    NOTHING_VERIFIED,
    OUT_OF_BOUNDS,
    VERIFIED,
    NodeCheck,
    VerifyReport,
)
from engine.errors import InputError
from tests.model_writing import model_bytes, node

pytestmark = pytest.mark.device_free

MODELS = Path(__file__).parent.parent / "fixtures" / "models"
RIGHT = ("tiny_resnet", "tiny_transformer", "tiny_decoder", "tiny_functions", "tiny_mlp_opset7")
Bend = Callable[[onnx.ModelProto], None]


class Bent:
    """onnxruntime on a model that is not quite the one it was given.

    Args:
        unless: a value whose exposure keeps the model as it is, as it turns a fusion off.
    """

    name, setting = "bent", ""

    def __init__(self, bend: Bend, unless: str = "") -> None:
        self._engine = engine_of("onnxruntime", {"optimization": "off"})
        self.version = self._engine.version
        self._bend, self._unless = bend, unless

    def run(self, data: bytes, feeds: Arrays) -> Arrays:
        model = onnx.load_from_string(data)
        if self._unless not in {output.name for output in model.graph.output}:
            self._bend(model)
        return self._engine.run(model.SerializeToString(), feeds)


class Disturbed:
    """onnxruntime, of which one value is another."""

    name, setting = "disturbed", ""

    def __init__(self, value: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
        self._engine = engine_of("onnxruntime", {"optimization": "off"})
        self.version = self._engine.version
        self._value, self._change = value, change

    def run(self, data: bytes, feeds: Arrays) -> Arrays:
        found = dict(self._engine.run(data, feeds))
        if self._value in found:
            found[self._value] = self._change(found[self._value])
        return found


def node_of(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if name in node.output)


def another_operator(model: onnx.ModelProto) -> None:
    node_of(model, "div_52").op_type = "Mul"


def another_attribute(model: onnx.ModelProto) -> None:
    node_of(model, "softmax_54").attribute[0].i = 1


def another_operand(model: onnx.ModelProto) -> None:
    node_of(model, "matmul_50").input[0] = "transpose_49"


def a_smaller_constant(model: onnx.ModelProto) -> None:
    (constant,) = (t for t in model.graph.initializer if t.name == "c_81")
    changed = onnx.numpy_helper.to_array(constant) * np.float32(1 + 1e-5)
    constant.CopyFrom(onnx.numpy_helper.from_array(changed, "c_81"))


def failures(engine: Engine, model: str = "tiny_transformer") -> list[NodeCheck]:
    report = verify_engine(MODELS / f"{model}.onnx", engine)
    assert report.exit_code == OUT_OF_BOUNDS
    return report.precisions[0].failures


@pytest.mark.parametrize("level", ["off", "all"])
@pytest.mark.parametrize("model", RIGHT)
def test_onnxruntime_is_right_about_small_models(model: str, level: str) -> None:
    engine = engine_of("onnxruntime", {"optimization": level})
    report = verify_engine(MODELS / f"{model}.onnx", engine)
    assert report.exit_code == VERIFIED, str(report)
    (found,) = report.precisions
    assert found.verified >= len(onnx.load(MODELS / f"{model}.onnx").graph.node) // 2
    assert found.fallbacks == ()


@pytest.mark.parametrize(
    ("bend", "output"),
    [
        (another_operator, "div_52"),
        (another_attribute, "softmax_54"),
        (another_operand, "matmul_50"),
        (a_smaller_constant, "div_82"),
    ],
)
def test_the_node_that_is_wrong_is_the_only_one_named(bend: Bend, output: str) -> None:
    assert [check.output for check in failures(Bent(bend))] == [output]


def test_what_is_wrong_as_deployed_alone_is_found_by_exposing_halves() -> None:
    report = verify_engine(MODELS / "tiny_transformer.onnx", Bent(another_operator, "matmul_50"))
    (found,) = report.precisions
    assert found.failures == []
    (bug,) = found.context_bugs
    assert "as deployed, output 'logits'" in bug
    assert bug.endswith("until 'matmul_50' is exposed")
    assert report.exit_code == OUT_OF_BOUNDS


def test_an_approximation_is_told_from_an_error() -> None:
    def off_by(distance: float) -> Engine:
        return Disturbed("sigmoid_37", lambda y: y + np.float32(distance))

    near = verify_engine(MODELS / "tiny_decoder.onnx", off_by(4e-7))
    assert near.exit_code == VERIFIED
    readings = {c.output: c.reading for c in near.precisions[0].checks}
    assert readings["sigmoid_37"] == "approximated"
    assert failures(off_by(4e-6), "tiny_decoder")[0].output == "sigmoid_37"


def test_what_is_no_function_of_such_a_kind_is_never_approximated() -> None:
    engine = Disturbed("matmul_36", lambda y: y * np.float32(1 + 1e-4))
    assert "matmul_36" in [check.output for check in failures(engine, "tiny_decoder")]


def test_a_value_of_another_dtype_or_shape_is_wrong() -> None:
    for change in (lambda y: y.astype(np.float64), lambda y: y[..., :1]):
        found = failures(Disturbed("sigmoid_63", change), "tiny_decoder")
        assert found[0].output == "sigmoid_63"


def test_a_model_that_the_engine_does_not_run_is_an_error_with_its_words() -> None:
    with pytest.raises(InputError, match=r"onnxruntime .* does not run the model: .*Pad reflect"):
        verify_engine(
            MODELS / "tiny_audio.onnx", engine_of("onnxruntime", {}), shapes={"signal": (1, 16)}
        )


OVERFLOWING = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1, 2] x) => (float[1, 1] y) <float[2, 1] w = {3e38, -3e38}> { %s }"""


@pytest.mark.parametrize(
    ("body", "scale", "code", "undecided"),
    [
        ("y = MatMul (x, w)", 1.0, NOTHING_VERIFIED, ["MatMul_y"]),
        ("a = Mul (x, x)\nb = Sub (a, a)\ny = ReduceSum (b)", 1e30, VERIFIED, []),
    ],
)
def test_what_an_overflow_on_the_way_decides_is_not_judged_and_nobody_is_blamed(
    body: str, scale: float, code: int, undecided: list[str]
) -> None:
    model = onnx.parser.parse_model(OVERFLOWING % body).SerializeToString()
    feeds = {"x": np.array([[3, 2]], np.float32) * np.float32(scale)}
    report = verify_engine(model, engine_of("onnxruntime", {}), inputs=feeds)
    (found,) = report.precisions
    assert (report.exit_code, found.context_bugs) == (code, ())
    assert [c.title for c in found.checks if c.is_undecided] == [f"MatMul '{n}'" for n in undecided]
    (sentence,) = found.unjudged
    assert "output 'y'" in sentence
    text = " ".join(str(report).split())
    assert f"not judged: {sentence}" in text
    assert ("not judged: MatMul 'MatMul_y': an intermediate may overflow" in text) == (
        undecided != []
    )
    assert "context bug" not in text


# ------------------------------------------------------------------------- readings
class Replaced:
    """An engine that gives what a function makes of the model's inputs."""

    name, setting, version = "replaced", "", "1"

    def __init__(self, outputs: Callable[[Arrays], Arrays]) -> None:
        self._outputs = outputs

    def run(self, data: bytes, feeds: Arrays) -> Arrays:
        return self._outputs(feeds)


def one_reading(report: VerifyReport) -> str:
    (check,) = report.precisions[0].checks
    return check.reading if report.exit_code == VERIFIED else str(check.verdict.name)


def normalised(x: np.ndarray, formula: str, axes: tuple[int, ...]) -> np.ndarray:
    """With scale 1 and shift 0.5, in float."""
    x, one = np.asarray(x, np.float32), np.float32(1)
    mean = x.mean(axes, keepdims=True, dtype=np.float32)
    variance = ((x - mean) ** 2).mean(axes, keepdims=True, dtype=np.float32)
    if formula == "variance as a difference":
        variance = (x * x).mean(axes, keepdims=True, dtype=np.float32) - mean * mean
    s = one / np.sqrt(variance + np.float32(1e-5))
    shift = np.float32(0.5)
    y = x * s + (shift - mean * s) if formula == "as scale and shift" else (x - mean) * s + shift
    return np.asarray(y, np.float32)


@pytest.mark.parametrize(
    ("operator", "attributes", "axes", "formula"),
    [
        ("InstanceNormalization", {}, (2,), "as scale and shift"),
        ("InstanceNormalization", {}, (2,), "variance as a difference"),
        ("GroupNormalization", {"num_groups": 1}, (1, 2), "variance as a difference"),
        ("LayerNormalization", {"axis": 1}, (1, 2), "variance as a difference"),
    ],
)
def test_a_normalisation_by_another_formula_is_told_from_a_wrong_one(
    operator: str, attributes: dict, axes: tuple[int, ...], formula: str
) -> None:
    parameters = (4, 64) if operator == "LayerNormalization" else (4,)
    weights = {"s": np.ones(parameters, np.float32), "b": np.full(parameters, 0.5, np.float32)}
    nodes = [node(operator, "x s b", "y", epsilon=1e-5, **attributes)]
    model = model_bytes(nodes, {"x": [2, 4, 64]}, ["y"], weights, opset=21)
    x = np.random.default_rng(0).standard_normal((2, 4, 64)).astype(np.float32) * 0.1 + 7

    def judged(off: float) -> str:
        def outputs(feeds: Arrays) -> Arrays:
            return {"y": normalised(feeds["x"], formula, axes) + np.float32(off)}

        return one_reading(verify_engine(model, Replaced(outputs), inputs={"x": x}))

    assert judged(0) == formula
    assert judged(0.25) == "FAIL"


def test_half_that_is_kept_in_float_is_told_from_a_wrong_node() -> None:
    nodes = [node("Softsign", "x", "a"), node("ReduceSum", "a axes", "y", keepdims=0)]
    weights = {"axes": np.array([0], np.int64)}
    model = model_bytes(nodes, {"x": [64]}, ["a", "y"], weights, dtype=onnx.TensorProto.FLOAT16)
    x = np.linspace(-3, 3.1, 64).astype(np.float16)
    kept = x.astype(np.float64) / (1 + np.abs(x.astype(np.float64)))

    def judged(y: float) -> str:
        half = {"a": kept.astype(np.float16), "y": np.array(y, np.float16)}
        report = verify_engine(model, Replaced(lambda _: half), inputs={"x": x})
        return report.precisions[0].checks[-1].reading or f"exit code {report.exit_code}"

    exact = float(kept.astype(np.float16).astype(np.float64).sum())
    assert abs(kept.sum() - exact) > 2**-11 * exact
    assert judged(exact) == f"exit code {VERIFIED}"
    assert judged(kept.sum()) == "half kept in float"
    assert judged(kept.sum() + 8 * abs(kept.sum() - exact)) == f"exit code {OUT_OF_BOUNDS}"


def test_what_follows_a_function_that_never_falls_is_bounded_when_it_is_fused() -> None:
    nodes = [node("Neg", "x", "a"), node("Sinh", "a", "y")]
    model = model_bytes(nodes, {"x": [3]}, ["a", "y"])
    x = np.array([-10.3, 1.7, 4.1], np.float32)

    def judged(factor: float) -> str:
        def outputs(feeds: Arrays) -> Arrays:
            a = -feeds["x"]
            shown = a + np.spacing(a)  # what was reported is not what Sinh read
            return {"a": shown, "y": np.sinh(np.float64(a)).astype(np.float32) * np.float32(factor)}

        report = verify_engine(model, Replaced(outputs), inputs={"x": x})
        checks = {c.output: c for c in report.precisions[0].checks}
        return checks["y"].reading or checks["y"].verdict.name

    assert judged(1) == "fused"
    assert judged(1 + 2**-16) == "FAIL"


def test_an_index_that_follows_from_right_nodes_is_right_as_deployed() -> None:
    """Two elements that rounding makes equal: which is the largest, no float64 run can tell."""
    nodes = [node("Add", "x b", "a"), node("ArgMax", "a", "y", axis=0, keepdims=0)]
    model = model_bytes(nodes, {"x": [2]}, ["y"], {"b": np.array(2**20, np.float32)})
    x = np.array([0.0, 2**-6], np.float32)

    def engine(y: int) -> Engine:
        a = x + np.float32(2**20)
        return Replaced(lambda _: {"a": a, "y": np.array(y)})

    assert verify_engine(model, engine(0), inputs={"x": x}).exit_code == VERIFIED


def test_a_normalisation_that_is_spelled_out_may_be_computed_as_one() -> None:
    """What is reported of its mean and deviation is not what the quotient was made of."""
    nodes = [
        node("ReduceMean", "x", "m", axes=[-1]),
        node("Sub", "x m", "d"),
        node("Pow", "d two", "q"),
        node("ReduceMean", "q", "v", axes=[-1]),
        node("Add", "v epsilon", "e"),
        node("Sqrt", "e", "s"),
        node("Div", "d s", "y"),
    ]
    constants = {"two": np.array(2, np.float32), "epsilon": np.array(1e-5, np.float32)}
    model = model_bytes(nodes, {"x": [3, 64]}, ["y"], constants)
    x = np.random.default_rng(0).standard_normal((3, 64)).astype(np.float32) + 3
    wide = x.astype(np.float64)

    def judged(roundings: int) -> str:
        mean = wide.mean(-1, keepdims=True) * (1 + roundings * 2**-24)
        y = (wide - mean) / np.sqrt(wide.var(-1, keepdims=True) + 1e-5)

        def outputs(feeds: Arrays) -> Arrays:
            m = feeds["x"].mean(-1, keepdims=True)
            d = feeds["x"] - m
            q = d * d
            v = q.mean(-1, keepdims=True)
            e = v + np.float32(1e-5)
            shown = {"m": m, "d": d, "q": q, "v": v, "e": e, "s": np.sqrt(e)}
            return {**shown, "y": y.astype(np.float32)}

        report = verify_engine(model, Replaced(outputs), inputs={"x": x})
        (check,) = (c for c in report.precisions[0].checks if c.output == "y")
        return check.reading or check.verdict.name

    assert judged(30) == "fused normalisation"  # a sum of 64 may be off by as many
    assert judged(400) == "FAIL"
