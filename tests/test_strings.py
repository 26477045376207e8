"""Tensors of strings: what goes in and comes out, where they lie, and what is refused."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import parallax as px
from conformance.judge import Verdict, judge
from engine.config import ScheduleConfig
from engine.errors import ConfigError, InputError, ModelError, UnsupportedError
from engine.onnx_import import load_model
from engine.ops.numerics import Units, exact
from engine.ops.strings import CHARACTERS_MAX
from parallax import compat
from parallax.cli import main
from tests.model_writing import model, node
from tests.test_import import ort_outputs

CPU = px.ScheduleConfig(type=px.ForwardType.CPU)
TEXTS = [["a", "é"], ["", "b c"]]
X = np.array(TEXTS, object)


def text_model(*nodes: onnx.NodeProto, outputs: str = "y", **constants: Any) -> onnx.ModelProto:
    """Of one input, strings x of shape [n, 2]."""
    made = model(
        nodes, {"x": ("n", 2)}, outputs.split(), constants, opset=20, dtype=TensorProto.STRING
    )
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 4))
    return made


JOIN = text_model(node("StringConcat", "x w", "y"), w=np.array("!", object))
SPLIT = text_model(
    node("StringConcat", "x w", "c"),
    node("StringSplit", "c", "y z", delimiter=" "),
    node("StringConcat", "y w", "k"),
    outputs="k z",
    w=np.array("!", object),
)


def run(made: onnx.ModelProto, config: ScheduleConfig = CPU, **feeds: Any) -> dict[str, Any]:
    data = made.SerializeToString()
    with px.Interpreter.from_buffer(data).create_session(config) as session:
        return {name: y.tolist() for name, y in session({"x": X, **feeds}).items()}


# ------------------------------------------------------------------------- in and out
@pytest.mark.device_free
@pytest.mark.parametrize(
    "given", [X, X.astype(np.str_), X.astype(np.dtypes.StringDType()), TEXTS, X[::-1][::-1]]
)
def test_strings_come_in_any_dtype_and_go_out_as_str(given: Any) -> None:
    with px.Interpreter.from_buffer(JOIN.SerializeToString()).create_session(CPU) as session:
        y = session({"x": given})["y"]
    assert y.dtype == object
    assert y.tolist() == [["a!", "é!"], ["!", "b c!"]]
    assert {type(text) for text in y.flat} == {str}


@pytest.mark.device_free
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.ones((2, 2), np.float32), r"got float32\[2, 2\], expected string\[2,2\]: strings"),
        ([[1, 2], [3, 4]], r"got int64\[2, 2\], expected string"),
        (np.array([["a", None], ["b", "c"]], object), r"expected string\[2,2\]"),
        (np.array([["a", 1.0], ["b", "c"]], object), r"expected string\[2,2\]"),
        (np.array([[b"a", b"b"]] * 2), r"got \|S1\[2, 2\], expected string"),
        ([["a", "b"], ["\ud83d\ude00", "b"]], r"the string at \[1, 0\] has a lone surrogate"),
        (np.array(["a", "b"]), r"expected string\[2,2\]|rank|axes"),
    ],
)
def test_what_are_no_strings_is_refused(given: Any, words: str) -> None:
    with (
        px.Interpreter.from_buffer(JOIN.SerializeToString()).create_session(
            CPU, shapes={"x": (2, 2)}
        ) as session,
        pytest.raises(InputError, match=words),
    ):
        session.write("x", given)


@pytest.mark.device_free
def test_strings_for_numbers_are_refused() -> None:
    made = model([node("Relu", "x", "y")], {"x": (2,)}, ["y"])
    with (
        px.Interpreter.from_buffer(made.SerializeToString()).create_session(CPU) as session,
        pytest.raises(InputError, match="expected an array of numbers"),
    ):
        session({"x": ["a", "b"]})


@pytest.mark.device_free
def test_strings_have_no_memory_to_lend() -> None:
    with px.Interpreter.from_buffer(JOIN.SerializeToString()).create_session(CPU) as session:
        session({"x": X})
        for refused in (
            lambda: np.from_dlpack(session.output()),
            lambda: session.output().device_memory,
            lambda: (
                compat.OrtValue(X).data_ptr()
                and compat.InferenceSession(JOIN.SerializeToString())
                .io_binding()
                .bind_input("x", "cpu", 0, object, (2, 2), 8)
            ),
        ):
            with pytest.raises(InputError, match="string"):
                refused()


@pytest.mark.device_free
def test_onnxruntimes_calls_take_and_give_strings() -> None:
    session = compat.InferenceSession(JOIN.SerializeToString())
    assert session.get_inputs()[0].type == "tensor(string)"
    (ours,) = session.run(None, {"x": X.astype(np.str_)})
    (theirs,) = ort_outputs(JOIN.SerializeToString(), {"x": X})
    np.testing.assert_array_equal(ours, theirs, strict=True)


# ------------------------------------------------------------------------- where they lie
@pytest.mark.device_free
def test_texts_are_let_go_when_a_session_closes() -> None:
    text = "".join(["a text of ", "its own"])
    given = np.array([[text, "b"]], object)
    before = sys.getrefcount(text)
    with px.Interpreter.from_buffer(SPLIT.SerializeToString()).create_session(CPU) as session:
        session({"x": given})
        assert sys.getrefcount(text) > before
    gc.collect()
    assert sys.getrefcount(text) == before, session


@pytest.mark.device_free
def test_a_plan_shares_the_memory_of_strings_and_numbers() -> None:
    """Chains of both, several times over: what is dead is written over, in both kinds."""
    nodes = [node("Identity", "x", "s0"), node("LabelEncoder", "x", "f0", **TABLE)]
    for k in range(6):
        nodes += [
            node("StringConcat", f"s{k} w", f"s{k + 1}"),
            node("Neg", f"f{k}", f"f{k + 1}"),
            node("Transpose", f"s{k + 1}", f"t{k}", perm=[1, 0]),
        ]
    nodes.append(node("Concat", "s6 t5", "y", axis=0))
    nodes[1].domain = "ai.onnx.ml"
    made = text_model(*nodes, outputs="y f6", w=np.array("!", object))
    found = run(made)
    (y, f) = (found[name] for name in ("y", "f6"))
    assert y == [[f"{t}!!!!!!" for t in row] for row in (*TEXTS, ["a", ""], ["é", "b c"])]
    assert f == [[2.5, -0.5], [-0.5, -0.5]]


TABLE = {"keys_strings": ["a", "z"], "values_floats": [2.5, 1.0], "default_float": -0.5}


def test_on_opencl_strings_stay_on_the_host() -> None:
    device = next(d for d in os.environ["PARALLAX_DEVICES"].split(",") if d.strip() != "cpu")
    config = px.ScheduleConfig(type=px.ForwardType.OPENCL, device=device)
    strict = px.ScheduleConfig(type=px.ForwardType.OPENCL, device=device, strict=True)
    interpreter = px.Interpreter.from_buffer(SPLIT.SerializeToString())
    with interpreter.create_session(config) as session:
        found = session({"x": X})
        assert found["k"].tolist() == [[["a!!", "!"], ["é!!", "!"]], [["!!", "!"], ["b!", "c!!"]]]
        reasons = {op.reason for op in session.info().fallbacks}
        assert reasons == {"opencl: strings lie in host memory only; the CPU computes with them"}
    with pytest.raises(UnsupportedError, match=r"StringConcat 'the_y' cannot run \(strict"):
        px.Interpreter.from_buffer(JOIN.SerializeToString()).create_session(
            strict, shapes={"x": (1, 2)}
        )
    only = text_model(node("StringSplit", "x", "y z"), outputs="z")
    with pytest.raises(UnsupportedError, match="input 'x' is of strings"):
        px.Interpreter.from_buffer(only.SerializeToString()).create_session(
            strict, shapes={"x": (1, 2)}
        )


# ------------------------------------------------------------------------- models
def _weights(**fields: Any) -> bytes:
    made = onnx.ModelProto.FromString(JOIN.SerializeToString())
    tensor = TensorProto(name="w", data_type=TensorProto.STRING, **fields)
    made.graph.initializer[0].CopyFrom(tensor)
    return made.SerializeToString()


@pytest.mark.device_free
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"dims": [2], "string_data": [b"a"]}, "needs 2 elements, but string_data has 1"),
        ({"dims": [1], "string_data": [b"\xff"]}, "initialiser 'w' is not UTF-8 text"),
        ({"dims": [1], "raw_data": b"a"}, "strings belong in string_data, found raw_data"),
        ({"dims": [1], "string_data": [b"a"], "int32_data": [1]}, "given more than once|found"),
        ({"dims": [1], "data_location": 1}, "found external data"),
    ],
)
def test_damaged_strings_of_a_model_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        load_model(_weights(**fields))


@pytest.mark.device_free
@pytest.mark.parametrize("version", [1, 2, 3, 4])
@pytest.mark.parametrize("x", [np.array(["b", "c", "é"], object), np.array([1, 7, -1], np.int64)])
def test_every_form_of_label_encoder_is_read(version: int, x: np.ndarray) -> None:
    keys, values = ("strings", "int64s") if x.dtype == object else ("int64s", "strings")
    columns = {"strings": ["é", "b"], "int64s": [7, 1]}
    table = {f"keys_{keys}": columns[keys], f"values_{values}": columns[values]}
    table = {"classes_strings": ["é", "b", "q"]} if version == 1 else table
    encode = node("LabelEncoder", "x", "y", domain="ai.onnx.ml", **table)
    dtype = helper.np_dtype_to_tensor_dtype(x.dtype)
    made = model([encode], {"x": (3,)}, ["y"], opset=15, dtype=dtype)
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", version))
    (theirs,) = ort_outputs(made.SerializeToString(), {"x": x})
    assert run(made, x=x)["y"] == theirs.tolist()


@pytest.mark.device_free
@pytest.mark.parametrize("kind", ["string", "int64", "float"])
@pytest.mark.parametrize("values", [["v"], [5], [1.5]])
def test_the_default_of_the_kind_of_tensor_values_is_heeded(kind: str, values: list) -> None:
    """As onnxruntime does; one of another kind is not."""
    dtype = {str: object, int: np.int64, float: np.float32}[type(values[0])]
    table = {
        "keys_strings": ["a"],
        "values_tensor": numpy_helper.from_array(np.array(values, dtype)),
        f"default_{kind}": {"string": "é", "int64": 42, "float": 2.5}[kind],
    }
    encode = node("LabelEncoder", "x", "y", domain="ai.onnx.ml", **table)
    made = model([encode], {"x": (2,)}, ["y"], opset=15, dtype=TensorProto.STRING)
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 4))
    x = np.array(["a", "é"], object)
    (theirs,) = ort_outputs(made.SerializeToString(), {"x": x})
    assert run(made, x=x)["y"] == theirs.tolist()


@pytest.mark.device_free
def test_constants_loops_and_sequences_hold_strings() -> None:
    body = helper.make_graph(
        [
            node("StringConcat", "state mark", "next"),
            node("Identity", "goes_on", "still"),
            node("Identity", "next", "row"),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.STRING, None),
        ],
        [helper.make_empty_tensor_value_info(name) for name in ("still", "next", "row")],
    )
    made = text_model(
        node("Constant", "", "mark", value_string="!"),
        node("Equal", "x mark", "same"),
        node("Cast", "same", "zeros", to=TensorProto.INT64),
        node("ReduceMax", "zeros", "none", keepdims=0),
        node("Add", "none two", "count"),
        node("Loop", "count - x", "last rows", body=body),
        node("SequenceConstruct", "x last", "s"),
        node("ConcatFromSequence", "s", "y", axis=0),
        outputs="y rows",
        two=np.array(2, np.int64),
    )
    found = run(made)
    once, twice = ([[text + "!" * k for text in row] for row in TEXTS] for k in (1, 2))
    assert found == {"y": [*TEXTS, *twice], "rows": [once, twice]}


@pytest.mark.device_free
def test_a_loop_that_doubles_a_text_is_refused_in_time() -> None:
    nodes = [node("StringConcat", f"x{k} x{k}".replace("x0", "x"), f"x{k + 1}") for k in range(40)]
    with pytest.raises(InputError, match=f"characters, more than {CHARACTERS_MAX}"):
        run(text_model(*nodes, outputs="x40"))
    named = numpy_helper.from_array(np.array([["ab"]], object), "x")
    constant = text_model(*nodes, outputs="x40")
    constant.graph.initializer.append(named)
    with pytest.raises(InputError, match=f"StringConcat '.*more than {CHARACTERS_MAX}"):
        px.Interpreter.from_buffer(constant.SerializeToString())


# ------------------------------------------------------------------------- the harness
@pytest.mark.device_free
def test_one_wrong_string_fails() -> None:
    wrong = X.copy()
    wrong[1, 1] = "b  c"
    units = Units(np.dtype(np.float32), np.dtype(np.float32))
    (error,) = exact(X)
    assert judge(X, X.copy(), error, units).verdict is Verdict.PASS
    judgement = judge(wrong, X, error, units)
    assert (judgement.verdict, judgement.index) == (Verdict.FAIL, (1, 1))


@pytest.mark.device_free
def test_archives_hold_strings_without_pickles(tmp_path: Path) -> None:
    file, given, found = (tmp_path / n for n in ("m.onnx", "x.npz", "y.npz"))
    onnx.save(JOIN, file)
    np.savez(given, x=X.astype(np.str_))
    arguments = ["run", str(file), "--device", "cpu", "--inputs", str(given)]
    assert main([*arguments, "--outputs", str(found), "-q"]) == 0
    with np.load(found, allow_pickle=False) as stored:
        assert stored["y"].tolist() == [["a!", "é!"], ["!", "b c!"]]
    verify = ["verify", str(file), "--device", "cpu", "--inputs", str(given), "-q"]
    assert main([*verify, "--expect", str(found)]) == 0
    np.savez(found, y=np.array([["a!", "é!"], ["!", "b c"]]))
    assert main([*verify, "--expect", str(found)]) == 1


@pytest.mark.device_free
def test_a_string_that_an_archive_would_lose_is_refused(tmp_path: Path) -> None:
    from conformance.files import write_arrays

    with pytest.raises(ConfigError, match="'y' has strings that end in NUL"):
        write_arrays(str(tmp_path / "y.npz"), {"y": np.array(["a\0"], object)})
