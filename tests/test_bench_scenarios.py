"""`parallax bench --scenario`: any scenario on the user's own models, and clear refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from onnx import helper

from engine.errors import DeviceError
from parallax.cli import main
from perf.candidates import PEER
from perf.invariants import MEANING
from perf.scenarios import SCENARIOS, Outcome, Tenancy
from tests.command_line import MLP, MODELS, OPENCL, Captured, refused, save

RESNET = MODELS / "tiny_resnet.onnx"
cheap = pytest.mark.device_free


def bench(capsys: Captured, *argv: object) -> tuple[int, str]:
    code = main(["bench", *map(str, argv)])
    return code, capsys.readouterr().out


def substituted(
    monkeypatch: pytest.MonkeyPatch, name: str, play: Callable[[Tenancy, int], Outcome]
) -> None:
    """Something else is played under the name of a scenario."""
    monkeypatch.setitem(SCENARIOS, name, replace(SCENARIOS[name], play=play))


@cheap
def test_the_list_needs_no_model_and_has_every_scenario_and_invariant(capsys: Captured) -> None:
    code, text = bench(capsys, "--scenario", "list")
    assert code == 0
    assert all(f"{name}: " in text for name in (*SCENARIOS, *MEANING))
    code, text = bench(capsys, "--scenario", "list", "--json")
    listed = json.loads(text)
    assert [s["name"] for s in listed["scenarios"]] == list(SCENARIOS)
    assert {i for s in listed["scenarios"] for i in s["invariants"]} <= set(listed["invariants"])


@pytest.mark.one_driver
def test_a_scenario_runs_on_several_models_of_the_users_and_on_several_devices(
    capsys: Captured, tmp_path: Path
) -> None:
    file = tmp_path / "x.json"
    argv = ["--scenario", "chain", RESNET, MLP, "--runs", 11, "--output", file]
    code, text = bench(capsys, *argv, "--device", f"{OPENCL},cpu", "--precision", "high")
    found = json.loads(file.read_text())
    assert code == 0, found
    assert found["schema"] == "parallax.bench/1"
    assert [o["device"] for o in found["outcomes"]] == [OPENCL, "cpu"]
    assert len(found["devices"]) == 2
    for outcome in found["outcomes"]:
        assert [t["name"] for t in outcome["tenants"]] == [RESNET.name, MLP.name]
        assert outcome["times"][f"{MLP.name}: naive"]["p50_ns"] > 0
        assert outcome["times"][f"{MLP.name}: naive"]["p90_ns"] is None
        assert outcome["memory"]["device_nbytes"] > 0
        (first, second) = outcome["records"]["requests"]
        assert first["start_ns"] <= first["enqueued_ns"] <= second["start_ns"]
        assert {event["model"] for event in second["events"]} == {MLP.name}
    assert f"{MLP.name}: attributed" in text


@cheap
def test_a_single_model_keeps_itself_company(capsys: Captured) -> None:
    code, text = bench(
        capsys, "--scenario", "barrier", MLP, "--device", "cpu", "--runs", 3, "--json"
    )
    found = json.loads(text)
    assert code == 0, found
    names = [tenant["name"] for tenant in found["outcomes"][0]["tenants"]]
    assert names == [MLP.name, f"{MLP.name} (2)"]


@cheap
def test_an_invalid_outcome_shows_no_number_and_is_exit_code_1(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = {"t": (123_456_789,) * 64}
    argv = ["--scenario", "soak", MLP, "--device", "cpu", "--runs", 1]
    substituted(monkeypatch, "soak", lambda *_: Outcome("soak", times))
    code, text = bench(capsys, *argv)
    assert (code, "123" in text, "INVALID" in text) == (0, True, False)
    broken = Outcome("soak", times, invalid=("I14: outputs differ",))
    substituted(monkeypatch, "soak", lambda *_: broken)
    code, text = bench(capsys, *argv)
    assert (code, "123" in text) == (1, False)
    assert "INVALID: I14: outputs differ" in text
    code, text = bench(capsys, *argv, "--json")
    assert (code, json.loads(text)["outcomes"][0]["invalid"]) == (1, ["I14: outputs differ"])


@cheap
@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--scenario", "chian", MLP], "did you mean 'chain'"),
        (["--scenario", "chain"], "no model: give .onnx files"),
        ([], "no model: give .onnx files"),
        (["--scenario", "chain", MLP, "--launches", "2"], "--launches 2"),
        (["--scenario", "chain", MLP, "--runs", "0"], "--runs 0: expected at least 1"),
        (["--scenario", "chain", MLP, "--device", PEER], "leave it out"),
        (["--scenario", "chain", MLP, "--shape", "nothing=1"], "no input named 'nothing'"),
        (["--scenario", "chain", MLP, RESNET, "--inputs", "x.npz"], "belongs to one model"),
        (["--scenario", "soak", "absent.onnx"], "absent.onnx"),
    ],
)
def test_what_does_not_fit_is_one_sentence_and_exit_code_2(
    capsys: Captured, argv: list[str], words: str
) -> None:
    device = [] if "--device" in argv else ["--device", "cpu"]
    assert words in refused(capsys, "bench", *argv, *device)


@pytest.mark.one_driver
def test_threads_are_for_the_cpu_backend(capsys: Captured) -> None:
    argv = ["bench", "--scenario", "soak", MLP, "--threads", "1", "--device", OPENCL]
    assert "--threads 1" in refused(capsys, *argv)


@cheap
def test_sizes_need_a_free_dimension(capsys: Captured, tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    fixed = save(tmp_path / "fixed.onnx", nodes, {"x": [2, 4]}, ["y"], {})
    argv = ["bench", "--scenario", "sizes", fixed, "--device", "cpu"]
    assert "no input has a free dimension" in refused(capsys, *argv)


@pytest.mark.one_driver
@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (DeviceError("it is broken"), 2)]
)
def test_what_stops_the_second_device_leaves_the_first_ones_outcome(
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    error: BaseException,
    code: int,
) -> None:
    def found(tenancy: Tenancy, rounds: int) -> Outcome:
        if tenancy.candidate.device != "cpu":
            raise error
        return Outcome("soak", {"t": (1,)})

    substituted(monkeypatch, "soak", found)
    file = tmp_path / "x.json"
    argv = ["--scenario", "soak", MLP, "--device", f"cpu,{OPENCL}", "--precision", "high"]
    assert bench(capsys, *argv, "--output", file)[0] == code
    document = json.loads(file.read_text())
    assert [outcome["device"] for outcome in document["outcomes"]] == ["cpu"]
    assert document["interrupted"] == (code == 130)
    assert document["errors"] == ({} if code == 130 else {f"{OPENCL} at high": "it is broken"})
