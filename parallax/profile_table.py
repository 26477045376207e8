"""How a profile looks: where the time went by operator, by kernel and by node, and in total."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console

from conformance.figures import count, counted, milliseconds
from conformance.grid import print_grid
from engine.profile import Account, RunProfile, Share
from perf.observe import Observation
from perf.peaks import ARITHMETIC, Peaks
from perf.quantiles import quantile_ns

HEADS = ("launches", "ms", "share", "FLOP/s", "B/s", "roofline", "enqueue")
LISTED = 10
"""Nodes and kernels in their tables; the JSON holds all."""

EXPLANATION = (
    "ms: device time, the union of event intervals; on the CPU, host time. share: of synced. "
    "FLOP/s, B/s: of the operators of the graph, each tensor read or written once. roofline: what "
    "the measured peaks allow, of that time, and which of them binds, (F)LOP/s or (B)/s; above "
    "100 % where tensors stayed in caches. enqueue: what the host took to submit, in ms. "
    "unexplained: synced less all that events and calls show."
)
TOGETHER = (
    "enqueue: until the call returned. behind others: the device worked for another model between "
    "the first call and the end. done: after the start. by calls: what a clock around each call "
    "shows, the last one's waiting for all; compare with work. alone: plain synced p50. All in ms."
)


def print_profile(profile: RunProfile, peaks: Peaks, out: Console, *, details: bool) -> None:
    """The tables of one run, and its account.

    Args:
        details: every node and kernel, not the longest ones only.
    """
    most = None if details else LISTED
    total = profile.synced_ns
    _print_shares("operator", profile.operators, total, peaks, out, None)
    if any(share.device_ns for share in profile.kernels):
        _print_shares("kernel", profile.kernels, total, peaks, out, most)
    nodes = sorted(profile.nodes, key=lambda share: -share.work_ns)
    _print_shares("node", nodes, total, peaks, out, most)
    print_account(profile.account, out)


def print_account(spent: Account, out: Console) -> None:
    """The sum that must be synced, and what is a part of its parts."""
    share = spent.rest_ns / max(spent.synced_ns, 1)
    parts = f"device {_ms(spent.device_ns)}" if spent.device_ns else ""
    parts = " + ".join(filter(None, (parts, f"host {_ms(spent.host_ns)}" if spent.host_ns else "")))
    out.print(
        f"synced {_ms(spent.synced_ns)} ms = {parts or 'no work'} + enqueue "
        f"{_ms(spent.submit_ns)} + unexplained {_ms(spent.rest_ns)} ({share:.0%})",
        style="bold",
        markup=False,
    )
    if spent.gaps_ns:
        out.print(f"the device was idle between its commands for {_ms(spent.gaps_ns)} ms")
    if spent.copies_ns:
        out.print(f"copies between backends took {_ms(spent.copies_ns)} ms of it")


def print_overhead(found: Observation, out: Console) -> None:
    """What looking cost, and what makes the figures doubtful."""
    plain, profiled = found.plain_ns, found.profiled_ns
    medians = f"{_ms(quantile_ns(profiled, 50))} ms for {_ms(quantile_ns(plain, 50))} plain"
    out.print(
        f"profiling: {medians}, {found.overhead:.2f}x (of the shortest "
        f"{found.overhead_shortest:.2f}x); {counted(len(plain), 'run')} each, by turns",
        markup=False,
    )
    for sentence in found.invalid:
        out.print(f"INVALID: {sentence}", style="bold red", markup=False)
    for note in found.notes:
        out.print(note, style="yellow", markup=False)


def print_peaks(peaks: Peaks, out: Console) -> None:
    """What the roofline is made of."""
    out.print(
        f"peaks measured here: {count(peaks.flops)}FLOP/s of float32 multiply-adds, "
        f"{count(peaks.nbytes)}B/s copied (read + written)",
        style="dim",
        markup=False,
    )


def print_together(found: Observation, alone: Sequence[Observation], out: Console) -> None:
    """Several models one after the other on one runtime: whose time it was."""
    heads = ("together", "enqueue", "work", "behind others", "done", "by calls", "alone")
    rows = []
    for turn, own in zip(found.turns, alone, strict=True):
        times = (turn.enqueue_ns, turn.device_ns + turn.host_ns, turn.behind_ns, turn.done_ns)
        last = (turn.naive_ns, quantile_ns(own.plain_ns, 50))
        rows.append([turn.model, *(_ms(t) for t in (*times, *last))])
    print_grid(out, heads, rows)
    print_account(found.account, out)
    print_overhead(found, out)


def _print_shares(
    what: str,
    shares: Sequence[Share],
    total_ns: int,
    peaks: Peaks,
    out: Console,
    most: int | None,
) -> None:
    shown = shares[:most]
    name = what if len(shown) == len(shares) else f"longest {len(shown)} of {len(shares)} {what}s"
    print_grid(out, (name, *HEADS), [list(_cells(s, total_ns, peaks)) for s in shown])
    out.print()


def _cells(share: Share, total_ns: int, peaks: Peaks) -> Iterator[str]:
    yield share.name
    yield str(share.launches)
    yield _ms(share.work_ns)
    yield f"{share.work_ns / max(total_ns, 1):.1%}"
    yield _rate(share.flops, share.work_ns)
    yield _rate(share.nbytes, share.work_ns)
    roof = peaks.roof(share)
    yield "-" if roof is None else f"{roof.share:.0%} {'F' if roof.bound == ARITHMETIC else 'B'}"
    yield _ms(share.enqueue_ns) if share.device_ns else "-"


def _rate(amount: int | None, nanoseconds: int) -> str:
    """Per second; "-" where there is none."""
    return "-" if not amount or not nanoseconds else count(amount * 1e9 / nanoseconds)


def _ms(nanoseconds: float) -> str:
    return "0" if not nanoseconds else milliseconds(nanoseconds)
