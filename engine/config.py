"""What a user chooses for a session: backend, device, precision, memory, tuning, threads."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from engine import arguments
from engine.errors import ConfigError
from engine.option import Option

Member = TypeVar("Member", bound=enum.Enum)


class ForwardType(enum.Enum):
    """Which backend computes."""

    CPU = "cpu"
    OPENCL = "opencl"
    AUTO = "auto"


class Precision(enum.Enum):
    """How floating-point tensors are stored and computed on OpenCL.

    NORMAL, the default, stores them in half: inputs and weights beyond 65504 are clipped to it,
    results beyond it become infinite, and what is smaller than half's least number, 6e-8, is
    rounded to it or to 0; `debug=True` counts such values. It computes in float. LOW stores and
    computes in half; it needs cl_khr_fp16, otherwise NORMAL is the effective precision and reported
    so. HIGH stores and computes in float, as the CPU backend always does.
    """

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class MemoryMode(enum.Enum):
    """Preference between memory and speed.

    NORMAL: a session holds the plan of one set of input shapes. HIGH: it holds those of the last
    `PLANS_KEPT` sets, so that going back to one of them costs nothing. LOW stands for compressed
    weights and is refused until quantised models are supported.
    """

    NORMAL = "normal"
    HIGH = "high"
    LOW = "low"


PLANS_KEPT = 4
"""How many sets of input shapes a session with MemoryMode.HIGH holds ready."""


class PowerMode(enum.Enum):
    """Preference between power and speed.

    On OpenCL, LOW and HIGH make a queue of low or high priority (cl_khr_priority_hints), and are
    refused on a device without. On the CPU backend LOW uses half of the cores; HIGH is refused,
    because NORMAL uses all of them.
    """

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

    def __str__(self) -> str:
        """As the option takes them by name."""
        return "+".join(str(flag.name).lower() for flag in GpuMode if flag in self)


TUNING_LEVELS = tuple(m for m in GpuMode if m.name and m.name.startswith("TUNING"))
DEFAULT_MODE = GpuMode.TUNING_NONE | GpuMode.MEMORY_BUFFER


class PathMode(enum.Enum):
    """What the names of a `GraphPath` are."""

    OP = "op"
    TENSOR = "tensor"


# ---------------------------------------------------------------------- kinds of options
def _member(kind: type[Member]) -> Callable[[str, Member | str], Member]:
    return lambda where, value: arguments.member(where, kind, value)


def _names(where: str, value: Sequence[str]) -> tuple[str, ...]:
    return arguments.names(where, value, ConfigError)


def _ends(where: str, value: Sequence[str]) -> tuple[str, ...]:
    return _names(f"path.{where}", value)


def _saved(where: str, value: Sequence[str]) -> tuple[str, ...]:
    found = ("*",) if isinstance(value, str) and value == "*" else _names(where, value)
    if "*" in found and len(found) > 1:
        raise ConfigError(f'{where}: "*" stands for every value; leave the names')
    return found


def _selector(where: str, value: str | None) -> str | None:
    return arguments.optional(where, value, str, "the name or the numbers of an OpenCL device")


def _threads(where: str, value: int | None) -> int | None:
    return None if value is None else arguments.count(where, value, 1, ConfigError)


def _mode(where: str, value: GpuMode | str | None) -> GpuMode | None:
    if isinstance(value, str):
        value = arguments.flags(where, GpuMode, value)
    if value is not None:
        _check_mode(value)
    return value


def _check_mode(mode: GpuMode) -> None:
    if not isinstance(mode, GpuMode):
        raise ConfigError(
            f"mode={mode!r}: expected GpuMode flags, such as GpuMode.TUNING_NONE; the number of "
            "CPU threads is num_threads"
        )
    known = 0
    for flag in GpuMode:
        known |= int(flag)
    if int(mode) & ~known:
        raise ConfigError(f"mode={int(mode)}: bits {int(mode) & ~known:#x} mean nothing")
    tuning = [m for m in TUNING_LEVELS if m in mode]
    if len(tuning) != 1:
        raise ConfigError(
            f"mode={str(mode)!r}: choose exactly one TUNING level: TUNING_NONE in this version"
        )
    if GpuMode.MEMORY_BUFFER in mode and GpuMode.MEMORY_IMAGE in mode:
        raise ConfigError(f"mode={str(mode)!r}: choose MEMORY_BUFFER or MEMORY_IMAGE, not both")
    if tuning != [GpuMode.TUNING_NONE]:
        raise ConfigError(f"mode={str(mode)!r}: only TUNING_NONE exists in this version")
    if GpuMode.MEMORY_IMAGE in mode:
        raise ConfigError(f"mode={str(mode)!r}: only MEMORY_BUFFER exists in this version")


def _path(where: str, value: GraphPath | None) -> GraphPath | None:
    return arguments.optional(where, value, GraphPath, "a GraphPath")


def _preferences(where: str, value: BackendConfig) -> BackendConfig:
    return arguments.of_kind(where, value, BackendConfig, "a BackendConfig", ConfigError)


_Forward: TypeAlias = Option[ForwardType | str, ForwardType]
_Switch: TypeAlias = Option[bool, bool]
_Names: TypeAlias = Option[Sequence[str], tuple[str, ...]]


# ---------------------------------------------------------------------- configurations
@dataclass(frozen=True)
class GraphPath:
    """A part of the model, by names.

    OP: `inputs` are source operators (at least one), `outputs` sink operators (may be empty). The
    path starts with the sources and follows their results until it meets a sink, which is not
    computed, unless `include_sink`. TENSOR: the operators that compute the tensors `outputs` from
    the tensors `inputs`; neither may be empty. `Interpreter.operators` and `Interpreter.tensors`
    list the names.
    """

    inputs: _Names = Option((), _ends)
    outputs: _Names = Option((), _ends)
    mode: Option[PathMode | str, PathMode] = Option(PathMode.OP, _member(PathMode))
    include_sink: _Switch = Option(False, arguments.switch)

    def __post_init__(self) -> None:
        if not self.inputs:
            raise ConfigError(
                f"path in mode {self.mode.value}: inputs are empty, name at least one"
            )
        if self.mode is PathMode.TENSOR and not self.outputs:
            raise ConfigError("path in mode tensor: outputs are empty, name at least one")
        if self.mode is PathMode.TENSOR and self.include_sink:
            raise ConfigError("path in mode tensor: include_sink belongs to mode op")


@dataclass(frozen=True)
class BackendConfig:
    """Backend preferences beyond the choice of the device; a member, or its name as a string.

    `shared_context`: OpenCL only; a `pyopencl.Context`, `CommandQueue` or `Device` to work in or
    on, or the pair (platform number, device number).
    """

    precision: Option[Precision | str, Precision] = Option(Precision.NORMAL, _member(Precision))
    memory: Option[MemoryMode | str, MemoryMode] = Option(MemoryMode.NORMAL, _member(MemoryMode))
    power: Option[PowerMode | str, PowerMode] = Option(PowerMode.NORMAL, _member(PowerMode))
    shared_context: Any = None

    def __post_init__(self) -> None:
        if self.memory is MemoryMode.LOW:
            raise ConfigError(
                "memory=LOW keeps weights compressed, which needs quantised models; this version "
                "has none: use NORMAL"
            )

    def check_for_cpu(self) -> None:
        """Raise ConfigError for what the CPU backend cannot honour."""
        if self.precision is Precision.LOW:
            raise ConfigError(
                "precision=LOW: the CPU backend computes in float32 only; use NORMAL or HIGH"
            )
        if self.power is PowerMode.HIGH:
            raise ConfigError("power=HIGH: the CPU backend uses all cores at NORMAL already")
        if self.shared_context is not None:
            raise ConfigError("shared_context applies to OpenCL only")


@dataclass(frozen=True)
class ScheduleConfig:
    """How one session is placed and run. An option that cannot apply is refused.

    Members of enumerations may be given by name, as in `type="opencl"`; they are read as members.

    Attributes:
        type: the primary backend. AUTO takes the first OpenCL device that computes rightly, else
            the CPU; what else is asked for here is honoured or refused, never dropped.
        device: OpenCL only; a type that one device has ("cpu", "gpu", "accelerator"), the numbers
            "platform.device", an alias ("pocl"), or a part of a platform's or device's name;
            platforms come first, and what several have is refused. None: the best device (GPUs
            before processors). The NumPy backend is no device here but `type` CPU.
        backup_type: the backend for operators that the primary one lacks.
        strict: refuse any fallback to the backup.
        num_threads: CPU backend only; None means all cores, or what other sessions of the runtime
            set. More than there are cores is capped, with a ParallaxWarning.
        mode: OpenCL only; None means `DEFAULT_MODE`; names are joined by +, as in
            "tuning_none+memory_buffer".
        save_tensors: names of values to keep beside the outputs (`Interpreter.tensors` lists them);
            () keeps none, "*" every value that an operator of the optimised graph computes.
        path: the part of the model to run; None means all of it.
        defer_resize: plan nothing before the first `resize`, `resize_session` or `run(feeds)`.
        debug: count the values that storage in half loses (`SessionInfo.losses`) and warn of the
            first ones: of inputs that are written, of constants, and of the outputs and saved
            tensors of every run, which is waited for.
        backend_config: precision and the other preferences.
    """

    type: _Forward = Option(ForwardType.CPU, _member(ForwardType))
    device: Option[str | None, str | None] = Option(None, _selector)
    backup_type: _Forward = Option(ForwardType.CPU, _member(ForwardType))
    strict: _Switch = Option(False, arguments.switch)
    num_threads: Option[int | None, int | None] = Option(None, _threads)
    mode: Option[GpuMode | str | None, GpuMode | None] = Option(None, _mode)
    save_tensors: _Names = Option((), _saved)
    path: Option[GraphPath | None, GraphPath | None] = Option(None, _path)
    defer_resize: _Switch = Option(False, arguments.switch)
    debug: _Switch = Option(False, arguments.switch)
    backend_config: Option[BackendConfig, BackendConfig] = Option(BackendConfig(), _preferences)

    def __post_init__(self) -> None:
        if not self.may_use(ForwardType.CPU):
            self._refuse("num_threads", "CPU")
        if not self.may_use(ForwardType.OPENCL):
            self._refuse("mode", "OpenCL")
            self._refuse("device", "OpenCL")
            self.backend_config.check_for_cpu()
        if self.num_threads is not None and self.backend_config.power is PowerMode.LOW:
            raise ConfigError("power=LOW chooses the number of threads itself; leave num_threads")

    @property
    def forwards(self) -> tuple[ForwardType, ...]:
        """The backends asked for, primary first."""
        return (self.type,) if self.strict else (self.type, self.backup_type)

    def may_use(self, forward: ForwardType | str) -> bool:
        """Whether a backend of this kind can take part."""
        forward = arguments.member("may_use", ForwardType, forward)
        return forward in self.forwards or ForwardType.AUTO in self.forwards

    @property
    def effective_mode(self) -> GpuMode:
        """`mode` with every choice made."""
        mode = self.mode if self.mode is not None else DEFAULT_MODE
        return mode | GpuMode.MEMORY_BUFFER

    def _refuse(self, option: str, where: str) -> None:
        value = getattr(self, option)
        if value is not None:
            used = " and ".join(dict.fromkeys(f.value for f in self.forwards))
            raise ConfigError(
                f"{option}={value!r} applies to {where} only, and this configuration uses {used}"
            )
