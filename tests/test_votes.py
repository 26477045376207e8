"""Several devices on one model: who is wrong alone, who with all, and what is known of a driver."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import parallax as px
from conformance import known
from conformance.judge import Verdict
from conformance.votes import Ballot, Finding, votes_of
from parallax.cli import main
from tests.command_line import Captured, refused, save_relu
from tests.test_pytest_plugin import PLUGIN

pytestmark = pytest.mark.device_free


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_relu(tmp_path)


@pytest.fixture
def verified(model: Path) -> px.VerifyReport:
    return px.verify(model, device="cpu")


def ballot(report: px.VerifyReport, device: str, driver: str, *, wrong: bool = False) -> Ballot:
    """What a device of a driver says, where the first node is wrong or right."""
    (precision,) = report.precisions
    first, *others = precision.checks
    first = replace(first, verdict=Verdict.FAIL if wrong else Verdict.PASS)
    info = replace(report.device, platform=driver, driver="1")
    precision = replace(precision, checks=(first, *others))
    return Ballot(device, replace(report, device=info, precisions=(precision,)))


# ------------------------------------------------------------------------- votes
def test_a_device_of_two_names_has_one_vote(
    model: Path, capsys: Captured, caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["verify", str(model), "--device", "cpu, CPU", "--no-latency", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["models"]) == 1
    assert "device 'CPU' is 'cpu', and counts once" in caplog.text


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ("a+ b-", Finding.DRIVER),
        ("a+ b+ c-", Finding.DRIVER),
        ("a- b-", Finding.ENGINE),
        ("a- cpu+", Finding.OPEN),
        ("a- b- cpu+", Finding.ENGINE),
        ("a+ b+ cpu-", Finding.ENGINE),
        ("a+ b- c- d+", Finding.OPEN),
        ("a.0- a.1- b+", Finding.DRIVER),
        ("a.0- a.1+", Finding.OPEN),
        ("a.0- a.1-", Finding.OPEN),
    ],
)
def test_one_outlier_is_a_driver_and_all_are_the_engine(
    verified: px.VerifyReport, devices: str, expected: Finding
) -> None:
    ballots = [
        ballot(verified, d[:-1], d[:-1].partition(".")[0], wrong=d[-1] == "-")
        for d in devices.split()
    ]
    (vote,) = votes_of("m.onnx", ballots)
    assert vote.finding is expected
    assert vote.what == "Relu 'first'"
    assert set(vote.wrong) == {d[:-1] for d in devices.split() if d[-1] == "-"}
    assert set(vote.right) == {d[:-1] for d in devices.split() if d[-1] == "+"}


def test_where_all_are_right_there_is_no_vote_and_other_failures_are_votes(
    verified: px.VerifyReport,
) -> None:
    good = [ballot(verified, d, d) for d in "ab"]
    assert votes_of("m.onnx", good) == []
    crashed = Ballot("c", None, "CompileError: no")
    (vote,) = votes_of("m.onnx", [*good, crashed])
    assert (vote.what, vote.finding) == ("CompileError: no", Finding.DRIVER)
    report = good[0].report
    assert report is not None
    unsteady = replace(report.precisions[0], context_bugs=("differs",))
    other = Ballot("d", replace(report, precisions=(unsteady,)))
    (vote,) = votes_of("m.onnx", [good[1], other])
    assert (vote.what, vote.wrong) == ("the run that reuses memory", ("d",))


# ------------------------------------------------------------------------- known failures
def entry(device: px.VerifyReport, **other: str) -> dict[str, str]:
    return {
        "driver": device.device.platform,
        "version": "*",
        "model": "relu.onnx",
        "node": "Relu 'first'",
        "precision": "high",
        "reason": "takes the absolute value",
        "link": "https://example.org/17",
        "expires": "2999-12-31",
        **other,
    }


Run = Callable[..., int]


@pytest.fixture
def run(model: Path, tmp_path: Path, verified: px.VerifyReport) -> Run:
    """The exit code of the command with an entry, and others left out of the file."""

    def run(*others: str, **changed: str) -> int:
        file = tmp_path / "known.json"
        file.write_text(json.dumps([entry(verified, **changed)]))
        argv = ["verify", str(model), "--device", "cpu", "--no-latency", "--known", str(file)]
        return main([*argv, *others])

    return run


def test_a_known_failure_does_not_count_and_others_do(
    run: Run, capsys: Captured, planting: Callable
) -> None:
    with planting("cpu-relu-is-abs"):
        assert run() == 0
        shown = capsys.readouterr().out
        assert "known of this driver: Relu 'first': takes the absolute value (https:" in shown
        assert run("--inputs-from", "strategies") == 0
        for changed in (
            {"node": "Relu 'second'"},
            {"version": "0"},
            {"driver": "Another"},
            {"precision": "low"},
            {"model": "other.onnx"},
        ):
            assert run(**changed) == 1, changed


def test_an_entry_that_shows_no_more_or_is_over_fails(
    run: Run, capsys: Captured, planting: Callable
) -> None:
    assert run() == 1
    assert "fails no more: remove it" in " ".join(capsys.readouterr().out.split())
    assert run("--quiet") == 1
    assert "fails no more: remove it" in capsys.readouterr().out
    assert run(driver="Another") == 0
    assert run(model="other.onnx") == 0
    assert run(precision="low") == 0
    with planting("cpu-relu-is-abs"):
        assert run(expires="2026-01-31") == 1
    assert "high: OUT OF BOUNDS" in (shown := capsys.readouterr().out)
    assert "believed until 2026-01-31: look again" in " ".join(shown.split())


def test_python_and_pytest_take_the_same_file(
    run: Run, model: Path, tmp_path: Path, planting: Callable
) -> None:
    file = tmp_path / "known.json"
    with planting("cpu-relu-is-abs"):
        assert run() == 0
        assert px.verify(model, device="cpu", known=file).ok
        argv = ("-p", "no:cacheprovider", "--parallax-device", "cpu", "--parallax-known", file)
        assert pytest.main([*PLUGIN, "-c", os.devnull, str(model), *map(str, argv)]) == 0
    assert pytest.main([*PLUGIN, "-c", os.devnull, str(model), *map(str, argv)]) == 1
    with pytest.raises(px.InputError, match="give a path"):
        px.verify(px.Interpreter.from_file(model), device="cpu", known=file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "known failures"),
        ("{}", "expected a list"),
        ("[{}]", "entry 0: expected an object with driver, version"),
    ],
)
def test_a_file_that_is_none_is_refused(
    model: Path, tmp_path: Path, capsys: Captured, text: str, said: str
) -> None:
    file = tmp_path / "known.json"
    file.write_text(text)
    assert said in refused(capsys, "verify", model, "--device", "cpu", "--known", file)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"link": " "}, "link is ' '"),
        ({"expires": "soon"}, "'soon'"),
        ({"expires": "2027-W01-1"}, "YYYY"),
        ({"precision": "x"}, "'x'"),
    ],
)
def test_an_entry_says_all_that_is_needed(
    verified: px.VerifyReport, tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    file = tmp_path / "known.json"
    file.write_text(json.dumps([entry(verified, **changed)]))
    with pytest.raises(px.ConfigError, match=said):
        known.Known.read(file)


# ------------------------------------------------------------------------- the command
def test_devices_that_cannot_vote_are_refused(model: Path, capsys: Captured) -> None:
    argv = ("verify", model, "--device", "cpu,pocl", "--cache", "k")
    assert "--cache k: of one device, but 2" in refused(capsys, *argv)
