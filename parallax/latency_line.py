"""The latency of one precision, as `verify` prints it below the nodes."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from conformance.report import PrecisionReport
from perf.latency import Latency


def print_latency(report: PrecisionReport, latency: Latency, out: Console) -> None:
    """One line: medians of enqueue, device busy and synced total."""
    profile = latency.profile
    busy = "-" if profile is None or not latency.asynchronous else _ms(profile.median_ns("busy"))
    runs = latency.synced.n
    out.print(
        f" latency {report.requested}: enqueue {_ms(latency.enqueue.p50_ns)}, device busy {busy}, "
        f"synced total {_ms(latency.synced.p50_ns)} (median of {runs})"
    )
    for sentence in latency.invalid:
        out.print(f"   [bold red]INVALID[/]: {escape(sentence)}")


def _ms(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:.3g} ms" if nanoseconds < 1e8 else f"{nanoseconds / 1e6:.0f} ms"
