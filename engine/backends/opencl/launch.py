"""Commands of the queue: a kernel with its arguments set, a copy of bytes, nothing at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.backends.opencl.status import failure
from engine.backends.protocol import Slot

if TYPE_CHECKING:
    from engine.backends.opencl.context import OpenCLContext


@dataclass(frozen=True)
class Launch:
    """What a command asks of the queue, to be written down.

    Attributes:
        source, options: of the program, as it was built.
        arguments: as `OpenCLBackend.command` takes them: a Slot stands for two of the kernel's.
    """

    kernel: str
    source: str
    options: tuple[str, ...]
    global_size: tuple[int, ...]
    local_size: tuple[int, ...] | None
    arguments: tuple[Any, ...]


class OpenCLCommand:
    """One kernel launch; owns its kernel object, because arguments are state of that object.

    `arguments` keeps the memory alive: a kernel object does not.
    """

    __slots__ = (
        "__weakref__",
        "_arguments",
        "_context",
        "_enqueue",
        "_global",
        "_kernel",
        "_local",
        "name",
    )

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
        context.counter.note_command(self)

    @property
    def launch(self) -> Launch:
        """What `enqueue` submits."""
        source, options = self._context.built_from(self._kernel)
        sizes = self._global, self._local
        return Launch(self.name, source, options, *sizes, tuple(self._arguments))

    def enqueue(self) -> Any:
        """Submit; returns the event. Raises DeviceError with the kernel and the status."""
        try:
            return self._enqueue(self._context.queue, self._kernel, self._global, self._local)
        except self._context.cl.Error as error:
            raise failure(self._context, error, f"kernel {self.name}") from error


class BytesCopy:
    """A copy of a stored tensor as it is; the ranges must not overlap."""

    __slots__ = ("__weakref__", "_context", "name", "source", "target")

    def __init__(self, context: OpenCLContext, source: Slot, target: Slot) -> None:
        self._context, self.source, self.target = context, source, target
        self.name = "copy_buffer"
        context.counter.note_command(self)

    def enqueue(self) -> Any:
        """Submit; returns the event. Raises DeviceError with the status."""
        source, target = self.source, self.target
        try:
            return self._context.cl.enqueue_copy(
                self._context.queue,
                target.arena.buffer,
                source.arena.buffer,
                byte_count=source.nbytes,
                src_offset=source.offset_nbytes,
                dst_offset=target.offset_nbytes,
            )
        except self._context.cl.Error as error:
            raise failure(self._context, error, f"copying {source.type}") from error


class EmptyCommand:
    """A launch over no elements: OpenCL before 2.1 refuses a zero global size."""

    def enqueue(self) -> None:
        """Nothing to do."""
