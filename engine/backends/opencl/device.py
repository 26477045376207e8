"""Discovery: find every OpenCL driver, those that came as wheels included, and select a device."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from engine.backends.protocol import DeviceInfo
from engine.errors import DeviceError

SYSTEM_VENDORS = Path("/etc/OpenCL/vendors")
TYPES = ("cpu", "gpu", "accelerator")
"""Kinds of devices that a selector may name."""


def wheel_drivers() -> list[Path]:
    """Driver libraries that wheels put into this environment but register nowhere usable.

    Intel's runtime ships its .icd with a placeholder path; the library itself lies in lib/.
    """
    return [p for p in (Path(sys.prefix) / "lib" / "libintelocl.so",) if p.is_file()]


@cache
def opencl() -> Any:
    """The pyopencl module, imported with every driver visible; raises DeviceError without it.

    Unless the user set OCL_ICD_VENDORS, the loader is pointed to a private folder with copies of
    the system's .icd files and one for each driver that came as a wheel.
    """
    drivers = wheel_drivers()
    if drivers and "OCL_ICD_VENDORS" not in os.environ:
        folder = Path(tempfile.mkdtemp(prefix="parallax-icd-"))
        atexit.register(_remove, folder, os.getpid())
        for icd in SYSTEM_VENDORS.glob("*.icd"):
            shutil.copy(icd, folder / icd.name)
        for library in drivers:
            (folder / f"{library.stem}.icd").write_text(f"{library}\n")
        os.environ["OCL_ICD_VENDORS"] = str(folder)
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


def _remove(folder: Path, process: int) -> None:
    """At the end of the process that made it; a forked child leaves it alone."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def devices() -> list[tuple[str, Any]]:
    """Every OpenCL device as ("platform.device" numbers, pyopencl.Device)."""
    cl = opencl()
    if _process() != os.getpid():
        raise DeviceError(
            "OpenCL was used before this process was forked, and drivers do not survive that; "
            "start processes by multiprocessing's 'spawn' method, or fork before the first use"
        )
    try:
        platforms = cl.get_platforms()
    except cl.Error as error:
        raise DeviceError(f"no OpenCL platform is installed ({error})") from error
    found = []
    for p, platform in enumerate(platforms):
        try:
            listed = platform.get_devices()
        except cl.Error:
            listed = []
        found += [(f"{p}.{d}", device) for d, device in enumerate(listed)]
    return found


def describe(device: Any) -> DeviceInfo:
    """What the driver says of a device."""
    cl = opencl()
    extensions = device.extensions.split()
    single = device.single_fp_config
    return DeviceInfo(
        name=device.name.strip(),
        platform=device.platform.name.strip(),
        driver=device.driver_version.strip(),
        version=device.version.strip(),
        is_cpu=bool(device.type & cl.device_type.CPU),
        compute_units=device.max_compute_units,
        memory_nbytes=device.global_mem_size,
        alignment_nbytes=max(64, device.mem_base_addr_align // 8),
        supports_fp16="cl_khr_fp16" in extensions,
        supports_fp64="cl_khr_fp64" in extensions,
        supports_images=bool(device.image_support),
        flushes_subnormals=not single & cl.device_fp_config.DENORM,
    )


def select(selector: str | None) -> Any:
    """The one device that `selector` names; None takes the first.

    Args:
        selector: "platform.device" numbers, a substring of platform or device name (any case), or
            a type that one device has: "cpu", "gpu" or "accelerator".

    Raises:
        DeviceError: nothing or several devices match; the message lists the candidates.
    """
    found = devices()
    if not found:
        raise DeviceError("no OpenCL device found; `parallax devices` shows what is visible")
    if selector is None:
        return found[0][1]
    wanted = selector.strip().lower()
    exact = [d for numbers, d in found if numbers == wanted]
    named = [d for _, d in found if wanted in d.name.lower() or wanted in d.platform.name.lower()]
    kind = {name: getattr(opencl().device_type, name.upper()) for name in TYPES}.get(wanted, 0)
    matches = exact or (named if wanted else []) or [d for _, d in found if d.type & kind]
    if len(matches) == 1:
        return matches[0]
    candidates = "\n".join(f"  {n}  {d.platform.name.strip()} / {d.name.strip()}" for n, d in found)
    problem = "is ambiguous" if matches else "matches no device"
    raise DeviceError(
        f"device {selector!r} {problem}; use a unique substring or the numbers:\n"
        f"  cpu  the NumPy backend\n{candidates}"
    )
