"""The OpenCL backend: arenas are buffers, commands are kernels with their arguments set."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from engine.backends.opencl import FAMILIES, layouts
from engine.backends.opencl.context import OpenCLContext
from engine.backends.protocol import Kernel, Slot
from engine.config import Precision
from engine.errors import DeviceError, DeviceMemoryError, InputError
from engine.ir.graph import Graph, Node, Value
from engine.ir.types import BOOL, DOUBLE, FLOAT, FLOAT16, FLOATS, TensorType, type_of
from engine.ops.numerics import HALF_MAX

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


class OpenCLArena:
    """One buffer, filled with 0xFF."""

    def __init__(self, context: OpenCLContext, nbytes: int) -> None:
        cl = context.cl
        info = context.info
        largest = context.device.max_mem_alloc_size
        if nbytes > largest:
            raise DeviceMemoryError(
                f"{info.name}: asked for {nbytes} bytes, the largest allocation is {largest}"
            )
        self.nbytes = nbytes
        try:
            self.buffer: Any = cl.Buffer(context.context, cl.mem_flags.READ_WRITE, max(nbytes, 1))
            cl.enqueue_fill_buffer(context.queue, self.buffer, np.uint8(0xFF), 0, max(nbytes, 1))
        except cl.Error as error:
            raise DeviceMemoryError(
                f"{info.name}: cannot allocate {nbytes} bytes of {info.memory_nbytes} ({error})"
            ) from error

    def release(self) -> None:
        """Give the buffer back."""
        if self.buffer is not None:
            self.buffer.release()
            self.buffer = None


class PackedConstant(OpenCLArena):
    """A constant in some kernel's arrangement; lives as long as a kernel holds its slot.

    It keeps the array it was made of, so that the array's id stays its own for as long.
    """

    def __init__(
        self, context: OpenCLContext, source: np.ndarray, type_: TensorType, storage: np.dtype
    ) -> None:
        super().__init__(context, type_.size * storage.itemsize)
        self.source, self.type, self.storage = source, type_, storage


class OpenCLCommand:
    """One kernel launch; owns its kernel object, because arguments are state of that object.

    `arguments` keeps the buffers alive: a kernel object does not.
    """

    __slots__ = ("_arguments", "_context", "_enqueue", "_global", "_kernel", "_local", "name")

    def __init__(
        self,
        context: OpenCLContext,
        kernel: Any,
        global_size: tuple[int, ...],
        local_size: tuple[int, ...] | None,
        arguments: Sequence[Any],
    ) -> None:
        self._context, self._kernel, self._arguments = context, kernel, arguments
        self._global, self._local = global_size, local_size
        self._enqueue = context.cl.enqueue_nd_range_kernel
        self.name = kernel.function_name

    def enqueue(self) -> Any:
        """Submit; returns the event."""
        return self._enqueue(self._context.queue, self._kernel, self._global, self._local)


class EmptyCommand:
    """A launch over no elements: OpenCL before 2.1 refuses a zero global size."""

    def enqueue(self) -> None:
        """Nothing to do."""


class OpenCLBackend:
    """Implements `Backend` on one OpenCL device at one effective precision.

    A family's `KERNELS[op_type](backend, node) -> Kernel` prepares a node; its optional
    `WHY_NOT[op_type](backend, node) -> str | None` refuses what its kernels do not cover, and
    `CHANNELS_LAST` names the operators whose kernels want their tensors channels-last.
    """

    name = "opencl"

    def __init__(self, context: OpenCLContext, precision: Precision) -> None:
        self.context = context
        self.info = context.info
        self.requested = precision
        low = precision is Precision.LOW and not self.info.supports_fp16
        self.precision = Precision.NORMAL if low else precision
        self._kernels = {op: make for family in FAMILIES for op, make in family.KERNELS.items()}
        self._refusals = {
            op: refuse
            for family in FAMILIES
            for op, refuse in getattr(family, "WHY_NOT", {}).items()
        }
        self._packed: WeakValueDictionary[tuple[int, str], PackedConstant] = WeakValueDictionary()

    # ------------------------------------------------------------------- choosing
    def why_not(self, node: Node) -> str | None:
        """None where a kernel covers the node; else one sentence."""
        if node.op_type not in self._kernels:
            from engine.backends.opencl import NOT_YET

            return NOT_YET.get(node.op_type, "the OpenCL backend has no kernel for it")
        dtypes = {v.known_type.dtype for v in (*node.inputs, *node.outputs) if v is not None}
        if DOUBLE in dtypes and not self.info.supports_fp64:
            return "the device has no cl_khr_fp64"
        refuse = self._refusals.get(node.op_type)
        return refuse(self, node) if refuse else None

    def lower(self, graph: Graph, nodes: Collection[Node]) -> list[Node]:
        """Keep convolution regions channels-last; Reorder nodes stand at their borders."""
        return layouts.lower(graph, nodes)

    # ------------------------------------------------------------------- dtypes
    def storage(self, dtype: np.dtype) -> np.dtype:
        """Float is stored as half at NORMAL and LOW; everything else as itself."""
        if dtype == FLOAT and self.precision is not Precision.HIGH:
            return FLOAT16
        return dtype

    def compute(self, dtype: np.dtype) -> np.dtype:
        """Float and half are computed in half at LOW, else in float; the rest in itself."""
        if dtype in (FLOAT, FLOAT16):
            return FLOAT16 if self.precision is Precision.LOW else FLOAT
        return dtype

    def stored(self, array: np.ndarray) -> np.ndarray:
        """Rounded to storage and back; finite values saturate at the largest half."""
        storage = self.storage(array.dtype)
        if storage == array.dtype:
            return array
        return _to_half(array).astype(array.dtype)

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
        cl = self.context.cl
        kernel = cl.Kernel(program, kernel_name)
        flat: list[Any] = []
        for argument in arguments:
            if isinstance(argument, Slot):
                flat += [argument.arena.buffer, np.int64(argument.offset)]
            else:
                flat.append(argument)
        try:
            kernel.set_args(*flat)
        except (cl.Error, TypeError) as error:
            raise DeviceError(f"kernel {kernel_name}: cannot set arguments: {error}") from error
        return OpenCLCommand(self.context, kernel, global_size, local_size, flat)

    def pack(self, value: Value, how: str, pack: Callable[[np.ndarray], np.ndarray]) -> Slot:
        """A constant in a kernel's own arrangement, uploaded once and shared while in use.

        Args:
            how: names the arrangement; (constant array, how) is the cache key.
            pack: from the logical array (rounded to storage) to the array to upload, which is
                then stored at `storage` of its dtype.
        """
        array = value.constant
        assert array is not None
        key = (id(array), how)
        arena = self._packed.get(key)
        if arena is None:
            packed = np.asarray(pack(self.stored(array)), order="C")
            arena = PackedConstant(self.context, array, type_of(packed), self.storage(packed.dtype))
            self.write(Slot(arena, 0, arena.type, arena.storage), packed)
            self._packed[key] = arena
        return Slot(arena, 0, arena.type, arena.storage)

    # ------------------------------------------------------------------- memory
    def allocate(self, nbytes: int) -> OpenCLArena:
        """A buffer."""
        return OpenCLArena(self.context, nbytes)

    def write(self, slot: Slot, array: np.ndarray) -> None:
        """Convert to storage and layout, then copy in queue order."""
        if array.dtype != slot.type.dtype or array.shape != slot.type.dims:
            raise InputError(f"got {array.dtype}{array.shape}, expected {slot.type}")
        if slot.layout == "channels_last" and array.ndim > 2:
            array = np.moveaxis(array, 1, -1)
        if slot.storage != array.dtype:
            array = _to_half(array)
        if array.size:
            self.context.cl.enqueue_copy(
                self.context.queue,
                slot.arena.buffer,
                np.ascontiguousarray(array),
                dst_offset=slot.offset_nbytes,
                is_blocking=True,
            )

    def read(self, slot: Slot) -> np.ndarray:
        """Wait, copy out, convert from storage and layout."""
        shape = slot.type.dims
        last = slot.layout == "channels_last" and len(shape) > 2
        host = np.empty((shape[0], *shape[2:], shape[1]) if last else shape, slot.storage)
        if host.size:
            self.context.cl.enqueue_copy(
                self.context.queue,
                host,
                slot.arena.buffer,
                src_offset=slot.offset_nbytes,
                is_blocking=True,
            )
        logical = np.moveaxis(host, -1, 1) if last else host
        return np.asarray(logical, slot.type.dtype, order="C")

    def synchronize(self) -> None:
        """Wait for the queue."""
        self.context.finish()

    @contextmanager
    def profiling(self) -> Iterator[None]:
        """Inside, commands go to a queue that records event times."""
        self.context.finish()
        plain, self.context.queue = self.context.queue, self.context.profiling()
        try:
            yield
        finally:
            self.context.finish()
            self.context.queue = plain

    def close(self) -> None:
        """Wait for the queue and free the packed constants."""
        self.synchronize()
        for arena in list(self._packed.values()):
            arena.release()
        self._packed.clear()


def _to_half(array: np.ndarray) -> np.ndarray:
    limited = np.where(np.isfinite(array), np.clip(array, -HALF_MAX, HALF_MAX), array)
    return limited.astype(np.float16)


__all__: Sequence[str] = ("OpenCLArena", "OpenCLBackend", "OpenCLCommand")
