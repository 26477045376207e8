"""What an OpenCL device can do at most: multiply-adds and copied bytes per second, measured."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.backends.opencl.backend import OpenCLBackend
from engine.backends.opencl.launch import EmptyCommand, OpenCLCommand

WIDTH, CHAINS, ROUNDS = 16, 12, 2048
"""Of kernels/peaks.cl."""
COPIED_NBYTES = 64 << 20
"""More than the caches of most devices hold."""
REPEATS = 12
"""The fastest counts: what else the machine does only makes a launch slower."""


def measured(backend: OpenCLBackend) -> tuple[float, float]:
    """Float32 operations (a multiply-add is two) and bytes (read and written) per second."""
    context = backend.context
    program = context.program("peaks", ("-DSTORAGE=float", "-DCOMPUTE=float"))
    items = context.info.compute_units * (64 if context.info.is_cpu else 4096)
    local = (1,) if context.info.is_cpu else (64,)
    words = COPIED_NBYTES // (4 * WIDTH)
    first, second = backend.allocate(COPIED_NBYTES), backend.allocate(COPIED_NBYTES)

    def launch(name: str, size: int, local_size: tuple[int, ...], *arguments: Any) -> float:
        command = backend.command(program, name, (size,), local_size, *arguments)
        assert not isinstance(command, EmptyCommand)
        return _fastest_s(backend, command)

    try:
        numbers = np.float32(0.5), np.float32(1.0), np.int32(ROUNDS)
        arithmetic_s = launch("multiply_add", items, local, first.buffer, *numbers)
        copy_s = launch("copy_bytes", words, (64,), second.buffer, first.buffer)
    finally:
        backend.synchronize()
        first.release()
        second.release()
    return 2 * WIDTH * CHAINS * ROUNDS * items / arithmetic_s, 2 * COPIED_NBYTES / copy_s


def _fastest_s(backend: OpenCLBackend, command: OpenCLCommand) -> float:
    """Of some launches, by their events, after one that is not counted."""
    with backend.profiling():
        events = [command.enqueue() for _ in range(REPEATS + 1)]
        backend.synchronize()
        return min(int(e.profile.end) - int(e.profile.start) for e in events[1:]) / 1e9
