"""One sentence of advice from a comparison: what to use here, and why; true or not said."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from conformance.figures import figures, milliseconds, spread
from perf.comparison import Row

NOISE = 1.05
"""A latency is longer than another where it is by more than this, by all evidence."""

QUICK_START = 2.0
"""A start that is shorter by more than this is worth a word."""


@dataclass(frozen=True)
class Advice:
    """What a user should do, and what a user should not."""

    sentence: str
    warnings: tuple[str, ...] = ()


def advise(rows: Sequence[Row]) -> Advice:
    """Advice for one model on one machine; rows that are not believed never win."""
    believed = [row for row in rows if row.is_believed]
    ours = [row for row in believed if not row.stages.candidate.is_peer]
    peer = next((row for row in believed if row.stages.candidate.is_peer), None)
    if len(rows) == len(believed) == 1:
        return Advice(
            f"{_name(rows[0])} takes {milliseconds(rows[0].latency_ns)} ms; nothing was measured "
            "beside it, and --device all does so."
        )
    if not ours:
        return Advice("No advice: no row of Parallax can be believed (see the notes).")
    best, equal = best_of(ours)
    return Advice(f"{_sentence(best, equal, ours, peer)}.", tuple(_warnings(best, believed)))


def is_slower(row: Row, other: Row) -> bool:
    """Whether a row is slower than another beyond the noise."""
    return min(_evidence(row, other)) > NOISE


def _evidence(row: Row, other: Row) -> tuple[float, ...]:
    """The ratio in every round, and that of the shortest runs, which neighbours disturb least."""
    shortest = row.stages.synced_min_ns / other.stages.synced_min_ns
    return (*row.ratios(other), shortest)


def best_of(rows: Sequence[Row]) -> tuple[Row, list[Row]]:
    """The most exact of those that are as fast as the fastest within the noise, and the others."""
    fastest = min(rows, key=lambda row: row.latency_ns)
    equal = [row for row in rows if not is_slower(row, fastest)]
    best = min(equal, key=lambda row: (row.exactness, row.latency_ns))
    return best, [row for row in equal if row is not best]


def _sentence(best: Row, equal: Sequence[Row], ours: Sequence[Row], peer: Row | None) -> str:
    what = f"{_options(best)} here, because {_reason(best, equal, ours)}"
    if peer is None:
        return f"Use {what}"
    if is_slower(best, peer):
        ratio = figures(median(best.ratios(peer)))
        faster = f"{ratio} times as fast here ({_range(best, peer)})"
        return f"{peer.device} is {faster}; of Parallax use {what}"
    if is_slower(peer, best):
        return f"Use {what}; {peer.device} takes {_times(peer, best)}"
    return f"Use {what}; {peer.device} is as fast within the noise ({_range(peer, best)})"


def _reason(best: Row, equal: Sequence[Row], ours: Sequence[Row]) -> str:
    time = f"{milliseconds(best.latency_ns)} ms"
    if equal:
        names = ", ".join(f"{_name(row)} ({_range(row, best)})" for row in equal)
        exact = any(row.exactness > best.exactness for row in equal)
        why = "it is the most exact of those that are" if exact else "others are"
        return f"nothing is faster than its {time} beyond the noise, and {why} as fast: {names}"
    others = [row for row in ours if row is not best]
    if not others:
        return f"nothing else of Parallax was measured; it takes {time}"
    after = min(others, key=lambda row: row.latency_ns)
    return f"it is the fastest: {time}, and the next, {_name(after)}, takes {_times(after, best)}"


def _warnings(best: Row, believed: Sequence[Row]) -> Iterator[str]:
    for row in believed:
        exacter = [r for r in believed if r.device == row.device and r.exactness < row.exactness]
        faster = [r for r in exacter if is_slower(row, r)]
        if faster:
            other = min(faster, key=lambda r: r.latency_ns)
            cause = ": half arithmetic is emulated" if _emulates(row) else ""
            yield (
                f"On {row.device}, {row.precision} is slower than {other.precision}, which is more "
                f"exact: it takes {_times(row, other)}{cause}; do not use it."
            )
    quick = min(believed, key=lambda row: row.start_ns)
    if best.start_ns > QUICK_START * quick.start_ns:
        yield (
            f"For a single inference {_name(quick)} is quicker: {milliseconds(quick.start_ns)} ms "
            f"from the file to the outputs, against {milliseconds(best.start_ns)}."
        )
    if len(best.stages.launches) == 1:
        yield "One launch each says nothing about the spread; --launches 3 does."


def _emulates(row: Row) -> bool:
    return row.precision == "low" and row.stages.half_is_emulated


def _name(row: Row) -> str:
    return row.device if row.stages.candidate.is_peer else f"{row.device} at {row.precision}"


def _options(row: Row) -> str:
    return f"--device {shlex.quote(row.device)} --precision {row.precision}"


def _times(row: Row, other: Row) -> str:
    return f"{figures(median(row.ratios(other)))} times as long ({_range(row, other)})"


def _range(row: Row, other: Row) -> str:
    return spread(_evidence(row, other))
