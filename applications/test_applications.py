"""Unmodified packages give the same answers on Parallax as with onnxruntime.

Each program runs in a process of its own, once with onnxruntime and once on every device of
PARALLAX_DEVICES (default "cpu,portable") under `parallax as-onnxruntime`. A package that is missing
is an error.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from applications import signals

DEVICES = [d.strip() for d in os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",")]
PROGRAMS = Path(__file__).with_name("programs")
SCORES_DIFFER_MAX = 1e-4
"""Scores lie in [0, 1]; float32 engines differ by 1.4e-5 at most here."""
LATE_MAX_S = 0.15
"""How far from the truth a time may lie."""

Run = Callable[[str, "str | None"], dict[str, Any]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """What a program tells with onnxruntime (None) or on a device; each runs once."""
    folder = tmp_path_factory.mktemp("inputs")
    signals.page(folder / "page.png")
    signals.speech(folder / "speech.npy")
    signals.tune(folder / "tune.wav")
    known: dict[tuple[str, str | None], dict[str, Any]] = {}

    def run(name: str, device: str | None) -> dict[str, Any]:
        if (name, device) not in known:
            program = [sys.executable, str(PROGRAMS / f"{name}.py"), str(folder)]
            swap = [sys.executable, "-m", "parallax", "as-onnxruntime", "--device", str(device)]
            command = program if device is None else [*swap, "--", *program]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            known[name, device] = json.loads(done.stdout)
        return known[name, device]

    return run


def reads_the_page(lines: list) -> None:
    assert ["".join(text.split()) for text, _ in lines] == [
        "".join(line.split()) for line in signals.LINES
    ]


def knows_the_kinds(labels: list) -> None:
    assert labels == ["python", "jsonl", "c", "png", "wav"]


def tells_speech_from_silence(answers: list) -> None:
    for stretches in answers:
        assert np.shape(stretches) == (1, 2)
        np.testing.assert_allclose(stretches[0], signals.SPOKEN_S, 0, LATE_MAX_S)


def hears_the_notes(notes: list) -> None:
    assert [pitch for _, _, pitch in notes] == list(signals.NOTES)
    begins = [begin for begin, _, _ in notes]
    np.testing.assert_allclose(begins, list(signals.NOTES.values()), 0, LATE_MAX_S)


TASKS: dict[str, Callable[[list], None]] = {
    "page": reads_the_page,
    "kinds": knows_the_kinds,
    "voice": tells_speech_from_silence,
    "whisper": tells_speech_from_silence,
    "notes": hears_the_notes,
}


def test_every_program_has_a_task() -> None:
    assert {p.stem for p in PROGRAMS.glob("*.py")} == {*TASKS, "answer"}


@pytest.mark.parametrize("name", TASKS)
def test_an_application_does_its_task_with_onnxruntime(name: str, run: Run) -> None:
    TASKS[name](run(name, None)["answers"])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", TASKS)
def test_an_application_gives_the_same_answers_on_a_device(
    name: str, device: str, run: Run
) -> None:
    theirs, ours = run(name, None), run(name, device)
    assert "site-packages" in theirs["onnxruntime"]
    assert "parallax-as-onnxruntime" in ours["onnxruntime"]
    assert ours["answers"] == theirs["answers"]
    np.testing.assert_allclose(ours["scores"], theirs["scores"], 0, SCORES_DIFFER_MAX)
