"""Two small models of free size, and short ways to run them, for tests of what sessions share."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from engine import (
    BackendConfig,
    ForwardType,
    Interpreter,
    MemoryMode,
    Precision,
    Runtime,
    ScheduleConfig,
    Session,
)
from tests.model_writing import model_bytes, node

OPENCL = next(
    d.strip()
    for d in os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",")
    if d.strip() != "cpu"
)
DEVICES = ("cpu", OPENCL)
RANDOM = np.random.default_rng(11)


def _random(*shape: int) -> np.ndarray:
    return RANDOM.normal(0, 0.3, shape).astype(np.float32)


CONV = model_bytes(
    [
        node("Conv", "x w1", "a", pads=[1, 1, 1, 1]),
        node("Relu", "a", "b"),
        node("Conv", "b w2", "c", pads=[1, 1, 1, 1]),
        node("Sigmoid", "c", "d"),
        node("Mul", "d b", "e"),
        node("Conv", "e w3", "y"),
    ],
    {"x": (1, 3, "h", "w")},
    ["y"],
    {"w1": _random(8, 3, 3, 3), "w2": _random(8, 8, 3, 3), "w3": _random(4, 8, 1, 1)},
)
"""float32[1, 3, h, w] -> float32[1, 4, h, w]."""
MLP = model_bytes(
    [
        node("MatMul", "x m1", "a"),
        node("Relu", "a", "b"),
        node("MatMul", "b m2", "c"),
        node("Softmax", "c", "s", axis=-1),
        node("Add", "s k", "y"),
    ],
    {"x": ("n", 16)},
    ["y"],
    {"m1": _random(16, 32), "m2": _random(32, 8), "k": _random(8)},
)
"""float32[n, 16] -> float32[n, 8]."""
MODELS = {"conv": CONV, "mlp": MLP}
SHAPES: dict[str, list[tuple[int, ...]]] = {
    "conv": [(1, 3, 8, 8), (1, 3, 16, 12), (1, 3, 5, 7), (1, 3, 24, 24), (1, 3, 9, 4)],
    "mlp": [(4, 16), (64, 16), (1, 16), (200, 16), (7, 16)],
}


def config(
    device: str = "cpu",
    precision: Precision = Precision.HIGH,
    memory: MemoryMode = MemoryMode.NORMAL,
    shared_context: Any = None,
    **options: Any,
) -> ScheduleConfig:
    """A configuration for "cpu" or an OpenCL selector."""
    kind = ForwardType.CPU if device == "cpu" else ForwardType.OPENCL
    return ScheduleConfig(
        type=kind,
        device=None if device == "cpu" else device,
        backend_config=BackendConfig(
            precision=precision, memory=memory, shared_context=shared_context
        ),
        **options,
    )


def session(
    name: str, device: str, runtime: Runtime | None = None, size: int = 0, **options: Any
) -> Session:
    """A session of a model at one of its sizes."""
    shapes = {"x": SHAPES[name][size]}
    return Interpreter.from_buffer(MODELS[name]).create_session(
        config(device, **options), runtime, shapes
    )


def feeds(name: str, size: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Input for a model at one of its sizes."""
    rng = np.random.default_rng([size, seed])
    return {"x": rng.standard_normal(SHAPES[name][size]).astype(np.float32)}


def isolated(
    name: str, device: str, cases: Iterable[tuple[int, int]], **options: Any
) -> dict[tuple[int, int], bytes]:
    """The bytes of y for each (size, seed), from a session that shares with nobody."""
    with session(name, device, **options) as alone:
        return {case: alone(feeds(name, *case))["y"].tobytes() for case in cases}


def in_threads(count: int, work: Callable[[int], None], timeout_s: float = 60.0) -> None:
    """Run work(0..count-1), one thread each; re-raises the first error, fails on a deadlock."""
    errors: list[BaseException] = []
    start = threading.Barrier(count, timeout=timeout_s)

    def guarded(index: int) -> None:
        try:
            start.wait()
            work(index)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(i,), daemon=True) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout_s)
    if errors:
        raise errors[0]
    stuck = sum(thread.is_alive() for thread in threads)
    assert not stuck, f"{stuck} of {count} threads still wait after {timeout_s} s"
