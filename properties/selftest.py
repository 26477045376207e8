"""Every operator on one device, case by case: what whoever writes a driver runs first.

Cases of an operator, by name: `example:SEED`, a random call; `edge:NUMBER`, a hard one; both run in
guarded memory and are judged against the float64 reference. `reject:NAME` must be refused before
any kernel runs; `onnx:NAME` is one of ONNX's own, verified with the outputs that ONNX stored.
Nothing but the installed packages is needed: no hypothesis, no pytest, no other engine.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from conformance import onnx_suite
from conformance.devices import Target, config_of
from conformance.judge import Judgement
from conformance.onnx_suite import NOT_COMPARED, TOO_LARGE_FOR_HALF
from conformance.report import PrecisionReport
from conformance.verify import verify
from engine.backends.protocol import Backend
from engine.config import Precision
from engine.errors import ParallaxError, UnsupportedError
from engine.ir.types import FLOAT, FLOAT16
from engine.ops import OPERATORS, image_decoder
from engine.ops.spec import OpSpec, Reject
from engine.runtime import Runtime
from properties.choose import SeededChoose
from properties.claims import check_reject
from properties.devices import targets_on
from properties.refusals import check_refused
from properties.single import (
    Case,
    OutOfBounds,
    draw_case,
    edge_cases,
    graph_of,
    judged_case,
    told,
)

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
SEVERAL = "(several)"
"""In the place of an operator: of ONNX's cases of graphs of several."""
logger = logging.getLogger("parallax.selftest")


@dataclass(frozen=True)
class Outcome:
    """What became of a case at one precision.

    Attributes:
        verdict: PASSED, FAILED or SKIPPED.
        sigmas, bounds: the worst err/sigma and err/bound of all outputs.
        said: what is wrong, or why it was skipped.
    """

    verdict: str
    sigmas: float = 0.0
    bounds: float = 0.0
    said: str = ""


@dataclass(frozen=True)
class Result:
    """The outcome of one case of an operator at one precision."""

    operator: str
    case: str
    precision: str
    outcome: Outcome


@dataclass(frozen=True)
class Device:
    """What cases run on.

    Attributes:
        backends: one for each precision that it computes differently at.
    """

    runtime: Runtime
    target: Target
    backends: tuple[Backend, ...]

    @property
    def name(self) -> str:
        """As a user types it."""
        return self.target[1] or "cpu"


@dataclass(frozen=True)
class Trial:
    """One case; `run` may raise anything, which is a failure."""

    operator: str
    case: str
    run: Callable[[Device, Backend], Outcome]

    def result(self, device: Device, backend: Backend) -> Result:
        """Run it on one of a device's backends."""
        precision = backend.precision.value
        logger.info("%s %s at %s", self.operator, self.case, precision)
        try:
            outcome = self.run(device, backend)
        except OutOfBounds as error:
            outcome = _worst([error.judgement], FAILED, str(error))
        except Exception as error:
            is_told = isinstance(error, (AssertionError, ParallaxError))
            said = str(error) if is_told else f"{type(error).__name__}: {error}"
            outcome = Outcome(FAILED, said=said)
        return Result(self.operator, self.case, precision, outcome)


def device_of(
    target: Target, precisions: Sequence[Precision], runtime: Runtime
) -> tuple[Device, tuple[str, ...]]:
    """A device, and a sentence for each precision that it does not compute differently at."""
    found, notes = targets_on(runtime, target[1] or "cpu", precisions)
    return Device(runtime, target, tuple(t.backend for t in found)), notes


def trials(examples: Sequence[int], *, suite: bool) -> Iterator[Trial]:
    """All of them, operator by operator.

    Args:
        examples: seeds of the random calls. suite: whether ONNX's own cases are wanted.
    """
    theirs: dict[str, list[Trial]] = {}
    for case in onnx_suite.cases().values() if suite else ():
        operator = onnx_suite.operator_of(case) or SEVERAL
        trial = Trial(operator, f"onnx:{case.name}", partial(_verified, case))
        theirs.setdefault(operator, []).append(trial)
    missing = {image_decoder.OP} if image_decoder.why_missing() else set()
    for operator in dict.fromkeys((*OPERATORS, *sorted(theirs))):
        if operator in OPERATORS and operator not in missing:
            yield from _ours(OPERATORS[operator], examples)
        yield from theirs.get(operator, ())


def _ours(spec: OpSpec, examples: Sequence[int]) -> Iterator[Trial]:
    name = spec.op_type
    for seed in examples:
        yield Trial(name, f"example:{seed}", partial(_judged, partial(_example, name, seed)))
    for i in range(len(spec.edges)):
        yield Trial(name, f"edge:{i}", partial(_judged, partial(_edge, name, i)))
    for reject in spec.rejects:
        yield Trial(name, f"reject:{reject.name}", partial(_refused, name, reject))


# ------------------------------------------------------------------------- calls of ours
def _example(op_type: str, seed: int) -> list[Case]:
    return [draw_case(op_type, SeededChoose(seed))]


def _edge(op_type: str, number: int) -> list[Case]:
    return edge_cases(op_type, OPERATORS[op_type].edges[number]())


def _judged(make: Callable[[], Iterable[Case]], _: Device, backend: Backend) -> Outcome:
    judgements: list[Judgement] = []
    refusal = ""
    for case in make():
        found = judged_case(backend, case)
        if found is None:
            refusal = backend.why_not(graph_of(case)[1]) or ""
        judgements += found or ()
    return Outcome(SKIPPED, said=refusal) if not judgements else _worst(judgements)


def _refused(op_type: str, reject: Reject, device: Device, backend: Backend) -> Outcome:
    check_reject(op_type, reject)
    config = config_of(device.target, backend.precision)
    check_refused(op_type, reject.call(), config, device.runtime)
    return Outcome(PASSED)


def _worst(judgements: Iterable[Judgement], verdict: str = PASSED, said: str = "") -> Outcome:
    sigmas, bounds = zip((0.0, 0.0), *((j.sigmas, j.bounds) for j in judgements), strict=True)
    return Outcome(verdict, max(sigmas), max(bounds), said)


# ------------------------------------------------------------------------- ONNX's own
def _verified(case: onnx_suite.Case, device: Device, backend: Backend) -> Outcome:
    """`verify`, with the outputs that ONNX stored where they mean something."""
    try:
        report = verify(
            case.model,
            device=device.name,
            precisions=[backend.precision],
            inputs=case.inputs,
            expected=None if case.name in NOT_COMPARED else case.outputs,
            runtime=device.runtime,
        )
    except ParallaxError as error:
        if isinstance(error, UnsupportedError) or case.name in onnx_suite.refused():
            return Outcome(SKIPPED, said=onnx_suite.sentence(error))
        raise
    (found,) = report.precisions
    wrong = _wrong(found)
    is_half = backend.storage(FLOAT) == FLOAT16
    if found.differing and not wrong and not (is_half and case.name in TOO_LARGE_FOR_HALF):
        wrong = _differing(found)
    mine = [c.judgement for c in found.checks if c.on_device and c.kind != "copy"]
    if wrong:
        return _worst(mine, FAILED, wrong)
    if found.fallbacks and not mine:
        return Outcome(SKIPPED, said=found.fallbacks[0].reason)
    return _worst(mine)


def _wrong(report: PrecisionReport) -> str:
    """The first node out of bounds, or what the planner did."""
    if report.failures:
        check = report.failures[0]
        at = f"{check.output!r} {check.type} at {list(check.judgement.index)}"
        return f"{check.title}: output {at}: {told(check.judgement)}"
    return report.context_bugs[0] if report.context_bugs else ""


def _differing(report: PrecisionReport) -> str:
    """How an output differs from the stored one, although every node is right."""
    check = report.differing[0]
    ours, stored = check.ours, check.stored
    return (
        f"output {check.error.name!r} differs from the stored one: at {list(ours.index)} got "
        f"{ours.value!r}, expected {ours.truth!r} ({ours.spreads:.3g} times what rounding "
        f"explains; the stored one is {stored.spreads:.3g} times as far off)"
    )
