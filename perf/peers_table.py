"""What `perf.peers` measured, grouped, and as a table in which wrong outputs have no time."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from perf.agreement import RELATIVE_L2_MAX
from perf.candidates import PEER
from perf.machine import FOREIGN_SHARE_MAX


@dataclass(frozen=True)
class Launch:
    """One arm in one launch; times in ns, medians over the runs of the launch.

    Attributes:
        total_ns: host arrays to host arrays. synced_ns, enqueue_ns: inputs on the device.
        error: relative L2 of the outputs against the peer's.
        cold_create_ns: session creation with empty driver caches; first launch only, else 0.
        foreign_share: of the processors, used by other programs while this launch took turns.
    """

    model: str
    arm: str
    device: str
    launch: int
    runs: int
    total_ns: int
    synced_ns: int
    enqueue_ns: int
    create_ns: int
    first_ns: int
    error: float
    cold_create_ns: int = 0
    foreign_share: float = 0.0
    fallbacks: int = 0


@dataclass(frozen=True)
class Row:
    """One arm of one model over all launches; `ratios` are Parallax / peer, one per launch."""

    model: str
    arm: str
    launches: tuple[Launch, ...]
    ratios: tuple[float, ...]

    def median_ms(self, name: str) -> float:
        """Median over launches."""
        return float(median(getattr(x, f"{name}_ns") for x in self.launches)) / 1e6


def rows(launches: Sequence[Launch]) -> list[Row]:
    """Group by model and arm, in order of appearance; ratios against the peer's same launch."""
    peers = {(x.model, x.launch): x.total_ns for x in launches if x.arm == PEER}
    grouped: dict[tuple[str, str], list[Launch]] = {}
    for x in launches:
        grouped.setdefault((x.model, x.arm), []).append(x)
    return [
        Row(model, arm, tuple(xs), tuple(x.total_ns / peers[x.model, x.launch] for x in xs))
        for (model, arm), xs in grouped.items()
    ]


def render(table: Sequence[Row], options: argparse.Namespace) -> str:
    """The table as text; a row whose outputs differ from the peer's shows no time."""
    lines = [
        f"precision {options.precision}, {options.threads} threads, {options.launches} launches of "
        f"{options.turns} x {options.per_turn} runs, {PEER} spinning "
        f"{'off' if options.no_spinning else 'on'}; ms, medians",
        f"{'model':14}{'arm':13}{'total':>9}{'ratio (min..max)':>23}{'synced':>9}{'enqueue':>9}"
        f"{'first':>8}{'create':>9}{'cold':>9}{'rel. L2':>10}",
    ]
    for row in table:
        error = max(x.error for x in row.launches)
        head = f"{Path(row.model).stem:14}{row.arm:13}"
        if error > RELATIVE_L2_MAX[options.precision]:
            lines.append(f"{head}  OUTPUTS DIFFER: relative L2 {error:.1e}; no time is shown")
            continue
        ratio = f"{median(row.ratios):.2f} ({min(row.ratios):.2f}..{max(row.ratios):.2f})"
        cold = row.launches[0].cold_create_ns / 1e6
        lines.append(
            f"{head}{row.median_ms('total'):9.2f}{ratio:>23}{row.median_ms('synced'):9.2f}"
            f"{row.median_ms('enqueue'):9.3f}{row.median_ms('first'):8.0f}"
            f"{row.median_ms('create'):9.0f}{cold:9.0f}{error:10.1e}"
            + (f"  {row.launches[0].fallbacks} fallbacks" if row.launches[0].fallbacks else "")
        )
    busiest = max(x.foreign_share for row in table for x in row.launches)
    if busiest > FOREIGN_SHARE_MAX:
        lines.append(f"NOT QUIET: other programs used up to {busiest:.0%} of the processors")
    return "\n".join(lines)
