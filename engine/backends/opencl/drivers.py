"""Drivers: the platforms that the OpenCL loader lists, and those of drivers that came as wheels.

Intel's wheel registers its driver with a placeholder path, so that no loader finds it. A loader
reads its list of drivers once, at the first question of anyone in the process; so a wheel's driver
is opened here instead, and asked for its platforms by the same extension (cl_khr_icd) by which
loaders ask. A platform's own table of functions then serves every call. What is visible therefore
depends neither on who used pyopencl first nor on when; the loader's platforms keep its numbers.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

WHEELS = {"intel-opencl-rt": "libintelocl.so"}
"""Distributions that bring a driver, and its library."""

WITHOUT_DEVICES = {
    "Portable Computing Language": ", as where it cannot write into its cache folder: "
    "POCL_CACHE_DIR names another"
}
"""What is known to keep a driver from its devices, by platform."""


def wheel_drivers() -> list[Path]:
    """Driver libraries of installed wheels; none when the user set OCL_ICD_VENDORS."""
    if "OCL_ICD_VENDORS" in os.environ:
        return []
    found = []
    for distribution, library in WHEELS.items():
        try:
            files = metadata.files(distribution) or []
        except metadata.PackageNotFoundError:
            continue
        found += [Path(str(f.locate())).resolve() for f in files if f.name == library]
    return [path for path in found if path.is_file()]


def platforms(cl: Any) -> list[Any]:
    """The loader's platforms in its order, then those of wheels that it does not list."""
    try:
        listed = list(cl.get_platforms())
    except cl.Error:  # how loaders say that there is none
        listed = []
    known = {platform.int_ptr for platform in listed}
    addresses = (a for path in wheel_drivers() for a in _opened(path)[0])
    return listed + [cl.Platform.from_int_ptr(a) for a in addresses if a not in known]


def problems(cl: Any) -> list[str]:
    """Why drivers cannot be used, one sentence each: those of wheels, and those without devices."""
    found = [why for path in wheel_drivers() if (why := _opened(path)[1])]
    silent = [p.name.strip() for p in platforms(cl) if not devices_of(cl, p)]
    return found + [f"{name} lists no device{WITHOUT_DEVICES.get(name, '')}" for name in silent]


def devices_of(cl: Any, platform: Any) -> list[Any]:
    """The devices of a platform; none where it has none, which drivers report as an error."""
    try:
        return list(platform.get_devices())
    except cl.Error:
        return []


@cache
def _opened(path: Path) -> tuple[list[int], str]:
    """Addresses of the driver's platforms, and what keeps it from use ("" for nothing)."""
    try:
        library = ctypes.CDLL(str(path))
        return _platform_ids(library), ""
    except (OSError, AttributeError) as error:
        return [], f"{path} is installed, but cannot be loaded ({error})"


def _platform_ids(library: ctypes.CDLL) -> list[int]:
    address_of = library.clGetExtensionFunctionAddress
    address_of.restype, address_of.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    address = address_of(b"clIcdGetPlatformIDsKHR")
    if not address:
        raise OSError("it lacks cl_khr_icd")
    ask = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p)(address)
    count = ctypes.c_uint()
    if ask(0, None, ctypes.byref(count)) != 0 or not count.value:
        raise OSError("it has no platform")
    ids = (ctypes.c_void_p * count.value)()
    if ask(count.value, ids, None) != 0:
        raise OSError("it does not give its platforms")
    return [identity for identity in ids if identity]
