"""How the findings of a gate look: one line for each scenario, and why where it is not OK."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console

from conformance.figures import figures, milliseconds
from conformance.grid import print_grid
from perf.gate.attribution import Change
from perf.gate.decision import NEW, OK, REGRESSION, Verdict, effects
from perf.gate.findings import INTERVAL, Findings, medians
from perf.gate.records import ARMS, BASE, CAND, CONTROL

HEADS = ("scenario", "outcome", "baseline", "candidate", "change", "90% interval", "detects", "of")
WORDS = 2
LISTED = 3
"""Kernels and nodes that a failure names."""

EXPLANATION = (
    "baseline, candidate: latency in ms, drained queues to drained queues. change: of the "
    "candidate, with its interval over launches. detects: the smallest slowdown that is found in 9 "
    "of 10 runs like this one. of: launches of the first stage, and of the second."
)


def print_findings(
    found: Findings, out: Console, *, again: Mapping[str, str], details: bool
) -> None:
    """The table, then a block for each scenario that is not OK, then who the arms were."""
    verdicts = found.verdicts
    print_grid(out, HEADS, [_cells(found, v) for v in verdicts], names=WORDS)
    for verdict in verdicts:
        if verdict.outcome != OK:
            for line in _block(found, verdict):
                out.print(line, markup=False)
    for line in _footer(found, verdicts, again):
        out.print(line, markup=False)
    if details:
        out.print(EXPLANATION, style="dim", markup=False)


def percent(share: float | None) -> str:
    """Signed, with one decimal where that says something: +7.9 %."""
    if share is None:
        return "-"
    return f"{share:+.1%}" if abs(share) < 1 else f"{share:+.0%}"


def _cells(found: Findings, v: Verdict) -> list[str]:
    times = medians(found.launches, v.scenario)
    shown = v.estimate
    low, high = (None, None) if shown is None else shown.interval(INTERVAL)
    stages = [len(effects(found.launches, v.scenario, stage)) for stage in (1, 2)]
    return [
        v.scenario,
        v.outcome,
        *("-" if (ns := times[arm]) is None else milliseconds(ns) for arm in ARMS),
        percent(None if shown is None else shown.change),
        "-" if shown is None else f"{percent(low)}..{percent(high)}",
        "-" if v.detectable is None else percent(v.detectable),
        "+".join(str(n) for n in stages if n) or "0",
    ]


def _block(found: Findings, v: Verdict) -> Iterator[str]:
    yield f"{v.outcome} {v.scenario}: {v.reason}"
    if v.outcome == NEW or v.first is None:
        return
    yield from (f"  {line}" for line in _evidence(found, v))
    if v.outcome == REGRESSION:
        yield from (f"  {line}" for line in _where(found, v))


def _evidence(found: Findings, v: Verdict) -> Iterator[str]:
    stages = [(1, v.first), (2, v.second)]
    said = []
    for stage, estimate in stages:
        if estimate is not None:
            values = effects(found.launches, v.scenario, stage)
            slower = sum(value > 0 for value in values)
            p = v.p if stage == 2 and v.p is not None else estimate.p_above(found.rule.margin)
            said.append(
                f"stage {stage}: {slower} of {len(values)} launches slower, mean "
                f"{percent(estimate.change)}, p {figures(p)}"
            )
    signs = "" if v.p_signs is None else f" (by signs {figures(v.p_signs)})"
    yield "; ".join(said) + signs
    cpu, order = (found.effects(v.scenario, f"{n}_effect") for n in ("cpu", "order"))
    control = found.effects(CONTROL)
    beside = {"processor time": cpu, "order of the arms": order, "control": control}
    said = [f"{n} {percent(e.change if e else None)}" for n, e in beside.items()]
    base, cand = (max(x.peaks_nbytes[arm] for x in found.launches) / 1e6 for arm in ARMS)
    yield f"{', '.join(said)}, peak memory {base:.0f} -> {cand:.0f} MB"
    chunks = []
    for stage in (1, 2):
        values = effects(found.launches, v.scenario, stage)
        if values:
            chunks.append(" ".join(percent(math.expm1(value)) for value in values))
    yield f"by launch: {' | '.join(chunks)}"


def _where(found: Findings, v: Verdict) -> Iterator[str]:
    where = found.where(v.scenario)
    if where is None:
        yield "where: one of the engines cannot be profiled"
        return
    sums, inside = where.parts[:4], where.parts[4:]
    yield (
        f"where: {_ms(where.timed.delta_ns)}, of which {_ms(where.enqueue.delta_ns)} until the "
        "last run() returned"
    )
    yield (
        f"of {_ms(where.total.delta_ns)} in profiled runs: "
        + ", ".join(f"{p.name} {_ms(p.delta_ns)}" for p in sums)
        + "; in these "
        + ", ".join(f"{p.name} {_ms(p.delta_ns)}" for p in inside)
    )
    if len(where.models) > 1:
        yield from _listed("model", where.models, 1)
    yield from _listed("kernel", where.kernels, LISTED)
    yield from _listed("node", where.nodes, LISTED)


def _listed(what: str, changes: Sequence[Change], most: int) -> Iterator[str]:
    """Those that grew."""
    for change in changes[:most]:
        if change.delta_ns > 0:
            yield (
                f"{what} {change.name}: {milliseconds(change.base_ns)} -> "
                f"{milliseconds(change.cand_ns)} ms ({percent(change.share)})"
            )


def _ms(nanoseconds: float) -> str:
    sign = "-" if nanoseconds < 0 else "+"
    return f"{sign}{milliseconds(abs(nanoseconds))} ms"


def _footer(
    found: Findings, verdicts: Sequence[Verdict], again: Mapping[str, str]
) -> Iterator[str]:
    counts = {v.outcome: sum(w.outcome == v.outcome for w in verdicts) for v in verdicts}
    yield ", ".join(f"{n} {outcome}" for outcome, n in counts.items())
    if found.is_same_build:
        yield "both arms are the same build on the same device: this is an A/A run"
    busy = max((x.foreign_share for x in found.launches), default=0.0)
    if busy > 0.05:
        yield f"NOT QUIET: other programs used up to {busy:.0%} of the processors"
    if {v.outcome for v in verdicts} <= {OK}:
        for arm in ARMS:
            yield f"{arm}: {_arm(found, arm)}"
        return
    for arm in (BASE, CAND):
        yield f"{arm}: {_arm(found, arm)}"
        yield f"  {_fingerprint(found, arm)}"
    for what, command in again.items():
        if command:
            yield f"{what}: {command}"


def _arm(found: Findings, arm: str) -> str:
    facts = found.arms[arm]
    places = [
        f"{m['device']}, driver {m['driver']}, {m['precision']}" for m in facts["models"].values()
    ]
    return "; ".join([facts["name"], *dict.fromkeys(places)])


def _fingerprint(found: Findings, arm: str) -> str:
    facts = found.arms[arm]
    versions = ", ".join(f"{n} {v}" for n, v in facts["versions"].items() if v)
    sources = facts["sources"][:12] or "not known"
    return (
        f"sources {sources}, Python {facts['python']}, {versions}, cores "
        f"{len(facts['cores'])}, {facts['machine'][0]} {facts['machine'][1]}"
    )
