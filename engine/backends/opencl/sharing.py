"""What a user may lend to work in: a context, a queue, a device, or the numbers of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.backends.opencl import device as discovery
from engine.errors import ConfigError, DeviceError


@dataclass(frozen=True)
class Place:
    """A device, and what was lent for it: a context, or a queue and its context."""

    device: Any
    context: Any = None
    queue: Any = None


def place_of(selector: str | None, shared: Any) -> Place:
    """Where to work.

    Args:
        selector: as for `device.select`; when given, it must name the device of `shared`, or one
            of those of a shared context (else its first is taken).
        shared: a `pyopencl.Context`, `CommandQueue` or `Device`, the pair (platform number,
            device number), or None.

    Raises:
        ConfigError: `shared` is something else, an out-of-order queue, or not what `selector`
            names. DeviceError: the selector or the numbers name no device, or this process was
            forked from one that used OpenCL.
    """
    if shared is None:
        return Place(discovery.select(selector))
    cl = discovery.opencl()
    discovery.check_process()
    try:
        return _lent(cl, selector, shared)
    except cl.Error as error:
        raise ConfigError(
            f"shared_context={shared!r} cannot be used ({error}); keep its pyopencl.Context alive"
        ) from error


def _lent(cl: Any, selector: str | None, shared: Any) -> Place:
    if isinstance(shared, cl.CommandQueue):
        _check_in_order(cl, shared)
        return Place(_one_of([shared.device], selector), shared.context, shared)
    if isinstance(shared, cl.Context):
        return Place(_one_of(shared.devices, selector), shared)
    if isinstance(shared, cl.Device):
        return Place(_one_of([shared], selector))
    if isinstance(shared, tuple) and len(shared) == 2 and all(type(n) is int for n in shared):
        return Place(_one_of([_numbered(shared)], selector))
    raise ConfigError(
        f"shared_context={shared!r}: expected a pyopencl.Context, CommandQueue or Device, or the "
        "pair (platform number, device number)"
    )


def _check_in_order(cl: Any, queue: Any) -> None:
    if queue.properties & cl.command_queue_properties.OUT_OF_ORDER_EXEC_MODE_ENABLE:
        raise ConfigError(
            "shared_context: the CommandQueue is out-of-order, but the engine relies on the order "
            "of its commands; make it without OUT_OF_ORDER_EXEC_MODE_ENABLE"
        )


def _one_of(devices: list[Any], selector: str | None) -> Any:
    if selector is None:
        return devices[0]
    wanted = discovery.select(selector)
    if wanted not in devices:
        names = ", ".join(d.name.strip() for d in devices)
        raise ConfigError(
            f"device={selector!r} names {wanted.name.strip()}, which shared_context ({names}) does "
            "not have; name one of its devices, or leave device"
        )
    return wanted


def _numbered(numbers: tuple[int, int]) -> Any:
    wanted = ".".join(map(str, numbers))
    found = discovery.devices()
    for name, device in found:
        if name == wanted:
            return device
    listed = "\n".join(f"  {device}" for device in discovery.listed(found))
    raise DeviceError(
        f"shared_context={numbers}: there is no device {wanted}; use the numbers of one of these:\n"
        f"{listed}"
    )
