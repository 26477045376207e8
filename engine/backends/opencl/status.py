"""OpenCL error statuses as errors of the engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from engine.errors import DeviceError, DeviceMemoryError

if TYPE_CHECKING:
    from engine.backends.opencl.context import OpenCLContext

OUT_OF_MEMORY = {"MEM_OBJECT_ALLOCATION_FAILURE", "OUT_OF_RESOURCES", "OUT_OF_HOST_MEMORY"}
"""Statuses with which a driver says, now or when work is submitted, that memory is short."""


def code_name(cl: Any, code: int) -> str:
    """The name that the OpenCL headers give a status, without "CL_"."""
    try:
        return str(cl.status_code.to_string(code))
    except ValueError:
        return f"status {code}"


def status_name(cl: Any, error: Any) -> str:
    """The name of the status that a pyopencl.Error carries."""
    return code_name(cl, error.code)


def failure(context: OpenCLContext, error: Any, doing: str) -> DeviceError:
    """The DeviceError for a pyopencl.Error; names the device, the action, the status."""
    name = status_name(context.cl, error)
    kind = DeviceMemoryError if name in OUT_OF_MEMORY else DeviceError
    held = ""
    if kind is DeviceMemoryError:
        live, all_ = context.counter.live().nbytes, context.info.memory_nbytes
        held = f"; this process holds {live} of {all_} bytes there"
    return kind(f"{context.info.name}: {doing} failed with {name}{held}")


@contextmanager
def checked(context: OpenCLContext, doing: str) -> Iterator[None]:
    """Inside, every pyopencl.Error becomes a DeviceError."""
    try:
        yield
    except context.cl.Error as error:
        raise failure(context, error, doing) from error
