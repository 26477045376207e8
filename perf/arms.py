"""Arms: one engine with one model loaded, timed inside a measuring process.

Engines are imported when a model is loaded, so that the import counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from perf.arrays import load_arrays, save_arrays


class Arm(Protocol):
    """One engine with one model loaded; times in ns."""

    def load(self, model: str, **options: Any) -> dict[str, Any]:
        """Read the model, make a session, run twice; says how long each stage took."""
        ...

    def infer(self, runs: int, discard: int) -> dict[str, Any]:
        """`total_ns` of each run from host inputs to host outputs; the first ones untimed."""
        ...

    def synced(self, runs: int, discard: int) -> dict[str, Any]:
        """`enqueue_ns` and `synced_ns` of each run on inputs that lie on the device."""
        ...

    def measure(self, runs: int) -> dict[str, Any]:
        """A `perf.latency.Latency`."""
        ...

    def save(self, path: str) -> dict[str, Any]:
        """Write the outputs of the first inference (`perf.arrays`)."""
        ...


class ParallaxArm:
    """Parallax on one device."""

    def load(
        self,
        model: str,
        *,
        device: str = "cpu",
        precision: str = "high",
        threads: int | None = None,
        feeds: str,
    ) -> dict[str, Any]:
        """See `Arm`. device: "cpu" or an OpenCL selector; feeds: `perf.arrays` of every input."""
        began = time.perf_counter_ns()
        from engine import BackendConfig, ForwardType, Interpreter, Precision, ScheduleConfig
        from perf.stopwatch import Stopwatch, TimedRuntime

        watch = Stopwatch()
        watch.sections_ns["import"] = time.perf_counter_ns() - began
        with watch.section("read"):
            interpreter = Interpreter.from_file(model)
        config = ScheduleConfig(
            type=ForwardType.CPU if device == "cpu" else ForwardType.OPENCL,
            device=None if device == "cpu" else device,
            num_threads=threads,
            backend_config=BackendConfig(precision=Precision(precision)),
        )
        self.feeds = load_arrays(feeds)
        shapes = {name: array.shape for name, array in self.feeds.items()}
        with watch.section("plan"):
            self.session = interpreter.create_session(config, TimedRuntime(watch), shapes)
        created, sections_ns = time.perf_counter_ns(), dict(watch.sections_ns)
        self.outputs = self.session(self.feeds)
        first = time.perf_counter_ns()
        self.session(self.feeds)
        second = time.perf_counter_ns()
        info = self.session.info()
        return {
            "device": f"{info.device.platform} / {info.device.name}",
            "driver": f"{info.device.driver} {info.device.version}",
            "precision": info.precision.value,
            "fallbacks": [[op.title, op.reason] for op in info.fallbacks],
            "half_is_emulated": info.device.half_is_emulated,
            "commands": len(self.session.execution.steps),
            "sections_ns": sections_ns,
            "create_ns": created - began,
            "first_ns": first - created,
            "second_ns": second - first,
        }

    def infer(self, runs: int, discard: int = 1) -> dict[str, Any]:
        """See `Arm`."""
        return {"total_ns": _timed(lambda: self.session(self.feeds), runs, discard)}

    def synced(self, runs: int, discard: int = 1) -> dict[str, Any]:
        """See `Arm`."""
        from perf.latency import quiet_gc, timed_run

        with quiet_gc():
            pairs = [timed_run(self.session) for _ in range(discard + runs)][discard:]
        return {"enqueue_ns": [p[0] for p in pairs], "synced_ns": [p[1] for p in pairs]}

    def measure(self, runs: int) -> dict[str, Any]:
        """See `Arm`."""
        from perf.latency import measure

        return measure(self.session, runs=runs, feeds=self.feeds).to_json()

    def save(self, path: str) -> dict[str, Any]:
        """See `Arm`."""
        save_arrays(path, self.outputs)
        return {}

    def builds(self) -> dict[str, Any]:
        """How many programs were compiled from source so far."""
        backends = self.session.execution.backends.values()
        return {"builds": sum({b.memory: b.builds for b in backends}.values())}


class OrtArm:
    """onnxruntime's CPU execution provider; `run` returns synchronised."""

    def load(
        self, model: str, *, threads: int, feeds: str, spinning: bool = True
    ) -> dict[str, Any]:
        """See `Arm`."""
        began = time.perf_counter_ns()
        import onnxruntime as ort

        imported = time.perf_counter_ns()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
        self.session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.feeds = load_arrays(feeds)
        created = time.perf_counter_ns()
        outputs = self.session.run(None, self.feeds)
        first = time.perf_counter_ns()
        self.session.run(None, self.feeds)
        second = time.perf_counter_ns()
        names = [output.name for output in self.session.get_outputs()]
        self.outputs = dict(zip(names, outputs, strict=True))
        return {
            "device": "onnxruntime / CPUExecutionProvider",
            "driver": ort.__version__,
            "precision": "high",
            "half_is_emulated": False,
            "fallbacks": [],
            "commands": 0,
            "sections_ns": {"import": imported - began, "plan": created - imported},
            "create_ns": created - began,
            "first_ns": first - created,
            "second_ns": second - first,
        }

    def infer(self, runs: int, discard: int = 1) -> dict[str, Any]:
        """See `Arm`."""
        return {"total_ns": _timed(lambda: self.session.run(None, self.feeds), runs, discard)}

    def synced(self, runs: int, discard: int = 1) -> dict[str, Any]:
        """See `Arm`: `run` waits, so enqueue equals synced."""
        bound = self._bound()
        total = _timed(lambda: self.session.run_with_iobinding(bound), runs, discard)
        return {"enqueue_ns": total, "synced_ns": total}

    def measure(self, runs: int) -> dict[str, Any]:
        """See `Arm`: there are no queues to drain and no events to harvest."""
        from perf.latency import WARMUP, Latency

        total = tuple(self.synced(runs, WARMUP)["synced_ns"])
        return Latency(
            device="onnxruntime / CPUExecutionProvider",
            asynchronous=False,
            enqueue_ns=total,
            synced_ns=total,
            floor_ns=0,
            profile=None,
            invalid=(),
            notes=(),
        ).to_json()

    def _bound(self) -> Any:
        """Inputs that lie where the session computes, and outputs that stay there."""
        import onnxruntime as ort

        bound = self.session.io_binding()
        for name, array in self.feeds.items():
            bound.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
        for name in self.outputs:
            bound.bind_output(name)
        return bound

    def save(self, path: str) -> dict[str, Any]:
        """See `Arm`."""
        save_arrays(path, self.outputs)
        return {}


ARMS: dict[str, type] = {"parallax": ParallaxArm, "onnxruntime": OrtArm}


def _timed(call: Callable[[], object], runs: int, discard: int) -> list[int]:
    from perf.latency import quiet_gc

    times_ns = []
    with quiet_gc():
        for _ in range(discard + runs):
            started = time.perf_counter_ns()
            call()
            times_ns.append(time.perf_counter_ns() - started)
    return times_ns[discard:]
