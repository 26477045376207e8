"""Several sets of inputs for one model, each verified, the worst of every node kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from conformance.inputs import AnyFeeds
from conformance.report import Failure, NodeCheck, OutputError, PrecisionReport, VerifyReport
from conformance.value_classes import classes, drawn_inputs
from engine import arguments
from engine.arguments import AnyShape
from engine.arrays import AnyArrayLike
from engine.errors import ConfigError, InputError, ParallaxError
from engine.interpreter import Interpreter

STRATEGIES = "strategies"
"""What inputs are drawn from: `value_classes`."""


@dataclass(frozen=True)
class Example:
    """One set of inputs.

    Attributes:
        name: short, as a table says it. load: gives the arrays, and in words what they are.
        seed: of everything that is drawn beside them.
        is_drawn: so that the model refuses it is no error of the user's.
    """

    name: str
    load: Callable[[], tuple[Mapping[str, AnyArrayLike], str]]
    seed: int = 0
    is_drawn: bool = False


Judge = Callable[[Mapping[str, AnyArrayLike], int], VerifyReport]
"""Verifies inputs with a seed."""


def given_examples(batches: Sequence[Mapping[str, AnyArrayLike]], seed: int) -> list[Example]:
    """One for each batch of a list; raises InputError for an empty list."""
    if not batches:
        raise InputError("inputs: the list is empty, expected at least one dict of arrays by name")
    given = [arguments.feeds(f"inputs[{i}]", batch) for i, batch in enumerate(batches)]
    return [given_example(f"inputs[{i}]", partial(dict, x), seed) for i, x in enumerate(given)]


def given_example(
    name: str, load: Callable[[], Mapping[str, AnyArrayLike]], seed: int = 0
) -> Example:
    """Arrays of the user's."""
    return Example(name, lambda: (load(), ""), seed)


def drawn_examples(
    interpreter: Interpreter,
    source: str,
    shapes: Mapping[str, AnyShape],
    seed: int,
    count: int | None = None,
    *,
    not_finite: bool = False,
) -> list[Example]:
    """Examples of successive seeds, by default one for each class.

    Raises:
        ConfigError: there is no such source, or the count is no positive number.
    """
    if source != STRATEGIES:
        raise ConfigError(f"inputs from {source!r}: expected {STRATEGIES!r}")
    names = classes(not_finite=not_finite)
    count = len(names) if count is None else arguments.count("examples", count, 1)

    def load(k: int) -> tuple[AnyFeeds, str]:
        drawn = drawn_inputs(interpreter, shapes, k, not_finite=not_finite)
        return drawn.feeds, str(drawn)

    return [
        Example(f"seed {k}", partial(load, k), k, is_drawn=True) for k in range(seed, seed + count)
    ]


def worst_of(examples: Sequence[Example], judge: Judge) -> VerifyReport:
    """Verify every example; of each node the worst, and which example that was.

    Interrupted, it returns what stands of the examples that were finished.

    Raises:
        ParallaxError: an example that was given is refused, or all are.
    """
    reports: list[VerifyReport] = []
    refusal: ParallaxError | None = None
    said, refused = [], []
    is_interrupted = False
    for example in examples:
        try:
            feeds, words = example.load()
            report = judge(feeds, example.seed)
        except KeyboardInterrupt:
            if not reports:
                raise
            is_interrupted = True
            break
        except ParallaxError as error:
            if not example.is_drawn:
                raise
            refusal = error
            refused.append(f"{example.name}: {next(iter(str(error).splitlines()), '')}")
            continue
        said.append(f"{example.name}: {words or arguments.shown_shapes(report.shapes)}")
        reports.append(_named(report, example.name))
    if refusal is not None and not reports:
        raise refusal
    return replace(
        _merged(reports),
        given=not examples[0].is_drawn,
        examples=tuple(said),
        refused=tuple(refused),
        interrupted=is_interrupted,
    )


def _named(report: VerifyReport, name: str) -> VerifyReport:
    """The report with the example's name at everything that may be kept of it."""
    return replace(report, precisions=tuple(_with_name(p, name) for p in report.precisions))


def _with_name(report: PrecisionReport, name: str) -> PrecisionReport:
    failure = report.failure
    return replace(
        report,
        checks=tuple(replace(c, example=name) for c in report.checks),
        failure=failure and replace(failure, check=replace(failure.check, example=name)),
        context_bugs=tuple(f"{name}: {bug}" for bug in report.context_bugs),
    )


def _merged(reports: Sequence[VerifyReport]) -> VerifyReport:
    """One report of several; what differs with the inputs is the worst of all."""
    first = reports[0]
    every = zip(*(report.precisions for report in reports), strict=True)
    return replace(first, precisions=tuple(_worst(list(found)) for found in every))


def _worst(found: Sequence[PrecisionReport]) -> PrecisionReport:
    first = found[0]
    if first.same_as is not None:
        return replace(first, seconds=0.0)
    return replace(
        first,
        checks=tuple(_worst_checks(found)),
        failure=_first_failure(found),
        fallbacks=tuple(dict.fromkeys(f for p in found for f in p.fallbacks)),
        context_bugs=tuple(bug for p in found for bug in p.context_bugs),
        outputs=tuple(_worst_outputs(found)),
        saturated=tuple(dict.fromkeys(s for p in found for s in p.saturated)),
        overflows=sum(p.overflows for p in found),
        nans=sum(p.nans for p in found),
        undecided=sum(p.undecided for p in found),
        seconds=sum(p.seconds for p in found),
        against=next((p.against for p in found if p.parts), first.against),
    )


def _worst_checks(found: Sequence[PrecisionReport]) -> Iterator[NodeCheck]:
    """Of each output of a node; shapes, and with them the graph, may differ with the inputs."""
    kept: dict[tuple[str, str], NodeCheck] = {}
    for check in (c for p in found for c in p.checks):
        key = check.title, check.output
        if key not in kept or _severity(check) > _severity(kept[key]):
            kept[key] = check
    yield from kept.values()


def _severity(check: NodeCheck) -> tuple[int, bool, float, float]:
    j = check.judgement
    return check.verdict, not check.proves_nothing, j.sigmas, j.bounds


def _first_failure(found: Sequence[PrecisionReport]) -> Failure | None:
    """The one of the node that comes first; of the same node, of the first example."""
    failures = [p.failure for p in found if p.failure is not None]
    return min(failures, key=lambda failure: failure.check.index, default=None)


def _worst_outputs(found: Sequence[PrecisionReport]) -> Iterator[OutputError]:
    by_name: dict[str, list[OutputError]] = {}
    for error in (o for p in found for o in p.outputs):
        by_name.setdefault(error.name, []).append(error)
    for errors in by_name.values():
        worst = max(errors, key=lambda e: (e.nans, e.overflows, _number(e.relative_l2)))
        inf, nan = sum(e.overflows for e in errors), sum(e.nans for e in errors)
        yield replace(worst, overflows=inf, nans=nan)


def _number(x: float) -> float:
    """Ordered: NaN, where nothing can be compared, comes first."""
    return x if x == x else -1.0
