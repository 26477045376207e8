"""Execution: a bound graph made ready on its backends; decides everything that resize decides."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.backends.protocol import Arena, Backend, Command, Kernel, Slot
from engine.ir.graph import Graph, Node, Value
from engine.ops.compose import spec_of
from engine.planner import Placement, Plan, check_plan, insert_copies, make_plan, place
from engine.planner.lifetimes import root_of

Listener = Callable[[Node, Any], None]
"""Called after each command was enqueued, with the node and the backend's event."""


class CopyCommand:
    """Moves a tensor between backends through the host; waits for the source."""

    def __init__(self, source: Backend, target: Backend, old: Slot, new: Slot) -> None:
        self._source, self._target, self._old, self._new = source, target, old, new

    def enqueue(self) -> None:
        """Read there, write here."""
        self._target.write(self._new, self._source.read(self._old))


@dataclass(frozen=True)
class Step:
    """One command of a run, with the node it computes and the backend it runs on."""

    node: Node
    backend: str
    command: Command


class Execution:
    """Slots in arenas and commands in order, for one set of shapes.

    Args:
        graph: bound and optimised; taken over and changed (copies, layouts).
        backends: by name, in order of preference.
        keep: values that stay readable after a run; "*" keeps every one.
        strict: refuse any node that the first backend lacks.
        guard_nbytes: free bytes after each window; `overrun` checks them.
    """

    def __init__(
        self,
        graph: Graph,
        backends: Mapping[str, Backend],
        *,
        keep: Collection[str] | str = (),
        strict: bool = False,
        guard_nbytes: int = 0,
    ) -> None:
        self.graph = graph
        self.backends = dict(backends)
        self.placements: list[Placement] = place(
            graph, {name: b.why_not for name, b in backends.items()}, strict=strict
        )
        self._where = {p.node: p.backend for p in self.placements}
        self._home = insert_copies(graph, self._where, next(iter(backends)))
        self._lower()
        self._kernels = {n: self._prepare(n) for n in graph.nodes}
        self.aliases = self._find_aliases()
        self.kept = [v for v in self._home if keep == "*" or v.name in keep]
        self.plan: Plan = self._make_plan(guard_nbytes)
        check_plan(graph, self.plan, self.kept)
        self._arenas: dict[str, Arena] = {}
        self._constants: dict[tuple[str, Value], Slot] = {}
        self._allocate()
        self.steps: list[Step] = list(self._bind())
        self._enqueues = [step.command.enqueue for step in self.steps]

    # ------------------------------------------------------------------ building
    def _lower(self) -> None:
        for name, backend in self.backends.items():
            mine = [n for n in self.graph.nodes if self._where[n] == name and n.op_type != "Copy"]
            for node in backend.lower(self.graph, mine):
                self._where[node] = name
        for node in self.graph.nodes:
            for out in node.outputs:
                self._home[out] = self._where[node]

    def _prepare(self, node: Node) -> Kernel | None:
        return None if node.op_type == "Copy" else self.backends[self._where[node]].prepare(node)

    def _find_aliases(self) -> dict[Value, Value]:
        """Views share their input's bytes where both lie there in the same order.

        A graph output never shares the bytes of a graph input: the next write of the input
        would change an output that was not read yet.
        """
        aliases: dict[Value, Value] = {}
        outputs = set(self.graph.outputs)
        for node in self.graph.nodes:
            if not spec_of(node.op_type).is_view or node.inputs[0] is None:
                continue
            x, y = node.inputs[0], node.outputs[0]
            same_order = _order_is_plain(x) and _order_is_plain(y)
            root = root_of(x, aliases)
            if not same_order and not (node.op_type == "Identity" and x.layout == y.layout):
                continue
            if x.constant is None and not (root in self.graph.inputs and y in outputs):
                aliases[y] = x
        return aliases

    def _make_plan(self, guard_nbytes: int) -> Plan:
        sizes = {}
        for value, name in self._home.items():
            type_ = value.known_type
            sizes[value] = type_.size * self.backends[name].storage(type_.dtype).itemsize
        return make_plan(
            self.graph,
            self._home,
            sizes,
            aliases=self.aliases,
            keep=self.kept,
            alignment_nbytes={n: b.info.alignment_nbytes for n, b in self.backends.items()},
            guard_nbytes=guard_nbytes,
        )

    def _allocate(self) -> None:
        for name, size in self.plan.arenas.items():
            self._arenas[name] = self.backends[name].allocate(size.peak_nbytes)

    def _bind(self) -> Iterator[Step]:
        for node in self.graph.nodes:
            name = self._where[node]
            if any(out in self.aliases for out in node.outputs):
                continue
            outputs = [self.slot(v) for v in node.outputs]
            kernel = self._kernels[node]
            if kernel is None:
                source = node.inputs[0]
                assert source is not None
                there = self.backends[self._home[source]]
                command: Command = CopyCommand(
                    there, self.backends[name], self.slot(source), outputs[0]
                )
            else:
                inputs = [
                    None if v is None or i in kernel.packed_inputs else self._input_slot(v, name)
                    for i, v in enumerate(node.inputs)
                ]
                command = kernel.bind(inputs, outputs)
            yield Step(node, name, command)

    def _input_slot(self, value: Value, name: str) -> Slot:
        return self.slot(value) if value.constant is None else self._constant(value, name)

    def _constant(self, value: Value, name: str) -> Slot:
        if (name, value) not in self._constants:
            backend, type_ = self.backends[name], value.known_type
            assert value.constant is not None
            storage = backend.storage(type_.dtype)
            arena = backend.allocate(type_.size * storage.itemsize)
            slot = Slot(arena, 0, type_, storage)
            backend.write(slot, value.constant)
            self._constants[name, value] = slot
        return self._constants[name, value]

    # ------------------------------------------------------------------ using
    def slot(self, value: Value) -> Slot:
        """Where a value that is not constant lies."""
        window = self.plan.window(value)
        backend = self.backends[window.arena]
        type_ = value.known_type
        storage = backend.storage(type_.dtype)
        arena = self._arenas[window.arena]
        return Slot(arena, window.offset_nbytes, type_, storage, value.layout)

    def backend_of(self, value: Value) -> Backend:
        """The backend a value lies on."""
        return self.backends[self._home[value]]

    def write(self, value: Value, array: np.ndarray) -> None:
        """Fill a graph input."""
        self.backend_of(value).write(self.slot(value), array)

    def read(self, value: Value) -> np.ndarray:
        """A kept value, output or constant as a logical array; waits for it."""
        if value.constant is not None:
            return value.constant.copy()
        return self.backend_of(value).read(self.slot(value))

    def enqueue(self, listener: Listener | None = None) -> None:
        """Submit every command in order; on OpenCL returns before they are done."""
        if listener is None:
            for enqueue in self._enqueues:
                enqueue()
            return
        for step in self.steps:
            listener(step.node, step.command.enqueue())

    def synchronize(self) -> None:
        """Return when the work of every backend is done."""
        for backend in self.backends.values():
            backend.synchronize()

    @property
    def constants_nbytes(self) -> int:
        """Bytes of constants uploaded as they are (packed ones belong to the backends)."""
        return sum(slot.nbytes for slot in self._constants.values())

    def close(self) -> None:
        """Wait, then free the arenas and the constants; harmless the second time."""
        if self._arenas:
            self.synchronize()
        for arena in self._arenas.values():
            arena.release()
        for slot in self._constants.values():
            slot.arena.release()
        self._arenas.clear()
        self._constants.clear()
        self._enqueues = []
        self._kernels = {}
        self.steps = []


def _order_is_plain(value: Value) -> bool:
    """True when the bytes lie in row-major order, whatever the layout is called."""
    if value.layout == "plain":
        return True
    shape = value.known_type.dims
    return len(shape) < 3 or shape[1] == 1 or all(d == 1 for d in shape[2:])
