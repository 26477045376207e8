"""What a seeded fault is, how it is planted, and the property subsets that hunt it."""

from __future__ import annotations
import __future__

import importlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from types import CodeType
from typing import Any
from unittest import mock

from engine.errors import GraphError, PlanError
from engine.ir.types import FLOAT
from engine.ops import OPERATORS
from engine.ops.spec import OpSpec
from engine.runtime import Runtime
from properties.choose import SeededChoose
from properties.claims import check_every_half, check_exact, check_law
from properties.devices import Target, targets_on
from properties.graph_runs import (
    check_exact as check_exact_graph,
)
from properties.graph_runs import (
    check_extra_outputs,
    check_nodes,
    check_production,
    optimised,
)
from properties.graphs import decode, seeded_program
from properties.memory import Violation
from properties.old_forms import check_old_form
from properties.packing import check_packing
from properties.pass_claims import check_template
from properties.pass_templates import template
from properties.reach import Token, kernels_with, touched_by
from properties.single import check_case, draw_case, edge_cases

CAUGHT = (Violation, PlanError, GraphError)
"""What counts as noticing a fault; any other exception is a defect of the fault itself."""


TOUCHED: list[frozenset[Token] | None] = []
"""What the faults planted so far change (`reach.touched_by`); None: what, is not known."""


class FaultError(Exception):
    """A fault that cannot be planted: the code it changes is not as expected."""


class Enough(Exception):
    """A hunt came as far as it was asked to."""


@dataclass
class Bench:
    """Fresh backends for one fault, so that no program or packed weight outlives it.

    Attributes:
        steps: properties tried so far. limit: the hunt stops with Enough after so many.
    """

    cpu: Target
    opencl: tuple[Target, ...]
    steps: int = 0
    limit: int = 1 << 30

    def step(self) -> None:
        """Count one property about to be tried."""
        if self.steps >= self.limit:
            raise Enough
        self.steps += 1

    @property
    def all(self) -> tuple[Target, ...]:
        """The CPU backend first."""
        return (self.cpu, *self.opencl)


@dataclass(frozen=True)
class Fault:
    """One wrong change, and the properties that must fail under it.

    Attributes:
        level: kernel, host, planner, pass, importer, comparator, cpu or reference.
        plant: a context manager in which the fault is active.
        hunt: raises one of CAUGHT when the properties notice.
    """

    name: str
    level: str
    plant: Callable[[], AbstractContextManager[Any]]
    hunt: Callable[[Bench], None]


@contextmanager
def bench(selector: str) -> Iterator[Bench]:
    """A Runtime of its own with the CPU backend and one OpenCL device ("cpu": none)."""
    with Runtime() as runtime:
        (cpu,), _ = targets_on(runtime, "cpu")
        found = () if selector == "cpu" else targets_on(runtime, selector)[0]
        yield Bench(cpu, found)


@dataclass(frozen=True)
class Catch:
    """How the properties noticed a fault: the message, and after how many steps."""

    message: str
    steps: int


def caught(fault: Fault, selector: str) -> Catch | None:
    """None when the fault survives.

    Raises:
        FaultError: the same steps fail without the fault too, so the catch proves nothing.
    """
    with fault.plant(), bench(selector) as where:
        try:
            fault.hunt(where)
            return None
        except CAUGHT as error:
            catch = Catch(str(error).splitlines()[0], where.steps)
    with bench(selector) as where:
        where.limit = catch.steps
        try:
            fault.hunt(where)
        except Enough:
            pass
        except CAUGHT as error:
            raise FaultError(f"fails without the fault: {str(error).splitlines()[0]}") from error
    return catch


# ------------------------------------------------------------------------- planting
def kernel(family: str, *changes: tuple[str, str]) -> Callable[[], AbstractContextManager[Any]]:
    """Change the text of kernels/<family>.cl; every old text must occur."""

    @contextmanager
    def plant() -> Iterator[None]:
        from engine.backends.opencl import context

        real = context.source
        text = real(family)
        for old, new in changes:
            if old not in text:
                raise FaultError(f"kernels/{family}.cl does not contain {old!r}")
            text = text.replace(old, new)

        def changed(name: str) -> str:
            return text if name == family else real(name)

        TOUCHED.append(kernels_with(family))
        with mock.patch.object(context, "source", changed):
            yield

    return plant


def code(place: str, *changes: tuple[str, str]) -> Callable[[], AbstractContextManager[Any]]:
    """Change the text of a Python function; every old text must occur.

    Args:
        place: "module:function" or "module:Class.method". Whoever holds the function has the
            change, under whatever name.
    """

    @contextmanager
    def plant() -> Iterator[None]:
        function = _function(place)
        text = textwrap.dedent(inspect.getsource(function))
        for old, new in changes:
            if old not in text:
                raise FaultError(f"{place} does not contain {old!r}")
            text = text.replace(old, new)
        TOUCHED.append(touched_by(sys.modules[function.__module__], function))
        real = function.__code__
        function.__code__ = _compiled(text, real)
        try:
            yield
        finally:
            function.__code__ = real

    return plant


def _function(place: str) -> Any:
    module, _, path = place.partition(":")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = vars(found)[name]
    found = getattr(found, "fget", None) or getattr(found, "func", found)
    return inspect.unwrap(getattr(found, "__func__", found))


def _compiled(text: str, real: CodeType) -> CodeType:
    """The code of the one function that a text defines, as if it stood where `real` does."""
    flags = __future__.annotations.compiler_flag
    whole = compile(text, real.co_filename, "exec", flags=flags, dont_inherit=True)
    (found,) = (c for c in whole.co_consts if isinstance(c, CodeType))
    return found.replace(co_firstlineno=real.co_firstlineno)


def attribute(owner: Any, name: str, change: Callable[[Any], Any]) -> Callable[[], Any]:
    """Replace `owner.name` by `change(what it was)`; works on modules, classes and dicts."""

    @contextmanager
    def plant() -> Iterator[None]:
        if isinstance(owner, dict):
            TOUCHED.append(touched_by(owner, owner[name]))
            with mock.patch.dict(owner, {name: change(owner[name])}):
                yield
            return
        if not hasattr(owner, name):
            raise FaultError(f"{owner!r} has no {name!r}")
        TOUCHED.append(touched_by(owner, getattr(owner, name)))
        with mock.patch.object(owner, name, change(getattr(owner, name))):
            yield

    return plant


def only_where(
    plant: Callable[[], AbstractContextManager[Any]], *tokens: Token
) -> Callable[[], AbstractContextManager[Any]]:
    """A fault that changes nothing but where one of these tokens of `reach` is reached."""

    @contextmanager
    def narrow() -> Iterator[None]:
        before = len(TOUCHED)
        with plant():
            TOUCHED[before:] = [frozenset(tokens)]
            yield

    return narrow


def several(*plants: Callable[[], AbstractContextManager[Any]]) -> Callable[[], Any]:
    """All of them at once."""

    @contextmanager
    def plant() -> Iterator[None]:
        with ExitStack() as stack:
            for each in plants:
                stack.enter_context(each())
            yield

    return plant


def spec(
    op_type: str, **changes: Callable[[Any], Any]
) -> Callable[[], AbstractContextManager[Any]]:
    """Replace fields of an operator's spec by functions of what they were."""

    def changed(old: OpSpec) -> OpSpec:
        return replace(old, **{k: f(getattr(old, k)) for k, f in changes.items()})

    @contextmanager
    def plant() -> Iterator[None]:
        fields = [touched_by(OPERATORS, getattr(OPERATORS[op_type], name)) for name in changes]
        known = frozenset[Token]().union(*filter(None, fields))
        with attribute(OPERATORS, op_type, changed)():
            TOUCHED[-1] = None if None in fields else known
            yield

    return plant


# ------------------------------------------------------------------------- hunting
Hunt = Callable[[Bench], None]
Slip = tuple[str, str, str, str, Hunt]
"""A slip of the pen: name, place (`code`), old text, new text, and who hunts it."""


def slips(level: str, table: Iterable[Slip]) -> Iterator[Fault]:
    """Each slip as a fault."""
    for name, place, old, new, hunt in table:
        yield Fault(name, level, code(place, (old, new)), hunt)


def operators(*op_types: str, examples: int = 40, on: str = "opencl") -> Hunt:
    """Edges, laws, random calls and whole numbers of some operators."""

    def hunt(where: Bench) -> None:
        targets = (where.cpu,) if on == "cpu" else where.opencl
        for op_type in op_types:
            for target in targets:
                _edges(op_type, target, where)
        for seed in range(examples):
            for op_type in op_types:
                for target in targets:
                    where.step()
                    _examples(op_type, target, seed)

    return hunt


def _edges(op_type: str, target: Target, where: Bench) -> None:
    for edge in OPERATORS[op_type].edges:
        where.step()
        cases = edge_cases(op_type, edge())
        for case in cases:
            check_case(target.backend, case)
        for law in OPERATORS[op_type].laws:
            if law.bitwise:
                check_law(target.backend, cases[0], law)


def _examples(op_type: str, target: Target, seed: int) -> None:
    case = draw_case(op_type, SeededChoose(seed))
    check_case(target.backend, case)
    for law in OPERATORS[op_type].laws:
        check_law(target.backend, case, law)
    if OPERATORS[op_type].is_exact:
        check_exact(target.backend, draw_case(op_type, SeededChoose(seed, exact=True)))


def halves(*op_types: str, on: str = "opencl") -> Hunt:
    """All 65,536 half inputs of some functions of one tensor."""

    def hunt(where: Bench) -> None:
        for target in (where.cpu,) if on == "cpu" else where.opencl:
            for op_type in op_types:
                where.step()
                check_every_half(target.backend, op_type, FLOAT)

    return hunt


def graphs(*checks: str, count: int = 25, on: str = "opencl", first: int = 0) -> Hunt:
    """Random graphs: "nodes", "fused", "production", "outputs", "exact"."""

    def hunt(where: Bench) -> None:
        targets = (where.cpu,) if on == "cpu" else where.opencl or (where.cpu,)
        for seed in range(first, first + count):
            model = decode(seeded_program(seed, exact="exact" in checks))
            for target in targets:
                where.step()
                one_graph(checks, model, target, where)

    return hunt


def one_graph(checks: tuple[str, ...], model: Any, target: Target, where: Bench) -> None:
    """The named checks of one random graph on one target."""
    cpu = where.cpu.backend
    if "nodes" in checks:
        check_nodes(model, model.graph, target, cpu)
    if "fused" in checks:
        check_nodes(model, optimised(model.graph), target, cpu)
    if "production" in checks:
        check_production(model, model.graph, target, cpu)
    if "outputs" in checks:
        check_extra_outputs(model, target, cpu)
    if "exact" in checks:
        check_exact_graph(model, (target,), where.cpu)


def passes(count: int = 240, on: str = "cpu", first: int = 0) -> Hunt:
    """Templates of foldable and fusable graphs, run on the CPU or on OpenCL."""

    def hunt(where: Bench) -> None:
        targets = (where.cpu,) if on == "cpu" else where.opencl
        for seed in range(first, first + count):
            where.step()
            check_template(template(seed), where.cpu.backend, targets)

    return hunt


def old_forms(count: int = 400) -> Hunt:
    """Nodes of older opsets, imported and evaluated by references."""

    def hunt(where: Bench) -> None:
        for seed in range(count):
            where.step()
            check_old_form(seed)

    return hunt


def packings(count: int = 120) -> Hunt:
    """Arenas packed with random blocks."""

    def hunt(where: Bench) -> None:
        for seed in range(count):
            where.step()
            check_packing(seed)

    return hunt


def in_order(*hunts: Hunt) -> Hunt:
    """One after the other."""

    def hunt(where: Bench) -> None:
        for each in hunts:
            each(where)

    return hunt
