"""An engine that is not ours under judgement: every node on the inputs that it had itself.

Twice: with everything exposed, which turns most fusions off and shows the arithmetic of each node;
and as the engine is deployed, with the model's outputs alone, which must lie as near to a float64
run of the model as rounding explains (conformance/stored.py). Where only the second differs, values
are exposed by halves until it is known which one's exposure cures it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from conformance.devices import config_of
from conformance.engines import exposed, reading
from conformance.engines.engine import Arrays, Engine
from conformance.expectation import Expected, Walk, bound, is_elementwise
from conformance.feeding import Draw, concrete_shapes, drawer, given_arrays
from conformance.inputs import Feeds
from conformance.judge import Verdict
from conformance.nodes import Progress, excerpt, judge_value, mapped
from conformance.outputs import output_error
from conformance.report import (
    OVERFLOW,
    Distance,
    Failure,
    Fallback,
    NodeCheck,
    PrecisionReport,
    VerifyReport,
)
from conformance.stored import LIMIT, Stored
from conformance.suspects import is_rare
from conformance.truth import evaluation
from engine import arguments
from engine.arrays import AnyArrayLike, flattened
from engine.config import ForwardType
from engine.errors import InputError
from engine.interpreter import Interpreter
from engine.ir.graph import Graph, Node, Value
from engine.ops.numerics import Error
from engine.passes import infer_unfolded
from engine.passes.infer_shapes import are_typed
from engine.runtime import Runtime

ARITHMETIC = "float32"
"""What engines are asked to compute in; tensors of half and double have their own."""


def verify_engine(
    model: str | Path | bytes,
    engine: Engine,
    *,
    seed: int = 0,
    shapes: Mapping[str, arguments.AnyShape] | None = None,
    inputs: Mapping[str, AnyArrayLike] | Draw | None = None,
    progress: Progress | None = None,
) -> VerifyReport:
    """Compare what another engine computes in every node of a model with its float64 reference.

    Args:
        model: a path, or the bytes of a file.
        shapes, inputs, seed, progress: as for `verify`.

    Raises:
        ParallaxError: the model or the inputs cannot be used, or the engine does not run it.
    """
    proto = exposed.read(model)
    interpreter = Interpreter.from_buffer(proto.SerializeToString())
    given = given_arrays(interpreter, inputs, seed)
    concrete, chosen = concrete_shapes(interpreter, shapes, given)
    feeds = flattened(drawer(interpreter, concrete, inputs, given, seed)(seed))
    name = str(model) if not isinstance(model, bytes) else interpreter.graph.name
    with Runtime() as runtime:
        tell = progress or (lambda stage, done, total: None)
        trial = Trial(engine, proto, interpreter, feeds, seed, runtime, tell)
        device = replace(
            trial.cpu.info,
            platform=f"{engine.name} {engine.version}",
            name=engine.setting,
            driver=engine.version,
            version=engine.version,
            notes=(),
        )
        report = trial.report()
    return VerifyReport(name, device, seed, concrete, chosen, (report,), given=bool(given))


@dataclass
class Trial:
    """One engine on one model and one set of inputs.

    Attributes:
        deployed: the model's outputs, with nothing exposed. reported: what it exposes, and those.
    """

    engine: Engine
    proto: onnx.ModelProto
    interpreter: Interpreter
    feeds: Feeds
    seed: int
    runtime: Runtime
    tell: Progress

    def __post_init__(self) -> None:
        target = ForwardType.CPU, None
        self.cpu = self.runtime.backend(ForwardType.CPU, config_of(target))
        with self.interpreter.create_session(
            config_of(target), self.runtime, {n: x.shape for n, x in self.feeds.items()}
        ) as session:
            self.truth = flattened(session(self.feeds))
        self.deployed: Arrays = {}
        self.reported: Arrays = {}

    def report(self) -> PrecisionReport:
        """The verdict."""
        start = time.perf_counter()
        self.tell(f"{self.engine.name} runs", 0, 1)
        self.deployed = deployed = self.run(())
        names = exposed.shown_values(self.proto)
        self.reported = self.run(names)
        judged = _Nodes(self, bound(self.interpreter, self.feeds), self.reported)
        checks = tuple(judged.checks())
        found = [check.judgement for check in checks]
        is_explained = any(check.reading or check.verdict is Verdict.FAIL for check in checks)
        differences = tuple(self.differences(deployed, names))
        beyond = [d for d in differences if d.until or not is_explained]
        blamed = [d for d in beyond if d.until or not judged.overflows_before(d.output)]
        return PrecisionReport(
            requested=ARITHMETIC,
            effective=ARITHMETIC,
            same_as=None,
            checks=checks,
            failure=judged.failure,
            fallbacks=tuple(judged.skipped),
            context_bugs=tuple(map(str, blamed)),
            outputs=tuple(output_error(n, deployed[n], y) for n, y in self.truth.items()),
            stored=(),
            saturated=(),
            overflows=sum(j.overflows for j in found),
            nans=sum(j.nans for j in found),
            undecided=sum(j.undecided for j in found),
            seconds=time.perf_counter() - start,
            unjudged=tuple(f"{d}; {OVERFLOW} before it" for d in beyond if d not in blamed),
        )

    def run(self, names: Sequence[str]) -> Arrays:
        """The engine's outputs, with some values exposed; raises InputError where it fails."""
        try:
            found = self.engine.run(exposed.exposed(self.proto, names), self.feeds)
        except Exception as error:
            raise InputError(
                f"{self.engine.name} {self.engine.version} does not run the model: "
                f"{type(error).__name__}: {_reason(error)}"
            ) from error
        return {n: y for n, y in found.items() if isinstance(y, np.ndarray)}

    def differences(self, deployed: Arrays, names: Sequence[str]) -> Iterator[_Difference]:
        """Outputs beyond what rounding explains, and the value whose exposure cures them."""
        expected = {n: deployed[n] for n in self.truth if n in deployed}
        evaluate = evaluation(self.interpreter.imported, self.feeds, infer_unfolded)
        stored = Stored(
            expected,
            evaluate,
            self.cpu,
            self.seed,
            lambda done, total: self.tell("what rounding does to the outputs", done, total),
        )
        for name, distance in stored.theirs.items():
            if not distance.beyond:
                continue

            def is_cured(count: int, name: str = name) -> bool:
                return not stored.distance(name, self.run(names[:count])[name], self.cpu).beyond

            cure = _first(is_cured, len(names))
            yield _Difference(name, distance, None if cure is None else names[cure - 1])


@dataclass(frozen=True)
class _Difference:
    """An output that, as deployed, is not what a float64 run gives.

    Attributes:
        until: the value whose exposure cures it; None where none does.
    """

    output: str
    distance: Distance
    until: str | None

    def __str__(self) -> str:
        found = self.distance
        until = "whatever" if self.until is None else f"until {self.until!r}"
        return (
            f"as deployed, output {self.output!r} lies up to {found.spreads:.3g} spreads from a "
            f"float64 run ({LIMIT:.0f} is the limit) in {found.beyond} of {found.count} "
            f"elements, {until} is exposed"
        )


def _reason(error: Exception) -> str:
    """What an engine says first; OpenVINO begins with where in its sources it fails."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = (line for line in lines if not line.startswith("Exception from"))
    return next(told, lines[0] if lines else "no reason given")


def _first(is_cured: Callable[[int], bool], count: int) -> int | None:
    """The smallest number that cures, where all larger ones do; None where not even `count`."""
    if not is_cured(count):
        return None
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_cured(middle) else (middle, high)
    return high


class _Nodes:
    """Judges the nodes of an imported graph by what an engine reported.

    Attributes:
        failure: the first node that is wrong, with what stands around it.
        skipped: nodes of which nothing can be told, with the reason.
    """

    def __init__(self, trial: Trial, graph: Graph, reported: Arrays) -> None:
        self._trial, self._graph, self._reported = trial, graph, reported
        self._walk = Walk(graph, trial.feeds, trial.cpu, reported)
        self.failure: Failure | None = None
        self.skipped: list[Fallback] = []
        self._overflowing: set[str] = set()

    def checks(self) -> Iterator[NodeCheck]:
        """One for each value that the engine reported, in the order of the graph."""
        nodes = self._graph.nodes
        for index, node in enumerate(nodes):
            self._trial.tell("nodes", index, len(nodes))
            reason = self._obstacle(node)
            if reason:
                self.skipped.append(Fallback(node.title, self._trial.engine.name, reason))
                continue
            inputs = [None if v is None else self._walk.value(v) for v in node.inputs]
            for value, expected in self._walk.after(node):
                if value.name in self._reported:
                    yield self._check(index, node, inputs, value, expected)

    def _obstacle(self, node: Node) -> str:
        """Why nothing can be told of a node, or ""."""
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
            what = reading.read(node, inputs, got, expected, self._fused(node, value))
        if what:
            verdict, note = Verdict.PASS, _off(got, expected, judgement.bounds)
        check = NodeCheck(
            title=node.title,
            index=index,
            output=value.name,
            type=str(value.known_type),
            kind="computed",
            backend=self._trial.engine.name,
            on_device=True,
            judgement=judgement,
            verdict=verdict,
            note=note,
            reading=what,
        )
        if verdict is Verdict.FAIL and self.failure is None:
            self.failure = _failure(check, node, inputs, got, expected)
        return check

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
        before = self._before(node)
        nodes = [n for n in self._graph.nodes if n in before or n is node]
        inner = {v.name for n in nodes for v in n.outputs}
        known = {name: y for name, y in self._reported.items() if name not in inner}
        walk = Walk(self._graph, self._trial.feeds, self._trial.cpu, known, reading.error_of_any)
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
