"""The general campaign: all that the harness tries at the depth of CI, and knows of no fault.

Its steps are the same whatever is planted, in the same order: the comparator, refusals, random
graphs and near misses of passes, edges, drawn calls of every operator on every backend, forms of
older opsets, control flow and sequences, lives of sessions, calls beside other engines. No step
leaves anything behind that a later one needs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import ShapeError, UnsupportedError
from engine.interpreter import Interpreter
from engine.ir.types import FLOAT, FLOAT16
from engine.ops import OPERATORS, unary
from engine.ops.spec import Call, OpSpec
from engine.runtime import Runtime
from properties import control_flow, sequences
from properties.choose import SeededChoose
from properties.claims import check_any_bits, check_every_half, check_exact, check_law, check_reject
from properties.comparator import check_guards, check_judge
from properties.copies import check_copy, check_write
from properties.devices import Target
from properties.fault import Bench
from properties.graph_runs import (
    Run,
    check_extra_outputs,
    check_nodes,
    check_production,
    optimised,
    require_equal,
)
from properties.graph_runs import check_exact as check_exact_graph
from properties.graphs import decode, seeded_program
from properties.hostile.witnesses import Court
from properties.lifecycle import compiled_once, seeded_life
from properties.lifecycle_subjects import Reference
from properties.memory import Violation
from properties.old_forms import check_old_form
from properties.packing import check_packing
from properties.pass_claims import check_template
from properties.pass_templates import template
from properties.single import check_case, draw_case, edge_cases
from properties.witnessed import microsoft
from properties.witnessed.features import features, versions
from properties.witnessed.main import is_wrong, reason
from properties.witnessed.walk import Walk, walked
from properties.wrapping import check_wrapped

ROUNDS = 20
"""Examples of everything at the depth of CI."""
LIVES = 3
"""Of sessions, in every round."""
TEMPLATES = 30
"""Of passes, in every round, that no device runs."""
OLD_FORMS, PACKINGS = 20, 5
"""Nodes of older opsets, and arenas, in every round."""
MICROSOFT_CALLS = 8
"""Of each operator of onnxruntime's own."""


def _takes_floats(spec: OpSpec) -> bool:
    try:
        return bool(spec.infer_types(Call((np.zeros(1, FLOAT),)).operands(frozenset()), {}))
    except (ShapeError, UnsupportedError):
        return False


OF_ONE_TENSOR = [spec.op_type for spec in unary.SPECS if _takes_floats(spec)]
"""Functions that are tried on all halves."""


@dataclass
class Place:
    """Where a campaign runs; what is dear to make is made once.

    Attributes:
        selector: the OpenCL device, or "cpu".
    """

    selector: str
    bench: Bench
    _stack: ExitStack = field(default_factory=ExitStack)

    @cached_property
    def runtime(self) -> Runtime:
        """Of sessions that live for one step."""
        return self._stack.enter_context(Runtime())

    @cached_property
    def lives(self) -> tuple[Reference, Path]:
        """Right answers for sessions, and a folder for their files."""
        self._stack.enter_context(compiled_once())
        reference = Reference(self.selector)
        self._stack.callback(reference.close)
        return reference, Path(self._stack.enter_context(tempfile.TemporaryDirectory()))

    @cached_property
    def walk(self) -> Walk:
        """Beside engines that are not ours."""
        return Walk(self.bench.cpu.backend)

    @cached_property
    def court(self) -> Court:
        """The same, for operators of onnxruntime's own."""
        return Court(lambda who: None)

    def close(self) -> None:
        """Free all of it."""
        self._stack.close()


@dataclass(frozen=True)
class Step:
    """One thing to try; raises Violation where a property does not hold.

    Attributes:
        name: unique in a campaign. operator: what a failure accuses, or "" where it says so itself.
    """

    name: str
    run: Callable[[Place], None]
    operator: str = ""


def campaign(devices: tuple[str, ...], rounds: int = ROUNDS) -> Iterator[Step]:
    """All steps, the cheapest kinds first.

    Args:
        devices: ids of the targets, the CPU first (`Bench.all`).
    """
    yield Step("comparator", _comparator)
    for op_type, spec in OPERATORS.items():
        for reject in spec.rejects:
            run = partial(_reject, op_type, reject)
            yield Step(f"reject {op_type} {reject.name}", run, op_type)
    for kind in (_graphs, _operators, _models):
        for number in range(rounds):
            yield from kind(devices, number)
        if kind is _graphs:
            yield from _edges(devices)
    for number in range(rounds * LIVES):
        yield Step(f"life {number}", partial(_life, number))
    yield from _witnessed()


def _edges(devices: tuple[str, ...]) -> Iterator[Step]:
    """What is not drawn."""
    for at, device in enumerate(devices):
        for op_type, spec in OPERATORS.items():
            for number in range(len(spec.edges)):
                run = partial(_edge, op_type, number, at)
                yield Step(f"edge {op_type} {number} on {device}", run, op_type)
        for op_type in OF_ONE_TENSOR:
            run = partial(_halves, op_type, at)
            yield Step(f"halves {op_type} on {device}", run, op_type)


def _operators(devices: tuple[str, ...], number: int) -> Iterator[Step]:
    for op_type in OPERATORS:
        for at, device in enumerate(devices):
            run = partial(_call, op_type, number, at)
            yield Step(f"call {op_type} {number} on {device}", run, op_type)


def _graphs(devices: tuple[str, ...], number: int) -> Iterator[Step]:
    for at, device in enumerate(devices):
        yield Step(f"nodes {number} on {device}", partial(_nodes, number, at))
        yield Step(f"plan {number} on {device}", partial(_plan, number, at))
        yield Step(f"passes {number} on {device}", partial(_passes, number, at))
        yield Step(f"bits {number} on {device}", partial(_bits, number, at))
    yield Step(f"copies {number}", partial(_copies, number))
    yield Step(f"packing {number}", partial(_packing, number))
    first = (number + 1) * TEMPLATES
    yield Step(f"templates from {first}", partial(_templates, first))
    yield Step(f"exact {number}", partial(_exact, number))
    yield Step(f"session {number}", partial(_session, number))
    for device in _hosts(devices):
        yield Step(f"wrapped {number} on {device}", partial(_wrapped, number, device))


def _models(devices: tuple[str, ...], number: int) -> Iterator[Step]:
    yield Step(f"old form {number}", partial(_old_forms, number))
    for device in _hosts(devices):
        run = partial(_control_flow, number, device)
        yield Step(f"control flow {number} on {device}", run)
    yield Step(f"sequences {number}", partial(_sequences, number))


def _hosts(devices: tuple[str, ...]) -> tuple[str, ...]:
    """The CPU and the device, whatever the precisions."""
    return tuple(dict.fromkeys(("cpu", devices[-1].rpartition("-")[0] or "cpu")))


def _witnessed() -> Iterator[Step]:
    for op_type in walked():
        for version in versions(op_type):
            run = partial(_features, op_type, version)
            yield Step(f"witnesses {op_type}-{version}", run, op_type)
    for op_type in microsoft.operators():
        yield Step(f"witnesses {op_type} of onnxruntime", partial(_microsoft, op_type), op_type)


# ------------------------------------------------------------------------- one step each
def _comparator(place: Place) -> None:
    for seed in range(20):
        check_judge(seed)
    for target in place.bench.all:
        check_guards(target.backend)


def _reject(op_type: str, reject: Any, place: Place) -> None:
    check_reject(op_type, reject)


def _edge(op_type: str, number: int, at: int, place: Place) -> None:
    backend = place.bench.all[at].backend
    cases = edge_cases(op_type, OPERATORS[op_type].edges[number]())
    for case in cases:
        check_case(backend, case)
    for law in OPERATORS[op_type].laws:
        if law.bitwise:
            check_law(backend, cases[0], law)


def _halves(op_type: str, at: int, place: Place) -> None:
    for dtype in (FLOAT, FLOAT16):
        check_every_half(place.bench.all[at].backend, op_type, dtype)


def _call(op_type: str, seed: int, at: int, place: Place) -> None:
    """A drawn call within its bounds, under its laws; another on whole numbers."""
    backend, spec = place.bench.all[at].backend, OPERATORS[op_type]
    check_case(backend, draw_case(op_type, SeededChoose(seed), hard=True))
    case = draw_case(op_type, SeededChoose(seed))
    for law in spec.laws:
        check_law(backend, case, law)
    if spec.is_exact:
        check_exact(backend, draw_case(op_type, SeededChoose(seed, exact=True)))


def _target(place: Place, at: int) -> tuple[Target, Any]:
    return place.bench.all[at], place.bench.cpu.backend


def _nodes(seed: int, at: int, place: Place) -> None:
    model = decode(seeded_program(seed))
    target, cpu = _target(place, at)
    for graph in (model.graph, optimised(model.graph)):
        check_nodes(model, graph, target, cpu)


def _plan(seed: int, at: int, place: Place) -> None:
    model = decode(seeded_program(seed))
    target, cpu = _target(place, at)
    for graph in (model.graph, optimised(model.graph)):
        check_production(model, graph, target, cpu)
    check_extra_outputs(model, target, cpu)


def _passes(seed: int, at: int, place: Place) -> None:
    target, cpu = _target(place, at)
    check_template(template(seed), cpu, (target,))


def _bits(seed: int, at: int, place: Place) -> None:
    check_any_bits(place.bench.all[at].backend, SeededChoose(seed))


def _copies(seed: int, place: Place) -> None:
    """From each precision to each, and from the host."""
    for source in place.bench.all:
        check_write(source.backend, SeededChoose(seed))
        for target in place.bench.all:
            check_copy(source.backend, target.backend, SeededChoose(seed))


def _packing(seed: int, place: Place) -> None:
    for one in range(seed * PACKINGS, (seed + 1) * PACKINGS):
        check_packing(one)


def _templates(first: int, place: Place) -> None:
    """By references alone."""
    for seed in range(first, first + TEMPLATES):
        check_template(template(seed), place.bench.cpu.backend)


def _exact(seed: int, place: Place) -> None:
    model = decode(seeded_program(seed, exact=True))
    check_exact_graph(model, place.bench.opencl, place.bench.cpu)


def _session(seed: int, place: Place) -> None:
    model = decode(seeded_program(seed))
    cpu = place.bench.cpu
    with Run(optimised(model.graph), cpu, cpu.backend) as run:
        expected = run(model.feeds())
    with Interpreter(model.graph.copy()).create_session(runtime=place.runtime) as session:
        outputs = session(model.feeds())
        got = [outputs[name] for name in session.outputs]
    require_equal("session against execution", model, model.graph, got, expected)


def _wrapped(seed: int, device: str, place: Place) -> None:
    model = decode(seeded_program(seed, exact=True))
    check_wrapped(model, seed, place.runtime, control_flow.config_on(device))


def _old_forms(seed: int, place: Place) -> None:
    for one in range(seed * OLD_FORMS, (seed + 1) * OLD_FORMS):
        check_old_form(one)


def _control_flow(seed: int, device: str, place: Place) -> None:
    model = control_flow.draw(SeededChoose(seed))
    control_flow.check_control_flow(model, place.runtime, control_flow.config_on(device))


def _sequences(seed: int, place: Place) -> None:
    model = sequences.draw(SeededChoose(seed))
    control_flow.check_control_flow(model, place.runtime, control_flow.config_on("cpu"))


def _life(seed: int, place: Place) -> None:
    reference, folder = place.lives
    (own := folder / str(seed)).mkdir()
    seeded_life(place.selector, reference, own, seed)


def _features(op_type: str, version: int, place: Place) -> None:
    for feature in features(op_type, version):
        heard = place.walk.hear(feature)
        if is_wrong(feature, heard):
            raise Violation(f"{feature} is {heard.verdict}: {reason(feature, heard)}")


def _microsoft(op_type: str, place: Place) -> None:
    for seed in range(MICROSOFT_CALLS):
        microsoft.check_beside_onnxruntime(op_type, seed, place.court, place.bench.cpu.backend)
