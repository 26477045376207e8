"""Pipelines: which part of a model runs where, and what of it is saved."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from engine.backends.protocol import Backend
from engine.config import PLANS_KEPT, MemoryMode, ScheduleConfig
from engine.ir.graph import Graph, Node
from engine.passes import Segment, assign_segments
from engine.runtime import Runtime


class Pipelines:
    """The configurations of one session, and the segment of the model that each of them runs.

    Args:
        segments: one for each config; empty where a single config runs the whole model.

    Attributes:
        names: for each config, the names of its backends in the session, best first.
        keep: what stays readable beside the outputs; "*" is everything.
        protected: names of values that no optimisation may remove: saved ones, and the borders.
    """

    def __init__(self, configs: Sequence[ScheduleConfig], segments: Sequence[Segment] = ()) -> None:
        self.configs, self.segments = tuple(configs), tuple(segments)
        self.names: list[tuple[str, ...]] = []
        saved = [name for c in self.configs for name in c.save_tensors]
        borders = [name for s in self.segments for name in (*s.inputs, *s.outputs)]
        self.keep: Collection[str] = "*" if "*" in saved else tuple(dict.fromkeys(saved))
        self.protected = frozenset(borders) | (frozenset() if "*" in saved else frozenset(saved))

    @property
    def strict(self) -> bool:
        """No operator may leave its primary backend."""
        return all(c.strict for c in self.configs)

    @property
    def plans_kept(self) -> int:
        """How many sets of shapes stay ready."""
        high = any(c.backend_config.memory is MemoryMode.HIGH for c in self.configs)
        return PLANS_KEPT if high else 1

    def backends(self, runtime: Runtime) -> dict[str, Backend]:
        """Every backend that takes part, under a name of its own.

        That is its plain name; a second one of the same kind adds its precision, and its device.
        """
        found: dict[str, Backend] = {}
        for config in self.configs:
            mine = [_name(runtime.backend(f, config), found) for f in config.forwards]
            self.names.append(tuple(dict.fromkeys(mine)))
        return found

    def order(self, graph: Graph) -> Callable[[Node], Sequence[str]]:
        """Which backends each node of the bound graph may run on, best first."""
        if len(self.configs) == 1:
            return lambda node: self.names[0]
        where = assign_segments(graph, self.segments)
        return lambda node: self.names[where[node]]


def _name(backend: Backend, found: dict[str, Backend]) -> str:
    precise = f"{backend.name}:{backend.precision.value}"
    for name in (backend.name, precise, f"{precise}@{backend.info.platform}/{backend.info.name}"):
        if found.setdefault(name, backend) is backend:
            return name
    raise AssertionError("two backends of one device and one precision")
