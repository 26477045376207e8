"""A survey tells what every ONNX file holds and what of it cannot run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import parallax as px
from engine.backends.cpu.backend import CpuBackend
from engine.model_file import ModelFile
from parallax.cli import main
from tests.command_line import Captured
from tests.graph_reference import LIGHT_MODELS, SMALL_MODELS, model_path
from tests.model_writing import model, model_bytes, node
from tests.strange_models import (
    STRANGE,
    complex_input,
    conditional,
    local_function,
    loop,
    no_nodes,
    one_among_eighty,
    quantised,
    refused_attribute,
    wrong_shape,
)
from tests.test_bad_models import mutations

pytestmark = pytest.mark.one_driver

CPU = px.ScheduleConfig(type="cpu")

REFUSED: dict[str, set[tuple[str, str, int, str]]] = {
    "lstm": {("LSTM", "ai.onnx", 1, "importer")},
    "conditional": {("Multinomial", "ai.onnx", 1, "importer")},
    "quantised": {
        (name, "com.microsoft", 1, "importer")
        for name in ("QOrderedMatMul", "QLinearReduceMean", "QOrderedGelu")
    },
    "custom_domain": {
        ("Gelu", "com.example", 2, "importer"),
        ("BiasGelu", "com.example", 1, "importer"),
    },
    "map_input": {("", "", 1, "importer")},
    "complex_input": {("", "", 1, "importer")},
    "complex_weights": {("", "", 1, "importer")},
    "no_rank": {("", "", 1, "importer")},
    "too_new": {("", "", 1, "importer")},
    "local_function": {("Multinomial", "ai.onnx", 2, "importer")},
    "recursive_function": {("Again", "local", 1, "importer")},
    "refused_attribute": {("BatchNormalization", "ai.onnx", 1, "importer")},
    "wrong_shape": {("Reshape", "ai.onnx", 1, "shapes")},
    "dangling": {("", "", 1, "importer"), ("Multinomial", "ai.onnx", 1, "importer")},
    "sparse_weights": {("", "", 1, "importer")},
    "one_among_eighty": {("Multinomial", "ai.onnx", 1, "importer")},
}
"""Of the strange models: type, domain, count and what is lacking, of each row of the table."""


def survey(
    data: onnx.ModelProto, shapes: dict[str, tuple[int, ...]] | None = None
) -> px.ModelSurvey:
    return px.survey(data.SerializeToString(), CPU, shapes=shapes)


@pytest.mark.parametrize("name", STRANGE)
def test_a_survey_finds_exactly_what_cannot_run(name: str) -> None:
    found = survey(STRANGE[name]()).unsupported
    assert {(u.type, u.domain, u.count, u.lacking) for u in found} == REFUSED[name]
    assert all(u.first and u.reason and not u.reason.startswith(u.first) for u in found)


@pytest.mark.parametrize("name", [n for n in STRANGE if n != "wrong_shape"])
def test_what_a_survey_refuses_the_interpreter_refuses_in_one_short_sentence(name: str) -> None:
    data = STRANGE[name]().SerializeToString()
    first = px.survey(data, CPU).unsupported[0]
    with pytest.raises(px.ParallaxError) as refusal:
        px.Interpreter.from_buffer(data)
    node = first.first.partition("'")[2].removesuffix("'")  # parts of it are called by it
    assert first.reason in str(refusal.value).replace(f"'{node}/", "'")
    assert len(str(refusal.value)) < 250


@pytest.mark.parametrize("name", [*SMALL_MODELS, *LIGHT_MODELS])
def test_a_model_that_runs_has_nothing_in_its_table(name: str) -> None:
    found = px.survey(model_path(name), CPU)
    interpreter = px.Interpreter.from_file(model_path(name))
    assert found.unsupported == ()
    assert list(found.inputs) == list(interpreter.inputs)
    assert list(found.outputs) == interpreter.outputs
    assert found.opsets["ai.onnx"] == interpreter.info.opset
    proto = onnx.load(model_path(name))
    if not proto.functions:
        assert sum(o.count for o in found.operators) == len(proto.graph.node)


def test_the_rest_of_a_model_is_reported_beside_what_cannot_run() -> None:
    found = survey(one_among_eighty(), {"t0": (2, 3)})
    assert found.inputs == {"t0": "float32[n,3]"}
    assert [(o.type, o.count) for o in found.operators] == [
        ("Relu", 40),
        ("Abs", 39),
        ("Multinomial", 1),
    ]
    (unsupported,) = found.unsupported
    assert unsupported.first == "Multinomial 'the_t41'"
    assert unsupported.reason == "there is no kernel for this operator"
    (cpu,) = found.support
    assert (cpu.supported, cpu.undecided) == (40, 39)


def test_operators_in_subgraphs_and_functions_are_counted_where_they_stand() -> None:
    in_branches = {o.type: (o.count, o.in_subgraphs) for o in survey(conditional()).operators}
    assert in_branches == {
        "If": (2, 1),
        "Relu": (1, 1),
        "Multinomial": (1, 1),
        "Abs": (1, 1),
        "Neg": (1, 1),
    }
    in_calls = {o.type: (o.count, o.in_functions) for o in survey(local_function()).operators}
    assert in_calls == {"Abs": (2, 2), "Multinomial": (2, 2)}


def test_parameters_are_counted_in_elements_and_bytes_of_their_own_types() -> None:
    found = survey(quantised())
    assert (found.parameters, found.parameter_nbytes) == (1 + 1 + 108, 4 + 1 + 108)
    inside = survey(loop())
    assert (inside.parameters, inside.parameter_nbytes) == (1 + 1 + 3, 8 + 1 + 12)
    packed = model([node("Relu", "x", "y")], {"x": (1,)}, ["y"])
    packed.graph.initializer.append(
        onnx.helper.make_tensor("q", onnx.TensorProto.INT4, [5], [1] * 5)
    )
    assert survey(packed).parameter_nbytes == 3


def test_types_that_no_tensor_has_are_told_as_the_file_declares_them() -> None:
    assert survey(STRANGE["map_input"]()).inputs == {"x": "map(int64, float32[n])"}
    assert survey(complex_input()).inputs == {"x": "complex64[n]"}
    assert survey(STRANGE["no_rank"]()).inputs == {"x": "float32"}


def test_a_refused_attribute_is_the_reason_although_the_operator_is_supported() -> None:
    (row,) = survey(refused_attribute()).unsupported
    assert row.reason == "spatial=0 (statistics per element) is not supported"


def test_without_shapes_only_what_needs_none_is_asked_about() -> None:
    data = model_bytes([node("Relu", "x", "y")], {"x": ("n",)}, ["y"])
    (cpu,) = px.survey(data, CPU).support
    assert (cpu.supported, cpu.undecided) == (0, 1)
    assert px.survey(data, CPU).problem == "shapes are needed for n"
    (cpu,) = px.survey(data, CPU, shapes={"x": (3,)}).support
    assert (cpu.supported, cpu.undecided) == (1, 0)
    with pytest.raises(px.InputError, match="rank 2"):
        px.survey(data, CPU, shapes={"x": (3, 4)})


def test_a_kernel_that_a_backend_lacks_is_in_the_table_under_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        CpuBackend, "why_not", lambda _, node: "no abs" if node.op_type == "Abs" else None
    )
    nodes = [node("Abs", "x", "a"), node("Neg", "a", "b"), node("Abs", "b", "y")]
    (row,) = survey(model(nodes, {"x": (3,)}, ["y"])).unsupported
    assert row == px.Unsupported("Abs", "ai.onnx", 2, "Abs 'the_a'", "no abs", "cpu")


def test_a_model_without_nodes_is_a_model() -> None:
    found = survey(no_nodes(), {"x": (1, 3)})
    assert (found.operators, found.unsupported) == ((), ())
    session = px.Interpreter.from_buffer(no_nodes().SerializeToString()).create_session(CPU)
    array = np.ones((2, 3), np.float32)
    assert np.array_equal(session({"x": array})["x"], array)
    session.close()


def test_only_what_is_no_model_is_an_error() -> None:
    with pytest.raises(px.ModelError, match="is not an ONNX model"):
        px.survey(b"<html>404: not found</html>")
    with pytest.raises(px.ModelError, match="is empty"):
        px.survey(b"")


@pytest.mark.parametrize("build", [local_function, conditional, quantised])
def test_a_survey_of_a_damaged_file_reports_or_refuses(
    build: Callable[[], onnx.ModelProto],
) -> None:
    reported = 0
    for mutated in mutations(build().SerializeToString(), 3, 150):
        try:
            reported += bool(px.survey(mutated, CPU).unsupported)
        except px.ModelError:
            continue
    assert reported > 15


def test_a_file_is_read_once_for_its_survey_and_its_sessions(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model_bytes([node("Relu", "x", "y")], {"x": (2,)}, ["y"]))
    file = ModelFile(path)
    path.unlink()
    assert file.survey(CPU).unsupported == ()
    with file.opened().create_session(CPU) as session:
        assert session({"x": np.array([-1, 2], np.float32)})["y"].tolist() == [0, 2]


# ---------------------------------------------------------------------- the command line
def save(data: onnx.ModelProto, folder: Path) -> str:
    path = folder / "strange.onnx"
    onnx.save(data, path)
    return str(path)


@pytest.mark.parametrize("columns", [80, 100, 160])
@pytest.mark.parametrize("name", STRANGE)
def test_info_reports_in_the_columns_there_are(
    name: str,
    columns: int,
    capsys: Captured,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", str(columns))
    save(STRANGE[name](), tmp_path)
    assert main(["info", "strange.onnx"]) == 0
    shown = capsys.readouterr().out
    table = shown[shown.index(" not supported ") :]
    assert max(map(len, table.splitlines()[:-1])) <= columns
    for type_, domain, count, lacking in REFUSED[name]:
        title = type_ if domain in ("", "ai.onnx") else f"{domain}.{type_}"
        rows = [line.split() for line in table.splitlines()]
        assert any(r[1:3] == [str(count), lacking] and title.startswith(r[0]) for r in rows) or (
            not type_ and any(r[:3] == ["-", str(count), lacking] for r in rows)
        )


def test_strict_makes_the_exit_code_one_where_anything_is_lacking(
    capsys: Captured, tmp_path: Path
) -> None:
    path = save(quantised(), tmp_path)
    assert main(["info", path]) == 0
    assert main(["info", path, "--strict"]) == 1
    assert main(["info", save(wrong_shape(), tmp_path), "--strict"]) == 1
    assert main(["info", save(no_nodes(), tmp_path), "--strict"]) == 0
    assert capsys.readouterr().err == ""


def test_a_session_of_what_cannot_run_is_an_error_after_the_report(
    capsys: Captured, tmp_path: Path
) -> None:
    path = save(quantised(), tmp_path)
    assert main(["info", path, "--device", "cpu"]) == 2
    captured = capsys.readouterr()
    assert "QOrderedMatMul" in captured.out
    assert "3 nodes of 3 operator types cannot be imported, `parallax info " in captured.err
