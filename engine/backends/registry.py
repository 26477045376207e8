"""Backends by name, imported when asked for, so that pyopencl stays optional."""

from __future__ import annotations

from typing import Any

from engine.backends.protocol import Backend, DeviceInfo
from engine.config import Precision


def cpu_backend(num_threads: int | None = None) -> Backend:
    """The NumPy backend with its own limit of BLAS threads."""
    from engine.backends.cpu.backend import CpuBackend

    return CpuBackend(num_threads)


def opencl_context(selector: str | None, shared: Any = None) -> Any:
    """An OpenCLContext on the device that `selector` names; raises DeviceError."""
    from engine.backends.opencl import device
    from engine.backends.opencl.context import OpenCLContext

    if shared is not None:
        return OpenCLContext(
            shared.device if hasattr(shared, "device") else shared.devices[0], shared
        )
    return OpenCLContext(device.select(selector))


def opencl_backend(context: Any, precision: Precision) -> Backend:
    """A backend of one precision on a context that others may share."""
    from engine.backends.opencl.backend import OpenCLBackend

    return OpenCLBackend(context, precision)


def opencl_devices() -> list[tuple[str, DeviceInfo]]:
    """Every OpenCL device as ("platform.device", info); raises DeviceError without pyopencl."""
    from engine.backends.opencl import device

    return [(numbers, device.describe(d)) for numbers, d in device.devices()]
