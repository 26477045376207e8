"""Interpreter: holder of the model data; makes sessions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from engine.config import ScheduleConfig
from engine.ir.graph import Graph
from engine.ir.types import TensorType
from engine.onnx_import import load_model
from engine.passes import LOAD_PASSES, run_passes
from engine.runtime import Runtime
from engine.session import Session


class Interpreter:
    """One model, read and optimised once; any number of sessions share its weights.

    Attributes:
        graph: the device-free graph after the passes that need no shapes.
    """

    def __init__(self, graph: Graph) -> None:
        run_passes(graph, LOAD_PASSES)
        self.graph = graph

    @classmethod
    def from_file(cls, path: str | Path) -> Interpreter:
        """Read an ONNX file; raises ModelError or UnsupportedError."""
        return cls(load_model(Path(path)))

    @classmethod
    def from_buffer(cls, data: bytes, name: str = "model") -> Interpreter:
        """Read an ONNX model from memory; external data is refused."""
        return cls(load_model(data, name=name))

    @property
    def inputs(self) -> dict[str, TensorType]:
        """Name and type of every input, in graph order; free dimensions are strings."""
        return {v.name: v.known_type for v in self.graph.inputs}

    @property
    def outputs(self) -> list[str]:
        """Output names in graph order."""
        return [v.name for v in self.graph.outputs]

    def create_session(
        self,
        config: ScheduleConfig | None = None,
        runtime: Runtime | None = None,
        shapes: Mapping[str, tuple[int, ...]] | None = None,
    ) -> Session:
        """A session of this model.

        Args:
            config: None means the CPU backend.
            runtime: to share a device context, queue and programs with other sessions.
            shapes: input shapes; needed here, by `resize` or by the first `run(feeds)` when the
                model has free dimensions.
        """
        return Session(self.graph, config or ScheduleConfig(), runtime, shapes)
