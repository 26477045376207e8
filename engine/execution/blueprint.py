"""Blueprint: where every node runs and every tensor lies, decided before any memory is taken."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from engine.backends.protocol import Backend
from engine.errors import UnsupportedError
from engine.ir.graph import Graph, Node, Value
from engine.ir.types import STRING
from engine.ops.compose import spec_of
from engine.planner import Placement, Plan, check_plan, insert_copies, make_plan, place
from engine.planner.lifetimes import root_of

KEPT = "/kept"
"""Suffix of the arenas that hold what must survive a run."""


class Blueprint:
    """A bound graph, changed for its backends (copies, layouts), and the plan of its memory.

    Each backend has two arenas: graph inputs, outputs and kept values lie in the one named with
    KEPT, all others in the one named like the backend; there, backends with equal `memory` share
    that of the first.

    Args:
        graph: bound and optimised; taken over and changed.
        backends: by name, in order of preference.
        keep: values that stay readable after a run; "*" keeps every one.
        strict: refuse any node that the first backend it may run on lacks.
        order: which backends a node may run on, best first; None: all of them.
        guard_nbytes: free bytes after each window, for tests that look for overruns.

    Attributes:
        where: the backend of each node. home: the backend that each value lies on.
        aliases: views, each with the value whose bytes it shares.
        computed: names of what the nodes of the given graph compute, without copies and layouts.
    """

    def __init__(
        self,
        graph: Graph,
        backends: Mapping[str, Backend],
        *,
        keep: Collection[str] | str = (),
        strict: bool = False,
        order: Callable[[Node], Sequence[str]] | None = None,
        guard_nbytes: int = 0,
    ) -> None:
        self.graph, self.backends = graph, backends
        self.computed = frozenset(v.name for node in graph.nodes for v in node.outputs)
        self.placements: list[Placement] = place(
            graph, {name: b.why_not for name, b in backends.items()}, strict=strict, order=order
        )
        self.where = {p.node: p.backend for p in self.placements}
        first = next(iter(backends))
        self.home = insert_copies(
            graph,
            self.where,
            first,
            lambda source, node: self._stored_nbytes(source, order(node)[0] if order else first),
        )
        self._keep_strings()
        self._lower()
        self.kept = [v for v in self.home if keep == "*" or v.name in keep]
        self.aliases = self._find_aliases()
        self.plan: Plan = self._make_plan(guard_nbytes)
        check_plan(graph, self.plan, self.kept)

    def _stored_nbytes(self, value: Value, name: str) -> int:
        """Of one element: an input that paths of two precisions read is kept at the higher one."""
        return self.backends[name].storage(value.known_type.dtype).itemsize

    def _keep_strings(self) -> None:
        """Inputs of strings that nobody reads here, but the host may, lie with it."""
        host = next((name for name, b in self.backends.items() if b.name == "cpu"), None)
        for value in self.graph.inputs:
            if host is None and value.known_type.dtype == STRING:
                raise UnsupportedError(
                    f"input {value.name!r} is of strings, which lie in host memory only: let the "
                    "CPU be the backup (strict: no fallback allowed)"
                )
            if host is not None and value.known_type.dtype == STRING and not value.uses:
                self.home[value] = host

    def _lower(self) -> None:
        for name, backend in self.backends.items():
            mine = [n for n in self.graph.nodes if self.where[n] == name and n.op_type != "Copy"]
            for node in backend.lower(self.graph, mine):
                self.where[node] = name
        for node in self.graph.nodes:
            for out in node.outputs:
                self.home[out] = self.where[node]

    def _find_aliases(self) -> dict[Value, Value]:
        """Views share their input's bytes where both lie there in the same order.

        A graph output or kept value never shares the bytes of a graph input: the next write of
        the input would change a result that was not read yet.
        """
        aliases: dict[Value, Value] = {}
        results = {*self.graph.outputs, *self.kept}
        for node in self.graph.nodes:
            if not spec_of(node.op_type).is_view or node.inputs[0] is None:
                continue
            x, y = node.inputs[0], node.outputs[0]
            same_order = _order_is_plain(x) and _order_is_plain(y)
            root = root_of(x, aliases)
            if not same_order and not (node.op_type == "Identity" and x.layout == y.layout):
                continue
            if not x.is_constant and not (root in self.graph.inputs and y in results):
                aliases[y] = root
        return aliases

    def _make_plan(self, guard_nbytes: int) -> Plan:
        sizes, homes = {}, {}
        named = {b.memory: name for name, b in reversed(list(self.backends.items()))}
        survivors = (*self.graph.inputs, *self.graph.outputs, *self.kept)
        lasting = {root_of(v, self.aliases) for v in survivors}
        for value, name in self.home.items():
            type_ = value.known_type
            sizes[value] = type_.size * self.backends[name].storage(type_.dtype).itemsize
            lasts = root_of(value, self.aliases) in lasting
            homes[value] = name + KEPT if lasts else named[self.backends[name].memory]
        alignment = {n: b.info.alignment_nbytes for n, b in self.backends.items()}
        return make_plan(
            self.graph,
            homes,
            sizes,
            aliases=self.aliases,
            keep=self.kept,
            alignment_nbytes={**alignment, **{n + KEPT: a for n, a in alignment.items()}},
            guard_nbytes=guard_nbytes,
        )


def _order_is_plain(value: Value) -> bool:
    """True when the bytes lie in row-major order, whatever the layout is called."""
    if value.layout == "plain":
        return True
    shape = value.known_type.dims
    return len(shape) < 3 or shape[1] == 1 or all(d == 1 for d in shape[2:])
