"""What names a compiled program, and how it becomes bytes and is made of them again."""

from __future__ import annotations

import hashlib
import platform
import warnings
from functools import cache
from pathlib import Path
from typing import Any

from engine.backends.protocol import DeviceInfo

MEMORY, TUNING = "buffer", "none"
"""The memory mode and the tuning level that programs are built for."""


def key(family: str, text: str, options: tuple[str, ...], info: DeviceInfo) -> str:
    """`what @ where`: family and a digest of all that is compiled; device and driver."""
    digest = hashlib.sha256("\0".join((MEMORY, TUNING, text, *options)).encode()).hexdigest()
    where = [info.platform, info.name, info.version, info.driver]
    return f"{family} {digest} @ {' / '.join([*where, *([_processor()] if info.is_cpu else [])])}"


@cache
def _processor() -> str:
    """The instructions that this machine has: drivers for CPUs compile for them, unsaid."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else [platform.processor()]
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "".join(lines))
    return f"{platform.machine()} {hashlib.sha256(flags.encode()).hexdigest()[:12]}"


def to_binary(cl: Any, program: Any, device: Any) -> bytes:
    """What the driver gives for a built program; empty where it gives nothing.

    PoCL fixes the answer at the first call: only what was launched before is in it, compiled for
    its work-group size, beside every kernel of the program for any size (0.3 to 0.5 s each).
    """
    try:
        binaries = program.get_info(cl.program_info.BINARIES)
        return bytes(binaries[program.get_info(cl.program_info.DEVICES).index(device)])
    except cl.Error:
        return b""


def from_binary(cl: Any, context: Any, device: Any, binary: bytes) -> Any:
    """The program, ready for `cl.Kernel`; raises pyopencl.Error when the driver refuses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cl.CompilerWarning)
        return cl.Program(context, [device], [binary]).build(devices=[device])
