"""How the outcome of a scenario looks: times, figures, broken invariants, notes."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from conformance.figures import count, figures, milliseconds
from conformance.grid import print_grid
from conformance.visible import visible
from perf.candidates import Candidate
from perf.invariants import MEANING
from perf.quantiles import RUNS_NEEDED
from perf.scenarios import SCENARIOS, Figure, Model, Outcome, Scenario
from perf.scenarios.outcome import MS, NBYTES, SHARE, summary

HEADS = ("n", "min", *(f"p{percent}" for percent in RUNS_NEEDED))
NEEDED = ", ".join(f"p{percent} {n}" for percent, n in RUNS_NEEDED.items())
EXPLANATION = (
    f"All times in ms. A percentile that there are too few times for is left out: {NEEDED} are "
    "needed. Memory: the most in a pass that was not timed."
)
SENTENCES_MAX = 8
"""Broken invariants that are printed; the JSON holds all."""


def print_catalogue(out: Console) -> None:
    """What there is to choose from, and what each invariant says."""
    for scenario in SCENARIOS.values():
        several = f", {scenario.models} models or one taken twice" if scenario.models > 1 else ""
        out.print(f"[bold]{scenario.name}[/]: {scenario.summary}")
        out.print(
            f"  --runs: {scenario.rounds}{several}; {', '.join(scenario.invariants)}", style="dim"
        )
    out.print()
    for number, meaning in MEANING.items():
        out.print(f"{number}: {meaning}", style="dim")


def print_outcome(
    scenario: Scenario,
    candidate: Candidate,
    models: Sequence[Model],
    outcome: Outcome,
    out: Console,
    *,
    notes: bool,
) -> None:
    """Tables and sentences; of an invalid outcome no number."""
    names = ", ".join(model.name for model in models)
    head = f"{scenario.name} on {candidate.device} at {candidate.precision}: {names}"
    out.print(visible(head), style="bold", markup=False)
    print_grid(
        out,
        ("ms", *HEADS),
        [[name, *_times(times, outcome)] for name, times in outcome.times.items()],
    )
    if outcome.figures:
        rows = [[figure.name, _value(figure, outcome)] for figure in outcome.figures]
        out.print()
        print_grid(out, ("figure", "value"), rows)
    for sentence in outcome.invalid[:SENTENCES_MAX]:
        out.print(f"INVALID: {visible(sentence)}", style="bold red", markup=False)
    if len(outcome.invalid) > SENTENCES_MAX:
        out.print(f"and {len(outcome.invalid) - SENTENCES_MAX} more invariants broken")
    for note in outcome.notes:
        out.print(visible(note), style="yellow", markup=False)
    if notes:
        _print_notes(outcome, out)
    out.print()


def _times(times: tuple[int, ...], outcome: Outcome) -> list[str]:
    found = summary(times)
    n, *rest = found.values()
    if outcome.invalid:
        return [str(n), *("-" for _ in rest[1:]), "INVALID"]
    return [str(n), *("-" if ns is None else milliseconds(ns) for ns in rest)]


def _value(figure: Figure, outcome: Outcome) -> str:
    if outcome.invalid:
        return "INVALID"
    value = figure.value
    if value is None:
        return "-"
    if figure.unit == MS:
        return f"{milliseconds(value)} ms"
    if figure.unit == SHARE:
        return f"{value:.1%}"
    if figure.unit == NBYTES:
        return f"{count(value)}B"
    return f"{figures(value)} {figure.unit}".strip()


def _print_notes(outcome: Outcome, out: Console) -> None:
    memory = outcome.memory
    if memory.host_nbytes is not None or memory.device_nbytes is not None:
        parts = {"host": memory.host_nbytes, "devices": memory.device_nbytes}
        shown = (f"{name} {count(n)}B" for name, n in parts.items() if n is not None)
        out.print(f"memory at most: {', '.join(shown)}", style="dim")
    meanings = {f.name.rpartition(": ")[2]: f.meaning for f in outcome.figures}
    for stem, meaning in meanings.items():
        out.print(visible(f"{stem}: {meaning}"), style="dim", markup=False)
    out.print(EXPLANATION, style="dim")
