"""What the harness around the engine promises, each promise exercised once through its door."""

from __future__ import annotations

import configparser
import json
import threading
from pathlib import Path

import numpy as np
import pytest

from conformance.judge import Verdict, judge
from conformance.verify import verify
from engine import ForwardType, Interpreter, Precision, Runtime, UnsupportedError
from engine.backends.opencl import context as opencl_context
from engine.backends.opencl.backend import OpenCLBackend
from engine.ir.types import FLOAT, FLOAT16
from engine.ops import OPERATORS
from engine.ops.numerics import Error, Units
from fixtures.models.corpus import by_name
from parallax.cli import main
from perf.latency import measure
from properties import devices
from tests.features.subjects import (
    CHAIN,
    CONVOLUTIONS,
    OPENCL,
    config,
    image,
    interpreter,
    on_every_device,
    row,
    rows_of,
)
from tests.model_writing import model_bytes, node

ROOT = Path(__file__).parents[2]
UNITS = Units(FLOAT, FLOAT)


# ------------------------------------------------------------------------- profiler (row 45)
@row(45)
@on_every_device
def test_the_profiler_times_every_operator_and_states_its_cost(device: str, runtime: Runtime):
    read, feeds = interpreter(CONVOLUTIONS), {"x": image(1, 32)}
    with read.create_session(config(device), runtime, {"x": (1, 3, 32, 32)}) as session:
        latency = measure(session, runs=11, feeds=feeds)
        titles = [step.node.title for step in session.execution.steps]
        without = measure(session, runs=3, profiled_runs=0)
    profile = latency.profile
    assert profile is not None
    assert set(titles) == {span.title for span in profile.spans}
    assert all(span.duration_ns >= 0 for span in profile.spans)
    assert without.profile is None
    slowed = profile.median_ns("synced") > 1.10 * latency.synced.p50_ns
    noted = any("profiling slowed the run" in note for note in latency.notes)
    assert noted == (slowed and device != "cpu")


# ------------------------------------------------------------------------- comparator (row 49)
@row(49)
@pytest.mark.parametrize(
    ("spoilt", "verdict"),
    [
        (1.0, Verdict.PASS),
        (1.0 + 5e-6, Verdict.SUSPECT),
        (1.1, Verdict.FAIL),
        (np.nan, Verdict.FAIL),
        (np.inf, Verdict.FAIL),
        (-np.inf, Verdict.FAIL),
    ],
)
def test_one_wrong_element_gets_its_verdict_and_its_index(spoilt: float, verdict: Verdict):
    reference = np.ones((3, 4))
    got = reference.astype(np.float32)
    got[2, 1] = spoilt
    error = Error(np.full(reference.shape, 1e-7), np.full(reference.shape, 1e-4))
    judgement = judge(got, reference, error, UNITS)
    assert judgement.verdict is verdict
    if verdict is not Verdict.PASS:
        assert judgement.index == (2, 1)
        assert judgement.expected == 1
    with pytest.raises(AssertionError, match="shapes differ"):
        judge(got[:, :1], reference, error, UNITS)


# ------------------------------------------------------------------------- per layer (rows 50, 52)
RELU, WRONG_RELU = "UNARY(Relu, v < ZERO ? ZERO : v)", "UNARY(Relu, v > ZERO ? ZERO : v)"
"""A line of kernels/unary.cl, and a seeded fault in its place."""


@row(50)
def test_one_pass_judges_all_layers_on_their_own_inputs(
    monkeypatch: pytest.MonkeyPatch, runtime: Runtime
):
    nodes = [
        node("Sigmoid", "x", "a"),
        node("Relu", "a", "b"),
        node("Exp", "b", "c"),
        node("Relu", "c", "d"),
        node("Sigmoid", "d", "y"),
    ]
    data = model_bytes(nodes, {"x": (2, 5)}, ["y"])
    right = opencl_context.source
    assert RELU in right("unary"), "the seeded fault needs another anchor"
    assert verify(data, device=OPENCL, precisions=["high"], runtime=runtime).exit_code == 0
    monkeypatch.setattr(opencl_context, "source", lambda f: right(f).replace(RELU, WRONG_RELU))
    (report,) = verify(data, device=OPENCL, precisions=["high"]).precisions
    assert report.exit_code == 1
    assert [(c.title, c.verdict.name) for c in report.checks] == [
        ("Sigmoid 'the_a'", "PASS"),
        ("Relu 'the_b'", "FAIL"),
        ("Exp 'the_c'", "PASS"),
        ("Relu 'the_d'", "FAIL"),
        ("Sigmoid 'the_y'", "PASS"),
    ]
    assert report.failure.check.title == "Relu 'the_b'"
    assert report.outputs[0].max_abs > 0.01, "the accumulated error is told too"


@row(52)
def test_a_seed_gives_the_same_inputs_and_verdicts_and_is_reported(runtime: Runtime):
    reports = [
        verify(CHAIN, device=OPENCL, precisions=["normal"], seed=seed, runtime=runtime)
        for seed in (7, 7, 8)
    ]
    same, again, other = (
        [c.judgement for p in report.precisions for c in p.checks] for report in reports
    )
    assert reports[0].seed == 7
    assert same == again != other


@row(52)
def test_a_reference_that_is_missing_fails(runtime: Runtime, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(OPERATORS, "Add")
    with pytest.raises(UnsupportedError, match="Add 'the_y'"):
        verify(CHAIN, device=OPENCL, precisions=["high"], runtime=runtime)


@row(50)
def test_printing_a_report_prints_the_table_as_wide_as_columns_says(
    monkeypatch: pytest.MonkeyPatch,
):
    report = verify(CHAIN, device="cpu", shapes={"x": (2, 4)})
    for width in ("80", "160"):
        monkeypatch.setenv("COLUMNS", width)
        text = str(report)
        assert "high: verified, 3 node outputs on the device" in text
        for title in ("Relu 'the_r'", "Softmax 'the_s'", "Add 'the_y'"):
            (line,) = [line for line in text.splitlines() if line.startswith(title)]
            assert "float32[2,4]" in line
        assert max(map(len, text.splitlines())) <= int(width)
        assert all(line == line.rstrip() for line in text.splitlines())
        assert "\x1b" not in text


# ------------------------------------------------------------------------- benchmark (53, 54)
@row(53)
def test_the_benchmark_splits_first_tuned_cached_and_steady(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    model, target = by_name("tiny_mlp_opset7").path, tmp_path / "bench.json"
    few = ["--device", "cpu", "--runs", "12", "--launches", "2"]
    assert main(["bench", str(model), *few, "--output", str(target)]) == 0
    (measured,) = json.loads(target.read_text())["models"]
    (row,) = measured["rows"]
    summary = row["stages"]["summary"]
    assert summary["first_ns"] > 0
    assert summary["cached_ns"] > 0
    assert "TUNING_NONE" in row["stages"]["tuned"]
    synced = summary["synced"]
    assert synced["n"] == 12
    assert 0 < synced["min_ns"] <= synced["p50_ns"] <= synced["p90_ns"]
    assert "too few runs to be sure of p90: 12 < 64" in synced["remarks"]
    printed = capsys.readouterr().out
    for column in ("first", "cached", "min", "p50", "p90", "enqueue", "busy"):
        assert column in printed


@row(54)
def test_latency_ends_after_a_forced_synchronisation_and_its_parts_add_up(runtime: Runtime):
    read, feeds = interpreter(CONVOLUTIONS), {"x": image(1, 48)}
    with read.create_session(config(OPENCL), runtime, {"x": (1, 3, 48, 48)}) as session:
        latency = measure(session, runs=11, feeds=feeds)
    assert latency.invalid == ()
    assert latency.asynchronous
    assert all(0 <= e <= s for e, s in zip(latency.enqueue_ns, latency.synced_ns, strict=True))
    profile = latency.profile
    parts = zip(profile.busy_ns, profile.gaps_ns, profile.outside_ns, profile.synced_ns)
    assert all(busy + gaps + outside == synced for busy, gaps, outside, synced in parts)
    assert min(profile.busy_ns) > 0


# ------------------------------------------------------------------------- tolerances (row 55)
@row(55)
def test_the_tolerance_follows_from_the_operator_its_length_and_the_precision():
    spec = OPERATORS["MatMul"]

    def sigma(length: int, storage: np.dtype, compute: np.dtype) -> float:
        rng = np.random.default_rng(length)
        operands = [rng.normal(size=(4, length)), rng.normal(size=(length, 4))]
        return float(np.median(spec.error_model(operands, {}, Units(compute, storage))[0].sigma))

    full = [sigma(n, FLOAT, FLOAT) for n in (16, 256, 4096)]
    assert full[0] < full[1] < full[2]
    for length in (16, 256):
        high = sigma(length, FLOAT, FLOAT)
        normal = sigma(length, FLOAT16, FLOAT)
        low = sigma(length, FLOAT16, FLOAT16)
        assert 50 * high < normal < low
    exact = OPERATORS["Transpose"].error_model([np.ones((2, 3))], {"perm": [1, 0]}, UNITS)
    assert not exact[0].bound.any()


# ------------------------------------------------------------------------- matrix (row 56)
@row(56)
def test_every_precision_of_every_device_is_run_or_named():
    ids = [target.id for target in devices.backends()]
    for selector in devices.selectors():
        wanted = ["cpu"] if selector == "cpu" else [f"{selector}-{p.value}" for p in Precision]
        for target in wanted:
            missing = f"{selector}: precision {target.rpartition('-')[2]} "
            assert target in ids or any(n.startswith(missing) for n in devices.notes()), target


@row(56)
def test_the_suite_runs_on_every_driver_that_comes_as_a_package():
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    environments = tox["tox"]["env_list"].split(", ")
    assert {"pocl", "intel"} <= set(environments)
    for name, selector in (("pocl", "pocl"), ("intel", "intel")):
        assert f"PARALLAX_DEVICES = cpu,{selector}" in tox[f"testenv:{name}"]["set_env"]
    everything = "tests conformance properties"
    for name, marks, folders in (
        ("testenv", "not device_free and not nightly", everything),
        ("testenv:intel", "not device_free and not one_driver and not slow", everything),
        ("testenv:cpu", "device_free and not nightly", "tests"),
        ("testenv:harness", "device_free and not nightly", "conformance properties"),
    ):
        ran = tox[name]["commands"].replace('"', "").strip()
        assert ran == f"pytest -m {marks} {{posargs:{folders}}}"
    assert "commands" not in tox["testenv:pocl"]
    nightly = tox["testenv:nightly"]["commands"]
    assert "slow" not in nightly
    assert "one_driver" not in nightly
    assert tox["testenv:applications"]["commands"] == "pytest {posargs:fixtures/applications}"
    by_night = (ROOT / ".github/workflows/nightly.yml").read_text()
    assert ".ci/run run -e applications,nightly\n" in by_night
    latency = tox["testenv:both"]
    assert latency["commands"].count(" pytest perf") == 2
    assert {*latency["depends"].split(", "), "both"} == set(environments)


@row(56)
@pytest.mark.device_free
def test_whoever_uses_opencl_under_the_mark_device_free_fails():
    uses = (
        lambda: Runtime().backend(ForwardType.OPENCL, config(OPENCL)),
        OpenCLBackend.command,
    )
    for use in uses:
        with pytest.raises(AssertionError, match="is device_free and uses OpenCL"):
            use()


# ------------------------------------------------------------------------- threads (row 57)
@row(57)
@on_every_device
def test_eight_threads_on_one_runtime_get_the_bits_they_get_alone(device: str, runtime: Runtime):
    read, count = interpreter(CONVOLUTIONS), 8
    feeds = [{"x": image(1, 5 + n % 3, n)} for n in range(count)]
    with read.create_session(config(device), runtime) as alone:
        expected = [alone(f)["y"].tobytes() for f in feeds]
    wrong: list[str] = []

    def work(n: int) -> None:
        try:
            with read.create_session(config(device), runtime) as mine:
                for turn in range(8):
                    which = (n + turn) % count
                    if mine(feeds[which])["y"].tobytes() != expected[which]:
                        wrong.append(f"thread {n}, turn {turn}")
        except Exception as error:
            wrong.append(repr(error))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert not wrong


@row(57)
@on_every_device
def test_threads_that_share_a_session_never_mix_their_frames(device: str, runtime: Runtime):
    with interpreter().create_session(config(device), runtime) as session:
        frames = [rows_of(3, n) for n in range(4)]
        expected = [session({"x": f})["y"].tobytes() for f in frames]
        wrong: list[int] = []

        def work(n: int) -> None:
            for _ in range(20):
                if session({"x": frames[n]})["y"].tobytes() != expected[n]:
                    wrong.append(n)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert not wrong


# ------------------------------------------------------------------------- determinism (row 58)
@row(58)
@on_every_device
@pytest.mark.parametrize("name", ["tiny_resnet", "tiny_transformer"])
def test_a_repeated_run_gives_the_same_bits(device: str, name: str, runtime: Runtime):
    model = by_name(name)
    precisions = [Precision.HIGH] if device == "cpu" else [Precision.HIGH, Precision.NORMAL]
    read, feeds, others = Interpreter.from_file(model.path), model.feeds(0), model.feeds(1, 1)
    for precision in precisions:
        seen = set()
        for _ in range(2):
            with read.create_session(config(device, precision), runtime) as session:
                for _ in range(4):
                    seen.add(b"".join(y.tobytes() for y in session(feeds).values()))
                session.run(others)
                seen.add(b"".join(y.tobytes() for y in session(feeds).values()))
        assert len(seen) == 1
