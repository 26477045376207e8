"""The outputs of a model at one precision: against the CPU backend, and against stored ones."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from conformance.figures import element, figures
from conformance.grid import print_grid
from conformance.report import (
    Against,
    Agreement,
    Distance,
    OutputError,
    Parting,
    PrecisionReport,
    StoredCheck,
)
from conformance.stored import LIMIT
from conformance.visible import escape

LISTED = 5
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
        f"({LIMIT:g} is the limit) at {list(side.index)}: {whose} {element(side.value, 9)}, "
        f"float64 {element(side.truth, 9)}; {side.beyond} of {side.count} elements "
        "are beyond the limit"
    )


def _lost(report: PrecisionReport) -> str:
    lost = f", {report.overflows} elements of which overflowed" if report.overflows else ""
    return (
        f"every node is verified{lost}, so {report.effective} precision does not carry this model"
    )


# ---------------------------------------------------------------------- another engine
def print_against(report: PrecisionReport, out: Console) -> None:
    """Where the device and another engine part, and which of them is right."""
    against = report.against
    if against is None:
        return
    hidden = f" ({against.hidden} more are fused here)" if against.hidden else ""
    agree = ", which agree" if not against.partings else ""
    compared = f"{against.compared} tensors of both compared{hidden}{agree}"
    out.print(f"against {escape(against.engine)}: {compared}")
    if not against.partings:
        return
    first, *others = against.partings
    out.print(f"[bold red]they part first[/] at {escape(first.title)}: {escape(_parting(first))}")
    out.print(f"  by the float64 reference {escape(first.right)} is right", style="bold")
    if against.failure is not None:
        out.print(f"  {escape(_on_its_own(against))}")
    if others:
        named = [p.title for p in others[:LISTED]] + ["..."] * (len(others) > LISTED)
        out.print(f"  and at {len(others)} behind it: {escape(', '.join(named))}", style="dim")


def _parting(parting: Parting) -> str:
    """Both values of the worst element, and how far each side lies from the float64 run."""

    def shown(x: float | None) -> str:
        return "-" if x is None else element(x, 9)

    far = ", ".join(
        f"{whose} lies {figures(side.spreads)} times what rounding explains from it"
        for whose, side in (("this device", parting.ours), ("the engine", parting.theirs))
        if side is not None
    )
    return (
        f"output {parting.output!r} at {list(parting.index)} is {shown(parting.here)} here, "
        f"{shown(parting.there)} there, {shown(parting.truth)} in float64; {far} ({LIMIT:g} is the "
        "limit)"
    )


def _on_its_own(against: Against) -> str:
    """The node of the engine that is wrong on the inputs that the engine itself had."""
    assert against.failure is not None
    check, j = against.failure.check, against.failure.check.judgement
    return (
        f"on its own inputs {against.name} is wrong first at {check.title}: {check.output!r} at "
        f"{list(j.index)} is {element(j.got, 9)}, expected {element(j.expected, 9)}, "
        f"{figures(j.bounds)} x bound. "
        "The reference reads ONNX as Parallax does: what the specification says decides"
    )
