"""The outputs of a model at one precision: against the CPU backend, and against stored ones."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from conformance.figures import figures
from conformance.grid import print_grid
from conformance.report import Agreement, Distance, OutputError, PrecisionReport, StoredCheck
from conformance.stored import LIMIT

WORDS = {
    Agreement.AGREE: Text("agrees"),
    Agreement.UNDECIDED: Text("undecided", style="yellow"),
    Agreement.DIFFER: Text("DIFFERS", style="bold red"),
}


def print_accumulated(outputs: Sequence[OutputError], out: Console) -> None:
    """How far the errors of all nodes took the outputs from those of the CPU backend."""
    if not outputs:
        return
    rows = [(f"{o.name} {o.type}", *_sizes(o), f"{o.cosine:.9f}", _top1(o)) for o in outputs]
    heads = ("outputs, against the CPU's", "max abs", "relative L2", "cosine", "top-1")
    print_grid(out, heads, rows, shorten=True)


def print_stored(report: PrecisionReport, out: Console) -> None:
    """How far the outputs lie from the stored ones, and whether rounding explains it."""
    if not report.stored:
        return
    rows = [
        (
            f"{c.error.name} {c.error.type}",
            *_sizes(c.error),
            "-" if c.ulps is None else figures(c.ulps),
            _top1(c.error),
            figures(c.ours.spreads),
            figures(c.stored.spreads),
            WORDS[c.verdict],
        )
        for c in report.stored
    ]
    heads = ("against the stored", "max abs", "relative L2", "ulp", "top-1", "here", "stored", "")
    print_grid(out, heads, rows, shorten=True)
    out.print(
        "here, stored: the distance of each from a float64 run, in units of what rounding explains "
        f"({LIMIT:g} is the limit)",
        style="dim",
    )
    for check in report.stored:
        for sentence in _sentences(check, report):
            out.print(f"{escape(repr(check.error.name))}: {escape(sentence)}")


def _sizes(error: OutputError) -> tuple[str, str]:
    return figures(error.max_abs), figures(error.relative_l2)


def _top1(error: OutputError) -> Text:
    if error.top1 is None:
        return Text("-")
    return Text(f"{error.top1:.1%}", style="yellow" if error.top1 < 1 else "")


def _sentences(check: StoredCheck, report: PrecisionReport) -> list[str]:
    found = []
    if check.stored.beyond:
        found.append(
            f"the stored output lies {_far(check.stored, 'stored')}; it was computed by another "
            "model or from other inputs, or one of the engines reads ONNX wrongly"
        )
    if check.ours.beyond:
        why = "see the node out of bounds" if report.failures else _lost(report)
        found.append(f"the output of this device lies {_far(check.ours, 'here')}; {why}")
    if check.verdict is Agreement.UNDECIDED:
        noise = max(check.ours.noise, check.stored.noise)
        found.append(
            f"rounding alone may change it by {figures(100 * noise)} % of its size or change its "
            "integers, so that it agrees means nothing"
        )
    return found


def _far(side: Distance, whose: str) -> str:
    return (
        f"{figures(side.spreads)} times what rounding explains from a float64 run of the model "
        f"({LIMIT:g} is the limit) at {list(side.index)}: {whose} {side.value:.9g}, float64 "
        f"{side.truth:.9g}; {side.beyond} of {side.count} elements are beyond the limit"
    )


def _lost(report: PrecisionReport) -> str:
    lost = f", {report.overflows} elements of which overflowed" if report.overflows else ""
    return (
        f"every node is verified{lost}, so {report.effective} precision does not carry this model"
    )
