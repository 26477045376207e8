"""The seam between the engine and a device."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from engine.config import Precision
from engine.ir.graph import Graph, Node
from engine.ir.types import TensorType


@dataclass(frozen=True)
class DeviceInfo:
    """What a device is and can do; sizes in bytes."""

    name: str
    platform: str
    driver: str
    version: str
    is_cpu: bool
    compute_units: int
    memory_nbytes: int
    alignment_nbytes: int
    supports_fp16: bool
    supports_fp64: bool
    supports_images: bool
    flushes_subnormals: bool


class Arena(Protocol):
    """One allocation on a device, filled with 0xFF (NaN) when made."""

    nbytes: int

    def release(self) -> None:
        """Give the memory back; harmless the second time."""
        ...


@dataclass(frozen=True)
class Slot:
    """A typed window on an arena: a logical type, and how it is stored there.

    Attributes:
        storage: the dtype of the stored elements. layout: "plain" or "channels_last".
    """

    arena: Any
    offset_nbytes: int
    type: TensorType
    storage: np.dtype
    layout: str = "plain"

    @property
    def nbytes(self) -> int:
        """Bytes of the stored tensor."""
        return self.type.size * self.storage.itemsize

    @property
    def offset(self) -> int:
        """Offset in stored elements."""
        return self.offset_nbytes // self.storage.itemsize

    @property
    def strides(self) -> tuple[int, ...]:
        """For each *logical* axis, the distance in stored elements."""
        shape = self.type.dims
        order = list(range(len(shape)))
        if self.layout == "channels_last" and len(shape) > 2:
            order = [0, *range(2, len(shape)), 1]
        strides = [0] * len(shape)
        step = 1
        for axis in reversed(order):
            strides[axis] = step
            step *= shape[axis]
        return tuple(strides)


class Command(Protocol):
    """One piece of work with its arguments set; writes every output element and nothing else."""

    def enqueue(self) -> Any:
        """Submit it; returns the device's event, or None where work is done on return."""
        ...


class Kernel(Protocol):
    """A node made ready for a device: compiled, specialised, constants packed.

    `packed_inputs`: indices of inputs whose constants the kernel holds itself, so that
    no slot is made for them (None is passed to `bind` there).
    """

    @property
    def packed_inputs(self) -> frozenset[int]:
        """Inputs the kernel holds itself."""
        ...

    def bind(self, inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        """Fix the arguments; called once per resize."""
        ...


class Backend(Protocol):
    """What the engine asks of a device."""

    name: str
    info: DeviceInfo
    precision: Precision

    def why_not(self, node: Node) -> str | None:
        """None: supported; else one sentence for the user."""
        ...

    def lower(self, graph: Graph, nodes: Collection[Node]) -> list[Node]:
        """Choose layouts of this backend's nodes in place; returns the Reorder nodes added."""
        ...

    def prepare(self, node: Node) -> Kernel:
        """Compile, look up, tune, pack constants; raises CompileError with the build log."""
        ...

    def storage(self, dtype: np.dtype) -> np.dtype:
        """How elements of a logical dtype are stored at this precision."""
        ...

    def compute(self, dtype: np.dtype) -> np.dtype:
        """In which dtype elements of a logical dtype are computed at this precision."""
        ...

    def stored(self, array: np.ndarray) -> np.ndarray:
        """The array as the device holds it, at its logical dtype: rounded to storage.

        Finite values beyond the largest half saturate (masks of -3.4e38 stay finite).
        """
        ...

    def allocate(self, nbytes: int) -> Arena:
        """Memory; raises DeviceMemoryError with what was asked and what is free."""
        ...

    def write(self, slot: Slot, array: np.ndarray) -> None:
        """Logical array into a slot: dtype and shape must match; in order with enqueued work."""
        ...

    def read(self, slot: Slot) -> np.ndarray:
        """The logical array (dtype, shape of `slot.type`); waits for the work it depends on."""
        ...

    def synchronize(self) -> None:
        """Return when all enqueued work is done."""
        ...

    def close(self) -> None:
        """Wait, then free what the backend holds for its kernels."""
        ...


@dataclass(frozen=True)
class BoundKernel:
    """A Kernel made of a closure: `binder(inputs, outputs) -> Command`."""

    binder: Callable[[Sequence[Slot | None], Sequence[Slot]], Command]
    packed_inputs: frozenset[int] = field(default_factory=frozenset)

    def bind(self, inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        """Fix the arguments."""
        return self.binder(inputs, outputs)
