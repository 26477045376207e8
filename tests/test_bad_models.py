"""Bad files: always one clear ParallaxError, never a traceback, a hang or a silent misreading."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.errors import ModelError, ParallaxError, UnsupportedError
from engine.onnx_import import functions, load_model
from engine.onnx_import.functions import Inliner
from engine.onnx_import.raw_node import RawNode
from engine.onnx_import.support import is_known
from engine.onnx_import.switches import SWITCHES
from engine.passes import load_passes, run_passes
from tests.graph_reference import model_path
from tests.model_writing import model, node

pytestmark = pytest.mark.device_free

MUTATIONS = 200
TOLERATED = "in initializer but not in graph input|'elem_type' of|'(type|shape)' of "
"""What onnx's checker refuses and Parallax, like onnxruntime, has no use for."""


def test_unreadable_sources_are_each_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        load_model(tmp_path / "absent.onnx")
    with pytest.raises(ModelError, match="is a directory"):
        load_model(tmp_path)
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match="is empty"):
        load_model(tmp_path / "empty.onnx")
    (tmp_path / "text.onnx").write_text("<html>404: not found</html>")
    with pytest.raises(ModelError, match="not an ONNX model"):
        load_model(tmp_path / "text.onnx")
    with pytest.raises(ModelError, match="bytes is empty"):
        load_model(b"")


def test_a_truncated_model_says_so() -> None:
    data = model_path("tiny_resnet").read_bytes()
    with pytest.raises(ModelError, match="truncated or damaged"):
        load_model(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        ([-2], "negative dimension"),
        ([2**31, 2**31], "more than the"),
        ([2**62, 4], "more than the"),
        ([5], "needs 20 bytes, but its data has 8"),
    ],
)
def test_initialiser_shapes_are_checked_before_any_allocation(
    dims: list[int], message: str
) -> None:
    data = model([node("Add", "x w", "y")], {"x": (2,)}, ["y"], {"w": np.ones(2, "f4")})
    del data.graph.initializer[0].dims[:]
    data.graph.initializer[0].dims.extend(dims)
    with pytest.raises(ModelError, match=f"initialiser 'w'.*{message}"):
        load_model(data.SerializeToString())


def test_absurd_input_dimensions_are_refused() -> None:
    with pytest.raises(ModelError, match="graph input 'x': dimension 0 is -7"):
        load_model(model([node("Relu", "x", "y")], {"x": (-7,)}, ["y"]).SerializeToString())
    with pytest.raises(ModelError, match="more than the"):
        load_model(model([node("Relu", "x", "y")], {"x": (2**40, 2)}, ["y"]).SerializeToString())


def test_a_fill_of_absurd_size_is_refused() -> None:
    data = model(
        [node("ConstantOfShape", "s", "y")],
        {"x": (1,)},
        ["y"],
        {"s": np.array([2**40, 2**40], np.int64)},
    )
    with pytest.raises(ModelError, match=r"ConstantOfShape 'the_y'.*more than the"):
        load_model(data.SerializeToString())


def test_unsupported_tensors_are_named() -> None:
    data = model([node("Relu", "x", "y")], {"x": (1,)}, ["y"], dtype=TensorProto.COMPLEX64)
    with pytest.raises(UnsupportedError, match="graph input 'x': element type COMPLEX64"):
        load_model(data.SerializeToString())
    sparse = model([node("Relu", "x", "y")], {"x": (1,)}, ["y"])
    sparse.graph.sparse_initializer.add().values.name = "s"
    with pytest.raises(UnsupportedError, match="sparse initialiser 's'"):
        load_model(sparse.SerializeToString())


def test_an_absurd_opset_of_a_function_is_refused() -> None:
    function = helper.make_function(
        "local", "F", ["a"], ["b"], [node("Foo", "a", "b")], [helper.make_opsetid("", 2**40)]
    )
    call = [node("F", "x", "y", domain="local")]
    data = model(call, {"x": (1,)}, ["y"], functions=[function], domains=["local"])
    with pytest.raises(ModelError, match="function 'F' imports domain '' in version"):
        load_model(data.SerializeToString())


def test_names_that_are_not_text_are_refused() -> None:
    data = model([node("Relu", "x", "y")], {"x": (1,)}, ["y"]).SerializeToString()
    with pytest.raises(ModelError, match="not UTF-8 text"):
        load_model(data.replace(b"Relu", b"Re\xffu"))


def nested_functions(depth: int, leaf: Sequence[onnx.NodeProto]) -> bytes:
    """Functions without names that each call the next one twice; the last has the body `leaf`."""
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("local", 1)]
    made = []
    for k in range(depth):
        steps = [("a", "t"), ("t", "b")]
        calls = [helper.make_node(f"F{k + 1}", [i], [o], domain="local") for i, o in steps]
        body, output = (calls, "b") if k < depth - 1 else (leaf, "b" if leaf else "a")
        made.append(helper.make_function("local", f"F{k}", ["a"], [output], body, opsets))
    call = [helper.make_node("F0", ["x"], ["y"], domain="local")]
    data = model(call, {"x": (1,)}, ["y"], functions=made, domains=["local"])
    return data.SerializeToString()


@pytest.mark.parametrize("leaf", [[], [node("Abs", "a", "b")]], ids=["empty", "one node"])
def test_functions_that_grow_exponentially_are_refused(leaf: list[onnx.NodeProto]) -> None:
    """By what their calls cost too: bodies without nodes are calls all the same."""
    with pytest.raises(ModelError, match=r"expand to more than .* calls and nodes"):
        load_model(nested_functions(40, leaf))


def test_what_functions_expand_to_is_counted_before_it_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = 0
    expand = Inliner._expand

    def counted(self: Inliner, *args: Any) -> list[RawNode]:
        nonlocal made
        copies = expand(self, *args)
        made += 1 + len(copies)
        return copies

    monkeypatch.setattr(Inliner, "_expand", counted)
    with pytest.raises(ModelError, match="expand to more than 53200 calls"):
        load_model(nested_functions(16, [node("Abs", "a", "b")]))
    assert 53_000 < made <= 53_200
    monkeypatch.setattr(functions, "NAMES_NBYTES_MAX", 10_000_000)
    with pytest.raises(ModelError, match=r"more than .* characters"):
        load_model(nested_functions(12, [node("Abs", "a", "b" * 200_000)]))


def test_a_tensor_in_a_function_is_there_once_however_often_the_function_is_called() -> None:
    opsets = [helper.make_opsetid("", 13)]
    value = numpy_helper.from_array(np.ones(1000, np.float32))
    inner = [node("Constant", "", "c", value=value), node("Add", "a c", "b")]
    reference = onnx.AttributeProto(
        name="value", type=onnx.AttributeProto.TENSOR, ref_attr_name="v"
    )
    outer = [helper.make_node("Constant", [], ["c"]), node("Add", "a c", "b")]
    outer[0].attribute.append(reference)
    local = [
        helper.make_function("local", "Own", ["a"], ["b"], inner, opsets),
        helper.make_function("local", "Given", ["a"], ["b"], outer, opsets, attributes=["v"]),
    ]
    calls = [node("Own", f"t{i}", f"t{i + 1}", domain="local") for i in range(5)]
    calls += [node("Given", f"t{i}", f"t{i + 1}", domain="local", v=value) for i in range(5, 6)]
    data = model(calls, {"t0": (1,)}, ["t6"], functions=local, domains=["local"])
    graph = load_model(data.SerializeToString())
    arrays = {id(v.constant.base) for v in graph.values() if v.constant is not None}
    assert len(arrays) == 2


@pytest.mark.parametrize(
    ("op_type", "switch", "value"),
    [("ReduceMax", "keepdims", 3), ("Mod", "fmod", 2**62), ("ArgMax", "select_last_index", -1)],
)
def test_a_switch_that_is_neither_on_nor_off_is_refused(
    op_type: str, switch: str, value: int
) -> None:
    names = "x x" if op_type == "Mod" else "x"
    data = model([node(op_type, names, "y", **{switch: value})], {"x": (2, 3)}, ["y"])
    with pytest.raises(ModelError, match=rf"{op_type} 'the_y': {switch}={value}, expected 0 or 1"):
        load_model(data.SerializeToString())


@pytest.mark.parametrize(
    ("op_type", "attributes"),
    [
        ("Pad", {"pads": [0, 1], "value": float("nan")}),
        ("Pad", {"pads": [0, 1], "value": float("inf")}),
        ("Pad", {"pads": [0, 1], "value": 1e10}),
        ("Clip", {"max": 1e10}),
    ],
    ids=str,
)
def test_a_float_attribute_that_is_no_element_of_the_data_is_refused(
    op_type: str, attributes: dict[str, Any]
) -> None:
    call = node(op_type, "x", "y", **attributes)
    data = model([call], {"x": (3,)}, ["y"], opset=10, dtype=TensorProto.INT8)
    with pytest.raises(ModelError, match=rf"{op_type} 'the_y': .* is no number of type int8"):
        load_model(data.SerializeToString())


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize(
    ("op_type", "name", "inputs"),
    [("LRN", "beta", "x"), ("Gemm", "alpha", "x x"), ("InstanceNormalization", "epsilon", "x x x")],
)
def test_a_float_attribute_that_is_no_number_is_refused(
    op_type: str, name: str, inputs: str, value: float
) -> None:
    more = {"size": 1} if op_type == "LRN" else {}
    data = model([node(op_type, inputs, "y", **{name: value}, **more)], {"x": (2, 2)}, ["y"])
    with pytest.raises(ModelError, match=rf"{op_type} 'the_y': {name}=.*, expected finite"):
        load_model(data.SerializeToString())


NUMBERS = frozenset(
    {
        *("axis", "batch_dims", "block_size", "blocksize", "dtype", "end", "group", "hidden_size"),
        *("num_groups", "num_outputs", "output_dtype", "seed", "size", "start", "stash_type", "to"),
        *("k", "value_int", "max_unpool", "precision", "p", "batch_axis", "time_axis"),
        *("num_scan_inputs", "offset_group", "output_datatype", "sampling_ratio"),
        *("output_height", "output_width", "maxsplit", "max_skip_count"),
        *("min_gram_length", "max_gram_length"),
        *("num_heads", "q_num_heads", "kv_num_heads", "rotary_embedding_dim", "softmax_precision"),
        *("left_window_size", "right_window_size", "qk_matmul_output_mode"),
    }
)
"""Integer attributes that count, name or choose."""


def test_every_integer_attribute_is_a_switch_or_a_number() -> None:
    met = {
        name
        for schema in onnx.defs.get_all_schemas_with_history()
        if not schema.domain and is_known(schema.name)
        for name, attribute in schema.attributes.items()
        if attribute.type == onnx.defs.OpSchema.AttrType.INT
    }
    assert met - NUMBERS - SWITCHES == set()
    assert not NUMBERS & SWITCHES


def mutations(data: bytes, seed: int, count: int) -> Iterator[bytes]:
    """Truncations, bit flips and splices of a file's own bytes, a third each."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        mutated = bytearray(data)
        at = int(rng.integers(len(data)))
        if i % 3 == 0:
            del mutated[at:]
        elif i % 3 == 1:
            for _ in range(int(rng.integers(1, 4))):
                mutated[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        else:
            start, length = int(rng.integers(len(data))), int(rng.integers(1, 64))
            mutated[at : at + int(rng.integers(0, 64))] = data[start : start + length]
        yield bytes(mutated)


@pytest.mark.parametrize("name", ["tiny_functions", "tiny_mlp_opset7"])
def test_mutated_files_are_refused_or_still_valid(name: str) -> None:
    """What loads must be valid to onnx's own checker and have the interface that onnx.load sees."""
    refused = 0
    for mutated in mutations(model_path(name).read_bytes(), 7, MUTATIONS):
        try:
            graph = load_model(mutated)
            run_passes(graph, load_passes())
        except ParallaxError:
            refused += 1
            continue
        try:
            onnx.checker.check_model(mutated)
        except onnx.checker.ValidationError as error:
            if not re.search(TOLERATED, str(error)):
                raise
        proto = onnx.load_from_string(mutated).graph
        assert [v.name for v in graph.outputs] == [o.name for o in proto.output]
    assert MUTATIONS // 4 < refused < MUTATIONS
