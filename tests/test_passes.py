"""Passes: the graph computes the same before and after, and takes the promised form."""

from __future__ import annotations

import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from engine.errors import GraphError, InputError, ShapeError
from engine.interpreter import Interpreter
from engine.ir.graph import Graph
from engine.ir.verify import verify
from engine.onnx_import import load_model
from engine.ops.compose import epilogue_of
from engine.passes import (
    Inferences,
    Pass,
    base,
    bind_passes,
    bind_shapes,
    bind_values,
    evaluate,
    free_dimensions,
    load_passes,
    run_passes,
)
from engine.passes import infer_shapes as inference
from engine.passes.infer_shapes import infer_shapes
from fixtures.models.corpus import CACHE, by_name
from tests.graph_reference import LIGHT_MODELS, SMALL_MODELS, model_path, run_reference
from tests.model_writing import model, node

pytestmark = pytest.mark.device_free

RNG = np.random.default_rng(1)
FOLDED_TOLERANCE = 1e-5
"""Folded weights are rounded once to float32, relative to the largest output."""


def values(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def imported(data: onnx.ModelProto) -> Graph:
    return load_model(data.SerializeToString())


def optimised(graph: Graph, shapes: dict, keep: tuple[str, ...] | str = ()) -> Graph:
    loaded = graph.copy()
    run_passes(loaded, load_passes(keep))
    bound = bind_shapes(loaded, shapes)
    run_passes(bound, bind_passes(keep))
    return bound


def assert_same_results(
    before: Graph, after: Graph, feeds: dict[str, np.ndarray], tolerance: float
) -> None:
    want, got = run_reference(before, feeds), run_reference(after, feeds)
    assert list(got) == list(want)
    for name, expected in want.items():
        assert got[name].shape == expected.shape
        largest = float(np.max(np.abs(expected), initial=0.0)) or 1.0
        np.testing.assert_allclose(got[name], expected, rtol=0, atol=tolerance * largest)


@pytest.mark.parametrize("name", SMALL_MODELS)
@pytest.mark.parametrize("which", [0, 1])
def test_all_passes_together_keep_what_a_model_computes(name: str, which: int) -> None:
    graph, feeds = load_model(model_path(name)), by_name(name).feeds(3, which)
    after = optimised(graph, {k: v.shape for k, v in feeds.items()})
    assert len(after.nodes) < len(graph.nodes)
    assert_same_results(graph, after, feeds, FOLDED_TOLERANCE)


@pytest.mark.parametrize("name", LIGHT_MODELS)
def test_light_models_bind_quickly_and_keep_their_output_shape(name: str) -> None:
    start = time.process_time()
    graph = load_model(model_path(name))
    loaded = time.process_time()
    bound = optimised(graph, {})
    assert time.process_time() - loaded < 50 * (loaded - start), "loading is the yardstick"
    declared = onnx.load(model_path(name)).graph.output[0].type.tensor_type.shape.dim
    assert bound.outputs[0].known_type.dims == tuple(d.dim_value for d in declared)


def batch_norm_parameters(channels: int, variance: float) -> dict[str, np.ndarray]:
    spread = np.abs(values(channels)) + 0.5
    return {
        "scale": values(channels),
        "shift": values(channels),
        "mean": values(channels),
        "var": (spread * variance).astype(np.float32),
    }


@pytest.mark.parametrize("variance", [1e-3, 1.0, 1e8])
@pytest.mark.parametrize(
    "core", ["Conv", "Conv group", "ConvTranspose", "ConvTranspose group", "Gemm"]
)
@pytest.mark.parametrize("bias", [True, False])
def test_batch_norm_folds_into_the_linear_node_before_it(
    core: str, variance: float, bias: bool
) -> None:
    group = 2 if core.endswith("group") else 1
    op = core.split()[0]
    x, w, channels = {
        "Conv": (values(2, 4, 5, 5), values(6, 4 // group, 3, 3), 6),
        "ConvTranspose": (values(2, 4, 5, 5), values(4, 6 // group, 3, 3), 6),
        "Gemm": (values(3, 4), values(6, 4), 6),
    }[op]
    attributes = {"alpha": 0.5, "beta": 2.0, "transB": 1} if op == "Gemm" else {"group": group}
    constants = {"w": w, **batch_norm_parameters(channels, variance)}
    if bias:
        constants["b"] = values(channels)
    nodes = [
        node(op, "x w b" if bias else "x w", "c", **attributes),
        node("BatchNormalization", "c scale shift mean var", "y", epsilon=1e-3),
    ]
    before = imported(model(nodes, {"x": x.shape}, ["y"], constants))
    after = optimised(before, {})
    assert [n.op_type for n in after.nodes] == [op]
    assert after.outputs[0].name == "y"
    assert_same_results(before, after, {"x": x}, FOLDED_TOLERANCE)


SCALED_SUMS = model(
    [
        node("Cast", "x", "a", to=TensorProto.UINT8),
        node("MatMulInteger", "a w", "sums"),
        node("Cast", "sums", "floats", to=TensorProto.FLOAT),
        node("Mul", "s t", "scale"),
        node("Mul", "scale floats", "y"),
    ],
    {"x": (2, 300), "s": (), "t": (5,)},
    ["y"],
    {"w": np.full((300, 5), 127, np.int8)},
)


def test_integer_sums_are_scaled_in_double_which_half_does_not_stand_for() -> None:
    graph = imported(SCALED_SUMS)
    after, kept = optimised(graph, {}), optimised(graph, {}, ("floats", "scale"))
    last = after.outputs[0].producer
    assert last is not None
    assert last.op_type == "Cast"
    between = {v.name for n in after.nodes for v in n.outputs if v.known_type.dtype == np.float32}
    assert between == {"y"}
    assert {"floats", "scale"} <= {v.name for v in kept.values()}
    feeds = {
        "x": np.full((2, 300), 255, np.float32),
        "s": np.float32(1e-3),
        "t": np.float32([1e-5] * 5),
    }
    assert_same_results(graph, after, feeds, 2.0**-24)  # the last Cast rounds


def test_other_integers_are_scaled_as_the_model_says() -> None:
    nodes = [
        node("Cast", "x", "i", to=TensorProto.INT32),
        node("Cast", "i", "f", to=TensorProto.FLOAT),
        node("Mul", "f f", "y"),
    ]
    after = optimised(imported(model(nodes, {"x": (2, 3)}, ["y"])), {})
    assert [n.op_type for n in after.nodes] == ["Cast", "Cast", "Mul"]


def test_batch_norm_stays_where_the_convolution_is_read_twice() -> None:
    constants = {"w": values(3, 3, 1, 1), **batch_norm_parameters(3, 1.0)}
    nodes = [
        node("Conv", "x w", "c"),
        node("BatchNormalization", "c scale shift mean var", "n"),
        node("Add", "c n", "y"),
    ]
    before = imported(model(nodes, {"x": (1, 3, 2, 2)}, ["y"], constants))
    after = optimised(before, {})
    assert "BatchNormalization" in [n.op_type for n in after.nodes]
    assert_same_results(before, after, {"x": values(1, 3, 2, 2)}, FOLDED_TOLERANCE)


@pytest.mark.parametrize(("dtype", "left"), [("f2", 2), ("f4", 1)])
def test_batch_norm_stays_where_halves_would_lose_their_digits(dtype: str, left: int) -> None:
    constants = {
        "w": np.array([1, 1.5, 1.75], dtype).reshape(1, 3, 1, 1),
        "scale": np.array([2.0**-20], dtype),
        **{n: np.zeros(1, dtype) for n in ("shift", "mean")},
        "var": np.ones(1, dtype),
    }
    nodes = [node("Conv", "x w", "c"), node("BatchNormalization", "c scale shift mean var", "y")]
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    before = imported(model(nodes, {"x": (1, 3, 1, 1)}, ["y"], constants, dtype=kind))
    after = optimised(before, {})
    assert len(after.nodes) == left
    x = np.array([1, -2, 4], dtype).reshape(1, 3, 1, 1)
    assert_same_results(before, after, {"x": x}, FOLDED_TOLERANCE)


def test_add_and_mul_of_channel_constants_fold_around_a_convolution() -> None:
    constants = {
        "w": values(3, 2, 1, 1),
        "a": values(3, 1, 1),
        "m": values(1, 3, 1, 1),
        "s": np.array([0.5], np.float32),
    }
    nodes = [
        node("Conv", "x w", "c"),
        node("Add", "a c", "d"),
        node("Mul", "d m", "e"),
        node("Mul", "s e", "f"),
        node("Add", "f a", "y"),
    ]
    before = imported(model(nodes, {"x": ("n", 2, 4, 4)}, ["y"], constants))
    after = optimised(before, {"x": (2, 2, 4, 4)})
    assert [n.op_type for n in after.nodes] == ["Conv"]
    assert_same_results(before, after, {"x": values(2, 2, 4, 4)}, FOLDED_TOLERANCE)


def test_a_constant_along_another_axis_does_not_become_a_bias() -> None:
    constants = {"w": values(4, 2, 1, 1), "a": values(4)}
    nodes = [node("Conv", "x w", "c"), node("Add", "c a", "y")]
    before = imported(model(nodes, {"x": (1, 2, 4, 4)}, ["y"], constants))
    after = optimised(before, {})
    assert [n.op_type for n in after.nodes] == ["Conv", "Add"]
    assert_same_results(before, after, {"x": values(1, 2, 4, 4)}, FOLDED_TOLERANCE)


def test_a_product_of_matrices_with_a_row_becomes_a_gemm_but_a_batched_one_does_not() -> None:
    nodes = [node("MatMul", "x w", "m"), node("Add", "m b", "y")]
    constants = {"w": values(4, 5), "b": values(5)}
    for dims, expected in (((3, 4), ["Gemm"]), ((2, 3, 4), ["MatMul", "Add"])):
        before = imported(model(nodes, {"x": dims}, ["y"], constants))
        after = optimised(before, {})
        assert [n.op_type for n in after.nodes] == expected
        assert_same_results(before, after, {"x": values(*dims)}, FOLDED_TOLERANCE)


def residual_model(activation: str = "Relu", **attributes: object) -> onnx.ModelProto:
    nodes = [node("Conv", "x w", "c"), node("Add", "c x", "a")]
    nodes += [node(activation, "a", "y", **attributes)]
    return model(nodes, {"x": (1, 3, 4, 4)}, ["y"], {"w": values(3, 3, 1, 1)}, opset=14)


@pytest.mark.parametrize(
    ("activation", "attributes"),
    [
        ("Relu", {}),
        ("LeakyRelu", {"alpha": 0.3}),
        ("Sigmoid", {}),
        ("HardSwish", {}),
        ("HardSigmoid", {"alpha": 0.25, "beta": 0.4}),
    ],
)
def test_residual_and_activation_fuse_in_the_form_compose_documents(
    activation: str, attributes: dict
) -> None:
    before = imported(residual_model(activation, **attributes))
    after = optimised(before, {})
    (fused,) = after.nodes
    assert fused.title == f"Conv+Add+{activation} 'the_c'"
    assert [v.name if v else None for v in fused.inputs] == ["x", "w", None, "x"]
    assert [op.inputs for op in fused.body] == [(0, 1, None), (4, 3), (5,)]
    epilogue = epilogue_of(fused)
    assert (epilogue.residual, epilogue.activation) == (3, activation)
    assert epilogue.alpha == pytest.approx(attributes.get("alpha", 0.0))
    assert_same_results(before, after, {"x": values(1, 3, 4, 4)}, 1e-12)


def test_clip_with_one_constant_limit_fuses() -> None:
    nodes = [node("Conv", "x w", "c"), node("Clip", "c - high", "y")]
    constants = {"w": values(3, 3, 1, 1), "high": np.array(6, np.float32)}
    before = imported(model(nodes, {"x": (1, 3, 4, 4)}, ["y"], constants))
    (fused,) = (after := optimised(before, {})).nodes
    epilogue = epilogue_of(fused)
    assert (epilogue.alpha, epilogue.beta) == (-np.inf, 6.0)
    assert_same_results(before, after, {"x": 9 * values(1, 3, 4, 4)}, 1e-12)


@pytest.mark.parametrize(("name", "left"), [("c", 3), ("a", 2)])
def test_kept_values_are_not_fused_away(name: str, left: int) -> None:
    after = optimised(imported(residual_model()), {}, keep=(name,))
    assert name in {v.name for v in after.values()}
    assert len(after.nodes) == left


def test_a_kept_convolution_is_not_folded_into_its_batch_norm() -> None:
    constants = {"w": values(3, 2, 1, 1), **batch_norm_parameters(3, 1.0)}
    nodes = [node("Conv", "x w", "c"), node("BatchNormalization", "c scale shift mean var", "y")]
    before = imported(model(nodes, {"x": (1, 2, 4, 4)}, ["y"], constants))
    after = optimised(before, {}, keep=("c",))
    assert [n.op_type for n in after.nodes] == ["Conv", "BatchNormalization"]
    assert_same_results(before, after, {"x": values(1, 2, 4, 4)}, 0.0)


def test_a_kept_constant_stays_though_nothing_reads_it() -> None:
    nodes = [node("Add", "two two", "four"), node("Mul", "four two", "e"), node("Mul", "x e", "y")]
    before = imported(model(nodes, {"x": (1,)}, ["y"], {"two": np.float32([2])}))
    (four,) = optimised(before, {}, keep=("four",)).kept
    assert (four.name, four.constant.tolist()) == ("four", [4.0])
    assert optimised(before, {}).kept == []
    assert optimised(before, {}, keep=("four",)).copy().kept[0].constant is not None


def test_only_constants_are_kept_without_a_reader() -> None:
    graph = two_inputs()
    graph.kept = [graph.outputs[0]]
    with pytest.raises(GraphError, match="kept value 'z' is no constant"):
        verify(graph)


def test_kept_results_of_dead_nodes_and_identities_survive() -> None:
    nodes = [node("Identity", "x", "i"), node("Relu", "i", "y"), node("Neg", "i", "dead")]
    before = imported(model(nodes, {"x": (2,)}, ["y"]))
    after = optimised(before, {}, keep=("i", "dead"))
    assert [n.outputs[0].name for n in after.nodes] == ["i", "y", "dead"]


def test_keeping_everything_still_fuses() -> None:
    assert len(optimised(imported(residual_model()), {}, keep="*").nodes) == 1


def test_graph_outputs_are_not_fused_away() -> None:
    data = residual_model()
    data.graph.output.add().name = "c"
    after = optimised(imported(data), {})
    assert [v.name for v in after.outputs] == ["y", "c"]
    assert [n.op_type for n in after.nodes] == ["Conv", "Add", "Relu"]


def test_an_add_that_broadcasts_is_not_a_residual() -> None:
    nodes = [node("Conv", "x w", "c"), node("Add", "c r", "y")]
    inputs = {"x": (1, 3, 4, 4), "r": (1, 3, 1, 1)}
    after = optimised(imported(model(nodes, inputs, ["y"], {"w": values(3, 3, 1, 1)})), {})
    assert [n.op_type for n in after.nodes] == ["Conv", "Add"]


def test_decomposed_hard_swish_becomes_one_node() -> None:
    scalars = {"three": 3, "zero": 0, "six": 6}
    constants = {k: np.array(v, np.float32) for k, v in scalars.items()}
    nodes = [
        node("Add", "x three", "a"),
        node("Clip", "a zero six", "c"),
        node("Mul", "x c", "m"),
        node("Div", "m six", "y"),
    ]
    before = imported(model(nodes, {"x": (50,)}, ["y"], constants))
    after = optimised(before, {})
    assert [n.op_type for n in after.nodes] == ["HardSwish"]
    assert_same_results(before, after, {"x": 4 * values(50)}, 1e-12)


@pytest.mark.parametrize("square", ["Pow", "Mul"])
def test_decomposed_layer_normalisation_becomes_one_node(square: str) -> None:
    nodes = [
        node("ReduceMean", "x", "mean", axes=[-1]),
        node("Sub", "x mean", "d"),
        node("Pow", "d two", "p") if square == "Pow" else node("Mul", "d d", "p"),
        node("ReduceMean", "p", "var", axes=[-1]),
        node("Add", "var eps", "v"),
        node("Sqrt", "v", "s"),
        node("Div", "d s", "q"),
        node("Mul", "scale q", "g"),
        node("Add", "g bias", "y"),
    ]
    scalars = {"two": np.array(2, np.float32), "eps": np.array([1e-3], np.float32)}
    constants = {**scalars, "scale": values(6), "bias": values(6)}
    before = imported(model(nodes, {"x": (2, 3, 6)}, ["y"], constants))
    after = optimised(before, {})
    assert [n.op_type for n in after.nodes] == ["LayerNormalization"]
    assert_same_results(before, after, {"x": values(2, 3, 6)}, 1e-6)
    for kept in ("mean", "d", "var", "q"):
        assert len(optimised(before, {}, keep=(kept,)).nodes) == 9


def test_shape_arithmetic_folds_to_nothing_after_binding() -> None:
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "b"),
        node("Concat", "b minus", "t", axis=0),
        node("Reshape", "x t", "y"),
    ]
    constants = {"zero": np.array([0]), "minus": np.array([-1])}
    graph = imported(model(nodes, {"x": ("n", 3, 4)}, ["y"], constants))
    after = optimised(graph, {"x": (2, 3, 4)})
    assert [n.op_type for n in after.nodes] == ["Reshape"]
    assert after.outputs[0].known_type.dims == (2, 12)


def test_integers_fold_exactly() -> None:
    big = np.array([2**53 + 1], np.int64)
    nodes = [node("Add", "big one", "s"), node("Add", "x s", "y")]
    graph = imported(
        model(
            nodes,
            {"x": (1,)},
            ["y"],
            {"big": big, "one": np.array([1])},
            dtype=onnx.TensorProto.INT64,
        )
    )
    after = optimised(graph, {})
    constant = next(v.constant for v in after.nodes[0].inputs if v and v.constant is not None)
    assert constant.tolist() == [2**53 + 2]


def test_shapes_fold_where_weights_have_used_up_what_may_be_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights = {"w0": np.ones(4096, np.float32)}
    monkeypatch.setattr(evaluate, "FOLD_NBYTES_MAX", weights["w0"].nbytes)  # so three fit
    nodes = [
        *(node("Neg", f"w{i}", f"w{i + 1}") for i in range(4)),
        node("Shape", "x", "s"),
        node("Expand", "w4 s", "y"),
    ]
    graph = imported(model(nodes, {"x": (2, 4096)}, ["y"], weights))
    infer_shapes(graph)
    assert [n.op_type for n in graph.nodes if not n.outputs[0].is_constant] == ["Neg", "Expand"]


def test_results_much_larger_than_their_inputs_are_not_folded() -> None:
    nodes = [node("Expand", "one dims", "e"), node("Add", "x e", "y")]
    constants = {"one": np.ones(1, np.float32), "dims": np.array([2**13, 2**12])}
    after = optimised(imported(model(nodes, {"x": (1,)}, ["y"], constants)), {})
    assert [n.op_type for n in after.nodes] == ["Expand", "Add"]


@pytest.mark.parametrize(
    "wrong", [node("Concat", "a", "b", axis=2), node("Transpose", "a", "b", perm=[0, 1, 2])]
)
def test_an_identity_that_must_be_refused_does_not_vanish(wrong: onnx.NodeProto) -> None:
    nodes = [node("Neg", "x", "a"), wrong, node("Neg", "b", "y")]
    graph = imported(model(nodes, {"x": (2, 3)}, ["y"]))
    with pytest.raises(ShapeError, match="'the_b'"):
        run_passes(graph, [*load_passes(), *bind_passes()])


def test_identities_vanish_and_outputs_keep_their_names() -> None:
    nodes = [
        node("Identity", "x", "i"),
        node("Relu", "i", "r"),
        node("Identity", "r", "y"),
        node("Identity", "x", "z"),
    ]
    after = optimised(imported(model(nodes, {"x": (2,)}, ["y", "z"])), {})
    assert [v.name for v in after.outputs] == ["y", "z"]
    assert [n.op_type for n in after.nodes] == ["Relu", "Identity"]


def test_weights_are_shared_not_copied() -> None:
    graph = imported(
        model([node("MatMul", "x w", "y")], {"x": ("n", 4)}, ["y"], {"w": values(4, 4)})
    )
    after = optimised(graph, {"x": (2, 4)})
    weight = after.nodes[0].inputs[1]
    assert weight is not None
    assert weight.constant is graph.nodes[0].inputs[1].constant  # type: ignore[union-attr]


def two_inputs() -> Graph:
    return imported(model([node("Add", "x y", "z")], {"x": ("n", 3), "y": ("n", "m")}, ["z"]))


def test_free_dimensions_say_where_they_occur() -> None:
    assert free_dimensions(two_inputs()) == {"n": "axis 0 of 'x'", "m": "axis 1 of 'y'"}
    assert free_dimensions(bind_shapes(two_inputs(), {"y": (2, 3)})) == {}


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"xx": (2, 3)}, "no input named 'xx'; did you mean 'x'"),
        ({"x": (2,)}, "rank 1, expected float32"),
        ({"x": (2, 4)}, "axis 1 is 4, the model fixes it to 3"),
        ({"x": (2, 3), "y": (3, 3)}, "dimension 'n' is 3 at axis 0, but 2 at axis 0 of 'x'"),
        ({"x": (2, 3)}, "input 'y' .* needs a shape: m still free"),
        ({"x": (-1, 3)}, "negative"),
        ({"x": (2**41, 3)}, "more than the"),
        ({"x": (2.5, 3)}, "not a sequence of integers"),
    ],
)
def test_wrong_shapes_are_refused_with_names_and_extents(shapes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        bind_shapes(two_inputs(), shapes)


def test_binding_leaves_the_original_alone() -> None:
    graph = two_inputs()
    run_passes(bind_shapes(graph, {"x": (2, 3), "y": (2, 3)}), bind_passes())
    assert free_dimensions(graph)
    assert all(v.type is None for v in graph.outputs)


def test_shape_errors_name_the_node() -> None:
    graph = bind_shapes(two_inputs(), {"x": (2, 3), "y": (2, 5)})
    with pytest.raises(ShapeError, match="'the_z'"):
        run_passes(graph, bind_passes())


def test_inference_needs_bound_inputs() -> None:
    with pytest.raises(GraphError, match=r"pass infer_shapes: requires: .*bind_shapes first"):
        run_passes(two_inputs(), bind_passes())


def test_a_pass_that_breaks_the_graph_is_named() -> None:
    def tear(graph: Graph) -> None:
        graph.nodes.clear()

    with pytest.raises(GraphError, match="pass tear: broke the graph"):
        run_passes(two_inputs(), [Pass("tear", tear)])


def test_a_broken_graph_is_noticed_where_only_the_last_one_is_verified(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def tear(graph: Graph) -> None:
        graph.nodes.clear()

    monkeypatch.setattr(base, "VERIFY_EACH", False)
    with pytest.raises(GraphError, match="one of the passes tear, rest broke the graph"):
        run_passes(two_inputs(), [Pass("tear", tear), Pass("rest", lambda graph: None)])


# ------------------------------------------------------------------------- bound again and again
def decoder_shapes(length: int) -> dict[str, tuple[int, ...]]:
    one = {"ids": (1, 1), "positions": (1, 1)}
    return {**one, **dict.fromkeys(CACHE, (1, 2, length, 8))}


def test_another_token_infers_only_what_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    real, inferred = inference.infer_node, []
    monkeypatch.setattr(
        inference, "infer_node", lambda node: (inferred.append(node), real(node))[1]
    )
    graph, inferences = Interpreter.from_file(model_path("tiny_decoder")).graph, Inferences()
    for length in (7, 8):
        inferred.clear()
        bound = bind_shapes(graph, decoder_shapes(length))
        run_passes(bound, bind_passes(inferences=inferences))
    alone = bind_shapes(graph, decoder_shapes(8))
    run_passes(alone, bind_passes())
    assert [str(n) for n in bound.nodes] == [str(n) for n in alone.nodes]
    for value, expected in zip(bound.values(), alone.values(), strict=True):
        assert (value.name, value.type) == (expected.name, expected.type)
        np.testing.assert_array_equal(value.constant, expected.constant)
    assert 0 < len(inferred) - len(graph.nodes) < len(graph.nodes) / 4


def test_another_value_of_the_same_type_infers_anew() -> None:
    nodes, inputs = [node("Reshape", "x shape", "y")], {"x": (6,), "shape": (2,)}
    graph, inferences = imported(model(nodes, inputs, ["y"], dtype=TensorProto.INT64)), Inferences()
    for dims in ((2, 3), (3, 2), (3, 2), (2, 3)):
        bound = bind_shapes(graph, {})
        bind_values(bound, {"shape": np.array(dims)})
        run_passes(bound, bind_passes(inferences=inferences))
        assert bound.outputs[0].known_type.dims == dims
