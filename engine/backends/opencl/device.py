"""Discovery: every OpenCL device, what its driver says of it, and the one that is selected."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from engine.backends.opencl import drivers, intel_target, pocl_target, processor
from engine.backends.opencl.selection import TYPES, Listed, one
from engine.backends.protocol import DeviceInfo
from engine.errors import DeviceError


@cache
def opencl() -> Any:
    """The pyopencl module; raises DeviceError without it."""
    _process()
    intel_target.set_target()
    try:
        import pyopencl
    except ImportError as error:
        raise DeviceError(
            f"OpenCL needs pyopencl, which cannot be imported ({error}); "
            'install it with a driver: pip install "parallax-engine[pocl]"'
        ) from error
    return pyopencl


@cache
def _process() -> int:
    """The process that used OpenCL first."""
    return os.getpid()


def check_process() -> None:
    """Raise DeviceError where drivers do not work: in a child of a process that used them."""
    if _process() != os.getpid():
        raise DeviceError(
            "OpenCL was used before this process was forked, and drivers do not survive that; "
            "start processes by multiprocessing's 'spawn' method, or fork before the first use"
        )


def devices() -> list[tuple[str, Any]]:
    """Every OpenCL device as ("platform.device" numbers, pyopencl.Device), at least one.

    Raises:
        DeviceError: there is none, or OpenCL cannot be used in this process.
    """
    cl = opencl()
    check_process()
    found = []
    for p, platform in enumerate(drivers.platforms(cl)):
        listed = drivers.devices_of(cl, platform)
        found += [(f"{p}.{d}", device) for d, device in enumerate(listed)]
    if not found:
        raise DeviceError(_nothing_found())
    return found


def describe(device: Any) -> DeviceInfo:
    """What the driver says of a device."""
    cl = opencl()
    extensions = device.extensions.split()
    single = device.single_fp_config
    is_cpu = bool(device.type & cl.device_type.CPU)
    has_half = "cl_khr_fp16" in extensions
    return DeviceInfo(
        name=device.name.strip(),
        platform=device.platform.name.strip(),
        driver=device.driver_version.strip(),
        version=device.version.strip(),
        is_cpu=is_cpu,
        compute_units=device.max_compute_units,
        memory_nbytes=device.global_mem_size,
        alignment_nbytes=max(64, device.mem_base_addr_align // 8),
        supports_fp16=has_half,
        supports_fp64="cl_khr_fp64" in extensions,
        supports_images=bool(device.image_support),
        flushes_subnormals=not single & cl.device_fp_config.DENORM,
        half_is_emulated=has_half and is_cpu and processor.emulates_half(processor.flags()),
        notes=tuple(note for note in _notes(device) if note),
    )


def _notes(device: Any) -> list[str]:
    """What was set for a device's driver to work well, and why."""
    is_intel_cpu = device.platform.name.strip() == intel_target.PLATFORM
    return [intel_target.note() if is_intel_cpu else "", pocl_target.note(device)]


def listed(found: list[tuple[str, Any]]) -> list[Listed]:
    """Devices by what selectors go by."""
    kinds = {kind: getattr(opencl().device_type, kind.upper()) for kind in TYPES}
    return [
        Listed(
            numbers,
            device.platform.name.strip(),
            device.name.strip(),
            next((kind for kind, bit in kinds.items() if device.type & bit), ""),
        )
        for numbers, device in found
    ]


def select(selector: str | None) -> Any:
    """The one device that `selector` names; None takes the best (`DeviceInfo.preference`).

    Raises:
        DeviceError: nothing or several devices match; the message lists the candidates.
    """
    found = devices()
    if selector is None:
        return min((device for _, device in found), key=lambda d: describe(d).preference)
    return dict(found)[one(selector, listed(found), drivers.problems(opencl())).numbers]


def _nothing_found() -> str:
    """Why there is no device, in one sentence."""
    why = "; ".join(drivers.problems(opencl()))
    remedy = 'install a driver: pip install "parallax-engine[pocl]"'
    return f"no OpenCL device was found{f' ({why})' if why else ''}; {remedy}"
