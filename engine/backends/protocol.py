"""The seam between the engine and a device."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from engine.backends.order import Order
from engine.config import Precision
from engine.ir.constant import Constant
from engine.ir.graph import Graph, Node
from engine.ir.types import TensorType

LOW_IS_SLOW = "low is slower than high here: half arithmetic is emulated on this processor"
"""What is said of a device with `DeviceInfo.half_is_emulated`."""

STRINGS_STAY = "strings lie in host memory only; the CPU computes with them"
"""What is said of a device of nodes that read or make strings."""


@dataclass(frozen=True)
class DeviceInfo:
    """What a device is and can do; sizes in bytes.

    Attributes:
        half_is_emulated: arithmetic on half exists, but is made of conversions and float
            arithmetic, so that Precision.LOW is slower than HIGH.
        notes: what was set for its driver to work well, and why.
    """

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
    half_is_emulated: bool = False
    notes: tuple[str, ...] = ()

    @property
    def preference(self) -> tuple[bool, bool]:
        """Sorts devices best first: GPUs before processors, then those that know half."""
        return self.is_cpu, not self.supports_fp16


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
        return _strides(self.type.dims, self.layout)


@lru_cache(maxsize=4096)
def _strides(shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    order = list(range(len(shape)))
    if layout == "channels_last" and len(shape) > 2:
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


class PendingRead(Protocol):
    """A read in order with the work before it, which may still be running."""

    def result(self) -> np.ndarray:
        """The logical array; waits for it."""
        ...


class KernelCache(Protocol):
    """Where a backend finds compiled kernels that an earlier process left, and leaves its own."""

    def find(self, key: str) -> bytes | None:
        """The binary under a key that names everything it depends on; None counts as a miss."""
        ...

    def leave(self, key: str, binary: Callable[[], bytes]) -> None:
        """Note a kernel in use; `binary` is called when the cache is saved."""
        ...

    def reject(self, key: str, reason: str) -> None:
        """A found binary that the driver refused: it counts as a miss, with the reason."""
        ...


@dataclass(frozen=True)
class LiveMemory:
    """What is allocated at this moment: buffers (or arrays), commands, and their bytes."""

    buffers: int
    commands: int
    nbytes: int


class Backend(Protocol):
    """What the engine asks of a device.

    Threads: everything may be called from any thread. Whoever enqueues several commands that belong
    together, or prepares kernels, holds `lock` meanwhile.

    Attributes:
        lock: one for all backends with the same `memory`; re-entrant.
        memory: backends with equal `memory` share buffers and one in-order queue.
    """

    name: str
    info: DeviceInfo
    precision: Precision
    lock: AbstractContextManager[Any]

    @property
    def memory(self) -> Hashable:
        """Which memory the slots lie in."""
        ...

    def why_not(self, node: Node) -> str | None:
        """None: supported; else one sentence for the user."""
        ...

    def lower(self, graph: Graph, nodes: Collection[Node]) -> list[Node]:
        """Choose layouts of this backend's nodes in place; returns the Reorder nodes added."""
        ...

    def order(self, node: Node) -> Order | None:
        """How the kernel of a lowered node rounds and adds up; None where it does not say."""
        ...

    def prepare(self, node: Node) -> Kernel:
        """Compile, look up, tune, pack constants; raises CompileError with the build log."""
        ...

    def building(self, cache: KernelCache | None) -> AbstractContextManager[list[Arena]]:
        """Inside, `prepare` looks compiled kernels up in the cache and leaves them there.

        Gives a list that gains the memory of every constant handed out inside, shared or not.
        """
        ...

    @property
    def builds(self) -> int:
        """How many programs were compiled from source so far."""
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

    def constant(self, constant: Constant) -> Slot:
        """The array in row-major order at this precision, shared by all who hold the slot."""
        ...

    def write(self, slot: Slot, array: np.ndarray) -> None:
        """Logical array into a slot, in order with enqueued work, without waiting for it.

        dtype and shape must match; the array may be changed as soon as this returns.
        """
        ...

    def read(self, slot: Slot) -> np.ndarray:
        """The logical array (dtype, shape of `slot.type`); waits for the work it depends on."""
        ...

    def read_later(self, slot: Slot) -> PendingRead:
        """Enqueue a read; work enqueued afterwards does not change what it gives."""
        ...

    def copy(self, source: Slot, target: Slot) -> Command:
        """A command that copies between slots of this `memory`, converting storage and layout."""
        ...

    def attach(self, memory: Any, type_: TensorType) -> Slot:
        """The user's own device memory as a slot; raises InputError when it does not fit.

        OpenCL: a `pyopencl.Buffer` of the same context, as large as the stored tensor. CPU: a
        contiguous, aligned NumPy array of the same dtype and shape.
        """
        ...

    def limit_runs(self, last: Any) -> None:
        """Note a run, and wait while the device has too many before it.

        Args:
            last: what `enqueue` of its last command here returned. Whoever calls holds no lock.
        """
        ...

    def synchronize(self) -> None:
        """Return when all enqueued work is done."""
        ...

    def wait(self, timeout_s: float) -> bool:
        """Like `synchronize`, but give up after a time; whether everything is done."""
        ...

    def live(self) -> LiveMemory:
        """What is allocated in this `memory`."""
        ...

    def close(self) -> None:
        """Free what the backend holds for its kernels, after a bounded wait for the queue."""
        ...


@dataclass(frozen=True)
class BoundKernel:
    """A Kernel made of a closure: `binder(inputs, outputs) -> Command`."""

    binder: Callable[[Sequence[Slot | None], Sequence[Slot]], Command]
    packed_inputs: frozenset[int] = field(default_factory=frozenset)

    def bind(self, inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        """Fix the arguments."""
        return self.binder(inputs, outputs)
