"""A fresh process that says how much memory one model takes: `python -m perf.resident`.

Arguments: "onnxruntime", "cpu" or an OpenCL selector; model; precision; file of inputs
(`perf.arrays`). Prints one JSON object: bytes resident over what is resident when the engine is
imported, after each stage, and at most.
"""

from __future__ import annotations

import gc
import json
import re
import sys
from pathlib import Path
from typing import Any

import psutil

from perf.arrays import load_arrays
from perf.candidates import PEER


def resident_nbytes() -> int:
    """Of this process, shared libraries included."""
    return int(psutil.Process().memory_info().rss)


def peak_nbytes() -> int:
    """The most that was resident in this process so far; 0 where the system does not say."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) << 10 if found else 0


class Stages:
    """Resident bytes by stage, over those of the moment when this is made."""

    def __init__(self) -> None:
        self.found: dict[str, int] = {}
        self._before = resident_nbytes()

    def note(self, stage: str) -> None:
        """What is resident now; only cycles of Python are collected first."""
        gc.collect()
        self.found[stage] = resident_nbytes() - self._before

    def done(self) -> dict[str, int]:
        """All of it, with the peak; the system counts the two in different ways."""
        return {**self.found, "peak": max(peak_nbytes() - self._before, *self.found.values())}


def ours(device: str, model: str, precision: str, feeds: str) -> dict[str, int]:
    """One session, two runs, and what is left after each way to let go."""
    import engine

    stages, arrays = Stages(), load_arrays(feeds)
    kind: dict[str, Any] = {"type": "cpu"}
    if device != "cpu":
        kind = {"type": "opencl", "device": device}
    config = engine.ScheduleConfig(backend_config=engine.BackendConfig(precision=precision), **kind)
    runtime = engine.create_runtime([config])
    stages.note("driver")
    interpreter = engine.Interpreter.from_file(model)
    shapes = {name: array.shape for name, array in arrays.items()}
    session = interpreter.create_session(config, runtime, shapes)
    stages.note("session")
    for _ in range(2):
        session(arrays)
    stages.note("run")
    interpreter.release_model()
    stages.note("released")
    session.close()
    stages.note("closed")
    runtime.close()
    stages.note("ended")
    return stages.done()


def onnxruntime(model: str, feeds: str) -> dict[str, int]:
    """The same of the peer."""
    import onnxruntime as peer

    stages, arrays = Stages(), load_arrays(feeds)
    session = peer.InferenceSession(model, providers=["CPUExecutionProvider"])
    stages.note("session")
    for _ in range(2):
        session.run(None, arrays)
    stages.note("run")
    del session
    stages.note("closed")
    return stages.done()


if __name__ == "__main__":
    subject, *rest = sys.argv[1:]
    model, precision, feeds = rest
    found = onnxruntime(model, feeds) if subject == PEER else ours(subject, *rest)
    print(json.dumps(found))
