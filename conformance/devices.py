"""From what a user types for a device to a forward type and a selector."""

from __future__ import annotations

import logging

from engine.arguments import member
from engine.auto import probe
from engine.backends import registry
from engine.config import BackendConfig, ForwardType, Precision, ScheduleConfig
from engine.errors import DeviceError
from engine.runtime import Runtime

logger = logging.getLogger("parallax.devices")

ALL = "all"
Target = tuple[ForwardType, str | None]
"""Forward type and, for OpenCL, the selector of the device."""


def target_of(device: str | None, runtime: Runtime) -> Target:
    """`cpu` for the NumPy backend, an OpenCL selector, or None for the best device that works.

    Raises:
        DeviceError: absent or ambiguous, or none works; the message lists the candidates.
    """
    if device is None:
        return ForwardType.OPENCL, first_working(runtime)
    if device.strip().lower() == "cpu":
        return ForwardType.CPU, None
    runtime.backend(ForwardType.OPENCL, config_of((ForwardType.OPENCL, device)))
    return ForwardType.OPENCL, device


def devices_named(names: str | None) -> list[str | None]:
    """Comma-separated ones; "all" is every OpenCL device by its shortest name; None the first.

    A device that goes by several names comes once, and a message says so.

    Raises:
        DeviceError: "all", and there is none.
    """
    if names is None:
        return [None]
    found: list[str | None] = []
    for name in (part.strip() for part in names.split(",")):
        found += registry.opencl_selectors().values() if name.lower() == ALL else [name]
    if not found:
        raise DeviceError("no OpenCL device is installed")
    return _each_once(list(dict.fromkeys(found)))


def _each_once(names: list[str | None]) -> list[str | None]:
    """Those that name no device are left to whoever opens it."""
    if len(names) < 2:
        return names
    kept: dict[str, str | None] = {}
    for name in names:
        try:
            place = identity_of(name)
        except DeviceError:
            place = str(name)
        if place in kept:
            logger.warning("device %r is %r, and counts once", name, kept[place])
        kept.setdefault(place, name)
    return list(kept.values())


def identity_of(device: str | None) -> str:
    """The same for all names of a device; raises DeviceError for what names none, or several."""
    if device is None or device.strip().lower() == "cpu":
        return "cpu" if device else ""
    return registry.opencl_numbers(device)


def config_of(
    target: Target,
    precision: Precision = Precision.HIGH,
    *,
    keep: tuple[str, ...] = (),
    strict: bool = False,
) -> ScheduleConfig:
    """The ScheduleConfig of a session on a target."""
    forward, selector = target
    return ScheduleConfig(
        type=forward,
        device=selector,
        strict=strict,
        save_tensors=keep,
        backend_config=BackendConfig(precision=precision),
    )


def precisions_on(target: Target) -> tuple[Precision, ...]:
    """Every precision that a target computes differently at."""
    return (Precision.HIGH,) if target[0] is ForwardType.CPU else tuple(Precision)


def first_working(runtime: Runtime) -> str:
    """The "platform.device" numbers of the best OpenCL device that computes a Relu rightly."""
    tried = []
    for numbers, info in sorted(registry.opencl_devices(), key=lambda entry: entry[1].preference):
        try:
            probe(runtime.backend(ForwardType.OPENCL, config_of((ForwardType.OPENCL, numbers))))
            return numbers
        except DeviceError as error:
            reason = str(error).splitlines()[0]
            tried.append(f"  {numbers}  {info.platform} / {info.name}: {reason}")
    listed = "\n".join(tried) or "  none is installed"
    raise DeviceError(
        'no OpenCL device works; install a driver (pip install "parallax-engine[pocl]") or use '
        f"--device cpu:\n{listed}"
    )


def precision_of(name: str | Precision) -> Precision:
    """The Precision of a name; raises ConfigError."""
    return member("precision", Precision, name)


def precisions_named(names: str | None, target: Target) -> list[Precision]:
    """Comma-separated ones, or all that a target takes; raises ConfigError for one it does not."""
    if names is None:
        return list(precisions_on(target))
    precisions = list(dict.fromkeys(precision_of(name) for name in names.split(",")))
    for precision in precisions:
        config_of(target, precision)
    return precisions
