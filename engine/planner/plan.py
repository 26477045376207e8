"""Plan: where every tensor of a run lies; and check_plan, an independent proof that it is safe."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from engine.errors import PlanError
from engine.ir.graph import Graph, Node, Value
from engine.planner.lifetimes import lifetimes, root_of
from engine.planner.offsets import Block, pack


@dataclass(frozen=True)
class Window:
    """Bytes of one arena."""

    arena: str
    offset_nbytes: int
    nbytes: int


@dataclass(frozen=True)
class ArenaSize:
    """What one arena needs, and the least it could: its largest live set, windows aligned."""

    peak_nbytes: int
    lower_bound_nbytes: int


@dataclass(frozen=True)
class Plan:
    """Windows of the root values, aliases of the views, and the sizes of the arenas."""

    windows: Mapping[Value, Window]
    aliases: Mapping[Value, Value]
    arenas: Mapping[str, ArenaSize]

    def window(self, value: Value) -> Window:
        """Where a value lies, through its aliases."""
        return self.windows[root_of(value, self.aliases)]


def make_plan(
    graph: Graph,
    arena_of: Mapping[Value, str],
    nbytes_of: Mapping[Value, int],
    *,
    aliases: Mapping[Value, Value],
    keep: Collection[Value] = (),
    alignment_nbytes: Mapping[str, int],
    guard_nbytes: int = 0,
) -> Plan:
    """Assign offsets arena by arena.

    Args:
        arena_of: the arena of every non-constant value. nbytes_of: its stored size.
        guard_nbytes: bytes left free after each window, so that tests see overruns.
    """
    live = lifetimes(graph, aliases, keep)
    windows: dict[Value, Window] = {}
    sizes: dict[str, ArenaSize] = {}
    for arena in sorted(set(alignment_nbytes)):
        mine = [t for t in live if arena_of[t.value] == arena]
        blocks = [Block(nbytes_of[t.value] + guard_nbytes, t.first, t.last) for t in mine]
        packing = pack(blocks, alignment_nbytes[arena])
        for t, offset in zip(mine, packing.offsets, strict=True):
            windows[t.value] = Window(arena, offset, nbytes_of[t.value])
        sizes[arena] = ArenaSize(max(packing.peak_nbytes, 0), packing.lower_bound_nbytes)
    return Plan(windows, dict(aliases), sizes)


def check_plan(graph: Graph, plan: Plan, keep: Collection[Value] = ()) -> None:
    """Walk the steps as a run would and raise PlanError if a write lands on live bytes.

    Shares no code with the planner: liveness is derived here from the remaining readers of each
    window's value and its views, counted down step by step.
    """
    pinned = {_root(plan, v) for v in (*graph.inputs, *graph.outputs, *keep) if not v.is_constant}
    readers: Counter[Value] = Counter()
    for node in graph.nodes:
        readers.update(_roots_read(plan, node))
    live = {arena: _LiveWindows() for arena in plan.arenas}
    for value in graph.inputs:
        _claim(plan, live, value, f"graph input {value.name!r}")
    for node in graph.nodes:
        for out in node.outputs:
            if out not in plan.aliases:
                _claim(plan, live, out, node.title)
        read = _roots_read(plan, node)
        readers.subtract(read)
        for root in {*read, *node.outputs} - pinned:
            window = plan.windows.get(root)
            if not readers[root] and window is not None:
                live[window.arena].remove(root, window)


def _roots_read(plan: Plan, node: Node) -> list[Value]:
    return [_root(plan, v) for v in node.inputs if v is not None and not v.is_constant]


def _root(plan: Plan, value: Value) -> Value:
    while value in plan.aliases:
        value = plan.aliases[value]
    return value


class _LiveWindows:
    """Windows of one arena that hold data, none over another: so a new one meets its neighbours."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._at: dict[int, tuple[Value, Window]] = {}

    def add(self, value: Value, window: Window) -> Value | None:
        """The value that lies there already; else None, and the window counts from now on."""
        if window.nbytes <= 0:
            return None
        end = window.offset_nbytes + window.nbytes
        i = bisect_right(self._starts, window.offset_nbytes)
        for start in self._starts[max(i - 1, 0) : i + 1]:
            other, old = self._at[start]
            if start < end and window.offset_nbytes < start + old.nbytes:
                return other
        self._starts.insert(i, window.offset_nbytes)
        self._at[window.offset_nbytes] = value, window
        return None

    def remove(self, value: Value, window: Window) -> None:
        """Its bytes are free again, if it had any."""
        there = self._at.get(window.offset_nbytes)
        if there is not None and there[0] is value:
            del self._starts[bisect_left(self._starts, window.offset_nbytes)]
            del self._at[window.offset_nbytes]


def _claim(plan: Plan, live: Mapping[str, _LiveWindows], value: Value, who: str) -> None:
    new = plan.windows[value]
    if new.offset_nbytes < 0 or new.offset_nbytes + new.nbytes > plan.arenas[new.arena].peak_nbytes:
        raise PlanError(f"{who}: {value.name!r} lies outside its arena")
    other = live[new.arena].add(value, new)
    if other is not None:
        raise PlanError(f"{who} writes {value.name!r} over {other.name!r}, which is still live")
