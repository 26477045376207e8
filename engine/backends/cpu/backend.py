"""The NumPy backend: arenas are host arrays, kernels run when they are enqueued."""

from __future__ import annotations

import platform
import threading
from collections.abc import Collection, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import psutil

from engine.backends.cpu import FAMILIES
from engine.backends.cpu.memory import ALIGNMENT_NBYTES, CpuArena, LentArray, attach
from engine.backends.cpu.packed import Function, Packed, Views
from engine.backends.cpu.team import Team, cores
from engine.backends.live import LiveCounter
from engine.backends.order import Order
from engine.backends.protocol import (
    Arena,
    BoundKernel,
    Command,
    DeviceInfo,
    Kernel,
    KernelCache,
    LiveMemory,
    PendingRead,
    Slot,
)
from engine.config import PowerMode, Precision
from engine.errors import InputError, PlanError
from engine.ir.constant import Constant
from engine.ir.graph import Graph, Node
from engine.ir.types import STRING, TensorType, type_of


class CpuCommand:
    """A kernel function with its arrays."""

    __slots__ = ("__weakref__", "function", "inputs", "outputs")

    def __init__(self, function: Function, inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        self.function, self.inputs, self.outputs = function, inputs, outputs

    def enqueue(self) -> None:
        """Compute now."""
        with np.errstate(all="ignore"):
            self.function(self.inputs, self.outputs)


class CpuRead:
    """A `PendingRead` of what is there already."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def result(self) -> np.ndarray:
        """The array."""
        return self._array


def threads(num_threads: int | None, power: PowerMode) -> int:
    """How many threads compute: those asked for, at most all cores; or half of them at LOW."""
    if power is PowerMode.LOW:
        return max(1, cores() // 2)
    return cores() if num_threads is None else min(num_threads, cores())


class CpuBackend:
    """Implements `Backend` on NumPy; float in float out, the precision is always HIGH."""

    name = "cpu"
    precision = Precision.HIGH

    builds = 0

    def __init__(self, num_threads: int | None = None) -> None:
        self.team = Team(cores() if num_threads is None else num_threads)
        self.lock: AbstractContextManager[Any] = threading.RLock()
        self._counter = LiveCounter()
        self._constants: WeakValueDictionary[int, LentArray] = WeakValueDictionary()
        self._handed: list[list[Arena]] = []
        self._kernels = {op: make for family in FAMILIES for op, make in family.KERNELS.items()}
        self.info = DeviceInfo(
            name=platform.processor() or platform.machine(),
            platform="NumPy",
            driver="numpy",
            version=np.__version__,
            is_cpu=True,
            compute_units=cores(),
            memory_nbytes=psutil.virtual_memory().total,
            alignment_nbytes=ALIGNMENT_NBYTES,
            supports_fp16=False,
            supports_fp64=True,
            supports_images=False,
            flushes_subnormals=False,
        )

    @property
    def num_threads(self) -> int:
        """How many threads compute, the caller's own included."""
        return self.team.size

    def use_threads(self, num_threads: int) -> None:
        """Have as many from the next run on."""
        with self.lock:
            self.team.resize(num_threads)

    def why_not(self, node: Node) -> str | None:
        """None where a kernel exists."""
        return None if node.op_type in self._kernels else "the CPU backend has no kernel for it"

    def lower(self, graph: Graph, nodes: Collection[Node]) -> list[Node]:
        """NumPy handles every layout by strides: nothing to choose."""
        return []

    def order(self, node: Node) -> Order | None:
        """None: NumPy and the BLAS choose."""
        return None

    def prepare(self, node: Node) -> Kernel:
        """The family's `make(backend, node)` returns the function that computes."""
        made: Function = self._kernels[node.op_type](self, node)
        packed = made.packed_inputs if isinstance(made, Packed) else frozenset()
        function = made.function if isinstance(made, Packed) else made

        def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> CpuCommand:
            views = [None if s is None else self.view(s) for s in inputs]
            return self._command(function, views, [self.view(s) for s in outputs])

        return BoundKernel(bind, packed)

    def _command(
        self, function: Function, inputs: Views, outputs: Sequence[np.ndarray]
    ) -> CpuCommand:
        command = CpuCommand(function, inputs, outputs)
        self._counter.note_command(command)
        return command

    @contextmanager
    def building(self, cache: KernelCache | None) -> Iterator[list[Arena]]:
        """Nothing is compiled; gives the constants handed out inside."""
        handed: list[Arena] = []
        with self.lock:
            self._handed.append(handed)
            try:
                yield handed
            finally:
                self._handed.pop()

    def storage(self, dtype: np.dtype) -> np.dtype:
        """Stored as it is."""
        return dtype

    def compute(self, dtype: np.dtype) -> np.dtype:
        """Computed in its own dtype, half in float."""
        return np.dtype(np.float32) if dtype == np.float16 else dtype

    def stored(self, array: np.ndarray) -> np.ndarray:
        """Unchanged."""
        return array

    # ------------------------------------------------------------------- memory
    @property
    def memory(self) -> Hashable:
        """The backend itself: its commands take turns with no others."""
        return self

    def allocate(self, nbytes: int) -> CpuArena:
        """Host memory."""
        return CpuArena(nbytes, self._counter)

    def constant(self, constant: Constant) -> Slot:
        """The very array; a row-major copy of it where it is not contiguous."""
        array = constant.array
        with self.lock:
            arena = self._constants.get(id(array))
            if arena is None:
                self._constants[id(array)] = arena = LentArray(array)
            for handed in self._handed:
                handed.append(arena)
        return Slot(arena, 0, constant.type, array.dtype)

    def attach(self, memory: Any, type_: TensorType) -> Slot:
        """A contiguous, aligned, writeable array of this dtype and shape."""
        return attach(memory, type_)

    def copy(self, source: Slot, target: Slot) -> Command:
        """Copy the array."""
        if source.type != target.type:
            raise PlanError(f"copy: {source.type} cannot become {target.type}")
        return self._command(_copy, [self.view(source)], [self.view(target)])

    def view(self, slot: Slot) -> np.ndarray:
        """The slot as a NumPy array (no copy)."""
        if slot.storage == STRING:
            flat = slot.arena.references[slot.offset : slot.offset + slot.type.size]
        else:
            window = slot.arena.bytes[slot.offset_nbytes : slot.offset_nbytes + slot.nbytes]
            flat = window.view(slot.storage)
        view: np.ndarray = flat.reshape(slot.type.dims)
        return view

    def write(self, slot: Slot, array: np.ndarray) -> None:
        """Copy into the slot; not while a run is on."""
        with self.lock:
            view = self.view(slot)
            if array.dtype != view.dtype or array.shape != view.shape:
                raise InputError(f"got {type_of(array)}, expected {slot.type}")
            view[...] = array

    def read(self, slot: Slot) -> np.ndarray:
        """A copy of the slot; not while a run is on."""
        with self.lock:
            return self.view(slot).copy()

    def read_later(self, slot: Slot) -> PendingRead:
        """A copy of the slot, made now."""
        return CpuRead(self.read(slot))

    def live(self) -> LiveMemory:
        """What this backend has allocated; arrays that it borrows are not counted."""
        return self._counter.live()

    # ------------------------------------------------------------------- waiting
    def limit_runs(self, last: Any) -> None:
        """Every run is done on return."""

    def synchronize(self) -> None:
        """Nothing is ever pending."""

    def wait(self, timeout_s: float) -> bool:
        """Nothing is ever pending."""
        return True

    def close(self) -> None:
        """End the threads."""
        self.team.close()


def _copy(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
    outputs[0][...] = inputs[0]
