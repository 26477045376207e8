"""The devices, the small models and the short ways that the feature tests share."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import BackendConfig, ForwardType, Interpreter, MemoryMode, Precision, ScheduleConfig
from perf.scratch import Scratch
from tests.model_writing import model_bytes, node

OPENCL = next(
    d.strip()
    for d in os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",")
    if d.strip() != "cpu"
)
DEVICES = ("cpu", OPENCL)
on_every_device = pytest.mark.parametrize("device", DEVICES)


def row(*numbers: int) -> pytest.MarkDecorator:
    """The rows of the feature table that a test proves; `rows.py` names them."""
    return pytest.mark.row(*numbers)


def config(
    device: str = "cpu",
    precision: Precision = Precision.HIGH,
    memory: MemoryMode = MemoryMode.NORMAL,
    **options: Any,
) -> ScheduleConfig:
    """A configuration for "cpu" or an OpenCL selector."""
    kind = ForwardType.CPU if device == "cpu" else ForwardType.OPENCL
    return ScheduleConfig(
        type=kind,
        device=None if device == "cpu" else device,
        backend_config=BackendConfig(precision=precision, memory=memory),
        **options,
    )


# ------------------------------------------------------------------------- models
OFFSETS = np.arange(4, dtype=np.float32)
CHAIN = model_bytes(
    [node("Relu", "x", "r"), node("Softmax", "r", "s"), node("Add", "s c", "y")],
    {"x": ("n", 4)},
    ["y"],
    {"c": OFFSETS},
)
"""y = Softmax(Relu(x)) + c over float32[n, 4]; nothing in it is fused."""

RANDOM = np.random.default_rng(5)
WEIGHTS = {
    "w": RANDOM.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32),
    "scale": RANDOM.uniform(0.5, 1.5, 8).astype(np.float32),
    "bias": RANDOM.normal(0, 0.3, 8).astype(np.float32),
    "mean": RANDOM.normal(0, 0.3, 8).astype(np.float32),
    "var": RANDOM.uniform(0.5, 1.5, 8).astype(np.float32),
    "v": RANDOM.normal(0, 0.3, (4, 8, 1, 1)).astype(np.float32),
}
CONVOLUTIONS = model_bytes(
    [
        node("Conv", "x w", "a", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "a scale bias mean var", "b"),
        node("Relu", "b", "r"),
        node("Conv", "r v", "f"),
        node("GlobalAveragePool", "f", "p"),
        node("Flatten", "p", "q"),
        node("Softmax", "q", "y"),
    ],
    {"x": ("n", 3, "h", "w")},
    ["y"],
    WEIGHTS,
)
"""x -> Conv a -> BatchNormalization b -> Relu r -> Conv f -> pool p -> Flatten q -> Softmax y."""

TWO = model_bytes(
    [node("Sub", "zebra ant", "d"), node("Sigmoid", "d", "second"), node("Relu", "d", "first")],
    {"zebra": ("n", 3), "ant": ("n", 3)},
    ["second", "first"],
)
"""Inputs and outputs whose alphabetical order is not theirs."""


def chain_of(x: np.ndarray) -> np.ndarray:
    """What CHAIN computes, in float64."""
    r = np.maximum(x, 0).astype(np.float64)
    e = np.exp(r - r.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True) + OFFSETS


def rows_of(count: int, seed: int = 0) -> np.ndarray:
    """An input of CHAIN."""
    return np.random.default_rng([seed, count]).normal(0, 2, (count, 4)).astype(np.float32)


def image(count: int = 1, extent: int = 6, seed: int = 0) -> np.ndarray:
    """An input of CONVOLUTIONS."""
    shape = (count, 3, extent, extent)
    return np.random.default_rng([seed, count, extent]).normal(0, 1, shape).astype(np.float32)


CACHE_FOLDER = Scratch("features")
"""Of a cache file for all tests: drivers without one of their own compile each kernel once."""
atexit.register(CACHE_FOLDER.cleanup)


def interpreter(data: bytes = CHAIN, *, cached: bool = True) -> Interpreter:
    """A fresh Interpreter."""
    read = Interpreter.from_buffer(data)
    if cached:
        read.set_cache_file(Path(CACHE_FOLDER.name) / "kernels")
    return read


# ------------------------------------------------------------------------- devices
@contextmanager
def blocked(context: Any) -> Iterator[None]:
    """The queue of an OpenCL context does nothing inside."""
    cl = context.cl
    gate = cl.UserEvent(context.context)
    cl.enqueue_marker(context.queue, wait_for=[gate])
    try:
        yield
    finally:
        gate.set_status(cl.command_execution_status.COMPLETE)
        context.finish()


def context_of(session: Any) -> Any:
    """The OpenCL context of a session or of a module's session."""
    return next(b for b in session.execution.backends.values() if b.name == "opencl").context
