"""`verify` on several sets of inputs: hostile ones that are drawn, and batches that are given."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import find, given, settings
from onnx import TensorProto, helper, numpy_helper

import parallax as px
from conformance import examples
from conformance.value_classes import CLASSES, NOT_FINITE, classes, drawn_inputs, values_of
from engine.backends.cpu import softmax
from engine.ir.types import BOOL, FLOAT, FLOATS, NARROW_FLOATS, TENSOR_DTYPES, TensorType
from engine.ops.numerics import Units, sum_of_products
from parallax.cli import main
from properties import strategies
from tests.command_line import Captured, refused, save
from tests.distributions import ROOT

pytestmark = pytest.mark.device_free


def embedding() -> bytes:
    """y = table[ids] * x, a table of five rows."""
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "ids"], ["rows"]),
            helper.make_node("Mul", ["rows", "x"], ["y"]),
        ],
        "embedding",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, [7]),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [7, 3]),
        ],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(np.ones((5, 3), np.float32), "table")],
    )
    imports = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=imports, ir_version=9).SerializeToString()


EMBEDDING = px.Interpreter.from_buffer(embedding())


# ------------------------------------------------------------------------- values
def test_every_class_has_its_values_at_every_dtype() -> None:
    for dtype in TENSOR_DTYPES:
        for name in classes(not_finite=True):
            x = values_of(name, TensorType(dtype, (9, 33)), 3)
            assert (x.dtype, x.shape) == (dtype, (9, 33))
            again = values_of(name, TensorType(dtype, (9, 33)), 3)
            assert again.tolist() == x.tolist() or again.tobytes() == x.tobytes()
            if dtype in FLOATS | NARROW_FLOATS and name != NOT_FINITE:
                assert np.isfinite(x.astype(np.float64)).all(), (dtype, name)
    made = {
        name: values_of(name, TensorType(FLOAT, (64, 64)), 1) for name in (*CLASSES, NOT_FINITE)
    }
    sizes = {name: np.abs(x) for name, x in made.items()}
    assert not made["zeros"].any()
    assert np.signbit(made["zeros"]).any()
    assert 0 < sizes["subnormal"].min() <= sizes["subnormal"].max() < np.finfo(np.float32).tiny
    assert 0 < sizes["tiny"].max() < 1e-3
    assert 256 <= sizes["large"].min() <= sizes["large"].max() <= 2**15
    assert sizes["mixed"].max() / sizes["mixed"].min() > 1e9
    assert len(np.unique(made["repeated"])) == 1
    assert (made["whole"] % 1 == 0).all()
    assert {0.0, 0.5} == set(np.unique(made["ties"] % 1))
    hard = made[NOT_FINITE]
    assert np.isposinf(hard).any()
    assert np.isneginf(hard).any()
    assert np.isnan(hard).any()


def test_indices_stay_inside_their_table_and_meet_both_ends() -> None:
    seen = [drawn_inputs(EMBEDDING, seed=k) for k in range(len(CLASSES))]
    ids = np.concatenate([d.feeds["ids"] for d in seen])
    assert (ids.min(), ids.max()) == (0, 4)
    assert {d.classes["ids"] for d in seen} == {d.classes["x"] for d in seen} == set(CLASSES)
    again = drawn_inputs(EMBEDDING, seed=len(CLASSES))
    assert again.classes["ids"] == seen[0].classes["ids"]
    assert again.classes["x"] != seen[0].classes["x"]


# ------------------------------------------------------------------------- hypothesis
@settings(max_examples=20, deadline=None, database=None, derandomize=True)
@given(strategies.inputs(EMBEDDING))
def test_drawn_inputs_are_those_that_a_model_takes(feeds: dict[str, np.ndarray]) -> None:
    assert {n: (x.dtype, x.shape) for n, x in feeds.items()} == {
        "ids": (np.dtype(np.int64), (7,)),
        "x": (np.dtype(np.float32), (7, 3)),
    }
    assert 0 <= feeds["ids"].min() <= feeds["ids"].max() <= 4


def test_arrays_shrink_to_zeros_and_refuse_what_is_none() -> None:
    quiet = settings(database=None, derandomize=True)
    assert not find(strategies.arrays((2, 3)), lambda x: True, settings=quiet).any()
    hard = find(
        strategies.arrays((64,), not_finite=True), lambda x: np.isnan(x).any(), settings=quiet
    )
    assert hard.dtype == np.float32
    mask = find(strategies.arrays((4,), np.bool_, only=["large"]), lambda x: True, settings=quiet)
    assert (mask.dtype, mask.all()) == (BOOL, True)
    for bad, said in [
        (lambda: strategies.arrays((2,), only=["huge"]), "no class of values named 'huge'"),
        (lambda: strategies.arrays((2,), only=[NOT_FINITE]), "no class of values"),
        (lambda: strategies.arrays((2,), np.complex64), "dtype complex64"),
        (lambda: strategies.arrays((-2,)), "negative extent"),
        (lambda: strategies.inputs(EMBEDDING, {"z": (1,)}), "no input named 'z'"),
    ]:
        with pytest.raises(px.InputError, match=said):
            bad()


def test_without_hypothesis_the_strategies_say_what_to_install() -> None:
    code = "import sys; sys.modules['hypothesis'] = None; import properties.strategies"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert 'pip install "parallax-engine[strategies]"' in done.stderr.splitlines()[-1]


# ------------------------------------------------------------------------- the worst is kept
@pytest.fixture
def softmax_overflows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU's Softmax forgets to subtract the maximum, which ordinary inputs do not show."""
    numpy = types.SimpleNamespace(**{**vars(np), "max": lambda x, **options: 0.0})
    monkeypatch.setattr(softmax, "np", numpy)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    nodes = [helper.make_node("Softmax", ["x"], ["y"], name="only")]
    return save(tmp_path / "softmax.onnx", nodes, {"x": ["n", 8]}, ["y"], {})


@pytest.mark.usefixtures("softmax_overflows")
def test_drawn_values_find_what_ordinary_ones_do_not_and_name_the_seed(
    model: Path, capsys: Captured
) -> None:
    argv = ["verify", str(model), "--device", "cpu", "--no-latency"]
    drawn = [*argv, "--inputs-from", "strategies"]
    assert main(argv) == 0
    assert main([*drawn, "--examples", str(CLASSES.index("large"))]) == 0
    capsys.readouterr()
    assert main(drawn) == 1
    shown = capsys.readouterr().out
    large = CLASSES.index("large")
    assert f"seed {large}: x large" in shown
    assert f"with the inputs of seed {large}" in shown
    assert main([*drawn, "--seed", str(large), "--examples", "1", "--json"]) == 1
    (report,) = json.loads(capsys.readouterr().out)["models"]
    assert (report["examples"], report["given"]) == ([f"seed {large}: x large"], False)
    assert report["precisions"][0]["failure"]["check"]["example"] == f"seed {large}"


@pytest.mark.usefixtures("softmax_overflows")
def test_of_many_batches_the_worst_is_kept(model: Path, tmp_path: Path, capsys: Captured) -> None:
    folder = tmp_path / "batches"
    folder.mkdir()
    for name, (rows, scale) in {"a": (1, 1), "b": (5, 1000), "c": (2, 1)}.items():
        x = np.random.default_rng(rows).standard_normal((rows, 8)).astype(np.float32)
        np.savez(folder / f"{name}.npz", x=x * np.float32(scale))
    argv = ["verify", str(model), "--device", "cpu", "--no-latency"]
    good = ["--inputs", str(folder / "a.npz"), "--inputs", str(folder / "c.npz")]
    assert main([*argv, *good]) == 0
    assert "the worst of 2 sets, given" in capsys.readouterr().out
    assert main([*argv, "--inputs", str(folder), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert [Path(f["path"]).name for f in document["files"][1:]] == ["a.npz", "b.npz", "c.npz"]
    (precision,) = document["models"][0]["precisions"]
    (check,) = precision["checks"]
    assert (check["example"], check["type"]) == ("b.npz", "float32[5,8]")
    batches = [dict(np.load(folder / f"{name}.npz")) for name in "acb"]
    report = px.verify(model, device="cpu", inputs=batches)
    assert report.precisions[0].checks[0].example == "inputs[2]"
    assert "inputs[2]: x [5, 8]" in str(report)


def test_what_is_not_finite_is_drawn_when_asked_for(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Softmax that leaves NaN out, as if the element were not there."""
    others = {**vars(np), "max": np.nanmax, "sum": np.nansum}
    monkeypatch.setattr(softmax, "np", types.SimpleNamespace(**others))
    model = save(model, [helper.make_node("Softmax", ["x"], ["y"])], {"x": [4, 64]}, ["y"], {})
    assert px.verify(model, device="cpu", inputs_from="strategies").ok
    assert not px.verify(model, device="cpu", inputs_from="strategies", not_finite=True).ok


def test_a_drawn_set_that_the_model_refuses_is_told_and_a_given_one_is_an_error(
    model: Path,
) -> None:
    def judge(feeds: dict, seed: int) -> px.VerifyReport:
        if seed == 1:
            raise px.InputError("no such row")
        if seed == 3:
            raise KeyboardInterrupt
        return px.verify(model, device="cpu", inputs=feeds, seed=seed)

    interpreter = px.Interpreter.from_file(model)
    drawn = examples.drawn_examples(interpreter, "strategies", {}, 0, 5)
    report = examples.worst_of(drawn, judge)
    assert report.refused == ("seed 1: no such row",)
    assert [e.partition(":")[0] for e in report.examples] == ["seed 0", "seed 2"]
    assert report.interrupted
    with pytest.raises(px.InputError, match="no such row"):
        examples.worst_of(drawn[1:2], judge)
    given_ones = [
        examples.given_example(f"{k}", lambda: {"x": np.ones((1, 8), "f")}, k) for k in (0, 1)
    ]
    with pytest.raises(px.InputError, match="no such row"):
        examples.worst_of(given_ones, judge)


def test_what_does_not_go_together_is_refused(
    model: Path, tmp_path: Path, capsys: Captured
) -> None:
    np.savez(tmp_path / "x.npz", x=np.ones((1, 8), np.float32))
    (tmp_path / "none").mkdir()
    drawn, x = ("--inputs-from", "strategies"), ("--inputs", tmp_path / "x.npz")
    for argv, said in [
        (("--examples", 3), "give --inputs-from, too"),
        (("--not-finite",), "give --inputs-from, too"),
        (("--inputs-from", "luck"), "expected strategies"),
        ((*drawn, "--examples", 0), "expected 1 or more"),
        ((*drawn, *x), "exclude each other"),
        (("--inputs", tmp_path / "none"), "the folder holds no .npz file"),
        ((*x, "--inputs", tmp_path / "y.npz"), "No such file"),
        ((*x, "--inputs", model, "--expect", tmp_path / "x.npz"), "but 2 are given"),
    ]:
        assert said in refused(capsys, "verify", model, "--device", "cpu", *argv)
    for options, said in [
        ({"inputs": []}, "the list is empty"),
        ({"inputs": [3]}, "arrays by name"),
        ({"examples": 3}, "with inputs_from"),
        ({"inputs_from": "luck"}, "expected 'strategies'"),
        ({"inputs_from": "strategies", "examples": -1}, "expected an integer of at least 1"),
        ({"inputs_from": "strategies", "inputs": {}}, "exclude each other"),
    ]:
        with pytest.raises(px.ParallaxError, match=said):
            px.verify(model, device="cpu", **options)


def test_a_sum_in_half_has_no_bound_where_it_may_overflow_on_its_way() -> None:
    """Large inputs of a Conv on a device that computes in half gave inf where 32149 is right."""
    half, single = (Units(np.dtype(t), np.dtype(np.float16)) for t in (np.float16, np.float32))
    y, sizes = np.array([3e4, 3e4, 7e4, np.inf]), np.array([4e4, 2e5, 1e5, np.inf])
    found = sum_of_products(y, sizes**2, sizes, 64, half).bound
    assert np.isinf(found).tolist() == [False, True, False, True]
    assert np.isfinite(sum_of_products(y, sizes**2, sizes, 64, single).bound).all()
