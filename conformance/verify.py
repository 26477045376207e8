"""verify: run a model on a device, judge every node, prove the production plan, measure the rest.

The run that is judged keeps every tensor; each node is judged on the inputs that the device gave
it, so errors do not accumulate into the verdict and the first node that fails is the culprit.
The production plan (memory reused) must then give the same outputs, bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from conformance.devices import Target, config_of, precision_of, precisions_on, target_of
from conformance.engines.against import Meeting, Opponent, opponent_of
from conformance.examples import Example, drawn_examples, given_examples, worst_of
from conformance.feeding import Draw, concrete_shapes, drawer, given_arrays, load
from conformance.inputs import AnyFeeds, Feeds, check_arrays
from conformance.judge import Verdict
from conformance.known import Known
from conformance.nodes import Progress, check_nodes, surroundings
from conformance.outputs import output_error, saturated_constants
from conformance.report import Fallback, NodeCheck, PrecisionReport, VerifyReport
from conformance.shapes import Shapes
from conformance.stored import Stored
from conformance.suspects import settle
from conformance.truth import evaluation, is_known
from engine import arguments
from engine.arrays import AnyArrayLike, flattened, shape_of, value_of
from engine.config import ForwardType, Precision
from engine.errors import ConfigError, InputError
from engine.execution.execution import Execution
from engine.interpreter import Interpreter
from engine.ir.types import STRING, type_of
from engine.passes import (
    bind_passes,
    infer_unfolded,
    run_passes,
)
from engine.runtime import Runtime
from engine.session import Session

Batches = Sequence[Mapping[str, AnyArrayLike]]
"""Several sets of inputs, of whatever shapes the model takes."""
OnFailure = Callable[[Execution, NodeCheck], None]
"""Told of a run and of the check that failed."""


class Interrupted(KeyboardInterrupt):
    """The user interrupted `verify`.

    Attributes:
        report: of the precisions that were finished.
    """

    def __init__(self, report: VerifyReport) -> None:
        super().__init__()
        self.report = report


def verify(
    model: str | Path | bytes | Interpreter,
    *,
    device: str | None = None,
    precisions: Iterable[str | Precision] | None = None,
    seed: int = 0,
    shapes: Mapping[str, arguments.AnyShape] | None = None,
    inputs: Mapping[str, AnyArrayLike] | Draw | Batches | None = None,
    inputs_from: str | None = None,
    examples: int | None = None,
    not_finite: bool = False,
    expected: Mapping[str, AnyArrayLike] | None = None,
    against: str | Opponent | None = None,
    known: str | Path | Known | None = None,
    runtime: Runtime | None = None,
    progress: Progress | None = None,
    on_failure: OnFailure | None = None,
) -> VerifyReport:
    """Compare every node of a model on a device with its float64 reference.

    Args:
        model: a path, the bytes of a file, or an Interpreter.
        precisions: such as ("high", "low"); None: all that the device has.
        device: "cpu", an OpenCL selector, or None for the first OpenCL device that works.
        shapes: of inputs with free dimensions; `default_shapes` fills in the rest.
        inputs: arrays by name, or a function of the seed that returns them; a list of such arrays
            is verified one after the other, and the worst of each node kept; None: random ones.
        inputs_from: "strategies" draws hostile values: zeros, subnormals, magnitudes, ties, ...
        examples: how many are drawn, of successive seeds; None: one for each class of values.
        not_finite: whether infinities and NaN are drawn, too.
        expected: outputs by name that another engine computed from the same inputs; the report
            says whether rounding explains how this device differs from them (see `Stored`).
        against: an engine that is not ours, such as "onnxruntime": the report says at which tensors
            it and this device part by more than rounding explains, and which of them is right.
        known: a file of failures of drivers that are known, or its entries for this model; see
            `conformance/known.py`.
        runtime: to share contexts and programs with other sessions.
        progress: called with a stage, done, total.
        on_failure: called at each precision with the run and the first check that failed, while
            the run still holds every tensor.

    Raises:
        ParallaxError: the model, the inputs or the device cannot be used.
        Interrupted: a KeyboardInterrupt, with what was finished.
    """
    arguments.count("seed", seed, 0)
    arguments.function("progress", progress)
    arguments.function("on_failure", on_failure)
    arguments.optional("device", device, str, "the name or the numbers of a device")
    arguments.optional("runtime", runtime, Runtime, "a Runtime")
    interpreter = load(model)
    name = interpreter.graph.name if not isinstance(model, (str, Path)) else str(model)
    opponent = opponent_of(against, model) if isinstance(against, str) else against
    entries = _known(known, model)
    several = _several(interpreter, inputs, inputs_from, examples, not_finite, shapes, seed)
    owned = Runtime() if runtime is None else None
    try:
        shared = runtime or owned
        assert shared is not None

        def judge(inputs: Mapping[str, AnyArrayLike] | Draw | None, seed: int) -> VerifyReport:
            return _verify(
                interpreter,
                _Asked(name, device, precisions, shapes, inputs, expected, opponent, entries, seed),
                shared,
                progress,
                on_failure,
            )

        if several is None:
            assert not isinstance(inputs, Sequence)
            report = judge(inputs, seed)
            return replace(report, stale=entries.stale(report)) if entries else report
        if expected is not None:
            raise InputError("expected outputs: of one set of inputs, but there are several")
        report = worst_of(several, judge)
        if report.interrupted:
            raise Interrupted(report)
        return replace(report, stale=entries.stale(report)) if entries else report
    finally:
        if owned is not None:
            owned.close()


def _known(given: str | Path | Known | None, model: object) -> Known | None:
    """The entries for a model, which they name by its file."""
    if not isinstance(given, (str, Path)):
        return given
    if not isinstance(model, (str, Path)):
        raise InputError(f"known failures {given}: they name models by file: give a path")
    return Known.read(given).of(Path(model).name)


def _several(
    interpreter: Interpreter,
    inputs: Mapping[str, AnyArrayLike] | Draw | Batches | None,
    inputs_from: str | None,
    examples: int | None,
    not_finite: bool,
    shapes: Mapping[str, arguments.AnyShape] | None,
    seed: int,
) -> list[Example] | None:
    """The examples, where more than one set of inputs is asked for."""
    if inputs_from is None:
        if examples is not None or not_finite:
            raise ConfigError("examples, not_finite: of inputs that are drawn, with inputs_from")
        return given_examples(inputs, seed) if isinstance(inputs, Sequence) else None
    if inputs is not None:
        raise ConfigError("inputs and inputs_from exclude each other")
    known = arguments.shapes("shapes", shapes)
    return drawn_examples(interpreter, inputs_from, known, seed, examples, not_finite=not_finite)


@dataclass(frozen=True)
class _Asked:
    """What is asked for of one set of inputs."""

    name: str
    device: str | None
    precisions: Iterable[str | Precision] | None
    shapes: Mapping[str, arguments.AnyShape] | None
    inputs: Mapping[str, AnyArrayLike] | Draw | None
    expected: Mapping[str, AnyArrayLike] | None
    opponent: Opponent | None
    known: Known | None
    seed: int


def _verify(
    interpreter: Interpreter,
    asked: _Asked,
    runtime: Runtime,
    progress: Progress | None,
    on_failure: OnFailure | None,
) -> VerifyReport:
    """Verify one set of inputs."""
    inputs, seed = asked.inputs, asked.seed
    if asked.expected is not None and inputs is None:
        raise InputError("expected outputs: give the inputs that they were computed from, too")
    given = given_arrays(interpreter, inputs, seed)
    concrete, chosen = concrete_shapes(interpreter, asked.shapes, given)
    draw = drawer(interpreter, concrete, inputs, given, seed)
    target = target_of(asked.device, runtime)
    stored = {} if asked.expected is None else arguments.feeds("expected", asked.expected)
    job = _Job(interpreter, target, runtime, concrete, draw, stored, seed, progress)
    job.on_failure, job.opponent, job.known = on_failure, asked.opponent, asked.known
    wanted = precisions_on(target) if asked.precisions is None else _precisions(asked.precisions)
    info = runtime.backend(target[0], config_of(target)).info
    report = VerifyReport(asked.name, info, seed, concrete, chosen, (), given=bool(given))
    try:
        for done in job.run(wanted):
            report = replace(report, precisions=(*report.precisions, done))
    except KeyboardInterrupt:
        raise Interrupted(replace(report, interrupted=True)) from None
    return report


def _precisions(given: Iterable[str | Precision]) -> list[Precision]:
    expected = "a list of precisions, such as ['high']"
    found = [precision_of(p) for p in arguments.items("precisions", given, expected, ConfigError)]
    if not found:
        raise ConfigError(f"precisions: the list is empty, expected {expected}")
    return found


class _Job:
    """One model on one target; its runs share inputs and the CPU backend's outputs."""

    def __init__(
        self,
        interpreter: Interpreter,
        target: Target,
        runtime: Runtime,
        shapes: Shapes,
        draw: Draw,
        expected: Mapping[str, AnyArrayLike],
        seed: int,
        progress: Progress | None,
    ) -> None:
        self.interpreter, self.target, self.runtime = interpreter, target, runtime
        self.shapes, self.draw, self.seed, self.progress = shapes, draw, seed, progress
        lists = {v.name: v.list_type for v in interpreter.graph.outputs}
        self.expected = {
            name: value_of(f"expected: {name!r}", y, lists.get(name))
            for name, y in expected.items()
        }
        self.feeds = draw(seed)
        self.truth: Feeds = {}
        self.stored: Stored | None = None
        self.on_failure: OnFailure | None = None
        self.opponent: Opponent | None = None
        self.meeting: Meeting | None = None
        self.known: Known | None = None

    def session(self, target: Target, precision: Precision, keep: tuple[str, ...] = ()) -> Session:
        """A session in the shapes under test."""
        config = config_of(target, precision, keep=keep)
        return self.interpreter.create_session(config, self.runtime, self.shapes)

    def run(self, wanted: Iterable[Precision]) -> Iterator[PrecisionReport]:
        """One report per precision as it is finished; an effective precision is judged once."""
        with self.session((ForwardType.CPU, None), Precision.HIGH) as session:
            found = session(self.feeds)
            self._check_lengths(found)
            self.truth = flattened(found)
        self.stored = self.stored_outputs() if self.expected else None
        if self.opponent is not None:
            self.meeting = self.opponent.meet(self.feeds, self.seed, self.runtime, self.tell)
        reports: list[PrecisionReport] = []
        for precision in dict.fromkeys(wanted):
            backend = self.runtime.backend(self.target[0], config_of(self.target, precision))
            twin = next((r for r in reports if r.effective == backend.precision.value), None)
            if twin is not None:
                requested, same_as = precision.value, twin.same_as or twin.requested
                reports.append(replace(twin, requested=requested, same_as=same_as, seconds=0.0))
            else:
                reports.append(self.judge(precision))
            yield reports[-1]

    def _check_lengths(self, found: AnyFeeds) -> None:
        """Lists that are expected have as many arrays as those that are found."""
        for name, expected in self.expected.items():
            here = found.get(name)
            counts = [len(y) if isinstance(y, list) else y is not None for y in (expected, here)]
            if name in found and (counts[0] != counts[1] or type(expected) is not type(here)):
                raise InputError(
                    f"expected outputs: {name!r} has the shapes {shape_of(expected)}, the model "
                    f"gives {shape_of(here)}"
                )

    def judge(self, precision: Precision) -> PrecisionReport:
        """Run with every tensor kept, judge, replay suspects, then prove the production plan."""
        start = time.perf_counter()
        primary = self.runtime.backend(self.target[0], config_of(self.target, precision))
        with self.session(self.target, precision, ("*",)) as session:
            outputs = flattened(session(self.feeds))
            checks: list[NodeCheck] = []
            failure, saturated = None, []
            tensors: dict[str, np.ndarray] = {}
            for part in session.execution.parts:
                tensors |= {} if self.meeting is None else self.meeting.read(part)
                found = check_nodes(part, primary, progress=self.telling(precision))
                found = settle(found, part, self.seed)
                if self.known is not None:
                    found = self.known.mark(found, primary.info, primary.precision.value)
                wrong = (c for c in found if c.verdict is Verdict.FAIL and not c.known)
                first = next(wrong, None)
                if first is not None and failure is None:
                    failure = surroundings(part, first)
                    if self.on_failure is not None:
                        self.on_failure(part, first)
                saturated += saturated_constants(part, primary)
                checks += found
            fallbacks = tuple(
                Fallback(op.title, op.backend, op.reason) for op in session.info().fallbacks
            )
        bugs = self.production(precision, outputs)
        on_device = [c.judgement for c in checks if c.on_device]
        return PrecisionReport(
            requested=precision.value,
            effective=primary.precision.value,
            same_as=None,
            checks=tuple(checks),
            failure=failure,
            fallbacks=fallbacks,
            context_bugs=tuple(bugs),
            outputs=tuple(output_error(n, y, self.truth[n]) for n, y in outputs.items()),
            stored=() if self.stored is None else self.stored.check(outputs, primary),
            saturated=tuple(saturated),
            overflows=sum(j.overflows for j in on_device),
            nans=sum(j.nans for j in on_device),
            undecided=sum(j.undecided for j in on_device),
            seconds=time.perf_counter() - start,
            against=None
            if self.meeting is None
            else self.meeting.compare(tensors, primary, checks),
        )

    def stored_outputs(self) -> Stored:
        """What is expected, against the device-free graph; raises InputError where it cannot be."""
        types = {name: type_of(array) for name, array in self.truth.items()}
        expected = flattened(self.expected)
        check_arrays("expected outputs", expected, types, complete=False)
        evaluate = evaluation(
            self.interpreter.graph, self.feeds, lambda bound: run_passes(bound, bind_passes())
        )
        if is_known(self.interpreter.graph, self.feeds):
            evaluate = evaluation(self.interpreter.imported, self.feeds, infer_unfolded)
        return Stored(
            expected,
            evaluate,
            self.runtime.backend(ForwardType.CPU, config_of((ForwardType.CPU, None))),
            self.seed,
            lambda done, total: self.tell("what rounding does to the outputs", done, total),
        )

    def tell(self, stage: str, done: int, total: int) -> None:
        """The caller's progress, where there is a caller who wants it."""
        if self.progress is not None:
            self.progress(stage, done, total)

    def telling(self, precision: Precision) -> Progress | None:
        """The caller's progress, with the precision in front."""
        tell = self.progress
        if tell is None:
            return None
        return lambda stage, done, total: tell(f"{precision.value}: {stage}", done, total)

    def production(self, precision: Precision, expected: Feeds) -> list[str]:
        """Run without kept tensors, twice with other inputs between: outputs must not change."""
        bugs = []
        with self.session(self.target, precision) as session:
            for turn in ("first", "second"):
                got = flattened(session(self.feeds))
                bugs += [
                    f"planner or synchronisation: output {name!r} of the {turn} production run "
                    "differs from the run that keeps every tensor in "
                    f"{_differing(y, expected[name])} of {y.size} elements"
                    for name, y in got.items()
                    if not _is_same(y, expected[name])
                ]
                if turn == "first":
                    session.run(self.draw(self.seed + 1))
        return bugs


def _is_same(got: np.ndarray, expected: np.ndarray) -> bool:
    """Bit for bit; strings character by character."""
    if got.dtype == STRING:
        return np.array_equal(got, expected)
    return got.tobytes() == expected.tobytes()


def _differing(got: np.ndarray, expected: np.ndarray) -> int:
    return int((~((got == expected) | ((got != got) & (expected != expected)))).sum())
