"""Whether a model fails on a device, and as what: the judge of bundles, of replay and of reduce."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import onnx

from conformance.bundles.launches import launch_files
from conformance.devices import Target, config_of, target_of
from conformance.export import alone, exported, result_of, source_of
from conformance.inputs import Feeds
from conformance.judge import Judgement, units_for
from conformance.nodes import Tensors, expected_of
from conformance.report import NOTHING_VERIFIED, NodeCheck, PrecisionReport
from conformance.verify import verify
from engine.backends.protocol import Backend, DeviceInfo
from engine.config import Precision
from engine.errors import (
    CompileError,
    DeviceError,
    DeviceMemoryError,
    GraphError,
    ParallaxError,
    PlanError,
)
from engine.execution.execution import Execution
from engine.interpreter import Interpreter
from engine.ir.types import FLOAT, FLOATS
from engine.ops import OPERATORS
from engine.ops.numerics import Error, Units
from engine.runtime import Runtime

OUT_OF_BOUNDS = "out of bounds"
BEYOND_SIGMA = "beyond sigma"
PRODUCTION = "production differs"
"""Kinds of failure; what raises is of the kind of its exception."""

OURS = (CompileError, DeviceError, PlanError, GraphError)
"""Errors that no model and no user may cause."""


@dataclass(frozen=True)
class Signature:
    """Failures with one signature are taken for one bug.

    Attributes:
        kind: one of those above, or the type of an exception.
        operator: the core of the failing node, "" where there is none.
        precision: the effective one.
    """

    kind: str
    operator: str
    precision: str

    def __str__(self) -> str:
        return f"{self.operator} {self.kind} at {self.precision}".strip()

    def to_json(self) -> dict[str, str]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Case:
    """A serialised model, weights inside, and what to feed it; tensors only."""

    model: bytes
    feeds: Feeds


class TriesCases(Protocol):
    """What `conformance/bundles/worker.py` does.

    Attributes:
        seconds: a try that takes longer hangs.
    """

    seconds: float

    def examine(
        self,
        case: Case,
        place: AnyPlace,
        seed: int = 0,
        *,
        launches: bool = False,
        seconds: float | None = None,
    ) -> Failing | None:
        """`examine`, where a process that dies, or takes longer than some seconds, is a failure."""
        ...

    def tensors(self, case: Case, place: AnyPlace) -> Feeds:
        """Every tensor of the model by name."""
        ...


class AnyPlace(Protocol):
    """Where cases run: a device of ours, or an engine that is not (engines/place.py)."""

    @property
    def worker(self) -> TriesCases | None:
        """Another process that tries cases, so that this one outlives what they do."""
        ...

    @property
    def arithmetic(self) -> str:
        """What signatures call the precision: the effective one."""
        ...

    @property
    def info(self) -> DeviceInfo:
        """Of the device, or of the engine."""
        ...

    @property
    def choice(self) -> tuple[str, ...]:
        """The arguments of a command line that choose it."""
        ...

    @property
    def facts(self) -> dict[str, Any]:
        """What a bundle says of it."""
        ...

    @property
    def recipe(self) -> Callable[[Runtime], AnyPlace]:
        """What makes it in another process; can be pickled."""
        ...

    def tried_by(self, worker: TriesCases) -> AnyPlace:
        """The same, with cases tried by another process."""
        ...

    def examine(self, case: Case, seed: int, *, launches: bool) -> Failing | None:
        """Verify a case in this process; see the function of that name."""
        ...

    def tensors(self, case: Case) -> Feeds:
        """What is computed for every tensor of a model; fewer where that cannot be asked."""
        ...

    def output(self, case: Case, name: str) -> np.ndarray:
        """What is computed for an output of the model; raises ParallaxError."""
        ...

    def units(self, dtype: np.dtype) -> Units:
        """Of a floating-point dtype."""
        ...


@dataclass(frozen=True)
class Place:
    """A device of ours; programs that were built stay for the next case. An AnyPlace."""

    runtime: Runtime
    device: str
    precision: Precision
    worker: TriesCases | None = None

    @property
    def target(self) -> Target:
        """Raises DeviceError when there is no such device."""
        return target_of(self.device, self.runtime)

    @property
    def backend(self) -> Backend:
        """The one under test."""
        target = self.target
        return self.runtime.backend(target[0], config_of(target, self.precision))

    @property
    def arithmetic(self) -> str:
        """See AnyPlace."""
        return self.backend.precision.value

    @property
    def info(self) -> DeviceInfo:
        """See AnyPlace."""
        return self.backend.info

    @property
    def choice(self) -> tuple[str, ...]:
        """See AnyPlace."""
        return "--device", self.device

    @property
    def facts(self) -> dict[str, Any]:
        """See AnyPlace."""
        return {"device": {"selector": self.device, **asdict(self.info)}}

    @property
    def recipe(self) -> Callable[[Runtime], AnyPlace]:
        """See AnyPlace."""
        return partial(Place, device=self.device, precision=self.precision)

    def tried_by(self, worker: TriesCases) -> AnyPlace:
        """See AnyPlace."""
        return replace(self, worker=worker)

    def examine(self, case: Case, seed: int, *, launches: bool) -> Failing | None:
        """See AnyPlace."""
        return _examined(case, self, seed, launches=launches)

    def tensors(self, case: Case) -> Feeds:
        """See AnyPlace."""
        interpreter = Interpreter.from_buffer(case.model)
        constants = {c.name for c in onnx.load_from_string(case.model).graph.initializer}
        names = tuple(n for n in interpreter.tensors if n not in constants)
        try:
            return self._run(interpreter, case, names)
        except ParallaxError:
            return {}

    def output(self, case: Case, name: str) -> np.ndarray:
        """See AnyPlace."""
        return self._run(Interpreter.from_buffer(case.model), case, ())[name]

    def _run(self, interpreter: Interpreter, case: Case, keep: tuple[str, ...]) -> Feeds:
        config = config_of(self.target, self.precision, keep=keep)
        shapes = {name: array.shape for name, array in case.feeds.items()}
        with interpreter.create_session(config, self.runtime, shapes) as session:
            session.run(case.feeds)
            names = session.saved if keep else interpreter.outputs
            return {name: np.asarray(session.read(name)) for name in names}

    def units(self, dtype: np.dtype) -> Units:
        """See AnyPlace."""
        kind, backend = dtype if dtype in FLOATS else FLOAT, self.backend
        return Units(backend.compute(kind), backend.storage(kind), self.info.flushes_subnormals)


@dataclass(frozen=True)
class FailingNode:
    """A node that failed, with the tensors of its own run on the device.

    Attributes:
        case: the node as a model, and its inputs as they were; None where it is no ONNX node.
        output: the name of the tensor that is wrong. got: what the device gave.
        expected: float64, or the exact integers. error: sigma and bound of each element.
        is_first: it reads only inputs and constants of the model that ran.
        launches: files with which to repeat its kernel launches; none where that was not asked.
    """

    title: str
    case: Case | None
    output: str
    judgement: Judgement
    got: np.ndarray
    expected: np.ndarray
    error: Error
    is_first: bool
    launches: Mapping[str, bytes]


@dataclass(frozen=True)
class Failing:
    """A failure: the signature, a sentence, and the node unless it is none of one node."""

    signature: Signature
    said: str
    node: FailingNode | None = None


class NothingVerified(ParallaxError):
    """No node of the case ran on the device, or none gave a number."""


def examine(
    case: Case, place: AnyPlace, seed: int = 0, *, launches: bool = False
) -> Failing | None:
    """Verify a case; None when everything passes.

    Args:
        launches: whether to write down those of the failing node.

    Raises:
        ParallaxError: the model or its inputs are refused. NothingVerified: nothing ran there.
    """
    if place.worker is not None:
        return place.worker.examine(case, place, seed, launches=launches)
    return place.examine(case, seed, launches=launches)


def _examined(case: Case, place: Place, seed: int, *, launches: bool) -> Failing | None:
    """`examine` on a device of ours, in this process."""
    nodes: list[FailingNode] = []
    problems: list[Exception] = []

    def note(run: Execution, check: NodeCheck) -> None:
        try:
            nodes.append(failing_node(run, check, launches=launches))
        except Exception as problem:  # of ours: no failure of the model
            problems.append(problem)

    try:
        report = verify(
            Interpreter.from_buffer(case.model),
            device=place.device,
            precisions=[place.precision],
            seed=seed,
            inputs=case.feeds,
            runtime=place.runtime,
            on_failure=note,
        )
    except ParallaxError as error:
        if not isinstance(error, OURS) or isinstance(error, DeviceMemoryError):
            raise
        return _raised(error, place)
    except Exception as error:
        return _raised(error, place)
    if problems:
        raise problems[0]
    if report.exit_code == NOTHING_VERIFIED:
        raise NothingVerified(
            f"nothing is verified on {place.device}: no node of it ran there, or gave a number"
        )
    return failure_of(report.precisions[0], nodes)


def failure_of(report: PrecisionReport, nodes: list[FailingNode]) -> Failing | None:
    """The first failure of a precision: of a node, or else of the plan that reuses memory."""
    if nodes:
        node = nodes[0]
        kind = OUT_OF_BOUNDS if node.judgement.failures else BEYOND_SIGMA
        operator = core_of(node.title)
        return Failing(Signature(kind, operator, report.effective), told(node), node)
    if report.context_bugs:
        return Failing(Signature(PRODUCTION, "", report.effective), report.context_bugs[0])
    return None


def core_of(title: str) -> str:
    """`Conv` of `Conv+Relu 'name'`; "" where no operator stands in front."""
    operator = title.split(" ")[0].split("+")[0]
    return operator if operator in OPERATORS else ""


def told(node: FailingNode) -> str:
    """The worst element in a sentence."""
    j, got, expected = node.judgement, node.got, node.expected
    if got.shape != expected.shape:
        return f"{node.title}: {node.output!r} is of {got.shape}, expected {expected.shape}"
    return (
        f"{node.title}: {node.output!r} at {list(j.index)} is {got[j.index]}, expected "
        f"{expected[j.index]}: {j.bounds:.3g} x bound, {j.sigmas:.3g} sigma ({j.failures} of "
        f"{j.count} beyond bounds)"
    )


def _raised(error: Exception, place: Place) -> Failing:
    said = next(iter(str(error).splitlines()), "")
    kind = type(error).__name__
    signature = Signature(kind, core_of(said), place.backend.precision.value)
    return Failing(signature, f"{kind}: {said}")


def failing_node(run: Execution, check: NodeCheck, *, launches: bool = False) -> FailingNode:
    """All about a node whose check failed, while the run still holds every tensor."""
    node = run.graph.nodes[check.index]
    backend = run.backend_of(node.outputs[0])
    tensors = Tensors(run, [node])
    which = next(k for k, v in enumerate(node.outputs) if v.name == check.output)
    references, errors = expected_of(tensors, node, backend)
    try:
        graph, given = alone(node, run.graph)
        feeds = {name: tensors.peek(value, backend) for name, value in given.items()}
        case = Case(exported(graph).SerializeToString(), feeds)
    except ParallaxError:
        case = None
    return FailingNode(
        title=check.title,
        case=case,
        output=result_of(node.outputs[which], run.graph).name,
        judgement=check.judgement,
        got=tensors.peek(node.outputs[which], backend),
        expected=np.asarray(references[which]),
        error=errors[which],
        is_first=all(v is None or source_of(v).producer is None for v in node.inputs),
        launches=launch_files(run, node, node.outputs[which], units_for(backend, node))
        if launches
        else {},
    )
