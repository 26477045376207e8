"""Every pass keeps what a model computes, at every dtype that it meets, and not by our word alone.

Integers stand at their ends, so that they wrap, and must come out equal. Floats are compared with
what onnx's own evaluator makes of the same model in float64, at the roundoff of their dtype: a
double that passed through a float on its way shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, NodeProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import parallax as px
from engine.onnx_import import load_model
from engine.passes import bind_passes, bind_shapes, load_passes, run_passes
from tests.graph_reference import run_reference
from tests.model_writing import node

pytestmark = pytest.mark.device_free

Arrays = Mapping[str, np.ndarray]
FLOATS = ("f2", "f4", "f8")
PRODUCTS = ("i4", "i8", "u4", "u8")
"""Integers that ONNX multiplies in Gemm and MatMul."""
INTEGERS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
ROUNDOFFS = 16
"""How many may add up in these models, at the size of the largest number."""


@dataclass(frozen=True)
class Case:
    """A model of one dtype; `becomes`: operators left after all passes (None: not asked)."""

    nodes: Sequence[NodeProto]
    inputs: Arrays
    constants: Arrays = field(default_factory=dict)
    becomes: Sequence[str] | None = None

    def model(self, *, wide: bool = False) -> ModelProto:
        """`wide`: floats as float64."""
        change = _wide if wide else (lambda a: a)
        out = change(next(iter(self.inputs.values()))).dtype
        graph = helper.make_graph(
            list(self.nodes),
            "case",
            [_info(n, change(a).dtype, a.shape) for n, a in self.inputs.items()],
            [_info("y", out, None)],
            [numpy_helper.from_array(change(a), n) for n, a in self.constants.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _info(name: str, dtype: np.dtype, shape: Sequence[int] | None) -> object:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), shape)


def _wide(a: np.ndarray) -> np.ndarray:
    return a.astype(np.float64) if a.dtype.kind == "f" else a


def drawn(dtype: str, *shape: int) -> np.ndarray:
    """Floats of both signs; integers at their ends and anywhere; booleans."""
    rng = np.random.default_rng(len(shape) + sum(shape))
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return np.asarray(rng.uniform(-1, 1, shape), kind)
    if kind.kind == "b":
        return np.asarray(rng.random(shape) < 0.5)
    limits = np.iinfo(kind)
    any_of = rng.integers(limits.min, limits.max, shape, kind, endpoint=True)
    ends = rng.choice(np.array([limits.min, limits.max, 1], kind), shape)
    return np.where(rng.random(shape) < 0.5, any_of, ends)


def small(dtype: str, *shape: int) -> np.ndarray:
    """Whole numbers whose products the evaluator, which takes Gemm through float64, knows."""
    rng = np.random.default_rng(sum(shape))
    return rng.integers(0, 5, shape).astype(dtype)


# --------------------------------------------------------------------------- models of passes
def added_to_gemm(dtype: str) -> Case:
    x, w = small(dtype, 3, 4), small(dtype, 4, 5)
    nodes = [node("Gemm", "x w", "g"), node("Add", "g c", "y")]
    floats = np.dtype(dtype).kind == "f"
    return Case(
        nodes,
        {"x": x},
        {"w": w, "c": drawn(dtype, 5)},
        ["Gemm"] if floats else ["Gemm", "Add"],
    )


def added_to_matmul(dtype: str) -> Case:
    nodes = [node("MatMul", "x w", "g"), node("Add", "g c", "y")]
    floats = np.dtype(dtype).kind == "f"
    return Case(
        nodes,
        {"x": drawn(dtype, 3, 4)},
        {"w": drawn(dtype, 4, 5), "c": drawn(dtype, 5)},
        ["Gemm"] if floats else ["MatMul", "Add"],
    )


def scaled_gemm(dtype: str) -> Case:
    x, w = small(dtype, 3, 4), small(dtype, 4, 5)
    nodes = [node("Gemm", "x w b", "g"), node("Mul", "g c", "y")]
    floats = np.dtype(dtype).kind == "f"
    return Case(
        nodes,
        {"x": x},
        {"w": w, "b": small(dtype, 5), "c": drawn(dtype, 5)},
        ["Gemm"] if floats else ["Gemm", "Mul"],
    )


def halved_gemm(dtype: str) -> Case:
    """Integers lose their halves before they are doubled."""
    nodes = [node("Gemm", "x w b", "g", alpha=0.5, beta=1.5), node("Mul", "g c", "y")]
    constants = {"w": small(dtype, 4, 5), "b": small(dtype, 5), "c": np.full(5, 2, dtype)}
    return Case(nodes, {"x": small(dtype, 3, 4)}, constants)


def normalised(core: str, size: float) -> Callable[[str], Case]:
    """BatchNormalization after a core, epsilon by its default and larger than the variance."""

    def case(dtype: str) -> Case:
        image = core != "Gemm"
        x = drawn(dtype, 2, 3, 4, 4) if image else drawn(dtype, 2, 3)
        w = drawn(dtype, 3, 3, 1, 2) if image else drawn(dtype, 3, 3)
        constants = {"w": w, **{n: drawn(dtype, 3) for n in "sbm"}}
        constants["s"] = (constants["s"] * size).astype(dtype)
        constants["v"] = (np.abs(drawn(dtype, 3)) * 1e-6).astype(dtype)
        nodes = [node(core, "x w", "g"), node("BatchNormalization", "g s b m v", "y")]
        return Case(nodes, {"x": x}, constants, [core] if size == 1 else None)

    return case


def scaled_norm(dtype: str) -> Case:
    nodes = [
        node("BatchNormalization", "x s b m v", "n"),
        node("Mul", "n c", "p"),
        node("Add", "p d", "y"),
    ]
    constants = {n: drawn(dtype, 3) for n in "sbm"}
    constants |= {n: drawn(dtype, 3, 1) for n in "cd"} | {"v": np.abs(drawn(dtype, 3))}
    return Case(nodes, {"x": drawn(dtype, 2, 3, 4)}, constants, ["BatchNormalization"])


def constants_alone(op: str, arity: int = 2, **attributes: object) -> Callable[[str], Case]:
    """A node of constants, read by one that is not."""

    def case(dtype: str) -> Case:
        names = [f"c{i}" for i in range(arity)]
        axis = {"ReduceSum": {"a": np.array([0])}, "CumSum": {"a": np.array(0)}}.get(op, {})
        nodes = [node(op, " ".join([*names, *axis]), "k", **attributes)]
        nodes.append(node("Concat", "x k", "y", axis=0))
        constants = {n: drawn(dtype, 4, i + 2)[:, :2] for i, n in enumerate(names)} | axis
        return Case(nodes, {"x": drawn(dtype, 2, 2)}, constants, ["Concat"])

    return case


def identities(dtype: str) -> Case:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [
        node("Identity", "x", "a"),
        node("Cast", "a", "b", to=kind),
        node("Transpose", "b", "c", perm=[0, 1]),
        node("Concat", "c", "d", axis=0),
        node("Reshape", "d s", "e"),
        node("Expand", "e s", "f"),
        node("Concat", "f f", "y", axis=1),
    ]
    return Case(nodes, {"x": drawn(dtype, 4, 3)}, {"s": np.array([4, 3])}, ["Concat"])


def ended(core: str, *end: object, **attributes: object) -> Callable[[str], Case]:
    """core + residual + activation, limits that only a double holds among them."""
    op, limits = str(end[0]), end[1:]

    def case(dtype: str) -> Case:
        image = core == "Conv"
        x = drawn(dtype, 1, 3, 4, 4) if image else drawn(dtype, 3, 3)
        w = drawn(dtype, 3, 3, 1, 1) if image else drawn(dtype, 3, 3)
        ends = {f"l{i}": np.array(v, dtype) for i, v in enumerate(limits)}
        nodes = [
            node(core, "x w", "g"),
            node("Add", "g r", "s"),
            node(op, " ".join(["s", *ends]), "y", **attributes),
        ]
        residual = drawn(dtype, *x.shape)[::-1].copy()
        return Case(nodes, {"x": x, "r": residual}, {"w": w, **ends})

    return case


def hard_swish(last: str, number: float) -> Callable[[str], Case]:
    def case(dtype: str) -> Case:
        nodes = [
            node("Add", "x three", "a"),
            node("Clip", "a zero six", "b"),
            node("Mul", "x b", "c"),
            node(last, "c last", "y"),
        ]
        numbers = {"three": 3.0, "zero": 0.0, "six": 6.0, "last": number}
        x = (4 * drawn(dtype, 3, 5)).astype(dtype)
        return Case(nodes, {"x": x}, {n: np.array(v, dtype) for n, v in numbers.items()})

    return case


def layer_norm(epsilon: float) -> Callable[[str], Case]:
    def case(dtype: str) -> Case:
        nodes = [
            node("ReduceMean", "x axes", "m"),
            node("Sub", "x m", "d"),
            node("Mul", "d d", "q"),
            node("ReduceMean", "q axes", "v"),
            node("Add", "v e", "w"),
            node("Sqrt", "w", "t"),
            node("Div", "d t", "r"),
            node("Mul", "r s", "g"),
            node("Add", "g b", "y"),
        ]
        constants = {"axes": np.array([-1]), "s": drawn(dtype, 5), "b": drawn(dtype, 5)}
        return Case(nodes, {"x": drawn(dtype, 3, 5)}, {**constants, "e": np.array(epsilon, dtype)})

    return case


MODELS: dict[str, tuple[Callable[[str], Case], Sequence[str]]] = {
    "fold_bias of a Gemm": (added_to_gemm, (*FLOATS, *PRODUCTS)),
    "fold_bias of a MatMul": (added_to_matmul, (*FLOATS, *PRODUCTS)),
    "fold_scale of a Gemm": (scaled_gemm, (*FLOATS, *PRODUCTS)),
    "fold_scale of a halved Gemm": (halved_gemm, (*FLOATS, *PRODUCTS)),
    "fold_scale of a BatchNormalization": (scaled_norm, FLOATS),
    **{f"fold_batch_norm of a {c}": (normalised(c, 1), FLOATS) for c in ("Conv", "Gemm")},
    "fold_batch_norm of halves too small": (normalised("Conv", 2.0**-14), FLOATS),
    **{
        f"fold_constants of {op}": (constants_alone(op), (*FLOATS, "i4", "i8", "u4", "u8"))
        for op in ("Add", "Sub", "Mul", "Max", "Min")
    },
    "fold_constants of Neg": (constants_alone("Neg", 1), (*FLOATS, "i1", "i2", "i4", "i8")),
    "fold_constants of Abs": (constants_alone("Abs", 1), (*FLOATS, *INTEGERS)),
    "fold_constants of ReduceSum": (constants_alone("ReduceSum", 1), (*FLOATS, *PRODUCTS)),
    "fold_constants of CumSum": (constants_alone("CumSum", 1), (*FLOATS, "i4", "i8")),
    "fold_constants of Concat": (constants_alone("Concat", axis=0), (*FLOATS, *INTEGERS, "?")),
    "fold_constants of Transpose": (
        constants_alone("Transpose", 1, perm=[0, 1]),
        (*FLOATS, *INTEGERS, "?"),
    ),
    "remove_identities": (identities, (*FLOATS, *INTEGERS, "?")),
    **{
        f"fuse_epilogue {core}+{end[0]}{end[1:] or ''}": (ended(core, *end), FLOATS)
        for core in ("Conv", "Gemm", "MatMul")
        for end in (
            *(("Relu",), ("LeakyRelu",), ("HardSigmoid",), ("Sigmoid",)),
            *(("Clip", -0.5, 0.25), ("Clip", -0.1, 0.3)),
        )
    },
    **{
        f"fuse_epilogue {core}+HardSwish": (ended(core, "HardSwish"), ("f2", "f4"))
        for core in ("Conv", "Gemm", "MatMul")
    },
    "fuse_epilogue beyond float": (ended("Conv", "Clip", 1e-39, 1e39), ("f8",)),
    "fuse_epilogue of integers": (ended("MatMul", "Clip", 3, 100), PRODUCTS),
    "fuse_hard_swish by Div": (hard_swish("Div", 6.0), FLOATS),
    "fuse_hard_swish by 1/6": (hard_swish("Mul", 1 / 6), FLOATS),
    "fuse_hard_swish by the float 1/6": (hard_swish("Mul", float(np.float32(1 / 6))), FLOATS),
    "fuse_layer_norm": (layer_norm(2.0**-10), FLOATS),
    "fuse_layer_norm with an epsilon of its dtype": (layer_norm(1e-4), FLOATS),
}
"""By pass: a model, and the dtypes that it may have. (Of doubles, HardSwish has no witness: others
take its 1/6 through a float attribute.)"""
ONNXRUNTIME_DIFFERS = {"fold_constants of ReduceSum at int64": "it adds up int64 in double"}
CASES = [
    pytest.param(make(dtype), id=f"{name} at {np.dtype(dtype).name}")
    for name, (make, dtypes) in MODELS.items()
    for dtype in dtypes
]
every_case = pytest.mark.parametrize("case", CASES)


def of_the_session(case: Case) -> np.ndarray:
    """The CPU backend, after all passes."""
    data = case.model().SerializeToString()
    with px.Interpreter.from_buffer(data).create_session() as session:
        session.run(dict(case.inputs))
        return np.array(session.read("y"))


def of_the_evaluator(case: Case) -> np.ndarray:
    with np.errstate(all="ignore"):
        feeds = {n: _wide(a) for n, a in case.inputs.items()}
        return np.asarray(ReferenceEvaluator(case.model(wide=True)).run(None, feeds)[0])


def of_onnxruntime(case: Case) -> np.ndarray | None:
    """Without optimisations of its own; None where it has no kernel."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    data, providers = case.model().SerializeToString(), ["CPUExecutionProvider"]
    try:
        session = onnxruntime.InferenceSession(data, options, providers)
    except Exception as error:  # its own classes, without a common base of theirs
        if "NOT_IMPLEMENTED" not in str(error):
            raise
        return None
    return np.asarray(session.run(None, dict(case.inputs))[0])


def assert_same(case: Case, got: np.ndarray, want: np.ndarray, roundoffs: float) -> None:
    assert got.shape == want.shape
    dtype = next(iter(case.inputs.values())).dtype
    if dtype.kind != "f":
        np.testing.assert_array_equal(got, want)
        return
    arrays = (*case.inputs.values(), *case.constants.values(), want)
    sizes = [np.abs(a.astype(np.float64)) for a in arrays]
    largest = max(float(np.max(a[a < 1e30], initial=0)) for a in sizes)
    atol = roundoffs * float(np.finfo(dtype).eps) / 2 * largest
    np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), rtol=0, atol=atol)


@every_case
def test_after_all_passes_a_model_computes_what_onnx_does(case: Case) -> None:
    assert_same(case, of_the_session(case), of_the_evaluator(case), ROUNDOFFS)


@every_case
def test_onnxruntime_computes_the_same_where_it_has_kernels(
    case: Case, request: pytest.FixtureRequest
) -> None:
    want = of_onnxruntime(case)
    if want is None:
        pytest.skip("onnxruntime has no kernel for it")
    if request.node.callspec.id in ONNXRUNTIME_DIFFERS:
        with pytest.raises(AssertionError):
            assert_same(case, of_the_session(case), want, 2 * ROUNDOFFS)
    else:
        assert_same(case, of_the_session(case), want, 2 * ROUNDOFFS)


@every_case
def test_the_graph_means_the_same_before_and_after(case: Case) -> None:
    before = load_model(case.model().SerializeToString())
    after = before.copy()
    run_passes(after, load_passes())
    after = bind_shapes(after, {})
    run_passes(after, bind_passes())
    if case.becomes is not None:
        assert [n.op_type for n in after.nodes] == case.becomes
    got, want = (run_reference(g, case.inputs)["y"] for g in (after, before))
    assert_same(case, got, want, ROUNDOFFS)


def test_integers_of_gemm_wrap_beyond_what_float64_holds() -> None:
    w = np.array([[2**62 + 1, -1], [2**62 + 1, 3]])
    nodes = [node("Gemm", "x w c", "y", alpha=3.0, beta=5.0)]
    case = Case(nodes, {"x": np.array([[2, 3]])}, {"w": w, "c": np.array([2**60 + 1, -(2**63)])})
    exact = [3 * (2 * int(a) + 3 * int(b)) + 5 * int(c) for a, b, c in zip(*w, case.constants["c"])]
    want = [[(v + 2**63) % 2**64 - 2**63 for v in exact]]
    assert of_the_session(case).tolist() == want
    imported = load_model(case.model().SerializeToString())
    assert run_reference(imported, case.inputs)["y"].tolist() == want
