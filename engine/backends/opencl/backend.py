"""The OpenCL backend: arenas are buffers, commands are kernels with their arguments set."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from engine.backends.opencl import FAMILIES, layouts, transfers
from engine.backends.opencl.context import OpenCLContext
from engine.backends.opencl.copy import copy
from engine.backends.opencl.launch import EmptyCommand, OpenCLCommand
from engine.backends.opencl.memory import (
    OpenCLArena,
    PackedConstant,
    Rows,
    assembled,
    attach,
    in_one_piece,
)
from engine.backends.order import Order
from engine.backends.protocol import (
    STRINGS_STAY,
    Arena,
    Command,
    Kernel,
    KernelCache,
    LiveMemory,
    PendingRead,
    Slot,
)
from engine.config import Precision
from engine.errors import InputError
from engine.ir.constant import Constant
from engine.ir.graph import Graph, Node, Value
from engine.ir.types import (
    BOOL,
    DOUBLE,
    FLOAT,
    FLOAT16,
    FLOATS,
    NARROW,
    STRING,
    TensorType,
    bits_dtype,
    bits_of,
    type_of,
)

LOG = logging.getLogger("parallax.opencl")
PART_NBYTES = 16 << 20
"""Of a large constant, about so much is in host memory at a time."""
CLOSE_TIMEOUT_S = 10.0
"""How long `close` waits for the queue."""
C_TYPES = {
    np.dtype(np.float16): "half",
    np.dtype(np.float32): "float",
    np.dtype(np.float64): "double",
    np.dtype(np.int8): "char",
    np.dtype(np.int16): "short",
    np.dtype(np.int32): "int",
    np.dtype(np.int64): "long",
    np.dtype(np.uint8): "uchar",
    np.dtype(np.uint16): "ushort",
    np.dtype(np.uint32): "uint",
    np.dtype(np.uint64): "ulong",
    np.dtype(np.bool_): "uchar",
}
"""OpenCL C name of every dtype as it lies in memory."""


class OpenCLBackend:
    """Implements `Backend` on one OpenCL device at one effective precision.

    A family's `KERNELS[op_type](backend, node) -> Kernel` prepares a node. Optional are
    `WHY_NOT[op_type](backend, node) -> str | None`, which refuses what its kernels do not cover,
    `ORDERS[op_type](backend, node) -> Order | None`, which says how they add up, and
    `CHANNELS_LAST`, which names the operators whose kernels want their tensors channels-last.
    """

    name = "opencl"

    def __init__(self, context: OpenCLContext, precision: Precision) -> None:
        self.context = context
        self.info = context.info
        self.lock: AbstractContextManager[Any] = context.lock
        self.requested = precision
        low = precision is Precision.LOW and not self.info.supports_fp16
        self.precision = Precision.NORMAL if low else precision
        self._kernels = {op: make for family in FAMILIES for op, make in family.KERNELS.items()}
        self._refusals = {
            op: refuse
            for family in FAMILIES
            for op, refuse in getattr(family, "WHY_NOT", {}).items()
        }
        self._orders = {
            op: declare
            for family in FAMILIES
            for op, declare in getattr(family, "ORDERS", {}).items()
        }
        self._packed: WeakValueDictionary[tuple[int, str], PackedConstant] = WeakValueDictionary()
        self._handed: list[list[Arena]] = []

    # ------------------------------------------------------------------- choosing
    def why_not(self, node: Node) -> str | None:
        """None where a kernel covers the node; else one sentence."""
        if node.op_type not in self._kernels:
            from engine.backends.opencl import NOT_YET

            return NOT_YET.get(node.op_type, "the OpenCL backend has no kernel for it")
        dtypes = {v.known_type.dtype for v in (*node.inputs, *node.outputs) if v is not None}
        if STRING in dtypes:
            return STRINGS_STAY
        if DOUBLE in dtypes and not self.info.supports_fp64:
            return "the device has no cl_khr_fp64"
        refuse = self._refusals.get(node.op_type)
        return refuse(self, node) if refuse else None

    def lower(self, graph: Graph, nodes: Collection[Node]) -> list[Node]:
        """Keep convolution regions channels-last; Reorder nodes stand at their borders."""
        return layouts.lower(graph, nodes)

    def order(self, node: Node) -> Order | None:
        """What the node's family says of its kernel; doubles have no wider format to mirror in."""
        declare = self._orders.get(node.op_type)
        dtype = node.outputs[0].known_type.dtype
        if declare is None or dtype not in (FLOAT, FLOAT16) or self.info.flushes_subnormals:
            return None
        order: Order | None = declare(self, node)
        return order

    # ------------------------------------------------------------------- dtypes
    def storage(self, dtype: np.dtype) -> np.dtype:
        """Float is stored as half at NORMAL and LOW, narrow formats as bits, the rest as it is."""
        if dtype in NARROW:
            return bits_dtype(dtype)
        if dtype == FLOAT and self.precision is not Precision.HIGH:
            return FLOAT16
        return dtype

    def compute(self, dtype: np.dtype) -> np.dtype:
        """Float and half are computed in half at LOW, else in float; the rest as it is stored."""
        if dtype in (FLOAT, FLOAT16):
            return FLOAT16 if self.precision is Precision.LOW else FLOAT
        return self.storage(dtype)

    def stored(self, array: np.ndarray) -> np.ndarray:
        """Rounded to storage and back; finite values saturate at the largest half."""
        if array.dtype in NARROW or self.storage(array.dtype) == array.dtype:
            return array
        return transfers.to_half(array).astype(array.dtype)

    def options(self, dtype: np.dtype, *more: str) -> tuple[str, ...]:
        """Build options for kernels on tensors of a logical dtype."""
        storage, compute = self.storage(dtype), self.compute(dtype)
        if dtype == BOOL:
            compute = storage
        options = [f"-DSTORAGE={C_TYPES[storage]}", f"-DCOMPUTE={C_TYPES[compute]}"]
        if storage == FLOAT16 and compute != FLOAT16:
            options.append("-DHALF_STORAGE")
        if compute == FLOAT16:
            options.append("-DUSE_FP16")
        if compute == DOUBLE:
            options.append("-DUSE_FP64")
        if dtype not in FLOATS:
            options.append("-DIS_INTEGER")
        return (*options, *more)

    # ------------------------------------------------------------------- kernels
    def prepare(self, node: Node) -> Kernel:
        """Build what the node's family needs and return its kernel."""
        kernel: Kernel = self._kernels[node.op_type](self, node)
        return kernel

    @contextmanager
    def building(self, cache: KernelCache | None) -> Iterator[list[Arena]]:
        """Inside, programs are looked up in the cache; gives the constants handed out."""
        handed: list[Arena] = []
        with self.context.lock:
            before, self.context.cache = self.context.cache, cache
            self._handed.append(handed)
            try:
                yield handed
            finally:
                self._handed.pop()
                self.context.cache = before

    @property
    def builds(self) -> int:
        """Programs compiled from source in this context."""
        return self.context.builds

    def program(self, family: str, options: tuple[str, ...]) -> Any:
        """The program of kernels/<family>.cl."""
        return self.context.program(family, options)

    def command(
        self,
        program: Any,
        kernel_name: str,
        global_size: tuple[int, ...],
        local_size: tuple[int, ...] | None,
        *arguments: Any,
    ) -> OpenCLCommand | EmptyCommand:
        """A launch with its arguments set.

        Args:
            arguments: a Slot becomes two kernel arguments, buffer and 64-bit element offset; all
                others are NumPy scalars (or OpenCL vectors) of the kernel's parameter types.
        """
        if any(extent == 0 for extent in global_size):
            return EmptyCommand()
        flat: list[Any] = []
        for argument in arguments:
            if isinstance(argument, Slot):
                flat += [argument.arena.buffer, np.int64(argument.offset)]
            else:
                flat.append(argument)
        kernel, idle = self.context.kernel(program, kernel_name, flat)
        return OpenCLCommand(self.context, kernel, global_size, local_size, arguments, idle)

    def pack(self, value: Value, how: str, pack: Callable[[np.ndarray], np.ndarray]) -> Slot:
        """A constant in a kernel's own arrangement, uploaded once and shared while in use.

        Args:
            how: names the arrangement; (constant, how) is the cache key.
            pack: from the logical array (rounded to storage) to the array to upload, which is
                then stored at `storage` of its dtype.
        """
        constant = value.contents
        assert constant is not None

        def make() -> PackedConstant:
            packed = np.asarray(pack(self.stored(constant.array)), order="C")
            constant.rest()  # before the device takes as much again
            type_ = type_of(packed)
            stored = self._in_storage(packed)
            return PackedConstant(self.context, constant, type_, stored.dtype, stored)

        return self._held(constant, how, make)

    def constant(self, constant: Constant) -> Slot:
        """The array as it is, uploaded once and shared by all who hold the slot."""
        type_ = constant.type

        def make() -> PackedConstant:
            return self._filled(constant, type_, in_one_piece(constant.parts(PART_NBYTES)))

        return self._held(constant, "plain", make)

    def pack_rows(
        self,
        value: Value,
        how: str,
        size: int,
        rows: Callable[[Constant, int], Iterable[Rows]],
    ) -> Slot:
        """The same as `pack`, with no more than a part of the constant in host memory at a time.

        Args:
            size: elements of the arrangement.
            rows: its parts, from the constant and the most bytes of it to read at a time.
        """
        constant = value.contents
        assert constant is not None
        type_ = TensorType(constant.type.dtype, (size,))

        def make() -> PackedConstant:
            return self._filled(constant, type_, rows(constant, PART_NBYTES))

        return self._held(constant, how, make)

    def _filled(
        self, constant: Constant, type_: TensorType, parts: Iterable[Rows]
    ) -> PackedConstant:
        storage = self.storage(type_.dtype)
        stored = (replace(part, array=self._in_storage(part.array)) for part in parts)
        content: np.ndarray | Iterable[Rows] = stored
        if type_.nbytes <= PART_NBYTES:
            content = assembled(stored, type_.size, storage)
        return PackedConstant(self.context, constant, type_, storage, content)

    def _in_storage(self, array: np.ndarray) -> np.ndarray:
        """As the device holds it."""
        if array.dtype in NARROW:
            return bits_of(array)
        return transfers.to_half(array) if self.storage(array.dtype) != array.dtype else array

    def _held(self, constant: Constant, how: str, make: Callable[[], PackedConstant]) -> Slot:
        key = (id(constant), how)
        with self.context.lock:
            arena = self._packed.get(key)
            if arena is None:
                self._packed[key] = arena = make()
                constant.rest()
            for handed in self._handed:
                handed.append(arena)
            return arena.slot

    # ------------------------------------------------------------------- memory
    @property
    def memory(self) -> Hashable:
        """The context: its backends share buffers and the queue."""
        return self.context

    def allocate(self, nbytes: int) -> OpenCLArena:
        """A buffer."""
        return OpenCLArena(self.context, nbytes)

    def attach(self, memory: Any, type_: TensorType) -> Slot:
        """A `pyopencl.Buffer` of the same context, of the size of the stored tensor."""
        return attach(self.context, memory, type_, self.storage(type_.dtype))

    def copy(self, source: Slot, target: Slot) -> Command:
        """Of bytes where they are the same on both sides, else a kernel."""
        return copy(self, source, target)

    def write(self, slot: Slot, array: np.ndarray) -> None:
        """Convert to storage and layout into memory of our own, then copy in queue order."""
        if array.dtype != slot.type.dtype or array.shape != slot.type.dims:
            raise InputError(f"got {array.dtype}{array.shape}, expected {slot.type}")
        transfers.write(self.context, slot, transfers.to_stored(slot, array))

    def read(self, slot: Slot) -> np.ndarray:
        """Wait, copy out, convert from storage and layout."""
        return self.read_later(slot).result()

    def read_later(self, slot: Slot) -> PendingRead:
        """Copy out in queue order; `result` converts from storage and layout."""
        return transfers.read_later(self.context, slot)

    def live(self) -> LiveMemory:
        """What all backends of the context have allocated."""
        return self.context.counter.live()

    # ------------------------------------------------------------------- waiting
    def limit_runs(self, last: Any) -> None:
        """Wait for the older half of the runs when more than RUNS_MAX are not finished."""
        if last is not None:
            self.context.runs.hold(last, 0)
            self.context.runs.make_room()

    def synchronize(self) -> None:
        """Wait for the queue."""
        self.context.finish()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the queue, at most so long; whether it is idle."""
        return self.context.wait(timeout_s)

    def profiling(self) -> AbstractContextManager[None]:
        """Inside, commands go to a queue that records event times; other threads wait."""
        return self.context.profiled()

    def close(self) -> None:
        """Wait for the queue, at most CLOSE_TIMEOUT_S, and free the packed constants."""
        try:
            if not self.context.wait(CLOSE_TIMEOUT_S):
                self.context.in_flight.abandon()
                LOG.warning(
                    "%s: the queue is not idle after %s s; closed without waiting for it",
                    self.info.name,
                    CLOSE_TIMEOUT_S,
                )
        finally:
            for arena in list(self._packed.values()):
                arena.release()
            self._packed.clear()


__all__: Sequence[str] = ("OpenCLArena", "OpenCLBackend", "OpenCLCommand")
