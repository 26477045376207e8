"""AUTO: the first OpenCL device that computes rightly; the CPU where nothing asks for a device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.backends import registry
from engine.backends.protocol import LOW_IS_SLOW, Backend, Slot
from engine.config import ForwardType, Precision, ScheduleConfig
from engine.errors import ConfigError, DeviceError
from engine.ir.graph import Graph
from engine.ir.types import FLOAT, TensorType


@dataclass(frozen=True)
class Decision:
    """What AUTO takes: a backend, the selector of its device, and why, in one sentence."""

    forward: ForwardType
    selector: str | None
    why: str


def choose(config: ScheduleConfig, open_: Callable[[str | None], Backend]) -> Decision:
    """The backend for a configuration of type AUTO.

    A device or a context that the configuration names is taken or refused, never replaced. Else
    devices are tried best first, and the CPU comes last.

    Args:
        open_: makes the OpenCL backend of this configuration on the device of a selector.

    Raises:
        DeviceError: the device that was asked for is absent, ambiguous, or gives wrong answers.
        ConfigError: an option that the CPU cannot honour was asked for, and no device can either.
    """
    if config.device is not None or config.backend_config.shared_context is not None:
        backend = open_(config.device)
        probe(backend)
        return _opencl(config.device, backend, [])
    refused: list[str] = []
    candidates = _candidates(refused)
    for selector, name in candidates:
        try:
            backend = open_(selector)
            probe(backend)
        except (DeviceError, ConfigError) as error:
            refused.append(f"{name} cannot be used ({_headline(error)})")
            continue
        return _opencl(selector, backend, refused)
    why = "; ".join([*(["no OpenCL device works"] if candidates else []), *refused])
    if (wish := _beyond_the_cpu(config)) is not None:
        raise ConfigError(f"{wish}; AUTO found nothing but the CPU: {why}")
    return Decision(ForwardType.CPU, None, f"AUTO chose CPU: {why}")


def probe(backend: Backend) -> None:
    """Run Relu on the device; raises DeviceError unless the answer is right."""
    graph = Graph("probe")
    type_ = TensorType(FLOAT, (4,))
    node = graph.add_node("Relu", [graph.add_input("x", type_)], [("y", type_)])
    storage = backend.storage(FLOAT)
    arenas = [backend.allocate(4 * storage.itemsize) for _ in range(2)]
    x, y = (Slot(arena, 0, type_, storage) for arena in arenas)
    backend.write(x, np.array([-2, -0.5, 0.5, 2], np.float32))
    backend.prepare(node).bind([x], [y]).enqueue()
    right = np.array_equal(backend.read(y), np.array([0, 0, 0.5, 2], np.float32))
    for arena in arenas:
        arena.release()
    if not right:
        raise DeviceError(f"{backend.info.name} gives wrong answers")


def _candidates(refused: list[str]) -> list[tuple[str, str]]:
    """Numbers and name of every device, best first; why there is none goes to `refused`."""
    try:
        found = registry.opencl_devices()
    except DeviceError as error:
        refused.append(_headline(error))
        return []
    ordered = sorted(found, key=lambda entry: entry[1].preference)
    return [(numbers, f"{info.platform} / {info.name}") for numbers, info in ordered]


def _opencl(selector: str | None, backend: Backend, refused: list[str]) -> Decision:
    info = backend.info
    said = [f"AUTO chose OpenCL: {info.platform} / {info.name} computed a probe rightly"]
    if backend.precision is Precision.LOW and info.half_is_emulated:
        said.append(LOW_IS_SLOW)
    return Decision(ForwardType.OPENCL, selector, "; ".join([*said, *refused]))


def _beyond_the_cpu(config: ScheduleConfig) -> str | None:
    """What the CPU backend cannot honour of a configuration, in the words of its own refusals."""
    try:
        config.backend_config.check_for_cpu()
    except ConfigError as error:
        return str(error)
    return None


def _headline(error: Exception) -> str:
    return str(error).splitlines()[0]
