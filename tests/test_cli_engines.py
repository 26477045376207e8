"""`--engine` of verify, fuzz, reduce and replay: options, what is printed, what is kept."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from conformance.bundles.bundle import read
from conformance.bundles.failing import Case
from conformance.engines import mnn_engine
from conformance.engines.place import EnginePlace, _made
from engine.errors import InputError
from engine.runtime import Runtime
from fixtures.bundles.bent import RELU_IS_ABS
from parallax.cli import main
from properties import fuzz
from tests.command_line import Captured, refused, save
from tests.graph_cases import by_seed, chain
from tests.model_writing import model_bytes, node

pytestmark = pytest.mark.device_free

MODELS = Path(__file__).parent.parent / "fixtures" / "models"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--engine", "ort"], "expected one of onnxruntime, openvino, mnn"),
        (["--engine", "onnxruntime", "--engine-option", "x=1"], "has the options optimization"),
        (["--engine", "onnxruntime", "--engine-option", "off"], "expected NAME=VALUE"),
        (["--engine", "onnxruntime", "--device", "cpu"], "--device cpu"),
        (["--engine-option", "optimization=off"], "give --engine, too"),
    ],
)
def test_bad_options_are_named(
    given: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(MODELS / "tiny_mlp_opset7.onnx"), *given]) == 2
    assert words in capsys.readouterr().err


def test_the_command_prints_what_was_judged(capsys: pytest.CaptureFixture[str]) -> None:
    model = str(MODELS / "tiny_mlp_opset7.onnx")
    assert main(["verify", model, "--engine", "onnxruntime"]) == 0
    out = capsys.readouterr().out
    assert "on onnxruntime" in out
    assert "float32: verified, 6 node outputs" in out


# ------------------------------------------------------------------------- fuzz, reduce, replay
ON = ("--engine", "onnxruntime", "--engine-option", "optimization=off")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--engine", "ort"), "expected one of onnxruntime, openvino, mnn"),
        ((*ON, "--device", "cpu"), "--device cpu: --engine onnxruntime has none"),
        ((*ON, "--precision", "low"), "--precision low: --engine onnxruntime has none"),
        (("--engine-option", "optimization=off"), "give --engine, too"),
    ],
)
def test_fuzz_and_reduce_refuse_what_does_not_go_together(
    given: tuple[str, ...], words: str, capsys: Captured
) -> None:
    assert words in refused(capsys, "fuzz", *given)
    assert words in refused(capsys, "reduce", str(MODELS / "tiny_mlp_opset7.onnx"), *given)


def test_an_engine_that_is_wrong_is_fuzzed_into_a_bundle_of_a_node(
    tmp_path: Path, capsys: Captured, planting: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph has a node of which onnxruntime has no kernel, too."""
    without_kernel = node("RandomUniformLike", "x", "z", dtype=10, seed=1.0)
    monkeypatch.setattr(fuzz, "case_of", by_seed([chain(without_kernel)], 432))
    folder, state = tmp_path / "found", tmp_path / "state.json"
    count = ("--count", "1", "--resume", str(state))
    with planting(RELU_IS_ABS):
        argv = ["fuzz", *ON, "--seed", "432", *count, "--bundles", str(folder), "--json"]
        assert main(argv) == 1
    found = json.loads(capsys.readouterr().out)
    (finding,) = found["findings"]
    assert (finding["signature"]["operator"], finding["nodes"], finding["problem"]) == (
        "Relu",
        1,
        "",
    )
    assert (found["verified"], found["refused"], found["left_out"]) == (
        1,
        {},
        {"RandomUniformLike": 1},
    )
    facts = read(Path(finding["bundle"])).facts
    assert facts["engine"] == {"name": "onnxruntime", "options": {"optimization": "off"}}
    assert " ".join(ON) in (Path(finding["bundle"]) / "README.txt").read_text()
    assert " ".join(ON) in facts["origin"]
    assert main(["replay", finding["bundle"]]) == 0
    assert main(["replay", finding["bundle"], "--device", "cpu"]) == 0
    capsys.readouterr()
    other = ("--engine", "onnxruntime", *count)
    assert "not of onnxruntime at float32" in refused(capsys, "fuzz", *other)


@pytest.mark.nightly
def test_a_model_that_an_engine_gets_wrong_is_reduced_to_the_node(
    tmp_path: Path, capsys: Captured, planting: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    nodes = [
        node("Conv", "x w", "c", pads=[1, 1, 1, 1]),
        node("Relu", "c", "r"),
        node("GlobalAveragePool", "r", "y"),
    ]
    weights = {"w": np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)}
    model = save(tmp_path / "net.onnx", nodes, {"x": ["n", 3, 8, 8]}, ["y"], weights)
    with planting(RELU_IS_ABS):
        assert main(["reduce", str(model), *ON, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["signature"] == {
        "kind": "out of bounds",
        "operator": "Relu",
        "precision": "float32",
    }
    assert found["after"] == {"nodes": 1, "elements": 1}
    bundle = read(tmp_path / "net.bundle")
    assert [n.op_type for n in onnx.load_from_string(bundle.case.model).graph.node] == ["Relu"]
    assert bundle.passing is not None


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ([], "describes no engine"),
        ({"name": "onnxruntime", "options": ["off"]}, "describes no engine"),
        ({"name": "on\nnx", "options": {}}, "where the name of an engine is expected"),
        ({"name": "ort", "options": {}}, "expected one of onnxruntime, openvino, mnn"),
    ],
)
def test_a_bundle_of_a_damaged_engine_is_refused(
    engine: object, words: str, tmp_path: Path, capsys: Captured
) -> None:
    bundle = sorted((MODELS.parent / "bundles").glob("*.zip"))[0]
    files = dict(read(bundle).files)
    facts = json.loads(files["bundle.json"]) | {"engine": engine}
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "bundle.json").write_text(json.dumps(facts))
    assert words in refused(capsys, "replay", str(tmp_path))


# ------------------------------------------------------------------------- MNN
def test_mnn_that_is_not_installed_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        mnn_engine.importlib.util, "find_spec", lambda n: None if n == "MNN" else real(n)
    )
    words = refused(capsys, "fuzz", "--engine", "mnn")
    assert "--engine mnn: it is not installed: No module named 'MNN'" in words


@pytest.fixture
def mnn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], EnginePlace]]:
    """A place where MNN's process runs a program of the test's."""
    monkeypatch.setattr(mnn_engine.importlib.util, "find_spec", lambda _: True)
    monkeypatch.setattr(mnn_engine.importlib.metadata, "version", lambda _: "3.6.1")

    def running(program: str) -> EnginePlace:
        path = tmp_path / "mnn_engine.py"
        path.with_name("mnn_child.py").write_text(program)
        monkeypatch.setattr(mnn_engine, "__file__", str(path))
        _made.cache_clear()
        return EnginePlace(runtime, "mnn")

    with Runtime() as runtime:
        yield running
    _made.cache_clear()


def squared(*, dtype: int = onnx.TensorProto.FLOAT) -> Case:
    array = np.arange(3, dtype=onnx.helper.tensor_dtype_to_np_dtype(dtype))
    return Case(
        model_bytes([node("Mul", "x x", "y")], {"x": [3]}, ["y"], dtype=dtype), {"x": array}
    )


def test_what_ends_the_process_of_mnn_is_a_failure_of_the_case(
    mnn: Callable[[str], EnginePlace],
) -> None:
    failing = mnn("import os; os.kill(os.getpid(), 11)").examine(squared(), 0, launches=False)
    assert failing is not None
    assert failing.signature.kind == "crash: SIGSEGV"


def test_what_mnn_refuses_is_told_in_its_words(mnn: Callable[[str], EnginePlace]) -> None:
    place = mnn("print('These Op Not Support: X'); print('Converted Failed!'); raise SystemExit(3)")
    with pytest.raises(InputError, match=r"does not run the model: .*Not Support: X"):
        place.examine(squared(), 0, launches=False)


def test_integers_of_64_bits_go_through_mnn_as_those_of_32(
    mnn: Callable[[str], EnginePlace],
) -> None:
    place = mnn(
        "import sys, numpy as np; from pathlib import Path; folder = Path(sys.argv[1])\n"
        "x = np.load(folder / 'inputs.npz')['x']; assert x.dtype == np.int32\n"
        "np.savez(folder / 'outputs.npz', **{'0': x * x})"
    )
    case = squared(dtype=onnx.TensorProto.INT64)
    assert place.examine(case, 0, launches=False) is None
    wide = Case(case.model, {"x": np.array([0, 1, 2**40])})
    with pytest.raises(InputError, match="what does not fit 32 bits"):
        place.examine(wide, 0, launches=False)
