"""`session.profile`, `parallax profile` and the trace: whose time it was, to the nanosecond."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

import parallax as px
from engine.profile import Clock, RunProfile, Share, Work, account
from engine.timeline import DEVICE, HOST, Span, Timeline
from parallax import profile_command
from parallax.cli import main
from perf import observe as observing
from perf.chrome_trace import chrome_trace
from perf.observe import Observation, observe
from perf.peaks import ARITHMETIC, MEMORY, Peaks
from tests.command_line import MLP, OPENCL, Captured, refused, save, save_chain, save_relu

free = pytest.mark.device_free
one_driver = pytest.mark.one_driver

OFFSET = 1_000_000
"""Of the made-up device's clock."""
NAME = "Relu '\"</script>&\\'"
START = 5_000


def on_device(title: str, kernel: str, called: int, took: int, start: int, end: int) -> Span:
    """A launch; host stamps since the run's start, device stamps on a clock of its own."""
    queued, began, ended = (START + t - OFFSET for t in (called + took // 2, start, end))
    stamps = (queued, queued, began, ended)
    return Span(title, kernel, DEVICE, *stamps, START + called, START + called + took)


def on_host(title: str, start: int, end: int) -> Span:
    a, b = START + start, START + end
    return Span(title, "NumPy", HOST, a, a, a, b, a, b)


def profile(*spans: Span, synced: int = 1000, enqueue: int = 400) -> RunProfile:
    work = dict.fromkeys(span.title for span in spans)
    works = (Work(t, t.partition(" ")[0], "opencl", False, 1, 4000, 800) for t in work)
    launched = sum(span.clock == DEVICE for span in spans)
    return RunProfile(tuple(works), Timeline(spans, enqueue, synced, launched, started_ns=START))


A = profile(
    on_device("Conv 'c'", "pack", 0, 40, 100, 200),
    on_device("Conv 'c'", "tile", 50, 20, 200, 350),
    on_host("Sort 's'", 300, 420),
    on_device(NAME, "relu", 430, 40, 500, 560),
)
B = profile(on_device("Conv 'c'", "tile", 480, 20, 560, 900), enqueue=20)


def observation(*profiles: RunProfile) -> Observation:
    names = tuple(f"{'<b>' * i}model" for i in range(len(profiles)))
    return Observation(names, (900, 1000), (1000, 1100), profiles, ())


# ---------------------------------------------------------------------- sums
@free
def test_every_instant_of_a_run_is_accounted_for_once() -> None:
    spent = A.account
    assert A.clock == Clock(OFFSET, 10)
    assert spent.device_ns == 250 + 60
    assert spent.host_ns == 420 - 350  # until 350 the device was at work
    assert spent.submit_ns == 40 + 20 + 40
    parts = spent.device_ns + spent.host_ns + spent.submit_ns + spent.rest_ns
    assert parts == spent.synced_ns == 1000
    assert spent.gaps_ns == 500 - 350
    assert spent.copies_ns == 0
    copying = replace(A, work=tuple(replace(w, is_copy=w.type == "Sort") for w in A.work))
    assert copying.account.copies_ns == 120


@free
def test_together_every_instant_counts_once_and_each_model_has_its_own() -> None:
    spent = account([A, B])
    assert spent.device_ns == 310 + 340
    assert spent.device_ns + spent.host_ns + spent.submit_ns + spent.rest_ns == 1000
    first, second = observation(A, B).turns
    assert (first.device_ns, first.host_ns, first.behind_ns, first.done_ns) == (310, 120, 0, 560)
    assert (second.device_ns, second.behind_ns, second.done_ns) == (340, 560 - 500, 900)
    assert (first.naive_ns, second.naive_ns) == (400, 600)


@free
def test_shares_group_by_node_operator_and_kernel() -> None:
    nodes = {share.name: share for share in A.nodes}
    assert list(nodes) == ["Conv 'c'", "Sort 's'", NAME]
    assert nodes["Conv 'c'"] == Share("Conv 'c'", 1, 2, 250, 0, 60, 4000, 800)
    assert nodes["Sort 's'"] == Share("Sort 's'", 1, 1, 0, 120, 0, 4000, 800)
    assert [s.name for s in A.operators] == ["Conv", "Sort", "Relu"]
    kernels = {share.name: share for share in A.kernels}
    assert kernels["tile"].flops is None, "it is only a part of its node"
    assert kernels["relu"].flops == 4000
    assert str(A).startswith("synced 0.001 ms = device 0.00031 + host 7e-05 + enqueue 0.0001 + ")


@free
def test_a_clock_that_fits_no_call_is_said_so() -> None:
    late = replace(A.timeline.spans[0], queued_ns=A.timeline.spans[0].queued_ns + 200_000)
    skewed = profile(*A.timeline.spans[1:], late)
    assert skewed.clock.uncertainty_ns < -90_000
    assert abs(skewed.clock.offset_ns - OFFSET) < 100, "most of the commands agree"
    (note,) = replace(observation(skewed), profiled_ns=(900, 1000)).notes
    assert "does not fit the host's within 100 us" in note
    assert "profiling slowed the run by 1.11x" in observation(A).notes[0]
    busy = replace(observation(A), profiled_ns=(900, 2000, 2000))
    assert "other programs disturbed" in busy.notes[0]


@free
def test_the_roofline_is_the_nearest_peak() -> None:
    share = Share("x", 1, 1, 100, 0, 0, 4000, 800)
    roof = Peaks(flops=80e9, nbytes=10e9).roof(share)  # 50 ns, 80 ns
    assert roof is not None
    assert (roof.share, roof.bound) == (pytest.approx(0.8), MEMORY)
    roof = Peaks(flops=40e9, nbytes=100e9).roof(share)
    assert roof is not None
    assert (roof.share, roof.bound) == (pytest.approx(1.0), ARITHMETIC)
    assert Peaks(1e9, 1e9).roof(replace(share, flops=None)) is None
    assert Peaks(1e9, 1e9).roof(replace(share, device_ns=0)) is None


# ---------------------------------------------------------------------- the trace
def check_trace(trace: dict[str, Any]) -> dict[tuple[int, int], str]:
    """The names of the tracks; AssertionError for what Perfetto would not show as it is meant."""
    trace = json.loads(json.dumps(trace, allow_nan=False))
    events = trace["traceEvents"]
    tracks: dict[tuple[int, int], list[dict[str, Any]]] = {}
    processes, names, flows = {}, {}, {}
    for event in events:
        assert {"ph", "ts", "pid", "tid", "name"} <= set(event)
        assert event["ph"] in "XMsf"
        assert isinstance(event["ts"], int | float)
        track = event["pid"], event["tid"]
        if event["ph"] == "X":
            assert event["ts"] >= 0
            assert event["dur"] >= 0
            tracks.setdefault(track, []).append(event)
        elif event["name"] == "process_name":
            processes[event["pid"]] = event["args"]["name"]
        elif event["name"] == "thread_name":
            names[track] = event["args"]["name"]
        else:
            flows.setdefault(event["id"], []).append((event["ph"], event["ts"], track))
    assert set(tracks) <= set(names), "a track without a name"
    assert {pid for pid, _ in tracks} <= set(processes), "a process without a name"
    for track, complete in tracks.items():
        check_nesting(complete)
        starts = {event["ts"] for event in complete}
        at = {ts for ends in flows.values() for _, ts, where in ends if where == track}
        assert at <= starts, "an arrow that ends in no event"
    assert all(sorted(phase for phase, *_ in ends) == ["f", "s"] for ends in flows.values())
    return names


def check_nesting(events: list[dict[str, Any]]) -> None:
    """Events of one track lie within one another or apart; in whole nanoseconds."""
    spans = [(round(e["ts"] * 1000), round((e["ts"] + e["dur"]) * 1000)) for e in events]
    open_: list[int] = []
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        while open_ and open_[-1] <= start:
            open_.pop()
        assert not open_ or end <= open_[-1], f"{start}..{end} ends after what it lies in"
        open_.append(end)


@free
def test_a_trace_has_named_tracks_for_each_queue_and_model_and_nests() -> None:
    trace = chrome_trace(observation(A, B), "Some Device")
    names = check_trace(trace)
    assert names == {
        (1, 1): "run, drained to drained",
        (2, 1): "host",
        (2, 2): "queue of Some Device",
        (3, 1): "host",
        (3, 2): "queue of Some Device",
    }
    relu = [e for e in trace["traceEvents"] if e["name"] == NAME and e.get("cat") == "device"]
    assert [(e["ts"], e["dur"]) for e in relu] == [(0.5, 0.06)]
    assert relu[0]["args"]["kernel"] == "relu"
    flows = [e for e in trace["traceEvents"] if e["ph"] == "s"]
    assert len(flows) == 4


@free
def test_overlapping_commands_get_tracks_of_their_own() -> None:
    both = profile(
        on_device("Conv 'a'", "k", 0, 10, 100, 300), on_device("Conv 'b'", "k", 20, 10, 200, 400)
    )
    names = check_trace(chrome_trace(observation(both), "D"))
    assert names[2, 3] == "queue of D, overlapping (2)"


@free
def test_the_check_of_traces_can_fail() -> None:
    def without(key: str, event: dict[str, Any]) -> None:
        del event[key]

    trace = chrome_trace(observation(A), "D")
    x = [i for i, e in enumerate(trace["traceEvents"]) if e["ph"] == "X"]
    for change in (
        lambda e: without("ts", e[x[0]]),
        lambda e: e[x[-1]].update(dur=float("nan")),
        lambda e: e[x[1]].update(dur=0.06),  # what it encloses sticks out
        lambda e: e[x[-1]].update(tid=9),
        lambda e: e.pop(0),
        lambda e: e.pop(),
    ):
        broken = json.loads(json.dumps(trace))
        change(broken["traceEvents"])
        with pytest.raises((AssertionError, ValueError)):
            check_trace(broken)


# ---------------------------------------------------------------------- sessions
def feeds_of(session: px.Session, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    types = session.inputs.items()
    return {n: rng.normal(size=(3, 4)).astype(np.float32) for n, _ in types}


@pytest.fixture(params=["cpu", pytest.param(OPENCL, marks=pytest.mark.uses_opencl)])
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def config(device: str, **options: Any) -> px.ScheduleConfig:
    if device == "cpu":
        return px.ScheduleConfig(type=px.ForwardType.CPU, **options)
    return px.ScheduleConfig(type=px.ForwardType.OPENCL, device=device, **options)


def test_a_profiled_run_computes_what_a_run_does(device: str, tmp_path: Path) -> None:
    with (
        px.Interpreter.from_file(save_chain(tmp_path)) as model,
        model.create_session(config(device)) as session,
    ):
        feeds = feeds_of(session)
        expected = session(feeds)["file"]
        session.run(feeds_of(session, 1))
        found = session.profile(feeds)
        assert np.array_equal(session.read("file"), expected)
        assert [share.name for share in found.nodes] == ["Sigmoid 'first'", "Softmax 'second'"]
        assert found.timeline.violations(50_000) == []
        spent = found.account
        assert (spent.device_ns > 0) == (device != "cpu")
        assert spent.rest_ns >= 0
        parts = spent.device_ns + spent.host_ns + spent.submit_ns + spent.rest_ns
        assert parts == spent.synced_ns == found.synced_ns
        assert found.work[0].nbytes == 2 * 12 * (4 if device == "cpu" else 2)  # stored in half
        check_trace(chrome_trace(observation(found), device))
        with pytest.raises(px.InputError, match="missing input 'x'"):
            session.profile({})


@one_driver
def test_all_stages_of_a_run_are_profiled(device: str, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], "first"),
        helper.make_node("NonZero", ["r"], ["z"], "border"),
        helper.make_node("Cast", ["z"], ["c"], "cast", to=1),
        helper.make_node("Exp", ["c"], ["y"], "last"),
    ]
    path = save(tmp_path / "staged.onnx", nodes, {"x": [3, 4]}, ["y"], {})
    with (
        px.Interpreter.from_file(path) as model,
        model.create_session(config(device)) as session,
    ):
        found = session.profile(feeds_of(session))
        assert {"Relu 'first'", "Cast 'cast'", "Exp 'last'"} <= {w.title for w in found.work}


@one_driver
def test_what_falls_back_is_host_time_and_its_copies_are_counted(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], "first"),
        helper.make_node("Det", ["r"], ["d"], "on_cpu"),
        helper.make_node("Exp", ["d"], ["y"], "last"),
    ]
    path = save(tmp_path / "mixed.onnx", nodes, {"x": [2, 3, 3]}, ["y"], {})
    with (
        px.Interpreter.from_file(path) as model,
        model.create_session(config(OPENCL)) as session,
    ):
        assert session.info().fallbacks, "Det has a kernel: take another operator"
        found = session.profile({"x": np.ones((2, 3, 3), np.float32)})
        shares = {share.name: share for share in found.nodes}
        assert shares["Det 'on_cpu'"].host_ns > 0
        assert shares["Relu 'first'"].device_ns > 0
        assert found.account.copies_ns > 0


@one_driver
def test_models_on_one_queue_have_what_is_theirs(tmp_path: Path) -> None:
    """The light model ends behind the heavy one, whose work is not booked to it."""
    big = np.ones((256, 256), np.float32)
    products = [
        helper.make_node("MatMul", [f"h{i}", "w"], [f"h{i + 1}"], f"product{i}") for i in range(6)
    ]
    heavy = save(tmp_path / "heavy.onnx", products, {"h0": [256, 256]}, ["h6"], {"w": big})
    light = save_relu(tmp_path)
    inputs = {heavy: {"h0": big}, light: {"x": np.ones((1, 4), np.float32)}}
    with ExitStack() as stack:
        runtime = stack.enter_context(px.Runtime())
        sessions = {}
        for path, feeds in inputs.items():
            model = stack.enter_context(px.Interpreter.from_file(path))
            sessions[path.name] = model.create_session(config(OPENCL), runtime)
            sessions[path.name].run(feeds, sync=True)
        alone = sessions[heavy.name].profile()
        assert alone.timeline.violations(50_000) == [], "it returned before the device was done"
        found = observe(sessions, 3)
        first, second = found.turns
        assert found.invalid == ()
        assert {w.title for w in found.profiles[0].work} >= {"MatMul 'product0'"}
        assert first.device_ns > 5 * second.device_ns
        assert second.done_ns > first.done_ns
        assert second.naive_ns > 2 * second.device_ns
        spent = found.account
        assert abs(first.device_ns + second.device_ns - spent.device_ns) <= 0.02 * spent.device_ns


# ---------------------------------------------------------------------- the command
ON_CPU = ("--device", "cpu", "--runs", "2")


@free
def test_the_command_shows_where_the_time_went(capsys: Captured, tmp_path: Path) -> None:
    relu, trace, report = save_relu(tmp_path), tmp_path / "t.json", tmp_path / "p.json"
    files = "--trace", str(trace), "--output", str(report)
    assert main(["profile", str(relu), str(MLP), *ON_CPU, *files]) == 0
    shown = capsys.readouterr().out
    for words in ("Relu", "synced ", "unexplained ", "profiling: ", "together ", "peaks measured"):
        assert words in shown, words
    data = json.loads(report.read_text())
    assert data["trace"] == str(trace)
    assert [model["model"] for model in data["models"]] == [str(relu), str(MLP)]
    assert [turn["model"] for turn in data["together"]["turns"]] == ["relu.onnx", MLP.name]
    assert min(data["peaks"].values()) > 1e8
    spent = data["models"][1]["account"]
    parts = (spent[f"{part}_ns"] for part in ("device", "host", "submit", "rest"))
    assert sum(parts) == spent["synced_ns"]
    names = check_trace(json.loads(trace.read_text()))
    assert len(names) == 3, "the run, and the host for each model"
    assert main(["profile", str(relu), "--quiet", *ON_CPU, "--trace", str(trace)]) == 0


@free
def test_a_run_can_be_profiled(capsys: Captured, tmp_path: Path) -> None:
    relu = str(save_relu(tmp_path))
    assert main(["run", relu, "--device", "cpu", "--profile"]) == 0
    assert "unexplained" in capsys.readouterr().out
    assert main(["run", relu, "--device", "cpu", "--profile", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [share["name"] for share in data["profile"]["nodes"]] == ["Relu 'first'", "Add 'second'"]
    assert "exclude each other" in refused(capsys, "run", relu, "--profile", "--trace")


@free
def test_what_cannot_be_profiled_is_refused(capsys: Captured, tmp_path: Path) -> None:
    relu = save_relu(tmp_path)
    cpu = "--device", "cpu"
    assert "expected at least 1" in refused(capsys, "profile", relu, *cpu, "--runs", "0")
    for option in ("--from", "--to"):
        said = refused(capsys, "profile", relu, MLP, *cpu, option, "first")
        assert "belongs to one model, and there are several" in said
    same = tmp_path / "same.json"
    assert "what --output writes" in refused(
        capsys, "profile", relu, *cpu, "--output", same, "--trace", same
    )
    (tmp_path / "mine.json").write_text('{"traceEvents": []}')
    said = refused(capsys, "profile", relu, *cpu, "--trace", tmp_path / "mine.json")
    assert "it exists and is not a trace of parallax" in said


@free
def test_ctrl_c_keeps_the_models_that_are_finished(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[object] = []

    def interrupted(sessions: Any, *arguments: Any) -> Observation:
        seen.append(sessions)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return observe(sessions, *arguments)

    monkeypatch.setattr(profile_command, "observe", interrupted)
    report = tmp_path / "p.json"
    argv = ["profile", str(save_relu(tmp_path)), str(MLP), *ON_CPU, "--output", str(report)]
    assert main(argv) == 130
    data = json.loads(report.read_text())
    assert data["interrupted"]
    assert len(data["models"]) == 1
    assert data["together"] is None


@free
def test_ctrl_c_keeps_the_runs_that_are_finished(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    taken = observing._profiled_run
    seen: list[object] = []

    def interrupted(sessions: Any) -> Any:
        seen.append(sessions)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return taken(sessions)

    monkeypatch.setattr(observing, "_profiled_run", interrupted)
    report, trace = tmp_path / "p.json", tmp_path / "trace.json"
    argv = ["profile", str(save_relu(tmp_path)), str(MLP), *ON_CPU, "--runs", "5"]
    argv += ["--output", str(report)]
    assert main([*argv, "--trace", str(trace)]) == 130
    assert "interrupted: what stands above is finished" in capsys.readouterr().out
    data = json.loads(report.read_text())
    (model,) = data["models"]
    assert (data["interrupted"], model["interrupted"], data["together"]) == (True, True, None)
    assert (len(model["plain_ns"]), len(model["profiled_ns"])) == (3, 2)
    assert json.loads(trace.read_text())["traceEvents"]
    seen[:] = [None, None]  # before any profiled run
    assert main([*argv[:-1], str(tmp_path / "q.json")]) == 130
    assert json.loads((tmp_path / "q.json").read_text())["models"] == []


@free
def test_models_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [tmp_path / "a" / "m.onnx", tmp_path / "b" / "m.onnx"]
    assert profile_command._short_names(paths) == ["a/m.onnx", "b/m.onnx"]
