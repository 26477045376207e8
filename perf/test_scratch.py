"""Temporary folders go with their process, or at the next start; nobody else's are touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from perf.scratch import LOCK, Scratch, sweep

pytestmark = pytest.mark.device_free

HOLDER = """
import sys, time
from perf.scratch import Scratch
with Scratch("bench") as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files of this test lie."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def holder() -> tuple[subprocess.Popen[str], Path]:
    """Another process that has a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_what_a_killed_process_left_goes_at_the_next_start(place: Path, how: int) -> None:
    process, folder = holder()
    (folder / "feeds").write_bytes(b"arrays")
    process.send_signal(how)
    process.communicate()
    assert folder.is_dir()
    with Scratch("cold") as other:
        assert [str(p) for p in place.iterdir()] == [other]
    assert not list(place.iterdir())


def test_the_folder_of_a_process_that_lives_stays() -> None:
    process, folder = holder()
    sweep()
    assert (folder / LOCK).is_file()
    process.communicate("")
    assert not folder.exists()


def test_our_own_stays_until_it_is_cleaned_up() -> None:
    scratch = Scratch("memory")
    sweep()
    assert Path(scratch.name).is_dir()
    for _ in range(2):
        scratch.cleanup()
    assert not Path(scratch.name).exists()


def abandoned(folder: Path) -> Path:
    folder.mkdir()
    (folder / LOCK).touch()
    return folder


def test_nothing_is_removed_that_is_not_surely_ours(
    place: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = abandoned(tmp_path_factory.mktemp("elsewhere") / "parallax-bench-abc")
    (place / "parallax-bench-link").symlink_to(elsewhere)
    (place / "parallax-bench-unlocked").mkdir()
    (place / "parallax-bench-file").touch()
    linked = place / "parallax-bench-linked"
    linked.mkdir()
    (linked / LOCK).symlink_to(elsewhere / LOCK)
    abandoned(place / "parallax-other-abc")
    abandoned(place / "mine")
    before = sorted(place.rglob("*"))
    sweep()
    assert sorted(place.rglob("*")) == before
    assert elsewhere.is_dir()
    theirs = abandoned(place / "parallax-bench-theirs")
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        sweep()
    assert theirs.is_dir()
    sweep()
    assert not theirs.exists()
