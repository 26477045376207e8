"""Import: every model arrives in the newest operator forms, verified, with the right values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from engine.errors import GraphError, ModelError, UnsupportedError
from engine.ir.graph import Graph
from engine.ir.verify import verify
from engine.onnx_import import OPSET_MAX, load_model
from engine.passes import bind_passes, bind_shapes, run_passes
from fixtures.models.corpus import by_name
from tests.graph_reference import LIGHT_MODELS, SMALL_MODELS, model_path, run_reference
from tests.model_writing import model, model_bytes, node

pytestmark = pytest.mark.device_free

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 3, 4)).astype(np.float32)


def imported(data: onnx.ModelProto) -> Graph:
    return load_model(data.SerializeToString())


def ort_outputs(data: bytes, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return ort.InferenceSession(data, options, ["CPUExecutionProvider"]).run(None, feeds)


@pytest.mark.parametrize("name", SMALL_MODELS + LIGHT_MODELS)
def test_every_model_imports_verifies_and_keeps_its_interface(name: str) -> None:
    graph = load_model(model_path(name))
    verify(graph)
    proto = onnx.load(model_path(name)).graph
    initialisers = {t.name for t in proto.initializer}
    assert [v.name for v in graph.inputs] == [
        i.name for i in proto.input if i.name not in initialisers
    ]
    assert [v.name for v in graph.outputs] == [o.name for o in proto.output]
    assert not {n.op_type for n in graph.nodes} & {"Constant", "Dropout", "Upsample"}


@pytest.mark.parametrize("name", SMALL_MODELS)
@pytest.mark.parametrize("which", [0, 1])
def test_small_models_compute_what_onnxruntime_computes(name: str, which: int) -> None:
    entry = by_name(name)
    feeds = entry.feeds(0, which)
    want = ort_outputs(entry.path.read_bytes(), feeds)
    got = run_reference(load_model(entry.path), feeds)
    for array, expected in zip(got.values(), want, strict=True):
        assert array.shape == expected.shape
        np.testing.assert_allclose(array, expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("name", SMALL_MODELS)
@pytest.mark.parametrize("which", [0, 1])
def test_inferred_output_types_are_those_of_onnxruntime(name: str, which: int) -> None:
    entry = by_name(name)
    feeds = entry.feeds(0, which)
    bound = bind_shapes(load_model(entry.path), {k: v.shape for k, v in feeds.items()})
    run_passes(bound, bind_passes())
    for value, expected in zip(
        bound.outputs, ort_outputs(entry.path.read_bytes(), feeds), strict=True
    ):
        assert value.known_type.dims == expected.shape
        assert value.known_type.dtype == expected.dtype


@pytest.mark.parametrize("name", LIGHT_MODELS)
def test_inferred_types_agree_with_onnx_shape_inference(name: str) -> None:
    inferred = onnx.shape_inference.infer_shapes(onnx.load(model_path(name)))
    known = {
        info.name: tuple(d.dim_value for d in info.type.tensor_type.shape.dim)
        for info in (*inferred.graph.value_info, *inferred.graph.output)
        if all(d.dim_value > 0 for d in info.type.tensor_type.shape.dim)
    }
    bound = bind_shapes(load_model(model_path(name)), {})
    run_passes(bound, bind_passes()[:1])
    compared = [v for v in bound.values() if v.name in known]
    assert len(compared) > 10
    for value in compared:
        assert value.known_type.dims == known[value.name], value.name


OLD_FORMS = {
    "Squeeze": (
        11,
        [node("Unsqueeze", "x", "u", axes=[0, 2]), node("Squeeze", "u", "y", axes=[0])],
    ),
    "ReduceMean": (11, [node("ReduceMean", "x", "y", axes=[1], keepdims=0)]),
    "ReduceSum": (11, [node("ReduceSum", "x", "y", axes=[-1])]),
    "Slice": (9, [node("Slice", "x", "y", starts=[1, 0], ends=[3, 2], axes=[1, 2])]),
    "Slice without axes": (9, [node("Slice", "x", "y", starts=[0, 1], ends=[2, 3])]),
    "Clip": (7, [node("Clip", "x", "y", min=-0.5, max=0.25)]),
    "Clip one side": (9, [node("Clip", "x", "y", max=0.25)]),
    "Pad": (7, [node("Pad", "x", "y", pads=[0, 1, 0, 0, 0, 2], value=1.5)]),
    "Dropout": (7, [node("Dropout", "x", "y mask", ratio=0.5)]),
    "Softmax default axis": (11, [node("Softmax", "x", "y")]),
    "Softmax axis 0": (9, [node("Softmax", "x", "y", axis=0)]),
    "Softmax of a sum": (
        11,
        [
            node("ReduceMax", "x", "m", axes=[0, 1], keepdims=1),
            node("Squeeze", "m", "v", axes=[0, 1]),
            node("Add", "v x", "s"),
            node("Softmax", "s", "y", axis=1),
        ],
    ),
    "Softmax last": (11, [node("Softmax", "x", "y", axis=-1)]),
    "LogSoftmax": (11, [node("LogSoftmax", "x", "y", axis=1)]),
    "Split": (11, [node("Split", "x", "y z", axis=2, split=[1, 3])]),
    "Split equally": (13, [node("Split", "x", "y z", axis=2)]),
    "Cast": (9, [node("Cast", "x", "i", to=TensorProto.INT32), node("Cast", "i", "y", to=1)]),
}


@pytest.mark.parametrize("case", OLD_FORMS)
def test_older_forms_compute_what_onnxruntime_computes(case: str) -> None:
    opset, nodes = OLD_FORMS[case]
    data = model_bytes(nodes, {"x": X.shape}, ["y"], opset=opset)
    typed = onnx.load_from_string(data)
    typed.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, None))
    typed.ir_version = 6
    (want,) = ort_outputs(typed.SerializeToString(), {"x": X})
    got = run_reference(load_model(data), {"x": X})["y"]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("opset", "op"), [(7, "Upsample"), (9, "Upsample"), (10, "Resize")])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsample_and_old_resize_compute_what_onnxruntime_computes(
    opset: int, op: str, mode: str
) -> None:
    image = RNG.standard_normal((1, 2, 4, 5)).astype(np.float32)
    scales = [1.0, 1.0, 2.0, 3.0]
    if opset == 7:
        nodes, constants = [node(op, "x", "y", mode=mode, scales=scales)], {}
    else:
        nodes, constants = [node(op, "x s", "y", mode=mode)], {"s": np.array(scales, np.float32)}
    data = model(nodes, {"x": image.shape}, ["y"], constants, opset=opset)
    data.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, None))
    data.ir_version = 6
    (want,) = ort_outputs(data.SerializeToString(), {"x": image})
    np.testing.assert_allclose(run_reference(imported(data), {"x": image})["y"], want, atol=1e-5)


def test_resize_10_that_shrinks_rounds_up_as_onnx_defines() -> None:
    image = np.arange(1, 9, dtype=np.float32).reshape(1, 1, 2, 4)
    scales = {"s": np.array([1, 1, 0.6, 0.6], np.float32)}
    data = model([node("Resize", "x s", "y")], {"x": image.shape}, ["y"], scales, opset=10)
    assert run_reference(imported(data), {"x": image})["y"].tolist() == [[[[1, 3]]]]


def test_an_old_clip_takes_the_dtype_of_what_it_clips() -> None:
    nodes = [node("Relu", "x", "r"), node("Clip", "r", "y", min=0.0, max=6.0)]
    graph = imported(model(nodes, {"x": (2,)}, ["y"], opset=9, dtype=TensorProto.FLOAT16))
    limits = [v.constant for v in graph.nodes[-1].inputs[1:] if v is not None]
    assert [a.dtype for a in limits if a is not None] == [np.float16, np.float16]


def test_an_old_clip_behind_one_hot_takes_the_dtype_of_its_values() -> None:
    nodes = [node("OneHot", "x depth values", "h"), node("Clip", "h", "y", max=0.5)]
    constants = {"depth": np.array(3), "values": np.array([0, 1], np.float64)}
    data = model(nodes, {"x": (2,)}, ["y"], constants, opset=9, dtype=TensorProto.INT64)
    limits = [v.constant for v in imported(data).nodes[-1].inputs[1:] if v is not None]
    assert [a.dtype for a in limits if a is not None] == [np.float64, np.float64]


def test_initialisers_that_are_inputs_too_are_constants() -> None:
    data = model([node("Add", "x w", "y")], {"x": (2,), "w": (2,)}, ["y"], {"w": np.ones(2, "f4")})
    graph = imported(data)
    assert [v.name for v in graph.inputs] == ["x"]
    assert graph.value("w").constant is not None


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"value_float": 1.5}, np.array(1.5, np.float32)),
        ({"value_floats": [1.5, 2.0]}, np.array([1.5, 2.0], np.float32)),
        ({"value_int": 7}, np.array(7, np.int64)),
        ({"value_ints": [7, 8]}, np.array([7, 8], np.int64)),
        (
            {"value": helper.make_tensor("t", TensorProto.FLOAT16, [2], [1.0, 2.0])},
            np.array([1, 2], np.float16),
        ),
    ],
)
def test_constant_nodes_in_every_form(attributes: dict, expected: np.ndarray) -> None:
    graph = imported(model([node("Constant", "", "y", **attributes)], {"x": (1,)}, ["y"]))
    array = graph.outputs[0].constant
    assert array is not None
    assert array.dtype == expected.dtype
    assert array.shape == expected.shape
    assert array.tolist() == expected.tolist()


def test_a_huge_fill_costs_no_memory() -> None:
    data = model(
        [node("ConstantOfShape", "s", "y")],
        {"x": (1,)},
        ["y"],
        {"s": np.array([2**18, 2**12], np.int64)},
    )
    array = imported(data).outputs[0].constant
    assert array is not None
    assert array.shape == (2**18, 2**12)
    assert array.strides == (0, 0)


def test_omitted_inputs_are_none_and_trailing_ones_are_dropped() -> None:
    constants = {"high": np.array(1, np.float32)}
    nodes = [node("Clip", "x - high", "a"), node("Clip", "a - -", "y")]
    graph = imported(model(nodes, {"x": (2,)}, ["y"], constants))
    assert graph.nodes[0].inputs[1] is None
    assert len(graph.nodes[0].inputs) == 3
    assert len(graph.nodes[1].inputs) == 1


@pytest.mark.parametrize(
    ("op_type", "more"), [("Einsum", {"equation": "i,j->ij"}), ("Concat", {"axis": 0}), ("Sum", {})]
)
def test_one_of_many_inputs_cannot_be_omitted(op_type: str, more: dict[str, object]) -> None:
    with pytest.raises(ModelError, match=r"input 0 \(.*\) is left out, it is needed"):
        load_model(model_bytes([node(op_type, "- x", "y", **more)], {"x": (2,)}, ["y"]))


def test_an_absurd_opset_is_refused_whatever_is_in_the_model() -> None:
    einsum = model([node("Einsum", "x", "y", equation="i->")], {"x": (2,)}, ["y"], opset=2**31 - 1)
    with pytest.raises(UnsupportedError, match="opset 2147483647; supported"):
        load_model(einsum.SerializeToString())


@pytest.mark.parametrize(("op_type", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_a_recurrent_node_without_outputs_is_left_out(op_type: str, gates: int) -> None:
    """ONNX lets every output of these be left out."""
    weights = {n: np.ones((1, gates, 1), np.float32) for n in "wr"}
    silent = helper.make_node(op_type, ["x", "w", "r"], ["", ""], hidden_size=1)
    nodes = [silent, node("Relu", "x", "y")]
    graph = load_model(model_bytes(nodes, {"x": (2, 1, 1)}, ["y"], weights))
    assert [n.op_type for n in graph.nodes] == ["Relu"]


def test_unknown_dimensions_get_names_of_their_own() -> None:
    data = model([node("Relu", "x", "y")], {"x": ("n", -1, "?", "?", 0, 7, None)}, ["y"])
    shape = imported(data).inputs[0].known_type.shape
    assert shape[0] == "n"
    assert shape[5] == 7
    assert len({d for d in shape if isinstance(d, str)}) == 6


def test_rank_zero_inputs_stay_rank_zero() -> None:
    assert (
        imported(model([node("Relu", "x", "y")], {"x": ()}, ["y"])).inputs[0].known_type.shape == ()
    )


def test_unused_domains_do_not_matter_and_used_ones_are_named() -> None:
    data = model([node("Relu", "x", "y")], {"x": (1,)}, ["y"], domains=["com.microsoft"])
    imported(data)
    data.graph.node[0].domain = "com.microsoft"
    with pytest.raises(UnsupportedError, match=r"Relu 'the_y': .* domain 'com\.microsoft' "):
        imported(data)


def test_the_first_missing_operator_is_named_and_the_others_are_counted(tmp_path: Path) -> None:
    nodes = [node("Foo", "x", "a"), node("Relu", "a", "b"), node("Bar", "b", "y")]
    data = model_bytes(nodes, {"x": (1,)}, ["y"])
    counted = "2 nodes of 2 operator types cannot be imported, `parallax info MODEL` lists all"
    with pytest.raises(UnsupportedError, match=rf"^Foo 'the_a': .*opset 13.*; {counted}") as e:
        load_model(data)
    assert len(str(e.value)) < 200
    (tmp_path / "my model.onnx").write_bytes(data)
    with pytest.raises(UnsupportedError, match=r"parallax info '.*my model\.onnx'"):
        load_model(tmp_path / "my model.onnx")


def test_an_operator_newer_than_the_models_opset_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"ONNX opset 9 has no operator 'HardSwish'"):
        imported(model([node("HardSwish", "x", "y")], {"x": (1,)}, ["y"], opset=9))


@pytest.mark.parametrize("opset", [0, OPSET_MAX + 1])
def test_opsets_outside_the_range_are_refused_with_the_range(opset: int) -> None:
    with pytest.raises(UnsupportedError, match=f"opset {opset}; supported: 1 to {OPSET_MAX}"):
        imported(model([node("Relu", "x", "y")], {"x": (1,)}, ["y"], opset=opset))


def test_unsorted_nodes_are_sorted() -> None:
    graph = imported(model([node("Relu", "a", "y"), node("Abs", "x", "a")], {"x": (1,)}, ["y"]))
    assert [n.op_type for n in graph.nodes] == ["Abs", "Relu"]


def test_an_operator_that_onnx_defines_by_others_is_expanded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from engine.onnx_import import support

    monkeypatch.setattr(
        support, "OPERATORS", {k: v for k, v in support.OPERATORS.items() if k != "HardSwish"}
    )
    graph = imported(model([node("HardSwish", "x", "y")], {"x": (1,)}, ["y"], opset=14))
    assert [n.op_type for n in graph.nodes] == ["HardSigmoid", "Mul"]


def doubled(body: list[onnx.NodeProto], **options: object) -> onnx.FunctionProto:
    return helper.make_function(
        "local",
        "Double",
        ["a"],
        ["b"],
        body,
        [helper.make_opsetid("", 13), helper.make_opsetid("local", 1)],
        **options,  # type: ignore[arg-type]
    )


def test_functions_are_inlined_with_names_of_their_own() -> None:
    calls = [node("Double", "x", "m", domain="local"), node("Double", "m", "y", domain="local")]
    function = doubled([node("Abs", "a", "t"), node("Add", "t t", "b")])
    data = model(calls, {"x": (2,)}, ["y"], functions=[function], domains=["local"])
    graph = imported(data)
    assert [n.op_type for n in graph.nodes] == ["Abs", "Add", "Abs", "Add"]
    got = run_reference(graph, {"x": np.array([-1, 2], np.float32)})["y"]
    assert got.tolist() == [4, 8]


def test_recursive_functions_are_refused() -> None:
    function = doubled([node("Double", "a", "b", domain="local")])
    data = model(
        [node("Double", "x", "y", domain="local")],
        {"x": (2,)},
        ["y"],
        functions=[function],
        domains=["local"],
    )
    with pytest.raises(ModelError, match="circle: 'local::Double' -> 'local::Double'"):
        imported(data)


def test_a_function_may_pass_its_input_through() -> None:
    function = helper.make_function(
        "local", "Both", ["a"], ["a", "b"], [node("Abs", "a", "b")], [helper.make_opsetid("", 13)]
    )
    data = model(
        [node("Both", "x", "y z", domain="local")],
        {"x": (2,)},
        ["y", "z"],
        functions=[function],
        domains=["local"],
    )
    got = run_reference(imported(data), {"x": np.array([-1, 2], np.float32)})
    assert got["y"].tolist() == [-1, 2]
    assert got["z"].tolist() == [1, 2]


def test_duplicate_and_dangling_and_cyclic_values_are_named() -> None:
    twice = [node("Relu", "x", "y"), node("Abs", "x", "y")]
    with pytest.raises(GraphError, match="Abs 'the_y': value 'y' is defined a second time"):
        imported(model(twice, {"x": (1,)}, ["y"]))
    with pytest.raises(GraphError, match=r"reads 'xx', which nothing produces.*did you mean 'x'"):
        imported(model([node("Relu", "xx", "y")], {"x": (1,)}, ["y"]))
    with pytest.raises(GraphError, match="graph output 'z' is never produced"):
        imported(model([node("Relu", "x", "y")], {"x": (1,)}, ["z"]))
    cycle = [node("Add", "x b", "a"), node("Relu", "a", "b")]
    with pytest.raises(GraphError, match="in a cycle"):
        imported(model(cycle, {"x": (1,)}, ["a"]))


def test_nodes_are_checked_against_the_schema_of_their_opset() -> None:
    with pytest.raises(ModelError, match=r"Add 'the_y' has 1 inputs, opset 13 expects 2"):
        imported(model([node("Add", "x", "y")], {"x": (1,)}, ["y"]))
    with pytest.raises(ModelError, match="has no attribute 'axs'"):
        imported(model([node("Softmax", "x", "y", axs=1)], {"x": (1,)}, ["y"]))
    with pytest.raises(ModelError, match="attribute 'axis' is of type FLOAT, opset 13 expects INT"):
        imported(model([node("Softmax", "x", "y", axis=1.0)], {"x": (1,)}, ["y"]))


def external(folder: Path, location: str, **entries: int) -> Path:
    data = model([node("Add", "x w", "y")], {"x": (2,)}, ["y"], {"w": np.array([1, 2], "f4")})
    tensor = data.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    path = folder / "model.onnx"
    path.write_bytes(data.SerializeToString())
    return path


def test_external_data_is_read_at_its_offset(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"\0" * 16 + np.array([3, 4], "<f4").tobytes())
    graph = load_model(external(tmp_path, "w.bin", offset=16, length=8))
    array = graph.value("w").constant
    assert array is not None
    assert array.tolist() == [3, 4]


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", "a/../../w.bin", "", "..\\w.bin"])
def test_external_data_outside_the_models_folder_is_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "w.bin").write_bytes(b"\0" * 8)
    with pytest.raises(ModelError, match="is refused: expected a path inside the model's folder"):
        load_model(external(tmp_path / "m", location))


def test_external_data_behind_a_symbolic_link_that_leads_outside_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "w.bin").write_bytes(b"\0" * 8)
    (tmp_path / "m/link.bin").symlink_to(tmp_path / "w.bin")
    with pytest.raises(ModelError, match="outside the model's folder"):
        load_model(external(tmp_path / "m", "link.bin"))


def test_external_data_that_is_missing_short_or_mis_sized_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'w.bin' is missing"):
        load_model(external(tmp_path, "w.bin"))
    (tmp_path / "w.bin").write_bytes(b"\0" * 8)
    with pytest.raises(ModelError, match=r"bytes 4 to 12 of .* the file has 8"):
        load_model(external(tmp_path, "w.bin", offset=4))
    with pytest.raises(ModelError, match="needs 8 bytes, but its data has 4"):
        load_model(external(tmp_path, "w.bin", length=4))
    with pytest.raises(ModelError, match="offset='-4' is not a non-negative integer"):
        load_model(external(tmp_path, "w.bin", offset=-4))
    with pytest.raises(ModelError, match="given as bytes"):
        load_model(external(tmp_path, "w.bin").read_bytes())
