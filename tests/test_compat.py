"""parallax.compat: what applications call of onnxruntime, and its answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

import parallax as px
from parallax import compat
from parallax.cli import main
from tests.command_line import Captured
from tests.graph_reference import SMALL_MODELS, model_path
from tests.model_writing import model, node
from tests.stage_models import ROWS, places

pytestmark = pytest.mark.one_driver

CHAIN = model(
    [node("Relu", "x", "r"), node("Add", "r w", "y"), node("Neg", "r", "z")],
    {"x": ("n", 4)},
    ["y", "z"],
    {"w": np.ones(4, np.float32)},
)
DATA = CHAIN.SerializeToString()
X = np.arange(8, dtype=np.float32).reshape(2, 4) - 3


@pytest.fixture
def ours() -> compat.InferenceSession:
    return compat.InferenceSession(DATA, providers=["CPUExecutionProvider"])


@pytest.mark.device_free
@pytest.mark.parametrize("name", SMALL_MODELS)
def test_a_session_says_of_a_model_what_onnxruntime_says(name: str) -> None:
    theirs = onnxruntime.InferenceSession(model_path(name), providers=["CPUExecutionProvider"])
    mine = compat.InferenceSession(model_path(name))
    for get in ("get_inputs", "get_outputs"):
        told, expected = ([(a.name, a.type) for a in getattr(s, get)()] for s in (mine, theirs))
        assert told == expected
    assert [a.shape for a in mine.get_inputs()] == [a.shape for a in theirs.get_inputs()]
    meta = mine.get_modelmeta()
    for field in ("producer_name", "graph_name", "domain", "description", "custom_metadata_map"):
        assert getattr(meta, field) == getattr(theirs.get_modelmeta(), field)


@pytest.mark.device_free
@pytest.mark.parametrize("names", [None, [], ["z"], ["z", "y"]])
def test_a_run_gives_what_was_asked_for_in_order(
    ours: compat.InferenceSession, names: list[str] | None
) -> None:
    theirs = onnxruntime.InferenceSession(DATA, providers=["CPUExecutionProvider"])
    for x in (X, X[:1], X):
        got, expected = ours.run(names, {"x": x}), theirs.run(names, {"x": x})
        assert isinstance(got, list)
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.device_free
def test_bindings_and_values_carry_arrays(ours: compat.InferenceSession) -> None:
    value = compat.OrtValue.ortvalue_from_numpy(X)
    assert (value.shape(), value.data_type(), value.device_name()) == (
        [2, 4],
        "tensor(float)",
        "cpu",
    )
    (y,) = ours.run_with_ort_values(["y"], {"x": value})
    binding, target = ours.io_binding(), compat.OrtValue(np.zeros((2, 4), np.float32))
    binding.bind_cpu_input("x", X)
    binding.bind_output("y")
    binding.bind_ortvalue_output("z", target)
    ours.run_with_iobinding(binding)
    first, second = binding.copy_outputs_to_cpu()
    np.testing.assert_array_equal(first, y.numpy())
    np.testing.assert_array_equal(second, -np.maximum(X, 0))
    assert binding.get_outputs()[1] is target


@pytest.mark.device_free
def test_addresses_are_bound_as_there() -> None:
    def bound(ort) -> list[np.ndarray]:
        session = ort.InferenceSession(DATA, providers=["CPUExecutionProvider"])
        binding, x, y = session.io_binding(), X.copy(), np.zeros((2, 4), np.float32)
        where = "cpu", 0, np.float32, x.shape
        binding.bind_input("x", *where, x.ctypes.data)
        binding.bind_output("y", *where, y.ctypes.data)
        z = ort.OrtValue.ortvalue_from_shape_and_type(x.shape, np.float32)
        binding.bind_ortvalue_output("z", z)
        x += 1
        session.run_with_iobinding(binding)
        z_before = z.numpy().copy()
        z.update_inplace(x)
        told = z.element_type(), z.data_type(), z.shape(), z.has_value(), z.is_tensor()
        return [y, z_before, z.numpy(), np.array([str(told)])]

    for ours, theirs in zip(bound(compat), bound(onnxruntime), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.device_free
def test_lists_and_what_may_be_absent_are_what_they_are_there() -> None:
    lists = helper.make_sequence_type_proto(
        helper.make_tensor_type_proto(TensorProto.FLOAT, ["n", 4])
    )
    inputs = [
        helper.make_value_info("x", lists),
        helper.make_value_info("o", helper.make_optional_type_proto(lists)),
        helper.make_tensor_value_info("t", TensorProto.FLOAT, ["n", 4]),
    ]
    outputs = [
        helper.make_value_info("y", lists),
        helper.make_tensor_value_info("z", TensorProto.BOOL, []),
    ]
    nodes = [node("SequenceInsert", "x t", "y"), node("OptionalHasElement", "o", "z")]
    graph = helper.make_graph(nodes, "test", inputs, outputs)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    ours = compat.InferenceSession(proto)
    theirs = onnxruntime.InferenceSession(proto.SerializeToString())
    for told, expected in zip(ours.get_inputs(), theirs.get_inputs(), strict=True):
        assert (told.name, told.type, told.shape) == (expected.name, expected.type, expected.shape)
    for o in ([X], None):
        feeds = {"x": [X, X[:1]], "o": o, "t": X + 1}
        (y, z), (list_there, z_there) = ours.run(None, feeds), theirs.run(None, feeds)
        if o is None:
            assert ours.run(["z"], {"x": [X], "t": X}) == [z]
        assert isinstance(y, list)
        for mine, other in zip(y, list_there, strict=True):
            np.testing.assert_array_equal(mine, other)
        assert z == z_there == (o is not None)


@pytest.mark.device_free
def test_a_proto_is_a_model_too(ours: compat.InferenceSession) -> None:
    (y,) = compat.InferenceSession(CHAIN).run(["y"], {"x": X})
    np.testing.assert_array_equal(y, ours.run(["y"], {"x": X})[0])


@pytest.mark.device_free
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s: s.run(["q"], {"x": X}), "run: no output named 'q'"),
        (lambda s: s.run(None, {"q": X}), "no tensor named 'q'"),
        (lambda s: s.run(None, {}), "missing input 'x'"),
        (lambda s: s.run(None, {"x": X.astype(np.float64)}), "expected float32"),
        (lambda s: s.run_with_iobinding(s.io_binding()), "no output is bound"),
        (
            lambda s: s.run("y", {"x": X}),
            "run: output_names: got 'y', expected a sequence of names",
        ),
        (lambda s: s.io_binding().bind_cpu_input("q", X), "io_binding: no input named 'q'"),
        (
            lambda s: compat.OrtValue.ortvalue_from_shape_and_type([-2, 3], np.float32),
            r"ortvalue_from_shape_and_type: shape \(-2, 3\) has a negative extent",
        ),
        (lambda s: s.io_binding().bind_output("y", "cuda"), "device_type='cuda'"),
        (lambda s: s.io_binding().bind_output("y", buffer_ptr=1), "needs an element_type"),
        (lambda s: compat.OrtValue(X).update_inplace(X[0]), r"float32\[4\] does not go into"),
        (lambda s: compat.InferenceSession(DATA, providers=["cpu"]), "'cpu' is no provider"),
        (lambda s: compat.InferenceSession(DATA, disabled_optimizers=[]), "disabled_optimizers"),
        (lambda s: compat.InferenceSession(DATA, provider_options=[{"a": 1}]), "provider_options"),
        (lambda s: compat.SessionOptions().get_session_config_entry("a"), "no config entry 'a'"),
        (lambda s: compat.set_seed(3), "random"),
    ],
)
def test_what_there_is_none_of_is_refused_by_name(ours, call, words: str) -> None:
    with pytest.raises(px.ParallaxError, match=words):
        call(ours)


def bound(session, x: np.ndarray, name: str = "x") -> None:
    binding = session.io_binding()
    binding.bind_cpu_input(name, x)
    binding.bind_output("y")
    session.run_with_iobinding(binding)


@pytest.mark.device_free
@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda s: s.run(None, {}), ValueError),
        (lambda s: s.run(None, {"q": X}), ValueError),
        (lambda s: s.run_with_ort_values(None, {}), ValueError),
        (lambda s: bound(s, X.astype(np.float64)), RuntimeError),
        (lambda s: bound(s, X, "q"), RuntimeError),
        (lambda s: s.run_with_iobinding(s.io_binding()), RuntimeError),
    ],
)
def test_what_is_wrong_is_caught_as_there(ours, call, kind: type[Exception]) -> None:
    theirs = onnxruntime.InferenceSession(DATA, providers=["CPUExecutionProvider"])
    for session in (ours, theirs):
        with pytest.raises(kind):
            call(session)


@pytest.mark.device_free
def test_other_names_are_attribute_errors_as_there() -> None:
    for call in (
        lambda: compat.training,
        lambda: setattr(compat.SessionOptions(), "optimized_model_filepath", "x"),
        lambda: setattr(compat.RunOptions(), "terminate", True),
    ):
        with pytest.raises(AttributeError, match=r"is not supported by parallax\.compat"):
            call()
    options = compat.SessionOptions()
    options.intra_op_num_threads, options.graph_optimization_level = 1, 99
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    assert compat.InferenceSession(DATA, options, ["CUDAExecutionProvider"]).get_providers() == [
        "CPUExecutionProvider"
    ]


@pytest.mark.device_free
def test_data_may_decide_shapes_here_too() -> None:
    theirs = onnxruntime.InferenceSession(places(), providers=["CPUExecutionProvider"])
    mine = compat.InferenceSession(places())
    for a, b in zip(mine.run(None, {"x": ROWS}), theirs.run(None, {"x": ROWS}), strict=True):
        np.testing.assert_allclose(a, b, 1e-5)


APPLICATION = """
import sys
import numpy as np
import onnxruntime as ort
from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions
from onnxruntime.capi.onnxruntime_pybind11_state import EPFail, ModelLoaded, NoModel, NoSuchFile

options = SessionOptions()
options.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_ALL
session = InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
x = np.ones([d if isinstance(d, int) else 2 for d in session.get_inputs()[0].shape], np.float32)
doubles = {session.get_inputs()[0].name: x.astype(np.float64)}
for call, refusal in (
    (lambda: session.run(None, doubles), ort.capi.onnxruntime_pybind11_state.InvalidArgument),
    (lambda: InferenceSession("nowhere.onnx"), NoSuchFile),
):
    try:
        call()
    except (EPFail, ModelLoaded, NoModel, refusal):
        print("refused")
print("parallax-as" in ort.__file__, session.run(None, {session.get_inputs()[0].name: x})[0].sum())
sys.exit(7)
"""


def test_an_unchanged_application_runs_on_a_device(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APPLICATION)
    (tmp_path / "chain.onnx").write_bytes(DATA)
    words = [sys.executable, "app.py", "chain.onnx"]
    for device in ("cpu", "auto"):
        options = ["--device", device] if device != "cpu" else []
        command = [sys.executable, "-m", "parallax", "as-onnxruntime", *options, "--", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 7, done.stderr
        assert done.stdout.split() == ["refused", "refused", "True", "16.0"], done.stdout


def test_the_application_does_the_same_with_onnxruntime(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APPLICATION)
    (tmp_path / "chain.onnx").write_bytes(DATA)
    words = [sys.executable, "app.py", "chain.onnx"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    assert done.stdout.split() == ["refused", "refused", "False", "16.0"], done.stdout


def test_a_device_is_looked_for_before_the_program_starts(capsys: Captured) -> None:
    assert main(["as-onnxruntime", "--device", "nope", "--", "no-such-program-here"]) == 2
    assert "device 'nope' matches no device" in capsys.readouterr().err


@pytest.mark.device_free
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no program"),
        (["--"], "no program"),
        (["--", "no-such-program-here"], "cannot be run: No such file"),
        (["--precision", "exact", "--", "true"], "exact"),
    ],
)
def test_a_program_that_cannot_be_run_is_one_error(
    words: list[str], message: str, capsys: Captured
) -> None:
    assert main(["as-onnxruntime", *words]) == 2
    assert message in capsys.readouterr().err
