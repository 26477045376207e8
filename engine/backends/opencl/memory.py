"""Device memory: buffers of the engine's own, and buffers that a user lends."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from engine.backends.opencl.status import checked, failure, status_name
from engine.backends.protocol import Slot
from engine.errors import DeviceMemoryError, InputError
from engine.ir.constant import Constant
from engine.ir.types import TensorType

if TYPE_CHECKING:
    from engine.backends.opencl.context import OpenCLContext


TRIED_NBYTES_MIN = 1 << 20
"""Smaller buffers are not tried out: what drivers take for themselves is more."""


def host_gives(nbytes: int) -> bool:
    """Whether the system would give this process so much address space.

    PoCL allocates a buffer when it is first used, and takes the process down where that fails.
    """
    if nbytes < TRIED_NBYTES_MIN:
        return True
    try:
        mmap.mmap(-1, nbytes).close()
    except (OSError, OverflowError, ValueError):
        return False
    return True


@dataclass(frozen=True)
class Rows:
    """A part of the elements of a buffer.

    Attributes:
        array: (rows, n), contiguous.
        start, pitch: elements in front of the first row, and from a row to the next.
    """

    array: np.ndarray
    start: int
    pitch: int


def in_one_piece(parts: Iterable[np.ndarray]) -> Iterator[Rows]:
    """Arrays that follow one another."""
    start = 0
    for part in parts:
        yield Rows(part.reshape(1, -1), start, part.size)
        start += part.size


def assembled(parts: Iterable[Rows], size: int, dtype: np.dtype) -> np.ndarray:
    """One array of all parts."""
    whole = np.empty(size, dtype)
    step = whole.itemsize
    for part in parts:
        strides = (part.pitch * step, step)
        as_strided(whole[part.start :], part.array.shape, strides)[...] = part.array
    return whole


class OpenCLArena:
    """One buffer, filled with 0xFF, or with `content`, which is copied before this returns.

    Args:
        content: an array, or parts that fill the buffer together.
    """

    def __init__(
        self,
        context: OpenCLContext,
        nbytes: int,
        content: np.ndarray | Iterable[Rows] | None = None,
    ) -> None:
        cl, info = context.cl, context.info
        largest = context.device.max_mem_alloc_size
        if nbytes > largest:
            raise DeviceMemoryError(
                f"{info.name}: asked for {nbytes} bytes, the largest allocation is {largest}"
            )
        if info.is_cpu and not host_gives(nbytes):
            raise DeviceMemoryError(
                f"{info.name}: asked for {nbytes} bytes, which this process may not have: its "
                "address space is limited (ulimit -v), or the system's memory is spoken for"
            )
        self.nbytes = nbytes
        size = max(nbytes, 1)
        try:
            flags = cl.mem_flags.READ_WRITE
            if isinstance(content, np.ndarray) and content.size:
                flags |= cl.mem_flags.COPY_HOST_PTR
                self.buffer: Any = cl.Buffer(context.context, flags, hostbuf=content)
            elif content is not None and not isinstance(content, np.ndarray):
                self.buffer = cl.Buffer(context.context, flags, size)
                _upload(context, self.buffer, content)
            else:
                self.buffer = cl.Buffer(context.context, flags, size)
                with context.lock:
                    cl.enqueue_fill_buffer(context.queue, self.buffer, np.uint8(0xFF), 0, size)
        except cl.Error as error:
            raise DeviceMemoryError(
                f"{info.name}: asked for {nbytes} bytes of {info.memory_nbytes}, of which this "
                f"process holds {context.counter.live().nbytes} ({status_name(cl, error)})"
            ) from error
        self._uncount = context.counter.note_buffer(self, nbytes)

    def release(self) -> None:
        """Give the buffer back."""
        buffer, self.buffer = self.buffer, None
        if buffer is not None:
            self._uncount()
            buffer.release()


def _upload(context: OpenCLContext, buffer: Any, content: Iterable[Rows]) -> None:
    """Through a queue of its own: what is enqueued elsewhere is not waited for."""
    queue = context.cl.CommandQueue(context.context, context.device)
    for part in content:
        rows, nbytes, step = len(part.array), part.array[0].nbytes, part.array.itemsize
        pitch = part.pitch * step
        where: dict[str, Any] = {"dst_offset": part.start * step}
        if rows > 1:
            row, column = divmod(part.start * step, pitch)
            where = {
                "buffer_origin": (column, row, 0),
                "host_origin": (0, 0, 0),
                "region": (nbytes, rows, 1),
                "buffer_pitches": (pitch, 0),
                "host_pitches": (nbytes, 0),
            }
        with checked(context, "uploading a constant"):
            context.cl.enqueue_copy(queue, buffer, part.array, **where)


class PackedConstant(OpenCLArena):
    """A constant in some kernel's arrangement; lives as long as a kernel holds its slot.

    It keeps what it was made of, so that the id of that stays its own for as long.
    """

    def __init__(
        self,
        context: OpenCLContext,
        source: Constant,
        type_: TensorType,
        storage: np.dtype,
        content: np.ndarray | Iterable[Rows],
    ) -> None:
        super().__init__(context, type_.size * storage.itemsize, content)
        self.source, self.type, self.storage = source, type_, storage

    @property
    def slot(self) -> Slot:
        """All of it."""
        return Slot(self, 0, self.type, self.storage)


class LentBuffer:
    """A buffer of the user's as an arena; it is not filled or counted.

    A reference of the engine's own keeps it alive when the user calls `release` on theirs.
    """

    def __init__(self, cl: Any, buffer: Any, nbytes: int) -> None:
        self.buffer: Any = cl.Buffer.from_int_ptr(buffer.int_ptr, retain=True)
        self.nbytes = nbytes

    def release(self) -> None:
        """Let go of the buffer, which stays the user's."""
        self.buffer = None


def attach(context: OpenCLContext, memory: Any, type_: TensorType, storage: np.dtype) -> Slot:
    """A user's `pyopencl.Buffer` as a slot in row-major order.

    Raises:
        InputError: not a buffer, of another context, of another size, or not readable and
            writable by both kernels and the host.
    """
    cl = context.cl
    if not isinstance(memory, cl.MemoryObjectHolder) or memory.type != cl.mem_object_type.BUFFER:
        raise InputError(
            f"device memory: got {type(memory).__name__}, expected a pyopencl.Buffer (a "
            "pyopencl.array.Array has one as its .data)"
        )
    try:
        owner, size, flags = memory.get_info(cl.mem_info.CONTEXT), memory.size, memory.flags
    except cl.Error as error:
        raise failure(context, error, "asking a buffer for its size") from error
    if owner != context.context:
        raise InputError(
            "device memory: the buffer belongs to another pyopencl.Context; make the session with "
            "shared_context set to that one"
        )
    nbytes = type_.size * storage.itemsize
    if size != max(nbytes, 1):
        raise InputError(
            f"device memory: the buffer has {size} bytes, expected {max(nbytes, 1)} for {type_} "
            f"stored as {storage.name}"
        )
    limits = [name for name in LIMITING_FLAGS if flags & getattr(cl.mem_flags, name)]
    if limits:
        raise InputError(
            f"device memory: the buffer is {' and '.join(limits)}; make it READ_WRITE without "
            "limits for the host"
        )
    return Slot(LentBuffer(cl, memory, nbytes), 0, type_, storage)


LIMITING_FLAGS = (
    "READ_ONLY",
    "WRITE_ONLY",
    "HOST_READ_ONLY",
    "HOST_WRITE_ONLY",
    "HOST_NO_ACCESS",
)
"""Flags of a buffer that some use of a slot would break."""
