"""Give the PoCL 3.0 wheel a CPU name that its own compiler accepts.

PoCL asks LLVM for the host's CPU name, and chooses its library of built-in functions by the vector
extensions that the processor has. The wheel's LLVM 14 is older than many processors: it answers
"generic", a name that its clang then refuses ("unknown target CPU 'generic'"), or that of the
family's last processor that it knows, such as "znver3" for one with AVX-512, and the compiler
crashes on built-ins for AVX-512. PoCL keeps the name as a pointer in its device object; this module
replaces the pointer by the name of an older processor with the same vector extensions. It acts only
on PoCL on an x86-64, and only on these names. See docs/decisions/0002.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Set
from pathlib import Path
from typing import Any

from engine.backends.opencl import processor
from engine.backends.opencl.processor import AVX512

SEARCHED_NBYTES = 1024
"""How far into the device object the pointer is searched (it lies at byte 640 in PoCL 3.0)."""

WITHOUT_AVX512 = frozenset({"znver1", "znver2", "znver3"})
"""Names that LLVM derives from AMD's family number alone."""

_kept: list[Any] = []


def name_target(device: Any) -> str | None:
    """Correct the CPU name of a PoCL device in place; returns the new name, None if not needed."""
    current, name = _names(device)
    if name == current:
        return None
    field = _field_holding(device.int_ptr, f"{current}\0".encode())
    if field is None:
        return None
    buffer = ctypes.create_string_buffer(name.encode())
    _kept.append(buffer)
    ctypes.c_uint64.from_address(field).value = ctypes.addressof(buffer)
    return name


def note(device: Any) -> str:
    """What its programs are compiled for, where that is not what the driver says; else ""."""
    current, name = _names(device)
    if name == current:
        return ""
    return f"compiles for {name}, not {current}, which this driver's compiler cannot handle"


def _names(device: Any) -> tuple[str, str]:
    """What LLVM took the processor for, and the right name; equal where nothing is to be done."""
    if "Portable Computing Language" not in device.platform.name:
        return "", ""
    if platform.machine() != "x86_64" or not Path("/proc/self/maps").exists():
        return "", ""
    current = device.version.partition("-linux-gnu-")[2].strip()
    return current, right_name(current, processor.flags())


def right_name(current: str, flags: Set[str]) -> str:
    """The LLVM name to compile for.

    Args:
        current: what LLVM took the processor for.
        flags: the vector extensions that it has, as in /proc/cpuinfo.
    """
    has_avx512 = flags >= AVX512
    if current != "generic" and not (has_avx512 and current in WITHOUT_AVX512):
        return current
    if has_avx512:
        return "skylake-avx512"
    return "haswell" if {"avx2", "fma", "bmi2", "f16c"} <= flags else "x86-64"


def _field_holding(start: int, text: bytes) -> int | None:
    """Address of the first pointer at or after `start` that points to `text`."""
    readable = _readable_ranges()

    def is_readable(address: int, nbytes: int) -> bool:
        return any(low <= address and address + nbytes <= high for low, high in readable)

    for address in range(start, start + SEARCHED_NBYTES, 8):
        if not is_readable(address, 8):
            return None
        target = ctypes.c_uint64.from_address(address).value
        if is_readable(target, len(text)) and ctypes.string_at(target, len(text)) == text:
            return address
    return None


def _readable_ranges() -> list[tuple[int, int]]:
    ranges = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, permissions = line.split()[:2]
        if "r" in permissions:
            low, high = span.split("-")
            ranges.append((int(low, 16), int(high, 16)))
    return ranges
