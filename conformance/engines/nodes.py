"""The nodes of a model judged by what another engine reported of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from conformance.engines import reading
from conformance.engines.engine import Arrays
from conformance.engines.normalised import FUSED_NORMALISATION, normalisation_of
from conformance.expectation import ErrorOf, Expected, Walk, is_elementwise
from conformance.judge import Verdict
from conformance.nodes import Progress, excerpt, judge_value, mapped
from conformance.report import Failure, Fallback, NodeCheck
from conformance.suspects import is_rare
from engine.backends.protocol import Backend
from engine.ir.graph import Graph, Node, Value
from engine.ir.types import FLOAT16
from engine.ops.compose import error_of, reference_of, spec_of
from engine.ops.numerics import Error
from engine.passes.infer_shapes import are_typed

RANDOM = frozenset({"RandomNormalLike", "RandomUniformLike"})


@dataclass(frozen=True)
class Wrong:
    """A node that an engine computed wrongly.

    Attributes:
        graph: around the node. inputs: by name, as the engine had them; None for one that is not
            known exactly. got: of the output that `check` is about. expected: of it.
    """

    check: NodeCheck
    node: Node
    graph: Graph
    inputs: Mapping[str, np.ndarray | None]
    got: np.ndarray
    expected: Expected


class Nodes:
    """Judges the nodes of an imported graph by what an engine reported.

    Args:
        engine: its name. feeds: of the graph. cpu: computes in the model's own dtypes.

    Attributes:
        wrong: the first node that is. failure: what stands around it.
        skipped: nodes of which nothing can be told, with the reason.
    """

    def __init__(
        self, engine: str, graph: Graph, feeds: Arrays, reported: Arrays, cpu: Backend
    ) -> None:
        self._engine, self._graph, self._feeds = engine, graph, feeds
        self._reported, self._cpu = reported, cpu
        self._walk = Walk(graph, feeds, cpu, reported)
        self.wrong: Wrong | None = None
        self.failure: Failure | None = None
        self.skipped: list[Fallback] = []
        self._overflowing: set[str] = set()

    def checks(self, tell: Progress) -> Iterator[NodeCheck]:
        """One for each value that the engine reported, in the order of the graph."""
        nodes = self._graph.nodes
        for index, node in enumerate(nodes):
            tell("nodes", index, len(nodes))
            reason = self._obstacle(node)
            if reason:
                self.skipped.append(Fallback(node.title, self._engine, reason))
                continue
            inputs = [None if v is None else self._walk.value(v) for v in node.inputs]
            for value, expected in self._walk.after(node):
                if value.name in self._reported:
                    yield self._check(index, node, inputs, value, expected)

    def _obstacle(self, node: Node) -> str:
        """Why nothing can be told of a node, or ""."""
        if node.op_type in RANDOM:
            return "every engine draws random numbers of its own"
        if not are_typed([*filter(None, node.inputs), *node.outputs]):
            return "data decide its shapes"
        if not all(self._walk.knows(v) for v in node.inputs if v is not None):
            return "the engine does not report one of its inputs"
        return ""

    def _check(
        self,
        index: int,
        node: Node,
        inputs: Sequence[np.ndarray | None],
        value: Value,
        expected: Expected,
    ) -> NodeCheck:
        got = self._reported[value.name]
        error = Error(expected.sigma, expected.bound)
        judgement = judge_value(_of_dtype(got, expected), expected.reference, error, expected.units)
        if judgement.undecided or judgement.overflows:
            self._overflowing.add(value.name)
        verdict, note = judgement.verdict, ""
        if verdict is Verdict.SUSPECT and is_rare(judgement):
            verdict, note = Verdict.PASS, f"{judgement.suspects} elements, which is chance"
        what = ""
        if verdict is Verdict.FAIL:
            fused, unrounded = self._fused(node, value), self._unrounded(node, value)
            what = reading.read(node, inputs, got, expected, fused, unrounded)
            what = what or self._normalised(node, got, expected)
        if what:
            verdict, note = Verdict.PASS, _off(got, expected, judgement.bounds)
        check = NodeCheck(
            title=node.title,
            index=index,
            output=value.name,
            type=str(value.known_type),
            kind="computed",
            backend=self._engine,
            on_device=True,
            judgement=judgement,
            verdict=verdict,
            note=note,
            reading=what,
        )
        if verdict is Verdict.FAIL and self.failure is None:
            self.failure = _failure(check, node, inputs, got, expected)
            given = {v.name: self._given(v) for v in node.inputs if v is not None}
            self.wrong = Wrong(check, node, self._graph, given, got, expected)
        return check

    def _given(self, value: Value) -> np.ndarray | None:
        """A value as the engine had it, of its own dtype."""
        if value.constant is not None:
            return value.constant
        return self._reported.get(value.name, self._feeds.get(value.name))

    def overflows_before(self, output: str) -> bool:
        """Whether an output is computed from a value that overflows, or is one; after `checks`."""
        waiting, seen = [v for v in self._graph.outputs if v.name == output], set[Value]()
        while waiting:
            value = waiting.pop()
            if value.name in self._overflowing:
                return True
            if value not in seen and value.producer is not None:
                waiting += filter(None, value.producer.inputs)
            seen.add(value)
        return False

    def _fused(self, node: Node, value: Value) -> Expected:
        """What a value should be, if the nodes before it were computed with it."""
        return self._together(node, value, self._before(node), reading.error_of_any)

    def _normalised(self, node: Node, got: np.ndarray, expected: Expected) -> str:
        """FUSED_NORMALISATION where it explains a Div, or ""."""
        found = normalisation_of(node)
        if found is None or not self._walk.knows(found[0]):
            return ""
        x, whole = found
        inputs = [self._walk.value(x), np.ones(x.known_type.dims[whole.attributes["axis"] :])]
        with np.errstate(all="ignore"):
            (reference, *_) = reference_of(whole, inputs)
            (error, *_) = error_of(whole, inputs, expected.units)
        one = replace(expected, reference=reference, sigma=error.sigma, bound=error.bound)
        said = reading.read(whole, inputs, got, one, one, ())
        return FUSED_NORMALISATION if said else ""

    def _unrounded(self, node: Node, value: Value) -> Sequence[Expected]:
        """What a value should be, where the nodes before it hand on float in place of half.

        All of them, or only those that compute: what moves elements may have half alone.
        """
        if not any(_is_half(v) for v in node.inputs):
            return ()
        chains = (_before_in_half(node, moves) for moves in (True, False))
        return [self._together(node, value, chain, error_of, own=True) for chain in chains if chain]

    def _together(
        self, node: Node, value: Value, before: set[Node], error: ErrorOf, *, own: bool = False
    ) -> Expected:
        """What a value should be where nothing is known of the nodes before it but their inputs.

        Args:
            own: with the bound of the node by itself, not of all.
        """
        nodes = [n for n in self._graph.nodes if n in before or n is node]
        inner = {v.name for n in nodes for v in n.outputs}
        known = {name: y for name, y in self._reported.items() if name not in inner}
        walk = Walk(self._graph, self._feeds, self._cpu, known, error, carries=not own)
        made = {v: e for n in nodes for v, e in walk.after(n)}
        return made[value]

    def _before(self, node: Node) -> set[Node]:
        """Nodes that engines fuse with one behind them: elementwise ones, and what they follow.

        And those of which nothing is known but what they are made of.
        """
        found: set[Node] = set()
        waiting = [node]
        while waiting:
            behind = waiting.pop()
            for value in behind.inputs:
                maker = None if value is None else value.producer
                if value is None or maker is None or maker in found:
                    continue
                is_hidden = value.name not in self._reported
                if is_hidden or behind is node or is_elementwise(behind):
                    found.add(maker)
                    waiting.append(maker)
        return found


def _is_half(value: Value | None) -> bool:
    return value is not None and value.known_type.dtype == FLOAT16


def _before_in_half(node: Node, moves: bool) -> set[Node]:
    """What made the halves that a node reads, and those that it was made of in turn.

    Args:
        moves: whether through nodes that are exact, too.
    """
    found: set[Node] = set()
    waiting = [node]
    while waiting:
        for value in waiting.pop().inputs:
            maker = value.producer if value is not None and _is_half(value) else None
            if maker is None or maker in found:
                continue
            if moves or not spec_of(maker.op_type).is_exact:
                found.add(maker)
                waiting.append(maker)
    return found


def _of_dtype(got: np.ndarray, expected: Expected) -> np.ndarray:
    """What was reported; nothing where it has another dtype, which is a failure of its shape."""
    return got if got.dtype == expected.dtype else np.zeros((0,) * 9, got.dtype)


def _off(got: np.ndarray, expected: Expected, bounds: float) -> str:
    with np.errstate(all="ignore"):
        error = np.abs(got.astype(np.float64) - expected.reference)
    most = float(error.max(initial=0.0, where=np.isfinite(error)))
    return f"off by {most:.2g} at most, {bounds:.3g} x bound"


def _failure(
    check: NodeCheck,
    node: Node,
    inputs: Sequence[np.ndarray | None],
    got: np.ndarray,
    expected: Expected,
) -> Failure:
    at = check.judgement.index
    around = [
        excerpt(v, x, mapped(at, got.shape, x.shape))
        for v, x in zip(node.inputs, inputs)
        if v is not None and x is not None
    ]
    out = next(v for v in node.outputs if v.name == check.output)
    return Failure(
        check,
        tuple(around),
        excerpt(out, got, at),
        excerpt(out, expected.reference, at, "reference"),
    )
