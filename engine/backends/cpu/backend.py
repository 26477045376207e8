"""The NumPy backend: arenas are host arrays, kernels run when they are enqueued."""

from __future__ import annotations

import os
import platform
from collections.abc import Collection, Sequence

import numpy as np
import psutil

from engine.backends.cpu import FAMILIES
from engine.backends.cpu.packed import Function, Packed, Views
from engine.backends.cpu.team import Team
from engine.backends.protocol import BoundKernel, DeviceInfo, Kernel, Slot
from engine.config import Precision
from engine.errors import ConfigError, DeviceMemoryError, InputError
from engine.ir.graph import Graph, Node

ALIGNMENT_NBYTES = 64


class CpuArena:
    """One aligned host allocation."""

    def __init__(self, nbytes: int) -> None:
        free = psutil.virtual_memory().available
        if nbytes > free:
            raise DeviceMemoryError(f"cpu: asked for {nbytes} bytes, {free} are free")
        raw = np.full(nbytes + ALIGNMENT_NBYTES, 0xFF, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT_NBYTES
        self.nbytes = nbytes
        self.bytes: np.ndarray | None = raw[start : start + nbytes]

    def release(self) -> None:
        """Drop the memory."""
        self.bytes = None


class CpuCommand:
    """A kernel function with its arrays."""

    __slots__ = ("function", "inputs", "outputs")

    def __init__(self, function: Function, inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        self.function, self.inputs, self.outputs = function, inputs, outputs

    def enqueue(self) -> None:
        """Compute now."""
        with np.errstate(all="ignore"):
            self.function(self.inputs, self.outputs)


class CpuBackend:
    """Implements `Backend` on NumPy; float in float out, the precision is always HIGH."""

    name = "cpu"
    precision = Precision.HIGH

    def __init__(self, num_threads: int | None = None) -> None:
        cores = os.cpu_count() or 1
        if num_threads is not None and num_threads < 1:
            raise ConfigError(f"num_threads={num_threads}: expected at least 1")
        self.num_threads = num_threads or cores
        self.team = Team(self.num_threads)
        self._kernels = {op: make for family in FAMILIES for op, make in family.KERNELS.items()}
        self.info = DeviceInfo(
            name=platform.processor() or platform.machine(),
            platform="NumPy",
            driver="numpy",
            version=np.__version__,
            is_cpu=True,
            compute_units=cores,
            memory_nbytes=psutil.virtual_memory().total,
            alignment_nbytes=ALIGNMENT_NBYTES,
            supports_fp16=False,
            supports_fp64=True,
            supports_images=False,
            flushes_subnormals=False,
        )

    def why_not(self, node: Node) -> str | None:
        """None where a kernel exists."""
        return None if node.op_type in self._kernels else "the CPU backend has no kernel for it"

    def lower(self, graph: Graph, nodes: Collection[Node]) -> list[Node]:
        """NumPy handles every layout by strides: nothing to choose."""
        return []

    def prepare(self, node: Node) -> Kernel:
        """The family's `make(backend, node)` returns the function that computes."""
        made: Function = self._kernels[node.op_type](self, node)
        packed = made.packed_inputs if isinstance(made, Packed) else frozenset()
        function = made.function if isinstance(made, Packed) else made

        def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> CpuCommand:
            views = [None if s is None else self.view(s) for s in inputs]
            return CpuCommand(function, views, [self.view(s) for s in outputs])

        return BoundKernel(bind, packed)

    def storage(self, dtype: np.dtype) -> np.dtype:
        """Stored as it is."""
        return dtype

    def compute(self, dtype: np.dtype) -> np.dtype:
        """Computed in its own dtype, half in float."""
        return np.dtype(np.float32) if dtype == np.float16 else dtype

    def stored(self, array: np.ndarray) -> np.ndarray:
        """Unchanged."""
        return array

    def allocate(self, nbytes: int) -> CpuArena:
        """Host memory."""
        return CpuArena(nbytes)

    def view(self, slot: Slot) -> np.ndarray:
        """The slot as a NumPy array (no copy)."""
        window = slot.arena.bytes[slot.offset_nbytes : slot.offset_nbytes + slot.nbytes]
        view: np.ndarray = window.view(slot.storage).reshape(slot.type.dims)
        return view

    def write(self, slot: Slot, array: np.ndarray) -> None:
        """Copy into the slot."""
        view = self.view(slot)
        if array.dtype != view.dtype or array.shape != view.shape:
            raise InputError(f"got {array.dtype}{array.shape}, expected {slot.type}")
        view[...] = array

    def read(self, slot: Slot) -> np.ndarray:
        """A copy of the slot."""
        return self.view(slot).copy()

    def synchronize(self) -> None:
        """Nothing is ever pending."""

    def close(self) -> None:
        """End the threads."""
        self.team.close()
