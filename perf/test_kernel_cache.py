"""What a kernel cache saves a process that starts, and what it costs the first one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

OPENCL = next(
    d for d in os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",") if d.strip() != "cpu"
)
REPEATS = 5

CHILD = """
import json, sys, time
import engine.backends.cpu.backend
import engine.backends.opencl.backend
from engine.backends.opencl import device
from engine.config import BackendConfig, ForwardType, Precision, ScheduleConfig
from engine.interpreter import Interpreter
from fixtures.models.corpus import by_name

model, path = by_name(sys.argv[3]), sys.argv[2]
feeds = model.feeds(0)
device.devices()
config = ScheduleConfig(
    type=ForwardType.OPENCL,
    device=sys.argv[1],
    backend_config=BackendConfig(precision=Precision.HIGH),
)
interpreter = Interpreter.from_file(model.path)
if path:
    interpreter.set_cache_file(path)
start = time.perf_counter()
session = interpreter.create_session(config, shapes={k: v.shape for k, v in feeds.items()})
session.synchronize()
created = time.perf_counter()
session(feeds)
ready = time.perf_counter()
print(json.dumps([created - start, ready - start]))
session.close()
"""


def seconds(cache: Path | None, drivers_own: Path, model: str = "resnet50") -> tuple[float, float]:
    """Of creating a session, and of that with the first inference.

    PoCL finds its own cache empty.
    """
    drivers_own.mkdir()
    child = subprocess.run(
        [sys.executable, "-c", CHILD, OPENCL, str(cache or ""), model],
        env={**os.environ, "POCL_CACHE_DIR": str(drivers_own), "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
    )
    created, ready = json.loads(child.stdout)
    return created, ready


@pytest.mark.slow
def test_a_cached_session_of_resnet50_is_ready_five_times_sooner(tmp_path):
    """With its first result, which is what a user waits for; made at least three times sooner.

    Imports and the search for devices are not counted. What is left of making a session is reading
    and packing 100 MB of weights, as fast as the machine's memory allows: 4.5 to 6.5 times sooner
    on PoCL on the machines that were tried.
    The shortest of several counts: what other programs do to a process only makes it slower.
    """
    cache = tmp_path / "kernels.cache"
    seconds(cache, tmp_path / "filling")
    runs = [
        (seconds(None, tmp_path / f"cold {i}"), seconds(cache, tmp_path / f"warm {i}"))
        for i in range(REPEATS)
    ]
    least = [[min(run[state][what] for run in runs) for what in (0, 1)] for state in (0, 1)]
    (cold_created, cold_ready), (warm_created, warm_ready) = least
    print(f"creation {cold_created:.3f} s cold, {warm_created:.3f} s warm")
    print(f"first inference {cold_ready:.3f} s cold, {warm_ready:.3f} s warm")
    assert cold_created > 3 * warm_created, least
    assert cold_ready > 5 * warm_ready, least


@pytest.mark.slow
@pytest.mark.parametrize("model", ["tiny_resnet", "resnet50"])
def test_a_cache_that_is_empty_makes_no_first_result_wait(tmp_path, model):
    """At most 1.3 times as long as without one, whatever it takes to write it afterwards."""
    runs = [
        (
            seconds(None, tmp_path / f"without {i}", model)[1],
            seconds(tmp_path / f"{i}.cache", tmp_path / f"with {i}", model)[1],
        )
        for i in range(REPEATS)
    ]
    without, with_cache = (min(times) for times in zip(*runs, strict=True))
    print(f"{model}: first result after {without:.3f} s without, {with_cache:.3f} s with a cache")
    assert (tmp_path / "0.cache").exists()
    assert with_cache <= 1.3 * without, runs
