"""How a VerifyReport looks: words take as much room as there is, numbers are never cut."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from io import StringIO

from rich.console import Console
from rich.text import Text

from conformance.figures import figures
from conformance.grid import Cell, print_grid
from conformance.judge import Verdict
from conformance.report import (
    NOTHING_VERIFIED,
    OUT_OF_BOUNDS,
    OVERFLOW,
    VERIFIED,
    NodeCheck,
    PrecisionReport,
    VerifyReport,
)
from conformance.table_failure import print_failure
from conformance.table_outputs import print_accumulated, print_against, print_stored
from conformance.visible import escape
from engine import arguments

WIDTH = 100
"""Columns where no terminal says otherwise."""

WORST = 10
LISTED = 5
STYLES = {VERIFIED: "bold green", OUT_OF_BOUNDS: "bold red", NOTHING_VERIFIED: "bold yellow"}
EQUALITIES = ("exact", "correctly rounded")
NOT_JUDGED = "not judged"
NUMBERS = ("err/sigma", "err/bound")


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
    shapes = arguments.shown_shapes(report.shapes)
    out.print(f"inputs: {escape(shapes)}, {escape(_origin(report))}")
    for example in report.examples:
        out.print(f"  {escape(example)}", style="dim")
    for refusal in report.refused:
        out.print(f"  [yellow]refused[/] {escape(refusal)}")
    if report.chosen_shapes:
        names = ", ".join(report.chosen_shapes)
        out.print(f"free dimensions chosen for {escape(names)}; --shape sets them", style="dim")
    for precision in report.precisions:
        _print_precision(precision, out, show_all)
    for sentence in report.stale:
        out.print(f"[bold red]known failure[/]: {escape(sentence)}")


def _origin(report: VerifyReport) -> str:
    what = "given" if report.given else f"random, seed {report.seed}"
    if not report.examples:
        return what
    what = "given" if report.given else "drawn"
    return f"the worst of {len(report.examples)} sets, {what}"


def _print_precision(report: PrecisionReport, out: Console, show_all: bool) -> None:
    out.print()
    style = STYLES[report.exit_code]
    head = f"[bold]{report.requested}[/]: [{style}]{report.verdict}[/]"
    if report.same_as is not None:
        out.print(
            f"{head}, effectively {report.effective} here, which was judged as {report.same_as}"
        )
        return
    effective = "" if report.effective == report.requested else f" (effectively {report.effective})"
    out.print(f"{head}{effective}, {_counts(report)}, {report.seconds:.1f} s")
    if report.checks:
        _print_nodes(report.checks, out, show_all)
    if report.failure is not None:
        print_failure(report.failure, len(report.failures), out)
    for bug in report.context_bugs[:LISTED]:
        out.print(f"[bold red]context bug[/]: {escape(bug)}")
    print_accumulated(report.outputs, out)
    print_stored(report, out)
    print_against(report, out)
    _print_remarks(report, out)


def _counts(report: PrecisionReport) -> str:
    mine = [c for c in report.checks if c.on_device and c.kind != "copy" and not c.proves_nothing]
    kinds = Counter(_equality(c) for c in mine)
    views = sum(c.kind == "view" for c in mine)
    kinds["view" if views == 1 else "views"] = views
    of_them = ", ".join(
        f"{kinds[kind]} {kind}" for kind in ("view", "views", *EQUALITIES) if kinds[kind]
    )
    parts = [f"{report.verified} node outputs on the device" + (f" ({of_them})" if of_them else "")]
    open_ = sum(c.is_undecided for c in report.checks)
    void = sum(c.proves_nothing for c in report.checks) - open_
    if open_:
        parts.append(f"{open_} {NOT_JUDGED}")
    if void:
        parts.append(f"{void} of no element or only NaN, which proves nothing")
    other = len(report.checks) - report.verified - void - open_
    if other:
        parts.append(f"{other} copied or on the CPU")
    return ", ".join(parts)


# ---------------------------------------------------------------------- nodes
def _equality(check: NodeCheck) -> str:
    """One of EQUALITIES where nothing remains to be said in numbers, else ""."""
    j = check.judgement
    return EQUALITIES[0] if j.exact else EQUALITIES[1] if j.rounded else ""


def _print_nodes(checks: Sequence[NodeCheck], out: Console, show_all: bool) -> None:
    """The worst first: by verdict, then by sigma; what is exact or correctly rounded last."""
    ranked = sorted(checks, key=_rank, reverse=True)[: None if show_all else WORST]
    cut = len(ranked) < len(checks)
    head = f"worst {len(ranked)} of {len(checks)}" if cut else "node output"
    heads = [head, "type", _pair(*NUMBERS)]
    rows: list[list[Cell]] = [[_title(c), c.type, _equality(c) or _numbers(c)] for c in ranked]
    for title, cell in (("with", _example), ("", _remark)):
        if any(map(cell, ranked)):
            heads.append(title)
            rows = [[*row, cell(check)] for row, check in zip(rows, ranked, strict=True)]
    print_grid(out, heads, rows, names=2, shorten=True)


def _rank(check: NodeCheck) -> tuple[Verdict, bool, bool, float, float]:
    j = check.judgement
    return check.verdict, bool(check.note), not _equality(check), j.sigmas, j.bounds


def _title(check: NodeCheck) -> str:
    if check.on_device and check.kind == "computed":
        return check.title
    return f"{check.title} ({check.kind if check.on_device else f'on {check.backend}'})"


def _numbers(check: NodeCheck) -> str:
    if check.is_undecided:
        return NOT_JUDGED
    return _pair(figures(check.judgement.sigmas), figures(check.judgement.bounds))


def _pair(sigmas: str, bounds: str) -> str:
    """Two numbers as one cell, which holds words instead where there are no numbers."""
    return "  ".join(f"{n:>{len(head)}}" for n, head in zip((sigmas, bounds), NUMBERS, strict=True))


def _example(check: NodeCheck) -> Cell:
    """The set of inputs that was the worst; nothing where it does not matter."""
    return "" if _equality(check) and check.verdict is Verdict.PASS else check.example


def _remark(check: NodeCheck) -> Cell:
    if check.known:
        return Text("known", style="yellow")
    if check.verdict is Verdict.FAIL:
        return Text("FAIL", style="bold red")
    if check.verdict is Verdict.SUSPECT:
        return Text("suspect", style="bold yellow")
    return check.reading or ("cleared" if check.note else "")


# ---------------------------------------------------------------------- remarks
def _print_remarks(report: PrecisionReport, out: Console) -> None:
    for check in [c for c in report.checks if c.note and c.verdict is Verdict.PASS][:LISTED]:
        what = check.reading or "suspect cleared"
        out.print(f"{what}: {escape(check.title)}: {escape(check.note)}")
    for check in [c for c in report.checks if c.is_undecided][:LISTED]:
        out.print(f"{NOT_JUDGED}: {escape(check.title)}: {OVERFLOW}, so no bound is known")
    for sentence in report.unjudged[:LISTED]:
        out.print(f"{NOT_JUDGED}: {escape(sentence)}")
    for check in [c for c in report.checks if c.known][:LISTED]:
        out.print(f"known of this driver: {escape(check.title)}: {escape(check.known)}")
    counts = {
        "overflows to infinity": report.overflows,
        "NaN": report.nans,
        f"undecided ({OVERFLOW})": report.undecided,
    }
    counted = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    if counted:
        out.print(f"[yellow]elements of all tensors[/]: {counted}")
    inf, nan = (sum(getattr(o, k) for o in report.outputs) for k in ("overflows", "nans"))
    if inf or nan:
        out.print(f"elements of the outputs that are finite on the CPU: {inf} inf, {nan} NaN here")
    for constant in report.saturated[:LISTED]:
        out.print(
            f"constant {escape(repr(constant.name))}: {constant.elements} elements saturate "
            "at the largest half"
        )
    _print_fallbacks(report, out)


def _print_fallbacks(report: PrecisionReport, out: Console) -> None:
    if not report.fallbacks:
        return
    count = len(report.fallbacks)
    what = "1 node was" if count == 1 else f"{count} nodes were"
    out.print(f"[yellow]{what} not verified on the device[/]:")
    reasons: dict[tuple[str, str], list[str]] = {}
    for fallback in report.fallbacks:
        reasons.setdefault((fallback.backend, fallback.reason), []).append(fallback.title)
    for (backend, reason), titles in reasons.items():
        listed = ", ".join(titles[:LISTED]) + (", ..." if len(titles) > LISTED else "")
        out.print(f"  on {backend}, because {escape(reason)}: {escape(listed)}")
