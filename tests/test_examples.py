"""Every example of `docs/examples` runs on every device and shows what its text claims."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytestmark = pytest.mark.one_driver

EXAMPLES = Path(__file__).resolve().parent.parent / "docs" / "examples"
DEVICES = [d.strip() for d in os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",")]
OPENCL = [d for d in DEVICES if d != "cpu"]
on_every_device = pytest.mark.parametrize("device", DEVICES)
on_opencl = pytest.mark.parametrize("device", OPENCL)

Show = Callable[[str, str], str]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module


@pytest.fixture
def show(load: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]) -> Show:
    """Runs an example on a device and gives what it printed."""

    def run(name: str, device: str) -> str:
        load(name).main(device)
        return capsys.readouterr().out

    return run


def numbers(pattern: str, printed: str) -> list[int]:
    found = re.search(pattern, printed)
    assert found, printed
    return [int(number) for number in found.groups()]


def test_every_example_is_tested_here():
    names = {p.stem for p in EXAMPLES.glob("*.py")} - {"place"}
    asked = set(re.findall(r'(?:show|load)\("(\w+)"', Path(__file__).read_text()))
    assert names == asked


@on_every_device
def test_a_file_and_its_bytes_are_the_same_model(show: Show, device: str):
    printed = show("01_create_interpreter", device)
    assert "the same from a buffer: True" in printed
    assert "runs 11 operators, lacks {}" in printed
    assert "refused: the model given as bytes is not an ONNX model" in printed


@on_every_device
def test_one_session_serves_many_inferences(show: Show, device: str):
    printed = show("02_create_session", device)
    assert len(set(re.findall(r"brightness .*: (\S+) for", printed))) == 3
    assert "one call does the same: True" in printed
    assert "did you mean 'image'?" in printed


@on_every_device
def test_a_saved_tensor_costs_its_bytes(show: Show, device: str):
    printed = show("03_save_tensors", device)
    grown, size = numbers(r"grow by (\d+), the tensor has (\d+)", printed)
    assert grown == size > 0
    assert "outputs: ['probabilities'] saved: ['relu_26']" in printed
    assert "did you mean 'relu_26'" in printed


@pytest.mark.uses_opencl
@on_every_device
def test_a_fallback_is_reported_with_its_copies(show: Show, device: str):
    printed = show("04_type_and_backup", device)
    assert "each -8.1" in printed
    assert "AUTO chose OpenCL" in printed
    assert "refused: device 'no such device' matches no device" in printed
    fell_back = "Conv 'filter' on cpu opencl: Conv over 4 spatial axes has no OpenCL kernel"
    assert (fell_back in printed) == (device != "cpu")
    assert ("copy: positive opencl -> cpu, 5184 bytes" in printed) == (device != "cpu")
    assert ("strict: no fallback allowed" in printed) == (device != "cpu")


@on_every_device
def test_threads_and_mode_are_separate_and_checked(show: Show, device: str):
    printed = show("05_threads_and_mode", device)
    assert printed.count("refused: ") == 6
    assert ("threads: 1" if device == "cpu" else "TUNING_NONE|MEMORY_BUFFER: 65") in printed
    assert "the number of CPU threads is num_threads" in printed
    assert "only MEMORY_BUFFER exists in this version" in printed


@on_every_device
def test_a_path_computes_what_the_whole_model_computes_there(show: Show, device: str):
    printed = show("06_path", device)
    assert "the same result: True" in printed
    assert "include_sink=False: outputs ['relu_8']" in printed
    assert "include_sink=True: outputs ['maxpool_9']" in printed
    assert "did you mean 'probabilities'?" in printed


@on_every_device
def test_backend_options_act_or_are_refused(show: Show, device: str):
    printed = show("07_backend_config", device)
    stored = {"cpu": "NORMAL -> HIGH the CPU backend"}.get(device, "NORMAL -> NORMAL: stored as f")
    assert f"precision {stored}" in printed
    assert "going back is free: True" in printed
    assert "refused: memory=LOW keeps weights compressed" in printed
    assert ("attached buffer, same result: True" in printed) == (device != "cpu")
    assert ("shared_context applies to OpenCL only" in printed) == (device == "cpu")


@on_every_device
def test_the_cache_serves_the_second_start(show: Show, device: str):
    printed = show("08_cache_and_resize", device)
    _, first_misses = numbers(r"first start: (\d+) hits, (\d+) misses", printed)
    second_hits, second_misses = numbers(r"second start: (\d+) hits, (\d+) misses", printed)
    assert (second_hits, second_misses) == (first_misses, 0)
    assert (first_misses > 0) == ("damaged file: its first bytes" in printed) == (device != "cpu")
    assert "programs built for 8 new sizes: 0" in printed


@on_every_device
def test_two_paths_make_one_session(show: Show, device: str):
    printed = show("09_multi_path_session", device)
    body = "cpu, HIGH" if device == "cpu" else "opencl, NORMAL"
    assert f"('image',) -> ('relu_26',): {body}" in printed
    assert "('relu_26',) -> ('probabilities',): cpu, HIGH" in printed
    assert ("copy: relu_26 opencl -> cpu, 16384 bytes" in printed) == (device != "cpu")
    assert "refused: path 0 needs 'relu_26', which path 1 computes" in printed


@on_every_device
def test_three_models_share_a_runtime_and_leave_nothing(
    show: Show, device: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("engine.backends.cpu.backend.cores", lambda: 2)
    printed = show("10_shared_runtime", device)
    assert "joint: (1, 4, 5)" in printed
    assert "closed: LiveMemory(buffers=0, commands=0, nbytes=0)" in printed
    assert "2 were asked for: use the same number, or another Runtime" in printed


@on_every_device
def test_a_session_outlives_the_model_data(show: Show, device: str):
    printed = show("11_release", device)
    assert "runs and resizes after release_model: (2, 10)" in printed
    assert "was released by release_model" in printed
    assert "this Session is closed" in printed


@on_every_device
def test_a_latency_includes_the_read(show: Show, device: str):
    printed = show("12_timed_forward", device)
    returned, whole = (float(ms) for ms in re.findall(r"([\d.]+) ms", printed))
    assert 0 < returned <= whole


# ------------------------------------------------------------------------- asynchrony
@on_opencl
def test_naive_timing_blames_the_light_model_on_a_shared_queue(load, device: str):
    found = load("async_two_models").shares(device, device)
    assert found["naive"].share_of_b > 0.5
    assert found["synced"].share_of_b < 0.2
    assert found["by_events"].share_of_b < 0.2


@on_opencl
def test_the_light_model_on_the_cpu_is_blamed_all_the_same(load, device: str):
    found = load("async_two_models").shares(device, "cpu")
    assert found["naive"].share_of_b > 0.5
    assert found["synced"].share_of_b < 0.3
    assert found["by_events"].share_of_b < 0.2


@on_opencl
def test_the_blame_moves_when_the_heavy_model_is_on_the_cpu(load, device: str):
    found = load("async_two_models").shares("cpu", device)
    assert all(split.share_of_b < 0.3 for split in found.values())


@on_opencl
def test_the_two_models_are_printed_as_a_table(load, device: str, capsys):
    load("async_two_models").main(device, runs=1)
    assert capsys.readouterr().out.count("by_events") == 3


@on_opencl
def test_a_result_stays_on_the_device_between_models(load, device: str):
    pair = load("async_two_models").Pair(device, device)
    try:
        (middle,) = pair.a.on_forward([pair.x])
        (result,) = pair.b.on_forward([middle])
        assert middle.is_on_device
        direct = pair.b.forward(middle.read_map().copy())
        assert np.array_equal(direct.read_map(), result.read_map())
    finally:
        pair.close()


@on_every_device
def test_pipelined_results_are_bitwise_the_serial_ones(load, device: str, capsys):
    load("pipelining").main(device, frame_count=3, launches=1)
    printed = capsys.readouterr().out
    assert "bitwise the same: True" in printed
    assert re.search(r"^sleeps .*\n^computes ", printed, re.MULTILINE)


@on_opencl
def test_host_work_that_waits_is_hidden_behind_the_device(load, device: str):
    assert load("pipelining").overlap_on(device).efficiency > 0.3
