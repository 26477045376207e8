"""One call of one operator on one backend: run it in guarded memory, judge every output.

The oracle is the operator's float64 `reference`, fed with what the device holds (read back, hence
already rounded to storage); the tolerance is its derived `error_model`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from conformance import judge as judging
from conformance.mirrors import order_of, unexplained
from engine.backends.protocol import Backend
from engine.ir import Graph, Node, Value, type_of
from engine.ir.types import BOOL, bits_of
from engine.ops import OPERATORS
from engine.ops.compose import error_of, reference_of
from engine.ops.numerics import Error
from engine.ops.spec import Call
from properties.choose import ReplayedChoose, TapedChoose
from properties.evidence import Evidence
from properties.memory import POISONS, GuardedMemory, Violation

REDRAWS = 4
"""Fresh draws that decide about a SUSPECT."""
SUSPECT_SHARE = 1e-4
"""More suspicious elements than this share of all is a failure."""

HARD = (np.nan, np.inf, -np.inf, -0.0)
UNSETTLED = frozenset(("RoiAlign",))
"""Operators of which ONNX does not say what a number that is none does to others.

RoiAlign weighs four neighbours; whether one of weight 0 is read, no text settles.
"""

REFUSALS: Counter[tuple[str, str, str]] = Counter()
"""(operator, backend, sentence) of every call that a backend's `why_not` refused."""
RUNS: Counter[str] = Counter()
"""Calls executed and judged, per backend."""


class OutOfBounds(Violation):
    """An output is not what the reference says.

    Attributes:
        judgement: of the worst output.
    """

    def __init__(self, message: str, judgement: judging.Judgement) -> None:
        super().__init__(message)
        self.judgement = judgement


@dataclass(frozen=True, repr=False)
class Case:
    """A call, and which of its inputs are constants of the graph.

    Attributes:
        tape: the decisions that drew it, to draw the same structure with other values.
        hard: as `draw_case` was asked.
    """

    op_type: str
    call: Call
    constants: frozenset[int] = frozenset()
    tape: tuple[int, ...] = field(default=(), compare=False)
    hard: bool = field(default=False, compare=False)

    def __repr__(self) -> str:
        shown = [
            "-" if x is None else f"{type_of(x)}{' const' * (i in self.constants)}{_small(x)}"
            for i, x in enumerate(self.call.inputs)
        ]
        return (
            f"{self.op_type}({', '.join(shown)}, {dict(self.call.attributes)}, {list(self.tape)})"
        )


def _small(x: np.ndarray) -> str:
    return f"={x.tolist()}" if x.size <= 4 else ""


def draw_case(op_type: str, choose: TapedChoose, *, hard: bool = False) -> Case:
    """Any valid call of an operator; every input but the first may be a constant.

    Args:
        hard: put NaN, infinities and -0 among the floats of every third call.
    """
    spec = OPERATORS[op_type]
    call = spec.example(choose)
    some = frozenset(i for i in range(1, len(call.inputs)) if choose.integer(0, 1))
    present = {i for i, x in enumerate(call.inputs) if x is not None}
    if hard and op_type not in UNSETTLED and choose.integer(0, 2) == 2:
        call = _hardened(call, spec.constant_inputs, choose)
    constants = (some | spec.constant_inputs) & present
    return Case(op_type, call, constants, tuple(choose.tape), hard)


def _hardened(call: Call, known: frozenset[int], choose: TapedChoose) -> Call:
    """What must be known before a run stays as it is."""
    inputs = tuple(
        x if x is None or i in known else choose.mixed(x, HARD) for i, x in enumerate(call.inputs)
    )
    return replace(call, inputs=inputs)


def edge_cases(op_type: str, call: Call) -> list[Case]:
    """A call with those inputs constant that must be, and with all but the first."""
    present = frozenset(i for i, x in enumerate(call.inputs) if x is not None)
    known = OPERATORS[op_type].constant_inputs & present
    return [
        Case(op_type, call, constants)
        for constants in dict.fromkeys((known, known | present - {0}))
    ]


def redraw(case: Case, seed: int, *, exact: bool = False) -> Case:
    """The same structure with other values."""
    choose = ReplayedChoose(case.tape, seed, exact=exact, decorrelated=True)
    return draw_case(case.op_type, choose, hard=case.hard)


def graph_of(case: Case, *, alone: bool = False) -> tuple[Graph, Node]:
    """A graph of one node, typed by the operator's own inference.

    Args:
        alone: leave out all outputs but the first.
    """
    graph = Graph(case.op_type)
    inputs: list[Value | None] = []
    for i, x in enumerate(case.call.inputs):
        if x is None:
            inputs.append(None)
        elif i in case.constants:
            inputs.append(graph.add_constant(f"c{i}", x))
        else:
            inputs.append(graph.add_input(f"x{i}", type_of(x)))
    types = OPERATORS[case.op_type].infer_types(
        case.call.operands(case.constants), case.call.attributes
    )
    outputs = [(f"y{k}", t) for k, t in enumerate(types[:1] if alone else types)]
    node = graph.add_node(case.op_type, inputs, outputs, case.call.attributes)
    graph.outputs = list(node.outputs)
    return graph, node


@dataclass(frozen=True)
class Outcome:
    """What a backend made of a case: inputs as stored, and outputs, all logical arrays."""

    node: Node
    inputs: tuple[np.ndarray | None, ...]
    outputs: tuple[np.ndarray, ...]


def run_case(backend: Backend, case: Case, *, alone: bool = False) -> Outcome | None:
    """Run twice in guarded memory; None where the backend refuses the node (and count that).

    Args:
        alone: leave out all outputs but the first.

    Raises:
        Violation: a canary died, an input changed, an element was not written, or the two runs
            differ in any bit.
    """
    graph, node = graph_of(case, alone=alone)
    refusal = backend.why_not(node)
    if refusal is not None:
        REFUSALS[case.op_type, _name(backend), refusal] += 1
        return None
    backend.lower(graph, [node])
    kernel = backend.prepare(node)
    inputs = {
        value: case.call.inputs[i]
        for i, value in enumerate(node.inputs)
        if value is not None and i not in kernel.packed_inputs
    }
    outputs = list(node.outputs)
    with GuardedMemory(backend, [*inputs, *outputs]) as memory:
        for value, array in inputs.items():
            assert array is not None
            backend.write(memory.slots[value], array)
        command = kernel.bind(
            [None if v is None else memory.slots.get(v) for v in node.inputs],
            [memory.slots[v] for v in outputs],
        )
        _run_twice(backend, memory, command, list(inputs), outputs, node.title)
        held = {i: backend.read(memory.slots[v]) for i, v in enumerate(node.inputs) if v in inputs}
        for i, array in held.items():
            _check_upload(backend, node, i, _array(case.call.inputs[i]), array)
        results = tuple(backend.read(memory.slots[v]) for v in outputs)
    RUNS[_name(backend)] += 1
    return Outcome(node, _as_used(backend, case, held), results)


def _as_used(
    backend: Backend, case: Case, held: Mapping[int, np.ndarray]
) -> tuple[np.ndarray | None, ...]:
    """Inputs as the kernel sees them: read back, packed ones rounded to storage.

    Inputs that must be known before a run are read by the host and not rounded.
    """
    known = OPERATORS[case.op_type].constant_inputs
    return tuple(
        x if x is None or i in known else held[i] if i in held else backend.stored(x)
        for i, x in enumerate(case.call.inputs)
    )


def _check_upload(
    backend: Backend, node: Node, index: int, given: np.ndarray, held: np.ndarray
) -> None:
    """What the device holds is the input rounded to nearest, half saturated; NaN stays NaN."""
    held, given = bits_of(held), bits_of(given)
    storage = backend.storage(given.dtype)
    expected = given
    if storage != given.dtype:
        limit = float(np.finfo(storage).max)
        finite = np.isfinite(given)
        limited = np.where(finite, np.clip(given, -limit, limit), given)
        expected = limited.astype(storage).astype(given.dtype)
    if not np.array_equal(held, expected, equal_nan=given.dtype.kind == "f"):
        raise Violation(f"{node.title}: input {index} is not stored as it was written")


def _array(x: np.ndarray | None) -> np.ndarray:
    assert x is not None
    return x


def _name(backend: Backend) -> str:
    return "cpu" if backend.name == "cpu" else f"{backend.info.platform}-{backend.precision.value}"


def _run_twice(
    backend: Backend,
    memory: GuardedMemory,
    command: Any,
    inputs: list[Value],
    outputs: list[Value],
    who: str,
) -> None:
    before = memory.bytes_of(inputs)
    results = []
    for poison in POISONS:
        memory.poison(outputs, poison)
        command.enqueue()
        backend.synchronize()
        results.append(memory.bytes_of(outputs))
        memory.check_canaries(who)
    if memory.bytes_of(inputs) != before:
        raise Violation(f"{who} changed one of its inputs")
    for value in outputs:
        first, second = (np.frombuffer(r[value], np.uint8) for r in results)
        if value.known_type.dtype == BOOL and first.size and first.max() > 1:
            raise Violation(f"{who} wrote byte {first.max()} as a boolean, or did not write it")
        different = np.flatnonzero(first != second)
        if different.size:
            at = int(different[0])
            unwritten = first[at] == POISONS[0] and second[at] == POISONS[1]
            what = "did not write" if unwritten else "is not deterministic at"
            raise Violation(f"{who} {what} byte {at} of {value.name!r} ({different.size} bytes)")


def check_case(backend: Backend, case: Case) -> bool:
    """Judge every output; False where the backend refuses the call.

    Raises:
        Violation: see `judged_case`.
    """
    return judged_case(backend, case) is not None


def judged_case(backend: Backend, case: Case) -> list[judging.Judgement] | None:
    """The judgements of all outputs, none of which fails; None where the backend refuses the call.

    Where outputs may be left out, that of the first alone is another call.

    Raises:
        Violation: see `run_case`. OutOfBounds: so, or suspicious on fresh draws of the same
            structure too.
    """
    try:
        return _judged(backend, case)
    except Violation as error:
        given = {i: x for i, x in enumerate(case.call.inputs) if i not in case.constants}
        feeds = {f"x{i}": x for i, x in given.items() if x is not None}
        error.evidence = Evidence(graph_of(case)[0], feeds, backend)
        raise


def _judged(backend: Backend, case: Case) -> list[judging.Judgement] | None:
    outcome = run_case(backend, case)
    outcomes = [outcome] if outcome is not None else []
    if not OPERATORS[case.op_type].all_outputs and len(graph_of(case)[1].outputs) > 1:
        first = run_case(backend, case, alone=True)
        outcomes += [first] if first is not None else []
    if not outcomes:
        return None
    verdicts = [
        _mirrored(backend, outcome, k, j)
        for outcome in outcomes
        for k, j in enumerate(judge_outcome(backend, outcome))
    ]
    worst = max(verdicts, key=lambda j: (j.verdict, j.bounds))
    if worst.verdict is judging.Verdict.FAIL:
        raise OutOfBounds(explain(backend, case, worst), worst)
    if worst.verdict is judging.Verdict.SUSPECT:
        _settle(backend, case, worst)
    return verdicts


def _mirrored(
    backend: Backend, outcome: Outcome, which: int, judgement: judging.Judgement
) -> judging.Judgement:
    """A judgement in doubt, decided where the kernel declares its order of summation."""
    in_doubt = judgement.verdict is judging.Verdict.SUSPECT or judgement.undecided
    if judgement.verdict is judging.Verdict.FAIL or not in_doubt:
        return judgement
    got = outcome.outputs[which]
    references, errors = expectation(backend, outcome)
    units = judging.units_for(backend, outcome.node)
    found = judging.compare(got, np.asarray(references[which]), errors[which], units)
    flat = np.arange(got.size) if judgement.is_biased else found.doubtful
    order = order_of(outcome.node, backend)
    if order is None:
        return judgement
    storage = backend.storage(got.dtype)
    left = unexplained(got, outcome.node, outcome.inputs, order, storage, flat, which)
    verdict = judging.Verdict.FAIL if left.size else judging.Verdict.PASS
    return replace(judgement, verdict=verdict, failures=left.size)


def _settle(backend: Backend, case: Case, first: judging.Judgement) -> None:
    """A SUSPECT stands when most fresh draws repeat it, or when many of their elements do."""
    suspicious = suspects = count = 0
    for seed in range(REDRAWS if case.tape else 0):
        outcome = run_case(backend, redraw(case, seed))
        again = judge_outcome(backend, outcome) if outcome else []
        for j in [_mirrored(backend, outcome, k, j) for k, j in enumerate(again) if outcome]:
            if j.verdict is judging.Verdict.FAIL:
                raise OutOfBounds(explain(backend, case, j), j)
            suspicious += j.verdict is judging.Verdict.SUSPECT
            suspects, count = suspects + j.suspects, count + j.count
    persistent = not case.tape or suspicious > REDRAWS // 2
    if persistent or (suspicious > 1 and suspects > SUSPECT_SHARE * count):
        raise OutOfBounds(
            f"{explain(backend, case, first)}; suspicious again in {suspicious} of {REDRAWS} "
            f"fresh draws ({suspects} of {count} elements)",
            first,
        )


def judge_outcome(backend: Backend, outcome: Outcome) -> list[judging.Judgement]:
    """One judgement for every output."""
    units = judging.units_for(backend, outcome.node)
    references, errors = expectation(backend, outcome)
    independent = judging.is_independent(outcome.node, backend)
    return [
        judging.judge(got, reference, error, units, independent=independent)
        for got, reference, error in zip(outcome.outputs, references, errors, strict=True)
    ]


def expectation(
    backend: Backend, outcome: Outcome
) -> tuple[tuple[np.ndarray, ...], tuple[Error, ...]]:
    """References and errors of the outputs, from the inputs as stored."""
    inputs = judging.float64_inputs(outcome.inputs)
    units = judging.units_for(backend, outcome.node)
    count = len(outcome.outputs)
    with np.errstate(all="ignore"):
        references = reference_of(outcome.node, inputs)
        return references[:count], error_of(outcome.node, inputs, units)[:count]


def explain(backend: Backend, case: object, j: judging.Judgement) -> str:
    """One line: who, where, what was got and expected, how far off."""
    return f"{_name(backend)}: {case}: {j.verdict.name} at {j.index}: {told(j)}"


def told(j: judging.Judgement) -> str:
    """What was got and expected at the worst element, how far off, and how many others are."""
    return (
        f"got {j.got!r}, expected {j.expected!r} ({j.bounds:.3g} x bound, {j.sigmas:.3g} sigma; "
        f"{j.failures} failures, {j.suspects} suspects of {j.count})"
    )
