"""Backends by name, imported when asked for, so that pyopencl stays optional."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine import arguments
from engine.backends.protocol import Backend, DeviceInfo
from engine.config import PowerMode, Precision

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend


def cpu_backend(num_threads: int | None = None) -> CpuBackend:
    """The NumPy backend with threads of its own; None: as many as there are cores."""
    from engine.backends.cpu.backend import CpuBackend

    return CpuBackend(num_threads)


def cpu_threads(num_threads: int | None = None, power: PowerMode = PowerMode.NORMAL) -> int:
    """How many threads are right: at most all cores; half of them at LOW."""
    from engine.backends.cpu.backend import threads

    return threads(num_threads, power)


def opencl_context(
    selector: str | None, shared: Any = None, power: PowerMode = PowerMode.NORMAL
) -> Any:
    """An OpenCLContext on the device that `selector` names, in what the user shares.

    Args:
        shared: see `BackendConfig.shared_context`.
        power: LOW and HIGH make a queue of that priority.

    Raises:
        DeviceError: no such device, or it cannot be used. ConfigError: `shared` is of no use, or
            the device has no priorities.
    """
    from engine.backends.opencl.context import OpenCLContext
    from engine.backends.opencl.sharing import place_of

    return OpenCLContext(place_of(selector, shared), power)


def opencl_backend(context: Any, precision: Precision) -> Backend:
    """A backend of one precision on a context that others may share."""
    from engine.backends.opencl.backend import OpenCLBackend

    return OpenCLBackend(context, precision)


def opencl_device(selector: str | None = None) -> Any:
    """The `pyopencl.Device` that a selector names, to make a context of one's own on it.

    Its driver may be one that `pyopencl.get_platforms()` does not list.

    Args:
        selector: as `ScheduleConfig.device`.

    Raises:
        DeviceError: no device, or several; the message lists the candidates.
    """
    from engine.backends.opencl import device

    expected = "the name or the numbers of an OpenCL device"
    return device.select(arguments.optional("opencl_device", selector, str, expected))


def opencl_devices() -> list[tuple[str, DeviceInfo]]:
    """Every OpenCL device as ("platform.device", info); raises DeviceError without pyopencl."""
    from engine.backends.opencl import device

    return [(numbers, device.describe(d)) for numbers, d in device.devices()]


def opencl_selectors() -> dict[str, str]:
    """By "platform.device" numbers, the shortest selector of every device."""
    from engine.backends.opencl import device
    from engine.backends.opencl.selection import shortest

    listed = device.listed(device.devices())
    return {d.numbers: shortest(d, listed) for d in listed}


def opencl_numbers(selector: str) -> str:
    """The "platform.device" numbers of the device that a selector names; raises DeviceError."""
    from engine.backends.opencl import device, drivers
    from engine.backends.opencl.selection import one

    listed = device.listed(device.devices())
    return one(selector, listed, drivers.problems(device.opencl())).numbers


def opencl_problems() -> list[str]:
    """Why drivers that are installed cannot be used, one sentence each."""
    from engine.backends.opencl import device, drivers

    return drivers.problems(device.opencl())
