"""Latency on real devices: several models on one shared runtime, every clock behind a drain.

Only relations are asserted, never an absolute time. `synced_timer` is at module level because
pytest-benchmark calls the timer right before and right after the timed loop, and because it probes
every distinct timer object once. Devices: the comma list PARALLAX_DEVICES (`cpu` and OpenCL
selectors; default `cpu,portable`); one that is absent is an error, not a skip.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

import perf.latency
from engine.backends import registry
from engine.config import ForwardType, Precision
from engine.interpreter import Interpreter
from engine.runtime import Runtime
from fixtures.models.corpus import by_name
from perf.foreign import slowdown_max, undisturbed_ns
from perf.hand_built import HandBuilt, chain, schedule
from perf.latency import Latency, measure, timed_run
from perf.subject import Subject

DEVICES = os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",")
OPENCL_DEVICES = [device for device in DEVICES if device != "cpu"]
ELEMENTS = 1 << 20
CHAINS = {"one_relu": ("Relu", 1), "four_exp": ("Exp", 4), "eight_sigmoid": ("Sigmoid", 8)}
FILES = ("tiny_resnet", "tiny_mlp_opset7")

RUNTIME = Runtime()
"""Shared by every model of this module, as it would be in a program that serves them."""


def synced_timer() -> float:
    """Seconds, after every queue of the shared runtime is idle."""
    RUNTIME.synchronize()
    return time.perf_counter()


@pytest.fixture(scope="module")
def subjects() -> Iterator[dict[tuple[str, str], Subject]]:
    """Every model on every device; all exist at once, on one runtime."""
    made: dict[tuple[str, str], Any] = {}
    with ExitStack() as stack:
        stack.callback(RUNTIME.close)
        for device in DEVICES:
            for name, (op_type, depth) in CHAINS.items():
                subject = HandBuilt(chain(op_type, depth, ELEMENTS), schedule(device), RUNTIME)
                stack.callback(subject.close)
                subject.run({"x": np.linspace(-2, 2, ELEMENTS, dtype=np.float32)})
                made[device, name] = subject
            for name in FILES:
                made[device, name] = stack.enter_context(_session(device, name))
        yield made


def _session(device: str, name: str) -> Any:
    model = by_name(name)
    feeds = model.feeds(seed=0)
    session = Interpreter.from_file(model.path).create_session(
        schedule(device), RUNTIME, {k: v.shape for k, v in feeds.items()}
    )
    session.run(feeds)
    return session


@pytest.mark.benchmark(timer=synced_timer)
@pytest.mark.parametrize("name", [*CHAINS, *FILES])
@pytest.mark.parametrize("device", DEVICES)
def test_the_benchmarked_time_covers_the_work_of_the_device(
    benchmark: Any, subjects: dict[tuple[str, str], Subject], device: str, name: str
) -> None:
    assert benchmark.enabled, "latency cannot be tested with --benchmark-disable or under xdist"
    subject = subjects[device, name]
    benchmark.pedantic(subject.run, rounds=20, iterations=1, warmup_rounds=3)
    latency = measure(subject, runs=20)
    benchmark.extra_info["latency"] = latency.to_json()["summary"]
    assert latency.profile is not None
    assert latency.invalid == ()
    profile = latency.profile
    times_ns = profile.busy_ns if latency.asynchronous else profile.host_busy_ns
    busy_ns = undisturbed_ns(times_ns, profile.loads)
    assert benchmark.stats.stats.median * 1e9 > busy_ns / slowdown_max(profile.loads)
    assert all(0 < e <= s for e, s in zip(latency.enqueue_ns, latency.synced_ns, strict=True))


@pytest.mark.parametrize("device", OPENCL_DEVICES)
def test_an_unsynchronised_timer_reports_a_fraction(
    subjects: dict[tuple[str, str], Subject], device: str
) -> None:
    subject = subjects[device, "eight_sigmoid"]
    naive_ns = []
    for _ in range(11):
        synced_timer()
        started = time.perf_counter_ns()
        subject.run()
        naive_ns.append(time.perf_counter_ns() - started)
    assert min(naive_ns) < 0.5 * _fastest_ns(subject)


@pytest.mark.parametrize("device", OPENCL_DEVICES)
def test_work_enqueued_before_the_clock_starts_has_ended_when_it_starts(
    subjects: dict[tuple[str, str], Subject], device: str
) -> None:
    plant, subject = subjects[device, "eight_sigmoid"], subjects[device, "one_relu"]
    assert _Witness(subject, plant).times_complete(runs=11) == 11


@pytest.mark.parametrize("device", OPENCL_DEVICES)
def test_without_the_first_drain_the_planted_work_shows(
    subjects: dict[tuple[str, str], Subject], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, subject = subjects[device, "eight_sigmoid"], subjects[device, "one_relu"]
    _skip_drains(monkeypatch, first=True)
    assert _Witness(subject, plant).times_complete(runs=11) < 11


@pytest.fixture
def second_queue(device: str, subjects: dict[tuple[str, str], Subject]) -> Iterator[HandBuilt]:
    """A model on another queue of the same runtime and device."""
    first: Any = subjects[device, "one_relu"].execution.backends["opencl"]
    queue = first.context.cl.CommandQueue(first.context.context)
    second = registry.opencl_backend(registry.opencl_context(None, queue), Precision.HIGH)
    RUNTIME._opencl["second queue"] = second
    plant = HandBuilt(chain("Sigmoid", 8, ELEMENTS), schedule(device), RUNTIME, second)
    plant.run({"x": np.zeros(ELEMENTS, np.float32)})
    yield plant
    plant.close()
    del RUNTIME._opencl["second queue"]


@pytest.mark.parametrize("device", OPENCL_DEVICES)
def test_work_on_a_second_queue_of_the_runtime_has_ended_when_the_clock_starts(
    subjects: dict[tuple[str, str], Subject], second_queue: HandBuilt, device: str
) -> None:
    witness = _Witness(subjects[device, "one_relu"], second_queue)
    assert witness.times_complete(runs=11) == 11


@pytest.mark.parametrize("device", OPENCL_DEVICES)
def test_draining_only_one_of_two_queues_shows(
    subjects: dict[tuple[str, str], Subject],
    second_queue: HandBuilt,
    device: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subject = subjects[device, "one_relu"]
    monkeypatch.setattr(perf.latency, "drain", lambda runtime: subject.execution.synchronize())
    assert _Witness(subject, second_queue).times_complete(runs=11) < 11


@pytest.mark.parametrize("device", OPENCL_DEVICES)
def test_a_clock_that_stops_early_makes_the_measurement_invalid(
    subjects: dict[tuple[str, str], Subject], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _skip_drains(monkeypatch, first=False)
    latency = measure(subjects[device, "eight_sigmoid"], runs=11)
    # Beside other programs either may be what they did: time of theirs, or a run that they held up.
    early = ("before the device was done", "had not ended when the clock stopped")
    assert any(words in v for words in early for v in latency.invalid)


@pytest.mark.parametrize("device", DEVICES)
def test_asynchrony_is_stated_as_it_is(
    subjects: dict[tuple[str, str], Subject], device: str
) -> None:
    latency = measure(subjects[device, "eight_sigmoid"], runs=11)
    assert latency.asynchronous == (device != "cpu")
    assert any("by nature" in note for note in latency.notes) == (device == "cpu")


@pytest.mark.parametrize("device", OPENCL_DEVICES)
def test_every_launch_of_a_model_has_one_event_with_its_node(
    subjects: dict[tuple[str, str], Subject], device: str
) -> None:
    subject = subjects[device, "tiny_resnet"]
    latency: Latency = measure(subject, runs=3)
    assert latency.profile is not None
    titles = {span.title for span in latency.profile.spans}
    assert titles == {step.node.title for step in subject.execution.steps}


def test_an_absent_device_is_an_error() -> None:
    with pytest.raises(Exception, match="matches no device"):
        registry.opencl_context("no such device")
    assert schedule("no such device").type is ForwardType.OPENCL


class _Witness:
    """A subject that looks, as the first thing inside the timed region, at planted work."""

    def __init__(self, subject: Subject, plant: Subject) -> None:
        self.runtime, self.execution = subject.runtime, subject.execution
        self._subject, self._plant = subject, plant
        self._seen: list[bool] = []

    def run(self, feeds: Any = None) -> None:
        self._seen.append(int(self._last.command_execution_status) == 0)
        self._subject.run()

    def times_complete(self, runs: int) -> int:
        """In how many of the runs the work planted just before had ended at t0."""
        for _ in range(runs):
            self._last = [step.command.enqueue() for step in self._plant.execution.steps][-1]
            timed_run(self)
            RUNTIME.synchronize()
        return sum(self._seen)


def _fastest_ns(subject: Subject) -> int:
    """Of 11 runs: what other programs do to a run only makes it longer."""
    return min(timed_run(subject)[1] for _ in range(11))


def _skip_drains(monkeypatch: pytest.MonkeyPatch, *, first: bool) -> None:
    """A mutant: of the two drains that `perf` makes around each timed run, leave one out."""
    honest, calls = perf.latency.drain, iter(range(10**9))

    def drain(runtime: Runtime) -> None:
        if (next(calls) % 2 == 0) != first:
            honest(runtime)

    monkeypatch.setattr(perf.latency, "drain", drain)
