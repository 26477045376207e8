"""Commands of the queue: a kernel with its arguments set, a copy of bytes, nothing at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

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


def set_arguments(kernel: Any, arguments: Sequence[Any]) -> None:
    """Set all arguments of a kernel object: NumPy scalars and arrays by their bytes.

    pyopencl's own `set_args` tries one kind of argument after the other, 14 us for each number;
    its generated code hands over bytes as it is done here.

    Raises:
        TypeError: too many arguments, or too few. pyopencl.Error: what the driver refuses.
    """
    if kernel.num_args != len(arguments):
        raise TypeError(f"{len(arguments)} arguments, it takes {kernel.num_args}")
    set_bytes = getattr(kernel, "_set_arg_buf", kernel.set_arg)
    for index, argument in enumerate(arguments):
        is_plain = isinstance(argument, (np.generic, np.ndarray))
        (set_bytes if is_plain else kernel.set_arg)(index, argument)


IDLE_MAX = 64
"""Kernel objects of one name that are kept: more are made again when they are needed."""


class IdleKernels:
    """Kernel objects of one name whose commands are gone, for commands to come.

    To make one takes pyopencl 0.2 ms, in which it looks up code that it generates; to set its
    arguments takes a tenth of that. Commands end in any thread, and whenever the garbage collector
    runs: every change is one atomic operation on a list.
    """

    __slots__ = ("_kernels",)

    def __init__(self) -> None:
        self._kernels: list[Any] = []

    def take(self) -> Any:
        """One of them, which then belongs to whoever asked; None where there is none."""
        try:
            return self._kernels.pop()
        except IndexError:
            return None

    def give(self, kernel: Any) -> None:
        """One more; a launch that is enqueued has its own copy of the arguments."""
        if len(self._kernels) < IDLE_MAX:
            self._kernels.append(kernel)


class OpenCLCommand:
    """One kernel launch; owns its kernel object, because arguments are state of that object.

    `arguments` keeps the memory alive: a kernel object does not. The kernel object goes to `idle`
    when the command is gone.
    """

    __slots__ = (
        "__weakref__",
        "_arguments",
        "_context",
        "_enqueue",
        "_global",
        "_idle",
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
        idle: IdleKernels | None = None,
    ) -> None:
        self._context, self._kernel, self._arguments = context, kernel, arguments
        self._global, self._local, self._idle = global_size, local_size, idle
        self._enqueue = context.cl.enqueue_nd_range_kernel
        self.name = kernel.function_name
        context.counter.note_command(self)

    def __del__(self) -> None:
        if self._idle is not None:
            self._idle.give(self._kernel)

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
