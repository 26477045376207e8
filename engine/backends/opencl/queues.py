"""Command queues: their priority, and a wait for them that ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from engine.backends.opencl.status import checked, code_name
from engine.config import PowerMode
from engine.errors import ConfigError, DeviceError

if TYPE_CHECKING:
    from engine.backends.opencl.context import OpenCLContext

QUEUE_PROPERTIES = 0x1093
"""CL_QUEUE_PROPERTIES: its value is the bit field of command_queue_properties."""
QUEUE_PRIORITY_KHR = 0x1096
"""CL_QUEUE_PRIORITY_KHR of cl_khr_priority_hints, which pyopencl does not name."""
PRIORITIES = {PowerMode.HIGH: 1 << 0, PowerMode.LOW: 1 << 2}
"""CL_QUEUE_PRIORITY_HIGH_KHR and CL_QUEUE_PRIORITY_LOW_KHR."""
SLEEP_MIN_S, SLEEP_MAX_S = 50e-6, 5e-3
"""Between two looks at a queue: each pause is twice the last one, up to the maximum."""


def new_queue(cl: Any, context: Any, device: Any, power: PowerMode, flags: int = 0) -> Any:
    """An in-order queue.

    Args:
        flags: bits of command_queue_properties.

    Raises:
        ConfigError: a power mode other than NORMAL on a device without priorities.
    """
    if power is PowerMode.NORMAL:
        return cl.CommandQueue(context, device, flags)
    if "cl_khr_priority_hints" not in device.extensions.split():
        raise ConfigError(
            f"power={power.name} needs cl_khr_priority_hints, which {device.platform.name.strip()} "
            f"/ {device.name.strip()} lacks; use NORMAL"
        )
    properties = [QUEUE_PROPERTIES, flags, QUEUE_PRIORITY_KHR, PRIORITIES[power]]
    return cl.CommandQueue(context, device, properties)


def wait(context: OpenCLContext, timeout_s: float) -> bool:
    """Whether everything enqueued so far is done, waiting at most `timeout_s`.

    Raises:
        DeviceError: the queue failed.
    """
    deadline, pause = time.monotonic() + timeout_s, SLEEP_MIN_S
    with checked(context, "waiting for the queue"):
        with context.lock:
            event = context.cl.enqueue_marker(context.queue)
            context.queue.flush()
        while (status := event.command_execution_status) > 0:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(pause, left))
            pause = min(2 * pause, SLEEP_MAX_S)
    if status < 0:
        name = code_name(context.cl, status)
        raise DeviceError(f"{context.info.name}: work on the queue failed with {name}")
    return True
