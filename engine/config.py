"""What a user chooses for a session: backend, device, precision, memory, tuning, threads."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.errors import ConfigError


class ForwardType(enum.Enum):
    """Which backend computes."""

    CPU = "cpu"
    OPENCL = "opencl"
    AUTO = "auto"


class Precision(enum.Enum):
    """How floating-point tensors are stored and computed on OpenCL.

    HIGH: float storage, float compute. NORMAL: half storage, float compute. LOW: half storage and
    half compute; needs cl_khr_fp16, otherwise NORMAL is the effective precision and reported so.
    The CPU backend always computes in float.
    """

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class MemoryMode(enum.Enum):
    """Preference between memory and speed."""

    NORMAL = "normal"
    HIGH = "high"
    LOW = "low"


class PowerMode(enum.Enum):
    """Preference between power and speed."""

    NORMAL = "normal"
    HIGH = "high"
    LOW = "low"


class GpuMode(enum.IntFlag):
    """OpenCL mode bits: exactly one tuning level and at most one memory mode."""

    TUNING_NONE = 1 << 0
    TUNING_HEAVY = 1 << 1
    TUNING_WIDE = 1 << 2
    TUNING_NORMAL = 1 << 3
    TUNING_FAST = 1 << 4
    MEMORY_BUFFER = 1 << 6
    MEMORY_IMAGE = 1 << 7


@dataclass(frozen=True)
class BackendConfig:
    """Backend preferences beyond the choice of the device.

    `shared_context`: an existing `pyopencl.Context` or `pyopencl.CommandQueue` to work in.
    """

    precision: Precision = Precision.NORMAL
    memory: MemoryMode = MemoryMode.NORMAL
    power: PowerMode = PowerMode.NORMAL
    shared_context: Any = None


@dataclass(frozen=True)
class ScheduleConfig:
    """How one session is placed and run.

    Attributes:
        type: the primary backend.
        device: for OpenCL, a unique substring of platform or device name, or "platform.device".
        backup_type: the backend for operators that the primary one lacks.
        strict: refuse any fallback to the backup.
        num_threads: CPU backend only; None means all cores.
        mode: OpenCL only.
        save_tensors: names of values to keep; () keeps none, "*" keeps all.
        backend_config: precision and the other preferences.
    """

    type: ForwardType = ForwardType.CPU
    device: str | None = None
    backup_type: ForwardType = ForwardType.CPU
    strict: bool = False
    num_threads: int | None = None
    mode: GpuMode = GpuMode.TUNING_NONE | GpuMode.MEMORY_BUFFER
    save_tensors: Sequence[str] = ()
    backend_config: BackendConfig = field(default_factory=BackendConfig)

    def __post_init__(self) -> None:
        if self.num_threads is not None and self.num_threads < 1:
            raise ConfigError(f"num_threads={self.num_threads}: expected at least 1, or None")
        tuning = [m for m in GpuMode if m in self.mode and m.name and m.name.startswith("TUNING")]
        if len(tuning) != 1:
            raise ConfigError(f"mode={self.mode!r}: choose exactly one TUNING level")
        if GpuMode.MEMORY_BUFFER in self.mode and GpuMode.MEMORY_IMAGE in self.mode:
            raise ConfigError(f"mode={self.mode!r}: choose MEMORY_BUFFER or MEMORY_IMAGE, not both")
        if tuning != [GpuMode.TUNING_NONE]:
            raise ConfigError(f"mode={self.mode!r}: only TUNING_NONE exists in this version")
        if GpuMode.MEMORY_IMAGE in self.mode:
            raise ConfigError(f"mode={self.mode!r}: only MEMORY_BUFFER exists in this version")
