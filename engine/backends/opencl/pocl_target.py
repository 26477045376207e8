"""Give the PoCL 3.0 wheel a CPU name that its own compiler accepts.

PoCL asks LLVM for the host's CPU name. The wheel's LLVM 14 answers "generic" on processors newer
than itself, a name that its clang then refuses ("unknown target CPU 'generic'"), so no program can
be built. PoCL keeps the name as a pointer in its device object; this module replaces the pointer
by the name of an older processor with the same vector extensions. It acts only when the platform
is PoCL, the name is exactly "generic", and the processor is an x86-64. See docs/decisions/0002.
"""

from __future__ import annotations

import ctypes
import platform
from functools import cache
from pathlib import Path
from typing import Any

SEARCHED_NBYTES = 1024
"""How far into the device object the pointer is searched (it lies at byte 640 in PoCL 3.0)."""

_kept: list[Any] = []


def name_target(device: Any) -> str | None:
    """Correct the CPU name of a PoCL device in place; returns the new name, None if not needed."""
    if "Portable Computing Language" not in device.platform.name:
        return None
    if platform.machine() != "x86_64" or not Path("/proc/self/maps").exists():
        return None
    field = _field_holding(device.int_ptr, b"generic\0")
    if field is None:
        return None
    name = _target_name()
    buffer = ctypes.create_string_buffer(name.encode())
    _kept.append(buffer)
    ctypes.c_uint64.from_address(field).value = ctypes.addressof(buffer)
    return name


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


@cache
def _target_name() -> str:
    """An LLVM name with this processor's vector extensions."""
    flags: set[str] = set()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            flags = set(line.split())
            break
    if {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"} <= flags:
        return "skylake-avx512"
    return "haswell" if {"avx2", "fma", "bmi2", "f16c"} <= flags else "x86-64"
