"""Arms: what is compared, as the gate was told, and the processes that run it."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from perf.candidates import PEER
from perf.gate import agent
from perf.launch import Worker, cold_cache

PADDING_MAX = 4096
"""Bytes of a variable that moves what a process has on its stack, drawn anew for each launch."""

PROGRAM = """\
import sys
sys.path[:1] = {path!r}
import runpy
runpy.run_path({agent!r}, run_name="__main__")
"""
"""`-c` puts the working directory first; the arm's own packages go there instead."""


@dataclass(frozen=True)
class Build:
    """Where an arm's packages come from.

    Attributes:
        name: as the user gave it, with the commit where it is one. python: its interpreter.
        path: a folder with its packages, in front of those of the interpreter; "" for none.
        sources: `perf.gate.agent.fingerprint` of what was built; "" where nothing was, so that
            what the process imports cannot be foreseen.
        is_shared: whether all else (Python, NumPy, drivers) must be the other arm's, too.
    """

    name: str
    python: str = sys.executable
    path: str = ""
    sources: str = ""
    is_shared: bool = True


@dataclass(frozen=True)
class Arm:
    """A build on a device.

    Attributes:
        device: "cpu", what selects an OpenCL device, or onnxruntime.
        expected: platform and name of the device, as this process knows it; "" for not known.
    """

    build: Build
    device: str
    precision: str
    expected: str = ""


class Process(Protocol):
    """What answers requests: a process, or in tests a pretence."""

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """See `perf.gate.agent.Agent`; raises WorkerError."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class Processes:
    """Starts the processes of arms, alike in all but what is compared.

    Args:
        folder: for the driver caches, one for each arm, filled by its first process.
    """

    def __init__(self, arms: Mapping[str, Arm], threads: int | None, folder: Path) -> None:
        self._arms, self._threads, self._folder = arms, threads, folder

    def start(self, name: str, seed: int) -> Process:
        """A fresh process of an arm; its layout follows from the seed and the arm's name."""
        arm = self._arms[name]
        draw = random.Random(f"{seed} {name}")
        path = [arm.build.path] if arm.build.path else []
        program = PROGRAM.format(path=path, agent=str(Path(agent.__file__).resolve()))
        variables = {
            **cold_cache(str(self._folder / name)),
            "PYTHONPATH": "",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": str(draw.randrange(2**32)),
            "PARALLAX_GATE_PADDING": "x" * draw.randrange(PADDING_MAX),
        }
        return Worker(self._threads, variables, [arm.build.python, "-s", "-c", program])

    def hello(self, name: str) -> dict[str, Any]:
        """The arguments of an arm's first request."""
        arm = self._arms[name]
        engine = PEER if arm.device == PEER else "parallax"
        return {
            "engine": engine,
            "device": arm.device,
            "precision": arm.precision,
            "threads": self._threads,
        }


class Overheard:
    """A process whose answers carry when they were asked for and when they came, in ns."""

    def __init__(self, process: Process, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        self._process, self._clock = process, clock

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """The answer with `asked_ns` and `answered_ns`."""
        asked = self._clock()
        reply = self._process.ask(do, **arguments)
        return {**reply, "asked_ns": asked, "answered_ns": self._clock()}

    def close(self) -> None:
        """See `Process`."""
        self._process.close()
