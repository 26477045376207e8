"""How a comparison looks: a table, what is left out of it, advice, and notes."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from rich.console import Console

from conformance.figures import figures, milliseconds, spread
from conformance.grid import print_grid
from conformance.visible import escape
from parallax.bench_advice import Advice
from perf.comparison import Comparison, Row
from perf.stages import Start

HEADS = (
    "device",
    "at",
    "first",
    "cached",
    "min",
    "p50",
    "p90",
    "enqueue",
    "busy",
    "ratio",
    "range",
)
WORDS = 2
"""Columns that hold words; the others hold numbers."""

EXPLANATION = (
    "first, cached: from the file to the first outputs in a fresh process, with empty and with "
    "filled driver caches. min, p50, p90: steady latency, drained queues to drained queues, inputs "
    "on the device. enqueue: until run() returned; not a latency. busy: the device at work, union "
    "of event intervals. All in ms. ratio: of the latencies, and its range over the launches."
)

LISTED = 5
"""Sentences of each kind that a row may take."""


def print_comparison(
    found: Comparison, advice: Advice, out: Console, *, notes: bool, details: bool
) -> None:
    """Table and advice; also what the numbers do not say by themselves.

    Args:
        details: what each start and each run was spent on.
    """
    out.print(f"[bold]{_plain(found.model)}[/]  {_plain(_subject(found))}")
    print_grid(out, HEADS, [_cells(row, found.reference) for row in found.rows], names=WORDS)
    lines = [f"not measured: {what}: {_first_line(why)}" for what, why in found.left_out.items()]
    lines += [f"{_head(row)}: {line}" for row in found.rows for line in _problems(row)]
    if found.interrupted:
        lines.append("interrupted: what stands above is finished; the other launches were not made")
    if not found.is_quiet:
        busiest = max(row.stages.foreign_share for row in found.rows)
        lines.append(
            f"NOT QUIET: other programs used up to {busiest:.0%} of the processors; measure again "
            "without them"
        )
    for line in lines:
        out.print(line, markup=False)
    out.print(advice.sentence, style="bold", markup=False)
    for warning in advice.warnings:
        out.print(warning, markup=False)
    if notes:
        _print_notes(found, out, details=details)


def _print_notes(found: Comparison, out: Console, *, details: bool) -> None:
    for line in _legend(found):
        out.print(line, style="dim", markup=False)
    if details:
        for row in found.rows:
            for line in _parts(row):
                out.print(f"{_head(row)}: {line}", style="dim", markup=False)
    ours = [row for row in found.rows if not row.stages.candidate.is_peer]
    noted: dict[str, list[str]] = {}
    for row in ours:
        for note in _notes(row):
            noted.setdefault(note, []).append(_head(row))
    for note, heads in noted.items():
        whose = "" if len(heads) == len(ours) else f"{', '.join(heads)}: "
        out.print(f"{whose}{note}", style="dim", markup=False)
    out.print(EXPLANATION, style="dim")


def _subject(found: Comparison) -> str:
    inputs = ", ".join(f"{name} {type_}" for name, type_ in found.inputs.items())
    launches = max((len(row.stages.launches) for row in found.rows), default=0)
    runs = max((row.stages.synced.n for row in found.rows), default=0)
    return f"{inputs}; {launches} launches each, {runs} steady runs"


def _cells(row: Row, reference: Row | None) -> list[str]:
    stages = row.stages
    starts = stages.first.total_ns, None if stages.cached is None else stages.cached.total_ns
    steady = stages.synced_min_ns, stages.synced.p50_ns, stages.synced.p90_ns
    work = stages.enqueue.p50_ns, stages.busy_ns
    if stages.invalid:
        return [*_names(row), *map(_ms, starts), *("-" for _ in (*steady, *work)), "-", "INVALID"]
    times = map(_ms, (*starts, *steady, *work))
    if row.differs or reference is None:
        return [*_names(row), *times, "-", "DIFFERS"]
    found = row.ratios(reference)
    what = "reference" if row is reference else spread(found)
    return [*_names(row), *times, figures(median(found)), what]


def _names(row: Row) -> tuple[str, str]:
    return row.device, row.precision


def _ms(nanoseconds: int | None) -> str:
    return "-" if nanoseconds is None else milliseconds(nanoseconds)


def _problems(row: Row) -> Iterator[str]:
    if row.differs:
        yield row.differs
    for violation in row.stages.invalid[:LISTED]:
        yield f"INVALID: {violation}"
    for title, reason in row.stages.fallbacks[:LISTED]:
        yield f"fallback to the CPU: {title}: {reason}"
    if len(row.stages.fallbacks) > LISTED:
        yield f"and {len(row.stages.fallbacks) - LISTED} more fallbacks"


def _legend(found: Comparison) -> Iterator[str]:
    seen = {row.device: f"{row.stages.device}, {row.stages.driver}" for row in found.rows}
    yield from (f"{device}: {meaning}" for device, meaning in seen.items())
    errors = [row.error for row in found.rows if row.error is not None and not row.differs]
    if errors:
        yield f"outputs agree within {figures(max(errors))} (relative L2)"


def _notes(row: Row) -> Iterator[str]:
    yield f"tuned: {row.stages.tuned}"
    yield from row.stages.notes
    yield from (remark for remark in row.stages.synced.remarks if "p99" not in remark)


def _parts(row: Row) -> Iterator[str]:
    stages = row.stages
    yield f"first = {_split(stages.first)}"
    if stages.cached is not None:
        yield f"cached = {_split(stages.cached)}"
    profile = stages.launches[-1].steady.profile
    if profile is not None and stages.asynchronous:
        synced, busy, gaps, outside = (
            milliseconds(profile.median_ns(name)) for name in ("synced", "busy", "gaps", "outside")
        )
        yield (
            f"a profiled run of {synced} = device busy {busy} + gaps {gaps} + before and after "
            f"{outside} (medians; {stages.commands} commands)"
        )


def _split(start: Start) -> str:
    parts = [f"{name} {milliseconds(ns)}" for name, ns in start.sections_ns.items() if ns >= 50_000]
    return " + ".join([*parts, f"first inference {milliseconds(start.first_ns)}"])


def _head(row: Row) -> str:
    return row.device if row.stages.candidate.is_peer else f"{row.device} at {row.precision}"


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def _plain(text: str) -> str:
    return escape(text)
