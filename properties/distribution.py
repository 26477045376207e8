"""What random graphs are made of and what they reach, counted: so that a hole shows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from engine.backends.protocol import Command
from engine.errors import ParallaxError
from engine.execution.execution import Execution
from engine.ir import Node
from engine.ir.types import dtype_name
from engine.ops import OPERATORS
from properties.choose import DISTRIBUTIONS, SeededChoose
from properties.dtypes import retyped, variables
from properties.graphs import Model, operator_table
from properties.single import draw_case

PROBES = 6
"""Drawn calls that are tried at each dtype."""
VECTOR = 16
"""Elements that kernels take at a time; what is left over is a tail."""
OF_NO_OPERATOR = ("copy", "peaks")
"""Families of kernels that a backend launches for itself."""
KERNELS = Path(__file__).resolve().parents[1] / "engine" / "backends" / "opencl" / "kernels"

Typed = tuple[str, str]
"""An operator and the dtype of its first input (of its first output, where it has none)."""


@cache
def possible() -> frozenset[Typed]:
    """Operators at every dtype that ONNX allows for the first input, and that they take."""
    found = set()
    for op_type in dict.fromkeys(operator_table()):
        calls = [draw_case(op_type, SeededChoose(seed, long=False)).call for seed in range(PROBES)]
        spec = OPERATORS[op_type]
        for variable, dtypes in list(variables(op_type).items())[:1]:
            for dtype in dtypes:
                for call in calls:
                    changed = retyped(op_type, call, variable, dtype)
                    try:
                        spec.infer_types(changed.operands(spec.constant_inputs), call.attributes)
                    except ParallaxError:
                        continue
                    found.add((op_type, dtype_name(dtype)))
                    break
    return frozenset(found)


def typed(node: Node) -> Typed:
    """What is counted of a node."""
    first = next((v for v in (*node.inputs, *node.outputs) if v is not None), None)
    assert first is not None
    return node.op_type, dtype_name(first.known_type.dtype)


def size_class(extent: int) -> str:
    """On which side of the vectors, tiles and cuts of kernels an extent lies."""
    if extent in (0, 1):
        return str(extent)
    rest = {0: "whole vectors", 1: "one more", VECTOR - 1: "one less"}.get(extent % VECTOR, "tail")
    span = "below 16" if extent < VECTOR else "16 to 255" if extent < 256 else "256 and more"
    return span if extent < VECTOR else f"{span}, {rest}"


@dataclass
class Distribution:
    """Counts over random graphs.

    Attributes:
        nodes, inputs, outputs: graphs by how many they have. ranks, sizes: of all tensors, by
            `size_class`. values: distributions that inputs are fed. sharing: constants by how many
            nodes read them. operators: nodes. pairs: of a producer and a consumer.
        placed: nodes that were judged, with the target. refused: that the target left to the CPU.
        paths: launches by kernel, with the class of how many elements its output has.
    """

    graphs: int = 0
    nodes: Counter[int] = field(default_factory=Counter)
    inputs: Counter[int] = field(default_factory=Counter)
    outputs: Counter[int] = field(default_factory=Counter)
    ranks: Counter[int] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    values: Counter[str] = field(default_factory=Counter)
    sharing: Counter[int] = field(default_factory=Counter)
    operators: Counter[Typed] = field(default_factory=Counter)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    placed: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    refused: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    paths: Counter[tuple[str, str]] = field(default_factory=Counter)

    def note_graph(self, model: Model) -> None:
        """Count a graph as it was drawn."""
        graph = model.graph
        self.graphs += 1
        self.nodes[len(graph.nodes)] += 1
        self.inputs[len(graph.inputs)] += 1
        self.outputs[len(graph.outputs)] += 1
        for value in graph.inputs:
            tag = model.tags.get(value.name)
            self.values["of a call" if tag is None else DISTRIBUTIONS[tag][0]] += 1
        for value in graph.values():
            if value.is_constant:
                self.sharing[len(value.uses)] += 1
                continue
            dims = value.known_type.dims
            self.ranks[len(dims)] += 1
            self.sizes.update(map(size_class, dims))
        for node in graph.nodes:
            self.operators[typed(node)] += 1
            self.pairs.update((node.op_type, r.op_type) for v in node.outputs for r in v.uses)

    def note_run(self, execution: Execution, target: str) -> None:
        """Count where its nodes ran, and what was launched."""
        for placement in execution.placements:
            where = self.refused if placement.reason else self.placed
            where[(*typed(placement.node), target)] += 1
        for step in execution.steps:
            elements = size_class(step.node.outputs[0].known_type.size)
            self.paths.update((kernel, elements) for kernel in _kernels(step.command))

    # ------------------------------------------------------------------ what is missing
    def missing(self) -> list[Typed]:
        """Operators at dtypes that no graph had."""
        return sorted(possible() - set(self.operators))

    def missing_runs(self, targets: Sequence[str]) -> list[tuple[str, str, str]]:
        """The same at a target, where it neither ran nor was refused."""
        tried = set(self.placed) | set(self.refused)
        every = ((*pair, t) for pair in sorted(possible()) for t in targets)
        return [one for one in every if one not in tried]

    def missing_pairs(self) -> list[tuple[str, str]]:
        """Producers and consumers that never met."""
        names = sorted(set(operator_table()))
        return [(a, b) for a in names for b in names if (a, b) not in self.pairs]

    def missing_kernels(self) -> list[str]:
        """Families of kernels of which nothing was launched."""
        launched = {kernel for kernel, _ in self.paths}
        return sorted(f for f, names in kernels_of_families().items() if not names & launched)

    # ------------------------------------------------------------------ what is told
    def table(self, targets: Sequence[str]) -> list[str]:
        """Lines to print."""
        every, names = len(possible()), len(set(operator_table()))
        shared = sum(count for readers, count in self.sharing.items() if readers > 1)
        met = names * names - len(self.missing_pairs())
        lines = [
            f"{self.graphs:,} graphs of {_span(self.nodes)} nodes, {_span(self.inputs)} inputs, "
            f"{_span(self.outputs)} outputs; ranks {_span(self.ranks)}",
            f"operators {len({op for op, _ in self.operators})} of {names}; at dtypes "
            f"{every - len(self.missing())} of {every}",
            f"pairs of producer and consumer {met:,} of {names * names:,}",
            f"constants that several nodes read {shared:,} of {sum(self.sharing.values()):,}",
            f"sizes of axes: {_shares(self.sizes)}",
            f"values of inputs: {_shares(self.values)}",
        ]
        if self.placed or self.refused:
            runs = every * len(targets)
            tried = runs - len(self.missing_runs(targets))
            lines.append(f"operators at dtypes and targets {tried} of {runs}")
        if self.paths:
            kinds = [kind for found in self._tails().values() for kind in found]
            lines.append(
                f"kernels launched {len(self._tails())}: on whole vectors {kinds.count('whole')}, "
                f"with a tail {kinds.count('tail')}, on less than a vector {kinds.count('short')}"
            )
            lines.append(
                f"families without a launch: {', '.join(self.missing_kernels()) or 'none'}"
            )
        return lines

    def _tails(self) -> dict[str, set[str]]:
        """By kernel, which of whole vectors, vectors and a tail, and a tail alone it was given."""
        found: dict[str, set[str]] = {}
        for kernel, elements in self.paths:
            kind = "short" if elements in ("0", "1", "below 16") else "tail"
            found.setdefault(kernel, set()).add("whole" if "whole" in elements else kind)
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        tables = ("nodes", "inputs", "outputs", "ranks", "sizes", "values", "sharing")
        return {
            "graphs": self.graphs,
            **{name: _plain(getattr(self, name)) for name in tables},
            "operators": _plain(self.operators),
            "pairs": _plain(self.pairs),
            "placed": _plain(self.placed),
            "refused": _plain(self.refused),
            "paths": _plain(self.paths),
        }


@cache
def kernels_of_families() -> dict[str, frozenset[str]]:
    """Names of kernels by the file that has them, where a file writes names out."""
    found = {}
    for file in sorted(KERNELS.glob("*.cl")):
        names = frozenset(re.findall(r"kernel void (\w+)\(", file.read_text())) - {"NAME"}
        if names and file.stem not in OF_NO_OPERATOR:
            found[file.stem] = names
    return found


def _kernels(command: Command) -> Iterator[str]:
    for part in getattr(command, "parts", (command,)):
        if (name := getattr(part, "name", None)) is not None:
            yield str(name)


def _span(counts: Counter[int]) -> str:
    total = sum(counts.values())
    if not total:
        return "no"
    mean = sum(n * count for n, count in counts.items()) / total
    return f"{min(counts)} to {max(counts)} (mean {mean:.1f})"


def _shares(counts: Counter[str]) -> str:
    total = sum(counts.values())
    return ", ".join(f"{name} {count / total:.1%}" for name, count in counts.most_common())


def _plain(counts: Counter[Any]) -> dict[str, int]:
    ordered = sorted(counts.items(), key=lambda item: str(item[0]))
    return {" ".join(k) if isinstance(k, tuple) else str(k): n for k, n in ordered}
