"""`parallax verify`: given inputs, stored outputs, and latencies with what they do not say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from engine.session import Session
from parallax import verify_judges
from parallax.cli import main
from parallax.latency_table import latency_json, print_latencies
from perf.latency import Latency, measure
from perf.test_measure import CONSISTENT, fabricated
from tests.command_line import DEVICES, MLP, OPENCL, Captured, refused, save_relu

pytestmark = pytest.mark.one_driver

X = np.array([[-1, 2, -3, 4], [5, -6, 7, -8], [1, 1, 1, 1]], np.float32)
Y = np.maximum(X, 0) + np.arange(4, dtype=np.float32)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A model, its inputs, and its outputs."""
    np.savez(tmp_path / "x.npz", x=X)
    np.savez(tmp_path / "y.npz", y=Y)
    return save_relu(tmp_path), tmp_path / "x.npz", tmp_path / "y.npz"


Files = tuple[Path, Path, Path]


# ---------------------------------------------------------------------- arrays
@pytest.mark.parametrize("device", DEVICES)
def test_given_inputs_are_verified_and_named_in_the_document(
    capsys: Captured, files: Files, device: str
) -> None:
    model, x, y = map(str, files)
    argv = ["verify", model, "--device", device, "--inputs", x, "--expect", y]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "inputs: x [3, 4], given" in out
    assert "--shape sets them" not in out
    assert "agrees" in out
    assert main([*argv, "--no-latency", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["files"] == [
        {"path": name, "sha256": hashlib.sha256(Path(name).read_bytes()).hexdigest()}
        for name in (model, x, y)
    ]
    (report,) = data["models"]
    assert (report["given"], report["shapes"]) == (True, {"x": [3, 4]})
    assert report["precisions"][0]["stored"][0]["verdict"] == "agree"


def test_the_latency_is_that_of_the_given_inputs(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[np.ndarray] = []

    def spy(session: Session, **options: Any) -> Latency:
        latency = measure(session, **options)
        timed.append(session.read("y"))
        return latency

    monkeypatch.setattr(verify_judges, "measure", spy)
    assert main(["verify", str(files[0]), "--device", "cpu", "--inputs", str(files[1])]) == 0
    assert len(timed) == 2
    for y in timed:
        np.testing.assert_array_equal(y, Y)


@pytest.mark.parametrize("device", DEVICES)
def test_a_wrong_stored_output_exits_with_1_and_is_shown(
    capsys: Captured, files: Files, device: str
) -> None:
    model, x, y = map(str, files)
    wrong = Y.copy()
    wrong[1, 2] += 0.5
    np.savez(y, y=wrong)
    argv = ["verify", model, "--device", device, "--no-latency", "--inputs", x, "--expect", y]
    assert main(argv) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "high: OUTPUTS DIFFER from those stored" in said
    assert "the stored output lies" in said
    assert "at [1, 2]: stored 9.5, float64 9" in said
    assert main([*argv, "--quiet"]) == 1
    assert "high OUTPUTS DIFFER from those stored" in capsys.readouterr().out


def test_arrays_that_cannot_be_compared_are_refused(capsys: Captured, files: Files) -> None:
    model, x, y = files
    on_cpu = "verify", model, "--device", "cpu"
    assert "--inputs" in refused(capsys, *on_cpu, "--expect", y)
    assert "the arrays of one model, but 2" in refused(capsys, "verify", model, MLP, "--inputs", x)
    assert "exclude each other" in refused(capsys, *on_cpu, "--inputs", x, "--shape", "x=3,4")
    assert "no tensor named 'y'" in refused(capsys, *on_cpu, "--inputs", y)
    assert "no tensor named 'x'" in refused(capsys, *on_cpu, "--inputs", x, "--expect", x)
    np.savez(y, y=Y.astype(np.float64))
    message = refused(capsys, *on_cpu, "--inputs", x, "--expect", y)
    assert "'y' is float64[3,4], expected float32[3,4]" in message
    y.write_bytes(b"junk")
    assert f"--expect {y}" in refused(capsys, *on_cpu, "--inputs", x, "--expect", y)


@pytest.mark.parametrize("width", ["80", "100", "160"])
def test_piped_tables_have_the_width_of_columns_and_no_trailing_blanks(
    capsys: Captured, files: Files, monkeypatch: pytest.MonkeyPatch, width: str
) -> None:
    model, x, y = map(str, files)
    monkeypatch.setenv("COLUMNS", width)
    assert main(["verify", model, "--device", OPENCL, "--inputs", x, "--expect", y]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= int(width)
    assert [line for line in lines if line != line.rstrip()] == []


# ---------------------------------------------------------------------- latency
CONTRADICTING = fabricated([1] * 64, [25.1] * 63 + [25.5], [40, 41.8, 44])


def latency_lines(width: int, **latencies: Latency) -> list[str]:
    file = StringIO()
    print_latencies(latencies, Console(file=file, width=width))
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 100, 160])
def test_latencies_have_their_spread_their_notes_and_a_mark(width: int) -> None:
    heads, high, low, *said = latency_lines(width, high=CONSISTENT, low=CONTRADICTING)
    assert heads.split("  ")[-4:] == ["synced min", " p50", " p90", "runs"]
    assert high.split() == ["high", "1.00", "24.5", "25.1", "25.5", "30.0", "3"]
    assert low.split() == ["low", "1.00", "41.8*", "25.1", "25.1", "25.1", "64"]
    sentences = " ".join(said)
    assert "* low: device busy 41.8 ms exceeds synced 25.1 ms" in sentences
    assert "high, low: a note" in sentences
    assert "high: too few runs to be sure of p50 (11 are needed), p90 (64 are needed)" in sentences
    assert max(map(len, [heads, high, low, *said])) <= width


def test_a_contradiction_is_in_the_document() -> None:
    assert latency_json(CONSISTENT)["contradictions"] == []
    (sentence,) = latency_json(CONTRADICTING)["contradictions"]
    assert "device busy 41.8 ms" in sentence
    assert latency_json(CONTRADICTING)["synced"]["min_ns"] == 25_100_000
    assert latency_json(CONTRADICTING)["notes"] == ["a note"]


# ---------------------------------------------------------------------- several devices
def test_devices_are_verified_one_after_the_other_and_vote(
    files: Files, capsys: Captured, planting: Callable
) -> None:
    assert "'nothere' matches no" in refused(capsys, "verify", files[0], "--device", "cpu,nothere")
    argv = ["verify", str(files[0]), "--device", f"cpu,{OPENCL}", "--precision", "high"]
    assert main([*argv, "--no-latency"]) == 0
    assert f"no difference between cpu, {OPENCL}" in " ".join(capsys.readouterr().out.split())
    with planting("cpu-relu-is-abs"):
        assert main([*argv, "--no-latency", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    (vote,) = document["votes"]
    assert (vote["wrong"], vote["right"], vote["finding"]) == (["cpu"], [OPENCL], "engine")
    assert [m["device"]["platform"] == "NumPy" for m in document["models"]] == [True, False]
