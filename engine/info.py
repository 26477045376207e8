"""What sessions and models say of themselves; all sizes in bytes."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.backends.protocol import DeviceInfo
from engine.config import GpuMode, Precision
from engine.ir.types import ListType, TensorType


def size(nbytes: int) -> str:
    """Bytes for people, in powers of 1024."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if nbytes >= scale:
            return f"{nbytes / scale:.4g} {unit}"
    return f"{nbytes} B"


@dataclass(frozen=True)
class Choice:
    """An option: what was asked for, what is in effect, and why.

    Attributes:
        reason: why they differ, or what speaks against what was asked for; "" for neither.
    """

    requested: Any
    effective: Any
    reason: str = ""

    def __str__(self) -> str:
        differs = self.requested is not None and self.requested != self.effective
        asked = f", asked for {_word(self.requested)}" if differs else ""
        return f"{_word(self.effective)}{asked}{f' ({self.reason})' if self.reason else ''}"


def _word(option: Any) -> str:
    if isinstance(option, GpuMode):
        return str(option)
    return str(option.value if isinstance(option, enum.Enum) else option)


@dataclass(frozen=True)
class PipelineInfo:
    """One configuration of a session in effect.

    Attributes:
        precision: of its primary backend. mode: None on the CPU backend.
        num_threads: of the CPU backend, where it takes part; else None is in effect.
        memory, power: as asked for; a value that cannot be in effect is refused.
        backups: the backends that run what the primary one lacks, best first; none when strict.
        inputs, outputs: names of its path's, or of the model's.
    """

    device: DeviceInfo
    backend: str
    backups: tuple[str, ...]
    precision: Choice
    mode: Choice
    num_threads: Choice
    memory: Choice
    power: Choice
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __str__(self) -> str:
        where = f"{self.backend} on {self.device.platform} / {self.device.name}"
        lines = [f"{where}: {', '.join(self.inputs)} -> {', '.join(self.outputs)}"]
        lines += [f"backups: {', '.join(self.backups)}"] if self.backups else []
        for option in ("precision", "mode", "num_threads", "memory", "power"):
            lines.append(f"{option}: {getattr(self, option)}")
        return "\n  ".join(lines)


@dataclass(frozen=True)
class OperatorInfo:
    """One operator of the optimised graph.

    Attributes:
        title: type and name, with all operators of a fused one.
        backend: where it runs; `reason` why not on its primary backend ("" when it does).
        flops: arithmetic operations per run. nbytes: read and written once per run.
        is_view: it shares its input's memory, so that nothing runs.
    """

    name: str
    type: str
    title: str
    backend: str
    reason: str
    flops: int
    nbytes: int
    is_view: bool


@dataclass(frozen=True)
class BorderInfo:
    """Where a run stops until the host has read what the next part is planned for.

    Attributes:
        operator: which cannot be planned before, `NonZero 'name'`.
        tensors: what it must know; none for an If, Loop or Scan with such an operator inside.
    """

    operator: str
    tensors: tuple[str, ...]


@dataclass(frozen=True)
class CopyInfo:
    """A tensor that crosses a border between backends in every run."""

    tensor: str
    source: str
    target: str
    nbytes: int
    through_host: bool

    def __str__(self) -> str:
        way = "through the host" if self.through_host else "on the device"
        return f"{self.tensor} from {self.source} to {self.target}, {size(self.nbytes)} {way}"


@dataclass(frozen=True)
class MemoryInfo:
    """What a session uses on one backend.

    Attributes:
        weights_nbytes: constants and packed weights; shared by the sessions of one interpreter.
        kept_nbytes: inputs, outputs and saved tensors; the session's own.
        arena_nbytes: intermediate tensors; leased from what the sessions of one runtime share.
        lower_bound_nbytes: the largest set of intermediate tensors that live at one time.
        other_plans_nbytes: what the plans of other shapes hold beyond that (MemoryMode.HIGH).
    """

    on_device: bool
    weights_nbytes: int
    kept_nbytes: int
    arena_nbytes: int
    lower_bound_nbytes: int
    other_plans_nbytes: int = 0

    @property
    def peak_nbytes(self) -> int:
        """All of it."""
        own = self.kept_nbytes + self.arena_nbytes + self.other_plans_nbytes
        return self.weights_nbytes + own

    def __str__(self) -> str:
        where = "device" if self.on_device else "host"
        others = size(self.arena_nbytes + self.other_plans_nbytes)
        return (
            f"{size(self.peak_nbytes)} on the {where}: weights {size(self.weights_nbytes)}, inputs "
            f"and outputs {size(self.kept_nbytes)}, intermediate tensors {others}"
        )


@dataclass(frozen=True)
class ResizeStatus:
    """Whether a session can run, and if not, what it waits for."""

    ready: bool
    reason: str = ""


@dataclass(frozen=True)
class ResizeReport:
    """What a resize did.

    Attributes:
        reused: the plan of these shapes was already there, so that nothing was done.
        planned: titles of the operators that were placed and planned anew.
        tuned: titles of those whose kernels were tuned anew.
        programs_built: how many OpenCL programs were compiled from source.
        reallocated_nbytes: per backend, memory allocated anew for inputs, outputs and saved tensors
            and, where the shared arena had to grow, for intermediate ones.
    """

    shapes: Mapping[str, tuple[int, ...]]
    reused: bool
    planned: tuple[str, ...] = ()
    tuned: tuple[str, ...] = ()
    programs_built: int = 0
    reallocated_nbytes: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Loss:
    """Values of one tensor that storage in half could not hold, counted with `debug=True`.

    Attributes:
        kind: "input", "constant" or "output" (a saved tensor too).
        elements: values of the writes or runs that lost some; of a constant, its size.
        clipped: finite values that became the largest half, 65504, or its negative.
        flushed: values other than 0 that became 0.
        not_finite: results that are infinite or not a number, whatever the reason.
    """

    tensor: str
    kind: str
    elements: int
    clipped: int = 0
    flushed: int = 0
    not_finite: int = 0

    def __add__(self, other: Loss) -> Loss:
        return Loss(
            self.tensor,
            self.kind,
            self.elements + other.elements,
            self.clipped + other.clipped,
            self.flushed + other.flushed,
            self.not_finite + other.not_finite,
        )

    def __str__(self) -> str:
        said = {
            "clipped to 65504, the largest half": self.clipped,
            "flushed to 0, too small for a half": self.flushed,
            "infinite or not a number": self.not_finite,
        }
        counts = ", ".join(f"{count} {what}" for what, count in said.items() if count)
        return f"{self.kind} {self.tensor!r}: of {self.elements} values {counts}"


@dataclass(frozen=True)
class SessionInfo:
    """What a session effectively is.

    Attributes:
        memory: by backend.
        model_nbytes: host memory that the model's constants take now, shared by the sessions of one
            interpreter; those that a device holds and a file gives again take none.
        saved: names of tensors that stay readable beside the outputs.
        choices: one sentence for every choice that was made for the user.
        losses: with `debug=True`, the tensors of which values were lost; else empty.
        borders: between the stages of a model of which data of the run decide shapes or the course;
            operators and memory are then those of the last run. Else empty: one stage.
        stages_planned: how many plans of later stages were made so far.
    """

    pipelines: tuple[PipelineInfo, ...]
    operators: tuple[OperatorInfo, ...]
    copies: tuple[CopyInfo, ...]
    memory: Mapping[str, MemoryInfo]
    model_nbytes: int
    resize_status: ResizeStatus
    saved: tuple[str, ...]
    choices: tuple[str, ...]
    losses: tuple[Loss, ...] = ()
    borders: tuple[BorderInfo, ...] = ()
    stages_planned: int = 0

    @property
    def device(self) -> DeviceInfo:
        """The primary device of the first pipeline."""
        return self.pipelines[0].device

    @property
    def precision(self) -> Precision:
        """The effective precision of the first pipeline."""
        effective: Precision = self.pipelines[0].precision.effective
        return effective

    @property
    def mode(self) -> GpuMode | None:
        """The effective OpenCL mode of the first pipeline."""
        effective: GpuMode | None = self.pipelines[0].mode.effective
        return effective

    @property
    def fallbacks(self) -> list[OperatorInfo]:
        """Operators that do not run on their primary backend, with the reason."""
        return [op for op in self.operators if op.reason]

    @property
    def flops(self) -> int:
        """Arithmetic operations per run."""
        return sum(op.flops for op in self.operators)

    @property
    def device_nbytes(self) -> int:
        """Memory on devices."""
        return sum(m.peak_nbytes for m in self.memory.values() if m.on_device)

    @property
    def host_nbytes(self) -> int:
        """Memory on the host: of the CPU backend, and of the model's constants."""
        return self.model_nbytes + sum(
            m.peak_nbytes - m.weights_nbytes for m in self.memory.values() if not m.on_device
        )

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield from map(str, self.pipelines)
        counts = Counter(op.backend for op in self.operators)
        placed = ", ".join(f"{count} on {backend}" for backend, count in counts.items())
        yield f"operators: {placed or 'none'}; {self.flops / 1e6:.4g} MFLOP"
        yield from (f"fallback: {op.title} on {op.backend}: {op.reason}" for op in self.fallbacks)
        yield from (f"copy in every run: {copy}" for copy in self.copies)
        yield from (f"memory of {name}: {memory}" for name, memory in self.memory.items())
        if self.saved:
            yield f"saved: {', '.join(self.saved)}"
        if not self.resize_status.ready:
            yield self.resize_status.reason
        yield from self.choices


@dataclass(frozen=True)
class ModelInfo:
    """What a model file holds; known before any session exists.

    Attributes:
        operators: how often each operator occurs.
        weights_nbytes: of all constants.
    """

    name: str
    opset: int
    inputs: Mapping[str, TensorType | ListType]
    outputs: tuple[str, ...]
    operators: Mapping[str, int]
    weights_nbytes: int

    def __str__(self) -> str:
        counts = ", ".join(f"{kind} {count}" for kind, count in self.operators.items())
        return "\n".join(
            (
                f"{self.name}, opset {self.opset}",
                f"inputs: {', '.join(f'{name} {type_}' for name, type_ in self.inputs.items())}",
                f"outputs: {', '.join(self.outputs)}",
                f"operators: {sum(self.operators.values())}: {counts}",
                f"weights: {size(self.weights_nbytes)}",
            )
        )


@dataclass(frozen=True)
class Support:
    """Which operators of a model a backend would run; known before any session exists.

    Attributes:
        missing: title -> why not.
        undecided: how many nobody can tell of, because the types of their tensors are not known.
    """

    backend: str
    device: DeviceInfo
    supported: int
    missing: Mapping[str, str]
    undecided: int = 0


@dataclass(frozen=True)
class OperatorCount:
    """How often a model uses an operator, the calls of its own functions expanded.

    Attributes:
        domain: "ai.onnx" for ONNX's own.
        in_functions, in_subgraphs: how many of them are written there.
    """

    type: str
    domain: str
    count: int
    in_functions: int
    in_subgraphs: int


@dataclass(frozen=True)
class Unsupported:
    """What of a model cannot run, for one reason.

    Attributes:
        type: the operator; "" where it is the model itself, an input or an initialiser.
        count: how many nodes, or inputs, share the reason.
        first: what it is: "Conv 'name'", "graph input 'x'", "the model".
        lacking: "importer" (nothing can run it), "shapes" (it refuses the shapes of the survey), or
            the backend that has no kernel for it.
    """

    type: str
    domain: str
    count: int
    first: str
    reason: str
    lacking: str


@dataclass(frozen=True)
class ModelSurvey:
    """What a model file holds, and what of it cannot run; exists for every ONNX file.

    Attributes:
        producer: name and version of what wrote the file; "" where it does not say.
        opsets: domain -> version.
        inputs, outputs: name -> type as text, as declared.
        parameters, parameter_nbytes: elements and bytes of all constants, also in subgraphs.
        support: per backend; of the optimised operators where shapes are known, else of those of
            the file as far as they are supported at all.
        problem: why types were not inferred everywhere; "" if they were.
    """

    name: str
    producer: str
    ir_version: int
    opsets: Mapping[str, int]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    parameters: int
    parameter_nbytes: int
    operators: tuple[OperatorCount, ...]
    unsupported: tuple[Unsupported, ...]
    support: tuple[Support, ...]
    problem: str
