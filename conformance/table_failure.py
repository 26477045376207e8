"""The first node out of bounds, and what stands around its worst element."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from conformance.figures import element, figures
from conformance.judge import Judgement
from conformance.report import NOTHING_VERIFIED, OVERFLOW, Excerpt, Failure, VerifyReport
from conformance.visible import escape


def headline(report: VerifyReport) -> str:
    """What is wrong, in one line: the verdict, the first wrong node, its worst element."""
    found = next((p for p in report.precisions if p.exit_code == report.exit_code), None)
    if found is None:
        return f"{report.verdict}: {report.stale[0]}" if report.stale else report.verdict
    where = f"{found.requested}: {found.verdict}"
    if found.failure is not None:
        check, j = found.failure.check, found.failure.check.judgement
        where += f" with {check.example}" if check.example else ""
        return (
            f"{where}: {check.title}: {check.output!r} at {list(j.index)} is {element(j.got, 9)}, "
            f"expected {element(j.expected, 9)}: {figures(j.sigmas)} sigma, "
            f"{figures(j.bounds)} x bound"
        )
    if found.exit_code == NOTHING_VERIFIED:
        why = [f"{f.title}: {f.reason}" for f in found.fallbacks]
        why += [f"{c.title}: {OVERFLOW}" for c in found.checks if c.is_undecided]
        return f"{where}: {why[0]}" if why else where
    if found.parts:
        first = found.parts[0]
        return f"{where}: first at {first.title}: {first.output!r}; {first.right} is right"
    return f"{where}: {found.context_bugs[0]}" if found.context_bugs else where


def print_failure(failure: Failure, count: int, out: Console) -> None:
    """Which node, by how much, and the values around the worst element.

    Args:
        count: outputs out of bounds in all.
    """
    check, j = failure.check, failure.check.judgement
    more = f" ({count} outputs out of bounds in all)" if count > 1 else ""
    out.print(f"[bold red]first node out of bounds[/]: {escape(check.title)}{more}")
    if check.example:
        out.print(Padding(Text(f"with the inputs of {check.example}"), (0, 0, 0, 2)))
    at = f"{check.output!r} {check.type} at {list(j.index)}"
    got, expected = element(j.got, 9), element(j.expected, 9)
    sentences = [f"output {at}: got {got}, expected {expected}", _size(j)]
    for sentence in (*sentences, check.note):
        if sentence:
            out.print(Padding(Text(sentence), (0, 0, 0, 2)))
    table = Table(box=None, padding=(0, 1, 0, 2), show_header=False)
    for _ in range(3):
        table.add_column(overflow="fold")
    for name, excerpt in (
        *((f"input {k}", e) for k, e in enumerate(failure.inputs)),
        ("output", failure.output),
        ("reference", failure.expected),
    ):
        what = name if name == "reference" else f"{name} {excerpt.name!r} {excerpt.type}"
        table.add_row(escape(what), escape(str(list(excerpt.index))), escape(_values(excerpt)))
    out.print(table)


def _size(j: Judgement) -> str:
    """The error at the worst element, and how many others there are."""
    error = figures(abs(j.got - j.expected))
    if j.bound == 0:
        return f"error {error} where none is allowed, in {j.failures} of {j.count} elements"
    return (
        f"error {error} = {figures(j.sigmas)} sigma ({figures(j.sigma)}) = {figures(j.bounds)} x "
        f"bound ({figures(j.bound)}); {j.failures} of {j.count} elements beyond the bound, "
        f"{j.suspects} more beyond 6 sigma"
    )


def _values(excerpt: Excerpt) -> str:
    """The values, with brackets around the one at the index."""
    here = (excerpt.index[-1] if excerpt.index else 0) - excerpt.start
    shown = [f"{v!r:.24}" if isinstance(v, str) else element(v, 6) for v in excerpt.values]
    return " ".join(f"[{v}]" if k == here else v for k, v in enumerate(shown))
