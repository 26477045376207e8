"""Fuzzing: a planted fault is found, reduced, bundled and counted; a run goes on where it ended."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.bundles.bundle import read
from conformance.reduction.reducer import nodes_of
from parallax.cli import main
from properties import fuzz
from properties.fuzz import CRASH, State
from tests.command_line import Captured, refused
from tests.graph_cases import by_seed, chain, recurrent

pytestmark = pytest.mark.device_free

ON_CPU = ("--device", "cpu")


def fuzzed(capsys: Captured, code: int, *argv: object) -> dict:
    assert main(["fuzz", *ON_CPU, *(str(a) for a in argv), "--json"]) == code
    found: dict = json.loads(capsys.readouterr().out)
    return found


def test_a_planted_fault_becomes_a_bundle_of_a_node_for_each_operator_that_has_it(
    tmp_path: Path, capsys: Captured, planting: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "found"
    cases = [chain(), chain(), recurrent()]
    monkeypatch.setattr(fuzz, "case_of", by_seed(cases, 28))
    with planting("cpu-relu-is-abs"):
        found = fuzzed(capsys, 1, "--seed", 28, "--count", 3, "--bundles", folder)
        finding, other = found["findings"]
        assert other["signature"]["operator"] == "GRU"  # its activation is that Relu
        assert (finding["seed"], finding["nodes"]) == (28, 1)
        assert finding["count"] > 1
        assert main(["replay", finding["bundle"]]) == 1
    assert {str(p) for p in folder.iterdir()} == {finding["bundle"], other["bundle"]}
    assert main(["replay", finding["bundle"]]) == 0
    bundle = read(Path(finding["bundle"]))
    assert nodes_of(bundle.case) == 1
    assert nodes_of(fuzz.case_of(28)) > 5
    assert "parallax fuzz --device cpu --seed 28 --count 1" in bundle.facts["origin"]


def test_a_run_goes_on_where_it_ended(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, seeds = tmp_path / "state.json", []
    real = fuzz.case_of
    monkeypatch.setattr(fuzz, "case_of", lambda seed: [seeds.append(seed), real(seed)][1])
    fuzzed(capsys, 0, "--seed", 7, "--count", 2, "--resume", state)
    found = fuzzed(capsys, 0, "--count", 2, "--resume", state)
    assert seeds == [7, 8, 9, 10]
    assert (found["first"], found["following"], found["graphs"]) == (7, 11, 4)
    assert "goes on at seed 11" in refused(capsys, "fuzz", *ON_CPU, "--seed", 1, "--resume", state)


def test_an_interrupted_graph_is_tried_again(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state.json"

    def stop(seed: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fuzz, "case_of", stop)
        found = fuzzed(capsys, 130, "--seed", 5, "--resume", state)
    assert found["interrupted"]
    assert fuzzed(capsys, 0, "--count", 1, "--resume", state)["following"] == 6


def test_a_graph_that_ends_the_process_is_a_finding_and_left_out(
    tmp_path: Path, capsys: Captured
) -> None:
    state = tmp_path / "state.json"
    State("cpu", ["high"], 4, 6, running=6).save(state)
    found = fuzzed(capsys, 1, "--count", 1, "--resume", state)
    assert (found["graphs"], found["following"]) == (1, 8)
    (finding,) = found["findings"]
    assert (finding["signature"]["kind"], finding["seed"]) == (CRASH, 6)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"form": "parallax fuzz state 0"}'])
def test_another_state_is_refused(tmp_path: Path, capsys: Captured, text: str) -> None:
    state = tmp_path / "state.json"
    state.write_text(text)
    message = refused(capsys, "fuzz", *ON_CPU, "--resume", state)
    assert "the state of a fuzz run" in message or "no state of a fuzz run" in message
    assert state.read_text() == text


def test_a_state_of_another_device_is_refused(tmp_path: Path, capsys: Captured) -> None:
    state = tmp_path / "state.json"
    State("gpu", ["low"], 0, 1).save(state)
    assert "of gpu at low, not of cpu at high" in refused(
        capsys, "fuzz", *ON_CPU, "--resume", state
    )


@pytest.mark.parametrize(("option", "value"), [("--count", "0"), ("--budget", "ten")])
def test_a_limit_that_is_none_is_refused(capsys: Captured, option: str, value: str) -> None:
    assert option in refused(capsys, "fuzz", *ON_CPU, option, value)


@pytest.mark.parametrize(
    "changed", [{"following": "x"}, {"following": -5}, {"running": 10**30}, {"graphs": 0.5}]
)
def test_numbers_of_a_state_that_no_run_writes_are_refused(
    tmp_path: Path, capsys: Captured, changed: dict
) -> None:
    path = tmp_path / "state.json"
    fuzzed(capsys, 0, "--seed", 7, "--count", 1, "--resume", path)
    text = json.dumps({**json.loads(path.read_text()), **changed})
    path.write_text(text)
    words = refused(capsys, "fuzz", *ON_CPU, "--count", "1", "--resume", str(path))
    assert "expected a whole number" in words
    assert path.read_text() == text
