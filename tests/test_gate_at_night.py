"""The gate on real processes: A/A decisions, injected slowdowns, and builds of revisions.

They take hours on a quiet machine and say nothing on a busy one, so `tox -e nightly` alone has
them; `tests/test_gate.py` has the like of each on simulated arms.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import engine
from parallax.cli import main

pytestmark = [pytest.mark.nightly, pytest.mark.one_driver]

DEVICE = os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",")[-1]
ROOT = Path(__file__).resolve().parent.parent
MODELS = [ROOT / "fixtures" / "models" / f"tiny_{n}.onnx" for n in ("resnet", "transformer")]
SCENARIOS = len(MODELS) + 1
DECISIONS = 100
BEYOND = 1.5
"""How many times what is detectable an injected slowdown has at least."""
KERNELS = "backends/opencl/kernels/softmax.cl"
PLACE = "const long first = get_global_id(0) * block, end = min(rows, first + block);"
SPIN = "volatile int spun = 0; for (int k = 0; k < {rounds}; ++k) spun += k;"
"""What makes the kernel Softmax slower, and where."""
ROUNDS = 100_000
ON_THE_HOST = """

import time

_run = Session.run


def _slow(self, *arguments, **keywords):
    until = time.perf_counter_ns() + {ns}
    while time.perf_counter_ns() < until:
        pass
    return _run(self, *arguments, **keywords)


Session.run = _slow
"""
IN_ONE_MODEL = ON_THE_HOST.replace("{ns}", "(list(self.inputs) == ['image']) * {ns}")


def packages(folder: Path, module: str = "", more: str = "") -> Path:
    """A copy of the engine, with something added to one of its modules."""
    shutil.copytree(
        Path(engine.__file__).parent,
        folder / "engine",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    if module:
        with (folder / "engine" / module).open("a") as file:
            file.write(more)
    return folder


def judged(tmp_path: Path, base: Path, cand: Path, *more: object) -> dict[str, Any]:
    """The document of a gate."""
    report = tmp_path / "gate.json"
    arms = ("--baseline", base, "--candidate", cand, "--device", DEVICE, "--output", report)
    code = main([str(a) for a in ("gate", *MODELS, *arms, "--precision", "high", "-q", *more)])
    found: dict[str, Any] = json.loads(report.read_text())
    assert found["exit_code"] == code
    return found


def outcomes(found: dict[str, Any]) -> dict[str, str]:
    return {v["scenario"]: v["outcome"] for v in found["verdicts"]}


@pytest.mark.parametrize("number", range(-(-DECISIONS // SCENARIOS)))
def test_equal_arms_are_never_a_regression(tmp_path: Path, number: int) -> None:
    arms = [packages(tmp_path / name) for name in ("one", "two")]
    found = judged(tmp_path, *arms, "--seed", number)
    assert found["is_same_build"]
    assert "REGRESSION" not in outcomes(found).values()


@pytest.mark.parametrize("percent", [5, 10, 25])
@pytest.mark.parametrize("more", [ON_THE_HOST, IN_ONE_MODEL], ids=["host", "model"])
def test_an_injected_slowdown_is_found_where_it_could_be(
    tmp_path: Path, more: str, percent: int
) -> None:
    """`detectable` is this machine's, with odds of 0.9; beyond it the odds are better."""
    base = packages(tmp_path / "base")
    plain = judged(tmp_path, base, packages(tmp_path / "same"))["verdicts"][0]
    share = max(percent / 100, BEYOND * plain["detectable"])
    more = more.format(ns=int(plain["baseline_ns"] * share))
    cand = packages(tmp_path / "cand", "session.py", more)
    first, second, _ = judged(tmp_path, base, cand)["verdicts"]
    assert first["outcome"] == "REGRESSION"
    where = first["where"]
    grown = [where[k]["candidate_ns"] - where[k]["baseline_ns"] for k in ("timed", "enqueue")]
    assert grown[1] > 0.7 * grown[0]
    assert (second["outcome"] == "REGRESSION") <= ("image" not in more)


def slow_kernel(folder: Path, rounds: int) -> Path:
    """A copy of the engine in which Softmax does so many rounds of nothing first."""
    made = packages(folder)
    source = made / "engine" / KERNELS
    text = source.read_text()
    assert PLACE in text
    source.write_text(text.replace(PLACE, PLACE + SPIN.format(rounds=rounds), 1))
    return made


@pytest.mark.parametrize("percent", [10, 25])
def test_an_injected_slowdown_of_a_kernel_names_it(tmp_path: Path, percent: int) -> None:
    """How long a round takes is measured first, so that the whole is slower by so much."""
    base = packages(tmp_path / "base")
    tried = judged(tmp_path, base, slow_kernel(tmp_path / "tried", ROUNDS))["verdicts"][0]
    grown_ns = tried["candidate_ns"] - tried["baseline_ns"]
    share = max(percent / 100, BEYOND * tried["detectable"])
    rounds = int(ROUNDS * tried["baseline_ns"] * share / grown_ns)
    found = judged(tmp_path, base, slow_kernel(tmp_path / "cand", rounds))["verdicts"][0]
    assert found["outcome"] == "REGRESSION"
    assert found["where"]["kernels"][0]["name"] == "Softmax"
    assert "Softmax" in found["where"]["nodes"][0]["name"]


@contextmanager
def neighbour(active: Callable[[float], bool]) -> Iterator[None]:
    """A process that computes while `active` says so, asked ten times a second."""
    done = threading.Event()

    def work() -> None:
        began, child = time.monotonic(), None
        while not done.wait(0.1):
            wanted = active(time.monotonic() - began)
            if wanted and child is None:
                child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            if not wanted and child is not None:
                child.kill()
                child.wait()
                child = None
        if child is not None:
            child.kill()
            child.wait()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize(
    "active",
    [lambda s: True, lambda s: s % 6 < 3, lambda s: 10 < s < 20],
    ids=["all the time", "comes and goes", "once"],
)
def test_a_busy_neighbour_is_no_regression(tmp_path: Path, active: Callable[[float], bool]) -> None:
    arms = [packages(tmp_path / name) for name in ("one", "two")]
    with neighbour(active):
        found = judged(tmp_path, *arms)
    assert "REGRESSION" not in outcomes(found).values()


def test_a_revision_and_the_working_tree_are_built_and_compared(tmp_path: Path) -> None:
    report = tmp_path / "gate.json"
    few = ("--launches", "2", "--confirm", "2", "--quads", "2", "--output", report)
    argv = ("gate", MODELS[0], "--device", "cpu", "--baseline", "HEAD", *few)
    main([str(a) for a in argv])  # with so few launches it may say anything
    arms = json.loads(report.read_text())["arms"]
    assert arms["baseline"]["name"].startswith("HEAD (")
    assert arms["candidate"]["name"].startswith("working tree ")
    assert all("/site/engine" in arm["imported"] for arm in arms.values())
    assert not (ROOT / "build").exists()
