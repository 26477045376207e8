"""Random graphs by a total decoder: every list of records is a valid graph, and shrinks to less.

A record is (operator index, back offset, peer offset, small integers). Operator 0 skips, so
removing a node never renumbers the others; references are small offsets backwards, which gives
chains with local branches; every tensor that nobody reads is an output. Nothing is filtered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from engine.ir import Graph, Node, TensorType, Value
from engine.ir.types import BOOL, DOUBLE, FLOAT, FLOAT16, INT32, INT64, INTEGERS
from engine.ops import OPERATORS
from engine.ops.spec import SIDES
from properties.choose import DISTRIBUTIONS
from properties.growing import Grower, fed, moved_on

FIRST = ("Identity", "Relu", "Neg", "Add", "Mul", "Concat", "Transpose")
"""The simplest operators; a failing graph shrinks towards them."""
TWICE = ("Conv", "MatMul", "Gemm", "Concat", "MaxPool", "BatchNormalization", "Add")
REPEATS = 12
"""So many entries of the table hang the last call again, with the same constants."""
GRAFTS = 8
"""One record out of so many grafts its operator where it could grow, too."""
RANKS = (1, 2, 3, 4, 4, 4, 5, 0)
LARGEST_FIRST = 8_192
"""Elements of the first tensor."""
EXTENTS = (*SIDES, *SIDES, 11, 13, 23, 63, 64, 65, 127, 257, 1025, 4099, 0)
"""Of the first tensor: those of examples, primes, both sides of wide tiles, long ones, and none."""
DTYPES = (
    *(FLOAT,) * 9,
    *(FLOAT16, FLOAT16, INT64, DOUBLE, INT32, BOOL),
    *sorted(INTEGERS - {INT32, INT64}, key=str),
)
INTERNAL = frozenset(("Copy", "Reorder"))
"""Operators of plans, which no model has."""


@dataclass(frozen=True, repr=False)
class Record:
    """One step of a program; `decisions` feed the `Choose` that grows the node."""

    op: int = 0
    back: int = 0
    peer: int = 0
    decisions: tuple[int, ...] = ()

    def __repr__(self) -> str:
        used = list(self.decisions)
        while used and used[-1] == 0:
            used.pop()
        numbers = (self.op, self.back, self.peer, tuple(used))
        return f"Record{numbers}" if any(numbers) else "Record()"


@dataclass(frozen=True, repr=False)
class Program:
    """A random graph before decoding; equal programs decode to equal graphs and feeds."""

    rank: int = 0
    sides: tuple[int, ...] = (0, 0, 0, 0)
    dtype: int = 0
    seed: int = 0
    records: tuple[Record, ...] = ()
    exact: bool = False

    def __repr__(self) -> str:
        return (
            f"Program({self.rank}, {self.sides}, {self.dtype}, {self.seed}, {self.records}, "
            f"{self.exact})"
        )


@dataclass(frozen=True)
class Model:
    """A decoded program: the graph, and feeds of any seed.

    Attributes:
        tags: distributions of inputs, by name. drawn: what those are fed that came with a call.
    """

    program: Program
    graph: Graph
    tags: dict[str, int] = field(default_factory=dict)
    drawn: dict[str, np.ndarray] = field(default_factory=dict)

    def feeds(self, run: int = 0) -> dict[str, np.ndarray]:
        """Inputs of the `run`-th inference; exact programs are exact only on run 0."""
        seed, exact = self.program.seed, self.program.exact
        feeds = {}
        for i, value in enumerate(self.graph.inputs):
            if (array := self.drawn.get(value.name)) is not None:
                feeds[value.name] = moved_on(array, run)
            else:
                tag = self.tags.get(value.name, 0)
                feeds[value.name] = fed(seed, i, value.known_type, tag, exact=exact, run=run)
        return feeds

    def __repr__(self) -> str:
        return f"{graph_text(self.graph)}\nreplay with decode({self.program!r})"


def graph_text(graph: Graph) -> str:
    """One line per node: outputs with types, operator, inputs, attributes."""
    lines = [f"input {v.name}: {v.type}" for v in graph.inputs]
    for node in graph.nodes:
        outs = ", ".join(f"{v.name}: {v.type}" for v in node.outputs)
        ins = ", ".join(_text(v) for v in node.inputs)
        attributes = f" {dict(node.attributes)}" if node.attributes else ""
        lines.append(f"{outs} = {node.title.split(' ')[0]}({ins}){attributes}")
    return "\n".join([*lines, f"outputs {', '.join(v.name for v in graph.outputs)}"])


def _text(value: Value | None) -> str:
    if value is None:
        return "-"
    if value.constant is None:
        return value.name
    shown = f"={value.constant.tolist()}" if value.constant.size <= 4 else ""
    return f"const {value.type}{shown}"


@cache
def operator_table(*, exact: bool = False) -> tuple[str, ...]:
    """Operators, simplest first; `exact`: only those exact on whole numbers."""
    able = [
        op for op, spec in OPERATORS.items() if op not in INTERNAL and (spec.is_exact or not exact)
    ]
    first = [op for op in FIRST if op in able]
    rest = [op for op in able if op not in first]
    return (*first, *rest, *(op for op in TWICE if op in able))


def entries(*, exact: bool = False) -> int:
    """The greatest operator index of a record: 0 skips, the last ones repeat."""
    return len(operator_table(exact=exact)) + REPEATS


def decode(program: Program) -> Model:
    """The graph of a program; total."""
    return _Decoder(program).model()


class _Decoder:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.table = operator_table(exact=program.exact)
        self.grower = Grower(program.seed, program.exact)
        self.line = [self.grower.input(self._first_type(), program.seed % len(DISTRIBUTIONS))]

    def _first_type(self) -> TensorType:
        p, left, shape = self.program, LARGEST_FIRST, []
        for side in p.sides[: RANKS[p.rank % len(RANKS)]]:
            options = [extent for extent in EXTENTS if extent <= left]
            shape.append(options[side % len(options)])
            left //= max(shape[-1], 1)
        return TensorType(DTYPES[0 if p.exact else p.dtype % len(DTYPES)], tuple(shape))

    def model(self) -> Model:
        for i, record in enumerate(self.program.records):
            is_full = len(self.grower.graph.nodes) >= NODES_MAX
            node = None if is_full else self._hung(i, record)
            self.line.append(node.outputs[0] if node else self._at(record.back))
        graph = self.grower.graph
        graph.outputs = [v for n in graph.nodes for v in n.outputs if not v.uses]
        return Model(self.program, graph, self.grower.tags, self.grower.drawn)

    def _at(self, back: int) -> Value:
        return self.line[-1 - back % len(self.line)]

    def _hung(self, index: int, record: Record) -> Node | None:
        which = record.op % (len(self.table) + REPEATS + 1)
        if which == 0:
            return None
        here, name = self._at(record.back), str(index)
        if which > len(self.table):
            return self.grower.repeat(name, here)
        spec = OPERATORS[self.table[which - 1]]
        seed = (self.program.seed + 31 * index + 1) % 2**32
        call = (name, spec, here, record.decisions, seed, record.peer)
        is_graft = record.decisions and record.decisions[-1] % GRAFTS == GRAFTS - 1
        node = None if is_graft else self.grower.grow(*call)
        return node or self.grower.graft(*call)


def seeded_program(seed: int, *, exact: bool = False) -> Program:
    """A program of 1 to 40 records from a seed."""
    rng = np.random.default_rng(seed)
    length = int(rng.integers(1, LENGTH_MAX, endpoint=True))

    def number(largest: int) -> int:
        return int(rng.integers(0, largest, endpoint=True))

    ops = entries(exact=exact)
    records = tuple(
        Record(
            number(ops),
            number(LARGEST_BACK),
            number(LARGEST_PEER),
            tuple(number(LARGEST_DECISION) for _ in range(DECISIONS)),
        )
        for _ in range(length)
    )
    sides = tuple(number(len(EXTENTS) - 1) for _ in range(SIDES_COUNT))
    dtype = number(len(DTYPES) - 1)
    return Program(number(len(RANKS) - 1), sides, dtype, number(2**32 - 1), records, exact)


LARGEST_BACK, LARGEST_PEER, LARGEST_DECISION = 3, 3, 31
LENGTH_MAX, SIDES_COUNT = 40, 5
NODES_MAX = 40
"""Beyond it nothing more is hung; the last graft may bring a few nodes more."""
DECISIONS = 16
"""Small integers per record; a `Choose` that wants more gets zeros."""

Feeds = Mapping[str, np.ndarray]
