"""The measured side: one arm's engine in a fresh process; `perf.gate.process` starts it.

The file of the candidate's harness serves both arms, run by its path, so it imports the standard
library, NumPy and the public names of the arm's own `engine` and nothing else of Parallax: a
revision of last year must understand it. Requests and answers are JSON, one per line; while it
waits for a request it sleeps in read().
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import platform
import resource
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np

SLOT_NS = 10_000_000
"""A slot lasts at least so long: its inferences are as many as that takes."""
RUNS_MAX = 64
SETTLED = 0.03
"""Warm-up ends when the medians of two windows of `WINDOW` runs differ by less, or is cut."""
WINDOW, WARM_MAX, WARM_NS = 8, 50, 2_000_000_000
CONTROL_NBYTES = 1 << 20
DEPENDENCIES = ("numpy", "onnx", "onnxruntime", "pyopencl")
VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POCL_MAX_PTHREAD_COUNT", "PYTHONPATH")


def fingerprint(package: Path) -> str:
    """A digest of the sources of a package, its kernels included and its tests left out."""
    digest = hashlib.sha256()
    for path in sorted(p for suffix in ("py", "cl") for p in package.rglob(f"*.{suffix}")):
        if path.name == "conftest.py" or path.name.startswith("test_"):
            continue
        digest.update(f"{path.relative_to(package).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


class Models(Protocol):
    """The models of one process, by name."""

    def load(self, name: str, path: str) -> None:
        """Read it and make a session."""
        ...

    def infer(self, name: str, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """One inference from arrays to arrays."""
        ...

    def write(self, name: str, feeds: Mapping[str, Any]) -> None:
        """Give a model its next inputs, outside the clock."""
        ...

    def run(self, name: str) -> None:
        """Enqueue one inference of what was written."""
        ...

    def drain(self) -> None:
        """Return when every queue is idle."""
        ...

    def outputs(self, name: str) -> dict[str, Any]:
        """What the last inference gave."""
        ...

    def profile(self, name: str) -> dict[str, Any] | None:
        """What a profiled inference was spent on, in ns; None where the engine cannot say."""
        ...

    def facts(self, name: str) -> dict[str, Any]:
        """Where it runs: device, driver, effective precision, fallbacks."""
        ...


class ParallaxModels:
    """Sessions of Parallax on one runtime."""

    def __init__(self, device: str, precision: str, threads: int | None) -> None:
        import engine

        self._engine = engine
        self._runtime = engine.Runtime()
        self._config = engine.ScheduleConfig(
            type=engine.ForwardType.CPU if device == "cpu" else engine.ForwardType.OPENCL,
            device=None if device == "cpu" else device,
            num_threads=threads if device == "cpu" else None,
            backend_config=engine.BackendConfig(precision=engine.Precision(precision)),
        )
        self._sessions: dict[str, Any] = {}

    def load(self, name: str, path: str) -> None:
        """See `Models`; shapes come with the first feeds."""
        self._path = path
        self._sessions.pop(name, None)
        self._sessions[name] = self._engine.Interpreter.from_file(path)

    def infer(self, name: str, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """See `Models`."""
        loaded = self._sessions[name]
        if isinstance(loaded, self._engine.Interpreter):
            shapes = {key: array.shape for key, array in feeds.items()}
            loaded = loaded.create_session(self._config, self._runtime, shapes)
            self._sessions[name] = loaded
        return dict(loaded(feeds))

    def write(self, name: str, feeds: Mapping[str, Any]) -> None:
        """See `Models`."""
        for key, array in feeds.items():
            self._sessions[name].write(key, array)

    def run(self, name: str) -> None:
        """See `Models`."""
        self._sessions[name].run()

    def drain(self) -> None:
        """See `Models`."""
        self._runtime.synchronize()

    def outputs(self, name: str) -> dict[str, Any]:
        """See `Models`."""
        session = self._sessions[name]
        return {output: session.read(output) for output in session.outputs}

    def profile(self, name: str) -> dict[str, Any] | None:
        """See `Models`; None for revisions without `Session.profile`."""
        session = self._sessions[name]
        if not hasattr(session, "profile"):
            return None
        found = session.profile()
        account = {key: getattr(found.account, key) for key in PARTS}
        shares = {"kernels": found.kernels, "nodes": found.nodes}
        tables = {
            table: {share.name: share.device_ns + share.host_ns for share in entries}
            for table, entries in shares.items()
        }
        return {"account": account, **tables}

    def facts(self, name: str) -> dict[str, Any]:
        """See `Models`."""
        info = self._sessions[name].info()
        return {
            "device": f"{info.device.platform} / {info.device.name}",
            "driver": f"{info.device.driver} {info.device.version}",
            "precision": info.precision.value,
            "fallbacks": [op.title for op in info.fallbacks],
        }


PARTS = ("synced_ns", "device_ns", "host_ns", "submit_ns", "rest_ns", "gaps_ns", "copies_ns")
"""Of `engine.profile.Account`."""


class OrtModels:
    """Sessions of onnxruntime's CPU provider, whose `run` returns when it is done."""

    def __init__(self, device: str, precision: str, threads: int | None) -> None:
        import onnxruntime

        self._ort, self._threads = onnxruntime, threads
        self._sessions: dict[str, Any] = {}
        self._feeds: dict[str, Mapping[str, Any]] = {}
        self._outputs: dict[str, dict[str, Any]] = {}

    def load(self, name: str, path: str) -> None:
        """See `Models`."""
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = self._threads or 0
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._sessions[name] = self._ort.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )

    def infer(self, name: str, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """See `Models`."""
        self.write(name, feeds)
        self.run(name)
        return self.outputs(name)

    def write(self, name: str, feeds: Mapping[str, Any]) -> None:
        """See `Models`."""
        self._feeds[name] = feeds

    def run(self, name: str) -> None:
        """See `Models`."""
        session = self._sessions[name]
        names = [output.name for output in session.get_outputs()]
        self._outputs[name] = dict(zip(names, session.run(None, dict(self._feeds[name]))))

    def drain(self) -> None:
        """Nothing is in flight."""

    def outputs(self, name: str) -> dict[str, Any]:
        """See `Models`."""
        return self._outputs[name]

    def profile(self, name: str) -> dict[str, Any] | None:
        """There are no events."""
        return None

    def facts(self, name: str) -> dict[str, Any]:
        """See `Models`."""
        version = self._ort.__version__
        return {
            "device": "onnxruntime / CPUExecutionProvider",
            "driver": version,
            "precision": "high",
            "fallbacks": [],
        }


ENGINES: dict[str, Callable[[str, str, int | None], Models]] = {
    "parallax": ParallaxModels,
    "onnxruntime": OrtModels,
}


class Agent:
    """Answers requests; each method is one, and its arguments are the request's."""

    def __init__(self, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        self._clock = clock
        self._models: Models
        self._feeds: dict[str, list[dict[str, Any]]] = {}
        self._expected: dict[str, list[str]] = {}
        self._turns: dict[str, int] = {}

    def hello(
        self, engine: str, device: str, precision: str, threads: int | None
    ) -> dict[str, Any]:
        """Start the engine; says who this is."""
        try:
            self._models = ENGINES[engine](device, precision, threads)
        except AttributeError as error:
            raise ImportError(
                f"this version of the engine is too old for the gate: {error}"
            ) from error
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        self._cores = max(1, len(cores))
        self._pool = ThreadPoolExecutor(self._cores)
        self._block = os.urandom(CONTROL_NBYTES)
        package = (
            Path(sys.modules["engine"].__file__ or "").parent if engine == "parallax" else None
        )
        return {
            "pid": os.getpid(),
            "python": platform.python_version(),
            "machine": [platform.node(), platform.machine(), os.cpu_count()],
            "cores": cores,
            "variables": {name: os.environ.get(name, "") for name in VARIABLES},
            "versions": {name: version(name) for name in DEPENDENCIES},
            "imported": str(package or ""),
            "sources": fingerprint(package) if package else "",
        }

    def load(self, name: str, path: str, feeds: Sequence[str], save: str) -> dict[str, Any]:
        """Read a model and infer each of its sets of inputs once.

        Args:
            save: the file to keep in what they gave; "" for none.
        """
        began = self._clock()
        self._models.load(name, path)
        self._feeds[name] = [load_arrays(file) for file in feeds]
        found = [self._models.infer(name, one) for one in self._feeds[name]]
        self._expected[name] = [digest(one) for one in found]
        self._turns[name] = 0
        if save:
            kept = {f"{i}:{k}": v for i, one in enumerate(found) for k, v in one.items()}
            save_arrays(save, kept)
        return {"load_ns": self._clock() - began, **self._models.facts(name)}

    def warm(self, names: Sequence[str]) -> dict[str, Any]:
        """Run until two windows agree; says how many runs fill a slot."""
        times_ns: list[int] = []
        began = self._clock()
        while len(times_ns) < WARM_MAX and self._clock() - began < WARM_NS:
            times_ns.append(self._timed(names)[1])
            late, early = times_ns[-WINDOW:], times_ns[-2 * WINDOW : -WINDOW]
            if len(early) == WINDOW and abs(np.median(late) / np.median(early) - 1) < SETTLED:
                break
        once_ns = max(float(np.median(times_ns[-WINDOW:])), 1.0)
        return {"runs": int(min(RUNS_MAX, max(1, np.ceil(SLOT_NS / once_ns)))), "n": len(times_ns)}

    def slot(self, names: Sequence[str], runs: int) -> dict[str, Any]:
        """Time `runs` inferences of the models one after the other, each with its next inputs.

        `left_ns`: how much longer the outputs take to read at first than again, once the clock has
        stopped. Where every queue was drained there is nothing left to wait for.
        """
        started, cpu = self._clock(), time.process_time_ns()
        times = [self._timed(names) for _ in range(runs)]
        cpu = time.process_time_ns() - cpu
        ended = self._clock()
        outputs = [self._models.outputs(name) for name in names]
        read = self._clock()
        for name in names:
            self._models.outputs(name)
        return {
            "started_ns": started,
            "ended_ns": ended,
            "enqueue_ns": [t[0] for t in times],
            "synced_ns": [t[1] for t in times],
            "cpu_ns": cpu // runs,
            "left_ns": max(0, (read - ended) - (self._clock() - read)),
            "wrong": [n for n, found in zip(names, outputs) if self._is_wrong(n, found)],
        }

    def profile(self, names: Sequence[str]) -> dict[str, Any]:
        """One profiled inference of each model."""
        return {"models": {name: self._models.profile(name) for name in names}}

    def bye(self) -> dict[str, Any]:
        """The largest resident size so far."""
        return {"peak_nbytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}

    def _timed(self, names: Sequence[str]) -> tuple[int, int]:
        """(enqueue ns, synced ns), from drained queues to drained queues."""
        if not names:
            return self._control()
        for name in names:
            turn = self._turns[name] = (self._turns[name] + 1) % len(self._feeds[name])
            self._models.write(name, self._feeds[name][turn])
        return timed(self._models, names, self._clock)

    def _control(self) -> tuple[int, int]:
        """SHA-256 of the same block on every core at once: no engine, no arm has a part in it."""
        started = self._clock()
        for job in [self._pool.submit(hashlib.sha256, self._block) for _ in range(self._cores)]:
            job.result()
        done = self._clock()
        return done - started, done - started

    def _is_wrong(self, name: str, outputs: Mapping[str, Any]) -> bool:
        """Whether the last outputs are not those that its inputs gave at first."""
        return digest(outputs) != self._expected[name][self._turns[name]]


def timed(models: Models, names: Sequence[str], clock: Callable[[], int]) -> tuple[int, int]:
    """One inference of each: (ns until the last `run` returned, ns until every queue was idle)."""
    models.drain()
    started = clock()
    for name in names:
        models.run(name)
    enqueued = clock()
    models.drain()
    done = clock()
    return enqueued - started, done - started


def version(name: str) -> str:
    """Of an installed distribution, "" where there is none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def digest(arrays: Mapping[str, Any]) -> str:
    """Of names, types and bytes."""
    found = hashlib.sha256()
    for name, value in arrays.items():
        array = np.asarray(value)
        text = array.tolist() if array.dtype.kind in "OTU" else None
        found.update(f"{name} {array.dtype} {array.shape} {text}".encode())
        if text is None:
            found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def save_arrays(path: str, arrays: Mapping[str, Any]) -> None:
    """As `perf.arrays.save_arrays`, which the other arm may not have."""
    kept = [np.asarray(array) for array in arrays.values()]
    with open(path, "wb") as file:
        plain = (a.astype(np.str_) if a.dtype.kind in "OT" else a for a in kept)
        np.savez(file, np.array(list(arrays), np.str_), *plain)


def load_arrays(path: str) -> dict[str, Any]:
    """As `perf.arrays.load_arrays`."""
    with np.load(path, allow_pickle=False) as stored:
        names, *keys = stored.files
        return dict(zip(map(str, stored[names]), (stored[key] for key in keys)))


def answer(agent: Agent, request: dict[str, Any]) -> dict[str, Any]:
    """Do one request; an exception becomes {"error", "type", "expected", "traceback"}."""
    try:
        reply: dict[str, Any] = getattr(agent, request.pop("do"))(**request)
        return reply
    except Exception as error:  # the parent decides what it means
        bases = {base.__name__ for base in type(error).__mro__}
        return {
            "error": str(error),
            "expected": bool(bases & {"ParallaxError", "OSError", "ImportError"}),
            "type": type(error).__name__,
            "traceback": traceback.format_exc(),
        }


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answer line by line until the input ends."""
    agent = Agent()
    for line in requests:
        request = json.loads(line)
        loaded = request["do"] == "load"
        print(json.dumps(answer(agent, request)), file=answers, flush=True)
        if loaded:  # from here on times are taken
            gc.collect()
            gc.freeze()
            gc.disable()


def main() -> None:
    """Serve; what drivers print to standard output goes to standard error instead."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.stdin, answers)


if __name__ == "__main__":
    main()
