"""Stages and peers: measured in fresh processes, and wrong outputs never get a time."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.models.corpus import by_name
from perf import memory, peers
from perf.agreement import relative_l2
from perf.arrays import load_arrays, save_arrays
from perf.candidates import PEER, Candidate
from perf.launch import Worker, WorkerError, pinned
from perf.peers_table import Launch, render, rows
from perf.rounds import Rounds, ratios

DEVICES = os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",")
MODEL = by_name("tiny_resnet")


@pytest.fixture(scope="module")
def feeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("feeds") / "feeds"
    save_arrays(path, MODEL.feeds(seed=0))
    return path


def test_arrays_of_any_name_come_back_in_order(tmp_path: Path) -> None:
    arrays = {"file": np.arange(3), "gpu_0/data_0": np.array(2.5), "arr_0": np.zeros((0, 2))}
    save_arrays(tmp_path / "x", arrays)
    back = load_arrays(tmp_path / "x")
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array, strict=True)


@pytest.mark.parametrize("device", DEVICES)
def test_the_stages_of_a_model_are_measured_and_add_up(device: str, feeds: Path) -> None:
    with Rounds(MODEL.path, feeds, [Candidate(device)], threads=None) as rounds:
        rounds.take(launches=2, runs=21)
        (result,) = rounds.stages
    assert result.invalid == ()
    assert result.cached is not None
    for start in (result.first, result.cached):
        inside = sum(start.sections_ns.values())
        assert 0.9 * start.create_ns < inside <= start.create_ns
    assert result.first.total_ns > result.synced.p50_ns >= result.synced_min_ns
    assert result.asynchronous == (device != "cpu")
    assert len(result.medians_ns) == 2
    assert json.loads(json.dumps(result.to_json()))["summary"]["synced"]["n"] == 22


def test_rounds_go_forwards_and_backwards_and_leave_out_whoever_was_refused(feeds: Path) -> None:
    peer, absent, ours = Candidate(PEER), Candidate("no such device"), Candidate("cpu")
    order: list[str] = []
    with Rounds(MODEL.path, feeds, [peer, absent, ours], threads=1) as rounds:
        rounds.take(2, 2, lambda what, done, total: order.append(f"{what} {done}/{total}"))
        assert [row.candidate for row in rounds.stages] == [peer, ours]
        assert rounds.error(ours, peer) < 1e-5
        assert "no such device" in rounds.refused[absent]
    assert order == [
        f"{PEER} high 0/6",
        "no such device high 1/6",
        "cpu high 2/6",
        "cpu high 3/6",
        f"{PEER} high 5/6",
    ]


def test_an_interruption_keeps_the_launches_that_have_ended(
    feeds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tell(what: str, done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with Rounds(MODEL.path, feeds, [Candidate("cpu"), Candidate(PEER)], threads=1) as rounds:
        with pytest.raises(KeyboardInterrupt):
            rounds.take(2, 2, tell)
        (row,) = rounds.stages
    assert row.candidate.device == "cpu"
    assert row.cached is None


def test_a_ratio_divides_medians_of_one_round() -> None:
    assert ratios((200, 300, 400), (100, 200)) == (2.0, 1.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"device": "no such device"}, "matches no device"),
        ({"model": "/no/such.onnx"}, "such.onnx"),
        ({"feeds": "/no/such"}, "No such file"),
    ],
)
def test_a_refusal_in_the_process_is_one_clear_error(
    change: dict[str, str], message: str, feeds: Path
) -> None:
    request = {"model": str(MODEL.path), "feeds": str(feeds), "device": "cpu", **change}
    with Worker() as worker, pytest.raises(WorkerError, match=message) as caught:
        worker.ask("load", **request)
    assert "Traceback" not in str(caught.value)


def test_a_process_that_dies_is_an_error_with_what_it_said() -> None:
    died = pytest.raises(WorkerError, match="PYTHONHASHSEED")
    with Worker(variables={"PYTHONHASHSEED": "nonsense"}) as worker, died:
        worker.ask("load")


def test_threads_are_pinned_to_what_was_asked() -> None:
    assert pinned(2)["OPENBLAS_NUM_THREADS"] == pinned(2)["POCL_MAX_PTHREAD_COUNT"] == "2"
    assert "OPENBLAS_NUM_THREADS" not in pinned(None)


def test_the_relative_error_sees_names_shapes_and_nan() -> None:
    ones = {"y": np.ones((1, 4))}
    assert relative_l2(ones, ones) == 0.0
    assert relative_l2({"y": np.array([[1.0, 1, 1, 3]])}, ones) == 1.0
    for other in ({"z": ones["y"]}, {"y": np.ones(4)}, {"y": np.array([[1, 1, 1, np.nan]])}):
        assert relative_l2(other, ones) == float("inf")
    odd = {"y": np.array([[1.0, np.inf, np.nan, 1.0]])}
    assert relative_l2(odd, odd) == 0.0
    assert relative_l2(ones, odd) == float("inf")


def fabricated(arm: str, launch: int, total_ns: int, error: float = 0.0) -> Launch:
    filled: dict[str, Any] = {f.name: 0 for f in dataclasses.fields(Launch)}
    return Launch(
        **{**filled, "model": "m", "arm": arm, "launch": launch, "total_ns": total_ns}
        | {"error": error, "runs": 1, "device": arm}
    )


def test_a_ratio_belongs_to_one_launch_and_its_spread_is_over_launches() -> None:
    launches = [
        *(fabricated(PEER, i, total) for i, total in enumerate((100, 200, 400))),
        *(fabricated("cpu", i, total) for i, total in enumerate((200, 300, 400))),
    ]
    peer, ours = rows(launches)
    assert peer.ratios == (1.0, 1.0, 1.0)
    assert ours.ratios == (2.0, 1.5, 1.0)
    assert "1.50 (1.00..2.00)" in render([peer, ours], peers.parse([]))


def test_outputs_that_differ_get_no_time() -> None:
    shown = render(
        rows([fabricated(PEER, 0, 10**9), fabricated("cpu", 0, 123_456_789, error=0.5)]),
        peers.parse([]),
    )
    assert "OUTPUTS DIFFER" in shown
    assert "123" not in shown


@pytest.mark.parametrize("device", DEVICES)
def test_peers_compares_and_times_both_engines(
    device: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data = tmp_path / "peers.json"
    short = ["--launches", "1", "--turns", "2", "--per-turn", "1", "--output", str(data)]
    assert peers.main(["--models", MODEL.name, "--devices", device, *short]) == 0
    shown = capsys.readouterr().out
    assert f"{MODEL.name[:13]}" in shown
    ours = [x for x in json.loads(data.read_text())["launches"] if x["arm"] == device]
    assert ours[0]["error"] < 1e-5
    assert ours[0]["total_ns"] > 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["--models", "no_such_model"],
        ["--models", "no_such_file.onnx"],
        ["--devices", "nothing", "--models", MODEL.name],
    ],
)
def test_what_cannot_be_measured_is_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert peers.main([*arguments, "--launches", "1"]) == 2
    assert capsys.readouterr().err.splitlines()[-1]


def test_results_are_not_written_over_a_model(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(MODEL.path.read_bytes())
    short = ["--devices", "cpu", "--launches", "1", "--turns", "1", "--per-turn", "1"]
    assert peers.main(["--models", str(copy), *short, "--output", str(copy)]) == 2
    assert "cannot write there" in capsys.readouterr().err
    assert copy.read_bytes() == MODEL.path.read_bytes()


@pytest.mark.parametrize("device", DEVICES)
def test_memory_is_measured_by_stage_in_fresh_processes(
    device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert memory.main(["--model", str(MODEL.path), "--devices", device, "--json"]) == 0
    engines = json.loads(capsys.readouterr().out)["engines"]
    assert list(engines) == [PEER, device]
    assert list(engines[device]) == list(memory.STAGES)
    assert 0 < engines[PEER]["run"] <= engines[PEER]["peak"]
    assert engines[device]["driver"] <= engines[device]["session"] <= engines[device]["peak"]


def test_memory_is_shown_as_a_table_with_the_ratio_to_the_peer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {PEER: {"run": 200_000_000, "peak": 3}, "cpu": {"run": 100_000_000, "peak": 4}}
    monkeypatch.setattr(memory, "measure", lambda engine, *_: found[engine])
    assert memory.main(["--model", str(MODEL.path), "--devices", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert "0.50" in shown
    assert "run: after two runs" in shown


def test_memory_that_cannot_be_measured_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert memory.main(["--model", str(MODEL.path), "--devices", "nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err
