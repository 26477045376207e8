"""How a VerifyReport looks in 100 columns."""

from __future__ import annotations

import shutil
from io import StringIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from conformance.judge import Verdict
from conformance.report import (
    NOTHING_VERIFIED,
    OUT_OF_BOUNDS,
    VERIFIED,
    Excerpt,
    Failure,
    NodeCheck,
    PrecisionReport,
    VerifyReport,
)

WIDTH = 100
"""Columns where no terminal says otherwise."""

WORST = 10
LISTED = 5
WORDS = {
    VERIFIED: "[bold green]verified[/]",
    OUT_OF_BOUNDS: "[bold red]OUT OF BOUNDS[/]",
    NOTHING_VERIFIED: "[bold yellow]NOTHING VERIFIED[/]",
}
MARKS = {Verdict.PASS: "", Verdict.SUSPECT: "suspect", Verdict.FAIL: "[bold red]FAIL[/]"}


def text_of(report: VerifyReport) -> str:
    """The whole report in plain text, as wide as the terminal or COLUMNS, else 100 columns."""
    width = shutil.get_terminal_size(fallback=(WIDTH, 1)).columns
    text = StringIO()
    print_report(report, Console(file=text, width=width, color_system=None, highlight=False))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def print_report(report: VerifyReport, out: Console, *, show_all: bool = False) -> None:
    """The whole report, one section per precision."""
    device = f"{report.device.platform} / {report.device.name}"
    out.print(f"[bold]{escape(report.model)}[/] on {escape(device)}")
    shapes = ", ".join(f"{n} {list(s)}" for n, s in report.shapes.items())
    out.print(f"inputs: {escape(shapes)}, random, seed {report.seed}")
    if report.chosen_shapes:
        names = ", ".join(report.chosen_shapes)
        out.print(f"free dimensions chosen for {escape(names)}; --shape sets them", style="dim")
    for precision in report.precisions:
        _print_precision(precision, out, show_all)


def _print_precision(report: PrecisionReport, out: Console, show_all: bool) -> None:
    out.print()
    head = f"[bold]{report.requested}[/]: {WORDS[report.exit_code]}"
    if report.same_as is not None:
        out.print(
            f"{head}, effectively {report.effective} here, which was judged as {report.same_as}"
        )
        return
    effective = "" if report.effective == report.requested else f" (effectively {report.effective})"
    out.print(f"{head}{effective}, {_counts(report)}, {report.seconds:.1f} s")
    if report.checks:
        out.print(nodes_table(report.checks, show_all))
    if report.failure is not None:
        _print_failure(report.failure, len(report.failures), out)
    for bug in report.context_bugs[:LISTED]:
        out.print(f"  [bold red]context bug[/] (planner or synchronisation): {escape(bug)}")
    _print_remarks(report, out)


def _counts(report: PrecisionReport) -> str:
    views = sum(c.kind == "view" for c in report.checks)
    other = len(report.checks) - report.verified
    parts = [f"{report.verified} node outputs on the device"]
    if views:
        parts.append(f"{views} of them views")
    if other:
        parts.append(f"{other} copied or on the CPU")
    return ", ".join(parts)


def nodes_table(checks: tuple[NodeCheck, ...], show_all: bool) -> Table:
    """Worst first, or all in graph order."""
    ranked = sorted(
        checks, key=lambda c: (c.verdict, c.judgement.bounds, c.judgement.sigmas), reverse=True
    )
    table = Table(box=None, padding=(0, 1, 0, 1), header_style="bold")
    table.add_column("node" if show_all else f"worst {min(WORST, len(checks))} nodes", ratio=3)
    table.add_column("type of the output", overflow="ellipsis", no_wrap=True, max_width=30)
    table.add_column("err/sigma", justify="right", no_wrap=True)
    table.add_column("err/bound", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for column in table.columns[:1]:
        column.no_wrap, column.overflow = True, "ellipsis"
    for check in checks if show_all else ranked[:WORST]:
        j = check.judgement
        where = "" if check.on_device and check.kind == "computed" else f" ({_where(check)})"
        table.add_row(
            f"{escape(check.title)}{where}",
            escape(check.type),
            f"{j.sigmas:.3g}",
            f"{j.bounds:.3g}",
            MARKS[check.verdict] or ("replayed" if check.note else ""),
        )
    return table


def _where(check: NodeCheck) -> str:
    return check.kind if check.on_device else f"on {check.backend}"


# ---------------------------------------------------------------------- failure
def _print_failure(failure: Failure, count: int, out: Console) -> None:
    check, j = failure.check, failure.check.judgement
    more = f" ({count} outputs out of bounds in all)" if count > 1 else ""
    out.print(f"  [bold red]first node out of bounds[/]: {escape(check.title)}{more}")
    at = list(j.index)
    out.print(
        f"    output {escape(repr(check.output))} {escape(check.type)} at {at}: "
        f"got {j.got:.9g}, expected {j.expected:.9g}"
    )
    out.print(
        f"    error {abs(j.got - j.expected):.3g} = {j.sigmas:.3g} sigma ({j.sigma:.3g}) = "
        f"{j.bounds:.3g} x bound ({j.bound:.3g}); {j.failures} of {j.count} elements beyond the "
        f"bound, {j.suspects} more beyond 6 sigma"
    )
    if check.note:
        out.print(f"    {escape(check.note)}")
    table = Table(box=None, padding=(0, 1, 0, 4), show_header=False)
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


def _values(excerpt: Excerpt) -> str:
    """The values, with brackets around the one at the index."""
    here = (excerpt.index[-1] if excerpt.index else 0) - excerpt.start
    return " ".join(f"[{v:.6g}]" if k == here else f"{v:.6g}" for k, v in enumerate(excerpt.values))


# ---------------------------------------------------------------------- remarks
def _print_remarks(report: PrecisionReport, out: Console) -> None:
    if report.outputs:
        table = Table(box=None, padding=(0, 1, 0, 1), header_style="dim", style="")
        for column in ("accumulated, against the CPU", "max abs", "relative L2", "cosine", "top-1"):
            left = column.startswith("accumulated")
            table.add_column(column, justify="left" if left else "right", overflow="fold")
        for o in report.outputs:
            top1 = "-" if o.top1 is None else f"{o.top1:.1%}"
            numbers = f"{o.max_abs:.3g}", f"{o.relative_l2:.3g}", f"{o.cosine:.9f}", top1
            table.add_row(escape(f"{o.name} {o.type}"), *numbers)
        out.print(table)
    outputs = sum(o.overflows for o in report.outputs), sum(o.nans for o in report.outputs)
    out.print(
        f" elements of all tensors: {report.overflows} overflows, {report.nans} NaN, "
        f"{report.undecided} undecided; outputs beyond the CPU: {outputs[0]} inf, {outputs[1]} NaN"
    )
    for constant in report.saturated[:LISTED]:
        out.print(
            f" constant {escape(repr(constant.name))}: {constant.elements} elements saturate "
            "at the largest half"
        )
    _print_fallbacks(report, out)
    notes = [c for c in report.checks if c.note and c.verdict is Verdict.PASS]
    for check in notes[:LISTED]:
        out.print(f" replayed: {escape(check.title)}: {escape(check.note)}")


def _print_fallbacks(report: PrecisionReport, out: Console) -> None:
    if not report.fallbacks:
        return
    count = len(report.fallbacks)
    what = "1 node was" if count == 1 else f"{count} nodes were"
    out.print(f" [yellow]{what} not verified on the device[/]:")
    reasons: dict[tuple[str, str], list[str]] = {}
    for fallback in report.fallbacks:
        reasons.setdefault((fallback.backend, fallback.reason), []).append(fallback.title)
    for (backend, reason), titles in reasons.items():
        listed = ", ".join(titles[:LISTED]) + (", ..." if len(titles) > LISTED else "")
        out.print(f"   on {backend}, because {escape(reason)}: {escape(listed)}")
