"""The latencies of one model, as `verify` prints them below the nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from conformance.figures import milliseconds
from conformance.grid import print_grid
from perf.latency import Latency
from perf.quantiles import RUNS_NEEDED, is_stateable

HEADS = ("latency, ms", "enqueue", "device busy", "synced min", "p50", "p90", "runs")
MARK = "*"
"""Behind a number that contradicts another one; a sentence below says which."""


def print_latencies(latencies: Mapping[str, Latency], out: Console) -> None:
    """A row for each precision (enqueue and device busy: medians), and what it does not say."""
    print_grid(out, HEADS, [_row(name, latency) for name, latency in latencies.items()])
    for name, latency in latencies.items():
        for sentence in latency.invalid:
            out.print(Text.assemble(("INVALID", "bold red"), f" {name}: {sentence}"))
        for sentence in latency.contradictions:
            out.print(f"{MARK} {name}: {sentence}", style="yellow", markup=False)
    said: dict[str, list[str]] = {}
    for name, latency in latencies.items():
        for note in _notes(latency):
            said.setdefault(note, []).append(name)
    for note, names in said.items():
        out.print(f"{', '.join(names)}: {note}", style="dim", markup=False)


def latency_json(latency: Latency) -> dict[str, Any]:
    """Medians and spread, in nanoseconds."""
    profile = latency.profile
    return {
        "runs": latency.synced.n,
        "enqueue_ns_median": latency.enqueue.p50_ns,
        "device_busy_ns_median": None if profile is None else profile.median_ns("busy"),
        "synced_ns_median": latency.synced.p50_ns,
        "synced": asdict(latency.synced),
        "invalid": list(latency.invalid),
        "contradictions": list(latency.contradictions),
        "notes": list(latency.notes),
    }


def _row(name: str, latency: Latency) -> list[str]:
    synced, profile = latency.synced, latency.profile
    busy = "-"
    if profile is not None and latency.asynchronous:
        busy = milliseconds(profile.median_ns("busy"))
    mark = MARK if latency.contradictions else ""
    times = [milliseconds(t) for t in (synced.min_ns, synced.p50_ns, synced.p90_ns)]
    return [
        name,
        milliseconds(latency.enqueue.p50_ns),
        f"{busy}{mark}",
        *times,
        str(synced.n),
    ]


def _notes(latency: Latency) -> Iterator[str]:
    yield from latency.notes
    few = [p for p in (50, 90) if not is_stateable(p, latency.synced.n)]
    if few:
        named = ", ".join(f"p{p} ({RUNS_NEEDED[p]} are needed)" for p in few)
        yield f"too few runs to be sure of {named}"
