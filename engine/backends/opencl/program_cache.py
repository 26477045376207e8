"""What names a compiled program, and how it becomes bytes and is made of them again."""

from __future__ import annotations

import hashlib
import os
import platform
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from engine.backends.opencl import intel_target, processor
from engine.backends.protocol import DeviceInfo

MEMORY, TUNING = "buffer", "none"
"""The memory mode and the tuning level that programs are built for."""


def key(family: str, text: str, options: tuple[str, ...], info: DeviceInfo) -> str:
    """`what @ where`: family and a digest of all that is compiled; device and driver."""
    digest = _digest("\0", MEMORY, TUNING, text, *options)
    where = [info.platform, info.name, info.version, info.driver]
    return f"{family} {digest} @ {' / '.join([*where, *([_processor()] if info.is_cpu else [])])}"


def _processor() -> str:
    """What drivers for processors compile for, unsaid: its instructions, or a name that was set."""
    known = processor.flags() or (platform.processor(),)
    target = os.environ.get(intel_target.VARIABLE, "")
    return f"{platform.machine()} {_digest(' ', *sorted(known), target)[:12]}"


@lru_cache(maxsize=1024)
def _digest(separator: str, *parts: str) -> str:
    return hashlib.sha256(separator.join(parts).encode()).hexdigest()


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
    with quiet(cl):
        return cl.Program(context, [device], [binary]).build(devices=[device])


@contextmanager
def quiet(cl: Any) -> Iterator[None]:
    """Inside, what a compiler prints is no warning; one thread at a time.

    Warning filters belong to the process: two threads that set and restore them at once would
    leave each other's behind.
    """
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore", cl.CompilerWarning)
        yield


_QUIET = threading.Lock()


class Binaries:
    """Compiled programs of this process by key, so that its further contexts compile nothing.

    The programs themselves would keep their contexts alive. Bounded: the oldest go first.
    """

    def __init__(self, most_nbytes: int) -> None:
        self._most_nbytes = most_nbytes
        self._held: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def hold(self, key: str, binary: bytes) -> None:
        """Keep a binary."""
        with self._lock:
            self._held[key] = binary
            while sum(map(len, self._held.values())) > self._most_nbytes:
                del self._held[next(iter(self._held))]

    def find(self, key: str) -> bytes | None:
        """The binary under a key, or None."""
        with self._lock:
            return self._held.get(key)


BUILT = Binaries(64 << 20)


def gives_binaries_freely(info: DeviceInfo) -> bool:
    """Whether asking for a binary costs nothing: not on PoCL (`to_binary`), which has a cache."""
    return info.platform != "Portable Computing Language"
