"""Sessions without a model file: graphs of a few operators, for tests and for floors.

They share one Runtime, as the sessions of a process do, and measure like a `Session`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engine.backends.protocol import Backend
from engine.config import BackendConfig, ForwardType, Precision, ScheduleConfig
from engine.execution.execution import Execution
from engine.ir.graph import Graph
from engine.ir.types import FLOAT, TensorType
from engine.runtime import Runtime


def schedule(device: str, precision: Precision = Precision.HIGH) -> ScheduleConfig:
    """The config of a device: "cpu", or what selects an OpenCL device."""
    forward = ForwardType.CPU if device == "cpu" else ForwardType.OPENCL
    return ScheduleConfig(
        type=forward,
        device=None if device == "cpu" else device,
        backend_config=BackendConfig(precision=precision),
    )


def chain(op_type: str, depth: int, elements: int) -> Graph:
    """`depth` unary operators one after the other on a vector of floats."""
    graph = Graph(f"{op_type}_x{depth}")
    type_ = TensorType(FLOAT, (elements,))
    value = graph.add_input("x", type_)
    for i in range(depth):
        node = graph.add_node(op_type, [value], [(f"y{i}", type_)], name=f"{op_type}{i}")
        value = node.outputs[0]
    graph.outputs.append(value)
    return graph


class HandBuilt:
    """A graph on the device of a config; what `perf.latency.measure` takes.

    `backend`: one of the runtime's, where the config does not say which.
    """

    def __init__(
        self,
        graph: Graph,
        config: ScheduleConfig,
        runtime: Runtime,
        backend: Backend | None = None,
    ) -> None:
        self.runtime = runtime
        backend = backend or runtime.backend(config.type, config)
        self.execution = Execution(graph, {backend.name: backend}, strict=True)

    def run(self, feeds: Mapping[str, np.ndarray] | None = None) -> None:
        """Enqueue one inference."""
        values = {value.name: value for value in self.execution.graph.inputs}
        for name, array in (feeds or {}).items():
            self.execution.write(values[name], array)
        self.execution.enqueue()

    def close(self) -> None:
        """Free the arenas."""
        self.execution.close()
