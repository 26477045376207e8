"""The documents side by side: a matrix of operators, each model's nodes, latencies, timelines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from parallax.report.facts import VERDICTS, Check, Document, Profiled, Timed, Tried, Verified

Column = tuple[str, str]
"""Driver and precision."""
EXACTNESS = ("high", "normal", "low")


@dataclass(frozen=True)
class Node:
    """A check with its place: the model it is of, and its share of that model's time (or None)."""

    check: Check
    model: str
    share: float | None

    @property
    def severity(self) -> tuple[Any, ...]:
        """Sorts the worst first: the verdict, then what is nearest to its bound."""
        bounds = self.check.bounds
        return (
            -VERDICTS.index(self.check.verdict),
            -math.inf if math.isnan(bounds) else -bounds,
            -self.check.sigmas,
        )


@dataclass(frozen=True)
class Cell:
    """An operator on one driver at one precision: its nodes, the worst first, and its trials."""

    id: str
    operator: str
    column: Column
    nodes: tuple[Node, ...]
    tried: tuple[Tried, ...]

    @property
    def verdict(self) -> str:
        """The worst one; "none" where nothing ran on the device."""
        if any(trial.failed for trial in self.tried):
            return "fail"
        judged = [VERDICTS.index(n.check.verdict) for n in self.nodes if n.check.on_device]
        if judged:
            return VERDICTS[max(judged)]
        return "pass" if any(trial.passed for trial in self.tried) else "none"

    @property
    def bounds(self) -> float:
        """The largest err/bound."""
        return max(_finite_or_large(b) for b in self._all("bounds"))

    @property
    def sigmas(self) -> float:
        """The largest err/sigma."""
        return max(_finite_or_large(s) for s in self._all("sigmas"))

    @property
    def count(self) -> int:
        """Nodes and cases that were judged."""
        return len(self.nodes) + sum(t.passed + t.failed for t in self.tried)

    def _all(self, name: str) -> list[float]:
        nodes = [getattr(node.check, name) for node in self.nodes]
        return [*nodes, *(getattr(t, name) for t in self.tried), 0.0]


@dataclass(frozen=True)
class Row:
    """A line of the matrix; None where the operator did not occur."""

    operator: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Graph:
    """One model on one driver at one precision, its nodes in the order of the run."""

    id: str
    run: Verified
    nodes: tuple[Node, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many nodes have each verdict."""
        return {v: sum(n.check.verdict == v for n in self.nodes) for v in VERDICTS}

    @property
    def has_shares(self) -> bool:
        """Whether a profile says how long its nodes took."""
        return any(node.share is not None for node in self.nodes)


@dataclass(frozen=True)
class Arranged:
    """Everything that the page shows."""

    documents: tuple[Document, ...]
    columns: tuple[Column, ...]
    matrix: tuple[Row, ...]
    graphs: tuple[Graph, ...]
    timed: tuple[Timed, ...]
    profiled: tuple[Profiled, ...]

    @property
    def cells(self) -> list[Cell]:
        """Of the matrix, those that hold something; what is wrong comes first."""
        found = [cell for row in self.matrix for cell in row.cells if cell is not None]
        return sorted(
            found, key=lambda cell: ("fail", "suspect", "known", "pass", "none").index(cell.verdict)
        )

    @property
    def checks(self) -> dict[Column, list[Check]]:
        """Those that compare numbers on the device with a tolerance, by column."""
        found: dict[Column, list[Check]] = {column: [] for column in self.columns}
        for graph in self.graphs:
            column = (graph.run.driver, graph.run.precision)
            found[column] += [
                node.check
                for node in graph.nodes
                if node.check.on_device and node.check.numbers and not node.check.exact
            ]
        return {column: checks for column, checks in found.items() if checks}


def arrange(documents: Sequence[Document]) -> Arranged:
    """Put together what is about the same thing."""
    profiled = tuple(p for d in documents for p in d.profiled)
    runs = [v for d in documents for v in d.verified]
    graphs = tuple(
        Graph(f"graph-{i}", run, tuple(_nodes(run, profiled))) for i, run in enumerate(runs)
    )
    tried = [t for d in documents for t in d.tried]
    columns = _columns(runs, tried)
    return Arranged(
        documents=tuple(documents),
        columns=columns,
        matrix=tuple(_matrix(graphs, tried, columns)),
        graphs=graphs,
        timed=tuple(sorted((t for d in documents for t in d.timed), key=_by_model)),
        profiled=profiled,
    )


def _columns(runs: Iterable[Verified], tried: Iterable[Tried]) -> tuple[Column, ...]:
    found = {(run.driver, run.precision) for run in runs}
    found |= {(trial.driver, trial.precision) for trial in tried}
    return tuple(sorted(found, key=lambda c: (c[0], _exactness(c[1]), c[1])))


def _exactness(precision: str) -> int:
    return EXACTNESS.index(precision) if precision in EXACTNESS else len(EXACTNESS)


def _by_model(timed: Timed) -> tuple[Any, ...]:
    return timed.model, _finite_or_large(timed.p50_ns)


def _nodes(run: Verified, profiled: Sequence[Profiled]) -> Iterable[Node]:
    shares: dict[str, float] = {}
    for profile in profiled:
        where = (profile.key, profile.driver, profile.precision)
        if where == (run.key, run.driver, run.same_as or run.precision):
            shares = {
                title: ns / profile.synced_ns for title, ns in profile.lanes[0].shares.items()
            }
    for check in run.checks:
        yield Node(check, run.model, shares.get(check.title))


def _matrix(
    graphs: Sequence[Graph], tried: Sequence[Tried], columns: Sequence[Column]
) -> Iterable[Row]:
    nodes: dict[tuple[str, Column], list[Node]] = {}
    trials: dict[tuple[str, Column], list[Tried]] = {}
    for graph in graphs:
        for node in graph.nodes:
            column = (graph.run.driver, graph.run.precision)
            nodes.setdefault((node.check.operator, column), []).append(node)
    for trial in tried:
        trials.setdefault((trial.operator, (trial.driver, trial.precision)), []).append(trial)
    for i, operator in enumerate(sorted({name for name, _ in (*nodes, *trials)})):
        cells: list[Cell | None] = []
        for j, column in enumerate(columns):
            mine = sorted(nodes.get((operator, column), ()), key=lambda node: node.severity)
            own = trials.get((operator, column), [])
            cell = Cell(f"cell-{i}-{j}", operator, column, tuple(mine), tuple(own))
            cells.append(cell if mine or own else None)
        yield Row(operator, tuple(cells))


def _finite_or_large(value: float) -> float:
    """NaN sorts with the infinite: both are as bad as can be."""
    return math.inf if math.isnan(value) else value
