"""Random graphs by a total decoder: every list of records is a valid graph, and shrinks to less.

A record is (operator index, back offset, peer offset, small integers). Operator 0 skips, so
removing a node never renumbers the others; references are small offsets backwards, which gives
chains with local branches; every tensor that nobody reads is an output. Nothing is filtered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.errors import ParallaxError
from engine.ir import Graph, Node, TensorType, Value
from engine.ir.types import FLOAT, FLOAT16, FLOATS, INT64
from engine.ops import OPERATORS
from engine.ops.spec import HERE, SIDES, Growth, Operand, OpSpec, no_growth
from properties.choose import ReplayedChoose, build_exact, build_tensor
from properties.memory import Violation

LARGEST_SIZE = 20_000
"""Elements of any tensor; a node that would make a larger one is skipped."""
LARGEST_FLOPS = 4_000_000
EXACT_LIMIT = 1024.0
"""Whole numbers up to here, and their differences, are exact in half."""
FIRST = ("Identity", "Relu", "Neg", "Add", "Mul", "Concat", "Transpose")
"""The simplest operators; a failing graph shrinks towards them."""
TWICE = ("Conv", "MatMul", "Gemm", "Concat", "MaxPool", "BatchNormalization", "Add")
RANKS = (1, 2, 3, 4, 4, 4)
DTYPES = (FLOAT, FLOAT, FLOAT, FLOAT, FLOAT, FLOAT16, INT64)


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
    """A decoded program: the graph, and feeds of any seed."""

    program: Program
    graph: Graph
    tags: dict[str, int] = field(default_factory=dict)

    def feeds(self, run: int = 0) -> dict[str, np.ndarray]:
        """Inputs of the `run`-th inference; exact programs are exact only on run 0."""
        feeds = {}
        for i, value in enumerate(self.graph.inputs):
            type_, seed = value.known_type, (self.program.seed + 7919 * i + 104729 * run) % 2**32
            if self.program.exact:
                feeds[value.name] = build_exact(seed, type_.dims, type_.dtype, -2, 2)
            else:
                tag = self.tags.get(value.name, 0)
                feeds[value.name] = build_tensor(seed, tag, type_.dims, type_.dtype, -4, 4)
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


def operator_table(*, exact: bool = False) -> tuple[OpSpec, ...]:
    """Operators that can be grown, simplest first; `exact`: only those exact on whole numbers."""
    able = {
        op: spec
        for op, spec in OPERATORS.items()
        if spec.grow is not no_growth and (spec.is_exact or not exact)
    }
    first = [op for op in FIRST if op in able]
    rest = [op for op in able if op not in first]
    return tuple(able[op] for op in (*first, *rest, *(op for op in TWICE if op in able)))


def decode(program: Program) -> Model:
    """The graph of a program; total."""
    return _Decoder(program).model()


class _Decoder:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.table = operator_table(exact=program.exact)
        self.graph = Graph("random")
        self.tags: dict[str, int] = {}
        self.known: dict[Value, np.ndarray] = {}
        first = self._input(self._first_type(), program.seed % 11)
        self.line: list[Value] = [first]
        self.all: list[Value] = [first]

    def _first_type(self) -> TensorType:
        p = self.program
        rank = RANKS[p.rank % len(RANKS)]
        limits = {4: (2, 33, 17, 17), 3: (2, 33, 33), 2: (33, 33), 1: (33,)}[rank]
        shape = []
        for side, limit in zip(p.sides, limits, strict=False):
            options = [s for s in SIDES if s <= limit]
            shape.append(options[side % len(options)])
        return TensorType(DTYPES[0 if p.exact else p.dtype % len(DTYPES)], tuple(shape))

    def _input(self, type_: TensorType, tag: int) -> Value:
        value = self.graph.add_input(f"x{len(self.graph.inputs)}", type_)
        self.tags[value.name] = tag
        if self.program.exact:
            feeds = Model(self.program, self.graph, self.tags).feeds()
            self.known[value] = feeds[value.name].astype(np.float64)
        return value

    def model(self) -> Model:
        for i, record in enumerate(self.program.records):
            node = self._grow(i, record)
            self.line.append(node.outputs[0] if node else self._at(record.back))
            self.all += node.outputs if node else ()
        read = {id(v) for n in self.graph.nodes for v in n.inputs if v is not None}
        made = [v for n in self.graph.nodes for v in n.outputs]
        self.graph.outputs = [v for v in made if id(v) not in read]
        return Model(self.program, self.graph, self.tags)

    def _at(self, back: int) -> Value:
        return self.line[-1 - back % len(self.line)]

    def _grow(self, index: int, record: Record) -> Node | None:
        which = record.op % (len(self.table) + 1)
        if which == 0:
            return None
        spec, here = self.table[which - 1], self._at(record.back)
        seed = (self.program.seed + 31 * index + 1) % 2**32
        choose = ReplayedChoose(record.decisions, seed, exact=self.program.exact)
        growth = spec.grow(choose, here.known_type)
        if growth is None:
            return None
        return self._hang(index, spec, growth, here, record.peer)

    def _hang(
        self, index: int, spec: OpSpec, growth: Growth, here: Value, peer: int
    ) -> Node | None:
        """The node, or None where it would be too large (or not exact)."""
        inputs: list[Value | np.ndarray | None] = []
        for item in growth.inputs:
            if isinstance(item, str):
                inputs.append(here if item == HERE else self._peer(here, peer))
            else:
                inputs.append(None if item is None else np.asarray(item))
        operands = [_operand(x) for x in inputs]
        try:
            types = spec.infer_types(operands, growth.attributes)
        except ParallaxError as error:
            raise Violation(f"{spec.op_type} grew a call that it refuses: {error}") from error
        flops = spec.flops([o.type if o else None for o in operands], types, growth.attributes)
        if max(t.size for t in types) > LARGEST_SIZE or flops > LARGEST_FLOPS:
            return None
        results = self._exact_results(spec, growth, inputs, types)
        if results is None:
            return None
        values = [
            self.graph.add_constant(f"c{index}", x) if isinstance(x, np.ndarray) else x
            for x in inputs
        ]
        names = [f"v{index}" + (f"_{k}" if k else "") for k in range(len(types))]
        outputs = list(zip(names, types, strict=True))
        node = self.graph.add_node(spec.op_type, values, outputs, growth.attributes)
        self.known.update(zip(node.outputs, results, strict=False))
        return node

    def _peer(self, here: Value, peer: int) -> Value:
        """0: the tensor itself; then others of its type, latest first; at last a new input."""
        others = [v for v in reversed(self.all) if v.type == here.type and v is not here]
        which = peer % (len(others) + 2)
        if which == 0:
            return here
        if which <= len(others):
            return others[which - 1]
        value = self._input(here.known_type, which)
        self.all.append(value)
        return value

    def _exact_results(
        self,
        spec: OpSpec,
        growth: Growth,
        inputs: Sequence[Value | np.ndarray | None],
        types: Sequence[TensorType],
    ) -> Sequence[np.ndarray] | None:
        """Exact values of an exact program's new node; None where they could leave the range."""
        if not self.program.exact:
            return ()
        arrays = [
            None if x is None else x if isinstance(x, np.ndarray) else self.known[x] for x in inputs
        ]
        arrays = [
            a.astype(np.float64) if a is not None and a.dtype.kind == "f" else a for a in arrays
        ]
        sizes = [np.abs(a) if a is not None and a.dtype.kind == "f" else a for a in arrays]
        results = spec.reference(arrays, growth.attributes)
        for result in (*results, *spec.reference(sizes, growth.attributes)):
            number = np.asarray(result, np.float64)
            if not (np.abs(number) <= EXACT_LIMIT).all() or (number != np.rint(number)).any():
                return None
        return [
            y if type_.dtype in FLOATS else np.asarray(y).astype(type_.dtype)
            for y, type_ in zip(results, types, strict=False)
        ]


def _operand(x: Value | np.ndarray | None) -> Operand | None:
    if x is None:
        return None
    if isinstance(x, np.ndarray):
        return Operand(TensorType(x.dtype, x.shape), x)
    return Operand(x.known_type)


def seeded_program(seed: int, *, exact: bool = False, length: int = 16) -> Program:
    """A program from a seed, distributed like those that hypothesis draws."""
    rng = np.random.default_rng(seed)

    def number(largest: int) -> int:
        return int(rng.integers(0, largest, endpoint=True))

    ops = len(operator_table(exact=exact))
    records = tuple(
        Record(
            number(ops),
            number(LARGEST_BACK),
            number(LARGEST_PEER),
            tuple(number(LARGEST_DECISION) for _ in range(DECISIONS)),
        )
        for _ in range(length)
    )
    sides = tuple(number(len(SIDES) - 1) for _ in range(4))
    dtype = number(len(DTYPES) - 1)
    return Program(number(len(RANKS) - 1), sides, dtype, number(2**32 - 1), records, exact)


LARGEST_BACK, LARGEST_PEER, LARGEST_DECISION = 3, 3, 31
DECISIONS = 16
"""Small integers per record; a `Choose` that wants more gets zeros."""

Feeds = Mapping[str, np.ndarray]
