"""Runtime: what sessions share: contexts, queues, built programs, packed weights, threads."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from engine.backends import registry
from engine.backends.protocol import Backend
from engine.config import ForwardType, ScheduleConfig
from engine.errors import ConfigError, DeviceError


class Runtime:
    """Backends made on demand and shared by every session that is given this runtime.

    Sessions on the same OpenCL device share one context, one in-order queue and its programs,
    whatever their precision. Use as a context manager, or call `close`.

    Attributes:
        explanations: one sentence for every choice the runtime made for the user (AUTO).
    """

    def __init__(self) -> None:
        self.explanations: list[str] = []
        self._contexts: dict[Any, Any] = {}
        self._backends: dict[Any, Backend] = {}
        self._auto: ForwardType | None = None
        self._lock = threading.RLock()
        self._closed = False

    def backend(self, forward: ForwardType, config: ScheduleConfig) -> Backend:
        """The backend of a forward type for a config, made once.

        Raises:
            DeviceError: no such device. ConfigError: the runtime is closed.
        """
        with self._lock:
            if self._closed:
                raise ConfigError("this Runtime is closed")
            if forward is ForwardType.AUTO:
                forward = self._resolve_auto(config)
            if forward is ForwardType.CPU:
                key: Any = ("cpu", config.num_threads)
                if key not in self._backends:
                    self._backends[key] = registry.cpu_backend(config.num_threads)
                return self._backends[key]
            return self._opencl(config)

    def _opencl(self, config: ScheduleConfig) -> Backend:
        shared = config.backend_config.shared_context
        selector = (config.device, id(shared) if shared is not None else None)
        if selector not in self._contexts:
            context = registry.opencl_context(config.device, shared)
            same = [c for c in self._contexts.values() if c.device == context.device]
            self._contexts[selector] = same[0] if same and shared is None else context
        context = self._contexts[selector]
        key = (id(context), config.backend_config.precision)
        if key not in self._backends:
            self._backends[key] = registry.opencl_backend(context, config.backend_config.precision)
        return self._backends[key]

    def _resolve_auto(self, config: ScheduleConfig) -> ForwardType:
        if self._auto is None:
            self._auto, why = ForwardType.CPU, "CPU: no OpenCL device works"
            try:
                backend = self._opencl(config)
                probe(backend)
                self._auto = ForwardType.OPENCL
                why = f"OpenCL: {backend.info.platform} / {backend.info.name} passed a probe"
            except DeviceError as error:
                why = f"CPU: OpenCL cannot be used ({str(error).splitlines()[0]})"
            self.explanations.append(f"AUTO chose {why}")
        return self._auto

    def synchronize(self) -> None:
        """Return when every queue of this runtime is idle."""
        for backend in list(self._backends.values()):
            backend.synchronize()

    def close(self) -> None:
        """Wait for the queues and free what is shared; harmless the second time."""
        with self._lock:
            if not self._closed:
                self._closed = True
                for backend in self._backends.values():
                    backend.close()
                self._backends.clear()
                self._contexts.clear()

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def probe(backend: Backend) -> None:
    """Run Relu on the device; raises DeviceError unless the answer is right."""
    from engine.backends.protocol import Slot
    from engine.ir.graph import Graph
    from engine.ir.types import FLOAT, TensorType

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
