"""Geometry of the charts: boxes in a picture that is 1000 wide; the page draws and names them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from conformance.figures import count, figures, milliseconds
from parallax.report.arranged import Graph
from parallax.report.facts import Check, Drawn, Profiled

WIDTH = 1000
COLOURS = 8
"""Of models; they repeat after that."""
NARROWEST, APART = 0.8, 0.4
"""A box is drawn at least so wide; those that lie nearer to one another become one."""
NODES_MAX = 500
"""Boxes of a graph; the table below has the rest."""
PARTS = {"device": "device", "host": "host", "submit": "enqueue", "rest": "unexplained"}


@dataclass(frozen=True)
class Box:
    """A rectangle; `label` is what a reader is told of it."""

    x: float
    y: float
    width: float
    height: float
    label: str
    style: str
    link: str = ""


@dataclass(frozen=True)
class Track:
    """A named row of a swimlane, of one model."""

    name: str
    y: float
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Bin:
    """A bar of a histogram."""

    label: str
    count: int
    box: Box


# ---------------------------------------------------------------------- distributions
SIGMAS = (0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6)
BOUNDS = (1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.3, 1)


def distribution(values: Iterable[float], edges: Sequence[float], height: float) -> tuple[Bin, ...]:
    """How many values are below each edge and not below the one before; then those beyond."""
    counts = [0] * (len(edges) + 1)
    for value in values:
        counts[next((i for i, edge in enumerate(edges) if value <= edge), len(edges))] += 1
    labels = [f"up to {edge:g}" for edge in edges] + [f"above {edges[-1]:g}"]
    step, most = WIDTH / len(counts), max(*counts, 1)
    bins = []
    for i, (label, number) in enumerate(zip(labels, counts, strict=True)):
        tall = height * number / most
        style = "fail" if i == len(edges) else "bar"
        box = Box(i * step + 4, height - tall, step - 8, tall, f"{label}: {number}", style)
        bins.append(Bin(label, number, box))
    return tuple(bins)


def sigmas(checks: Iterable[Check]) -> tuple[Bin, ...]:
    """Of err/sigma."""
    return distribution((c.sigmas for c in checks), SIGMAS, 120)


def bounds(checks: Iterable[Check]) -> tuple[Bin, ...]:
    """Of err/bound."""
    return distribution((c.bounds for c in checks), BOUNDS, 120)


# ---------------------------------------------------------------------- graphs
def strip(graph: Graph) -> tuple[Box, ...]:
    """A box for each node in the order of the run: colour by verdict, height by share of time."""
    shown = graph.nodes[:NODES_MAX]
    most = max((node.share or 0.0 for node in shown), default=0.0)
    step = WIDTH / max(len(shown), 1)
    boxes = []
    for i, node in enumerate(shown):
        part = (node.share or 0.0) / most if most else 0.5
        tall = 8 + 52 * part
        label = f"{node.check.title}: {node.check.verdict}"
        if node.share is not None:
            label += f", {node.share:.1%} of the time"
        style = node.check.verdict if node.check.on_device else "off"
        boxes.append(Box(i * step, 60 - tall, max(step - 1, 0.5), tall, label, style))
    return tuple(boxes)


# ---------------------------------------------------------------------- time
def parts(profile: Profiled) -> tuple[Box, ...]:
    """The account of a run as one bar."""
    boxes, x = [], 0.0
    for part, name in PARTS.items():
        spent = profile.parts_ns[part]
        wide = max(WIDTH * spent / profile.synced_ns, 0.0)
        if spent > 0:
            label = f"{name} {milliseconds(spent)} ms, {spent / profile.synced_ns:.0%}"
            boxes.append(Box(x, 0, wide, 24, label, f"part-{part}"))
        x += wide
    return tuple(boxes)


def swimlane(profile: Profiled) -> tuple[Track, ...]:
    """For each model a track of the host's calls and one of its queue.

    For several what a clock around each call shows stands above them.
    """
    tracks: list[Track] = []
    scale = WIDTH / profile.synced_ns
    naive = _naive(profile, scale) if len(profile.lanes) > 1 else None
    if naive is not None:
        tracks.append(naive)
    for i, lane in enumerate(profile.lanes):
        colour = f"model-{i % COLOURS}"
        queued = [s for s in lane.spans if s.on_device]
        done_here = [s for s in lane.spans if not s.on_device]
        calls = [(s.called_ns, s.returned_ns, s) for s in queued]
        worked = [(s.start_ns, s.end_ns, s) for s in done_here]
        rows = [("host", [*calls, *worked]), ("queue", [(s.start_ns, s.end_ns, s) for s in queued])]
        for name, spans in rows:
            if spans:
                y = 22.0 * len(tracks)
                boxes = tuple(_merged(spans, scale, y, colour))
                tracks.append(Track(f"{name}: {lane.model}", y, boxes))
    return tuple(tracks)


@dataclass(frozen=True)
class Dot:
    """An operator below the roof; `radius` grows with its share of the time."""

    x: float
    y: float
    radius: float
    label: str
    style: str


@dataclass(frozen=True)
class Roofline:
    """Operations per second over operations per byte, both by powers.

    Attributes:
        roof: x and y of its corners. columns, rows: places and names of the grid's lines.
    """

    roof: tuple[tuple[float, float], ...]
    columns: tuple[tuple[float, str], ...]
    rows: tuple[tuple[float, str], ...]
    dots: tuple[Dot, ...]


INTENSITIES = (-6, 10)
"""Powers of 2 of operations per byte that are shown."""
DECADES, TALL = 5, 300
"""Powers of 10 below the peak that are shown, and how tall that is."""


def roofline(profile: Profiled) -> Roofline | None:
    """None where no operator did arithmetic."""
    peaks, (low, high) = profile.peaks, INTENSITIES

    def x(intensity: float) -> float:
        return WIDTH * (min(max(_log(intensity, 2), low), high) - low) / (high - low)

    def y(rate: float) -> float:
        below = _log(peaks.flops, 10) - _log(rate, 10)
        return TALL * (min(max(below, -0.5), DECADES) + 0.5) / (DECADES + 0.5)

    dots = [
        Dot(
            x(spent.flops / spent.nbytes),
            y(spent.flops / spent.seconds),
            4 + 20 * math.sqrt(min(spent.ns / profile.synced_ns, 1.0)),
            f"{spent.operator} of {lane.model}: {count(spent.flops / spent.seconds)}FLOP/s at "
            f"{figures(spent.flops / spent.nbytes)} FLOP/B, {spent.roof(peaks):.0%} of the roof",
            f"model-{i % COLOURS}",
        )
        for i, lane in enumerate(profile.lanes)
        for spent in lane.operators
        if spent.flops > 0 and spent.nbytes > 0
    ]
    ridge = peaks.flops / peaks.nbytes
    ends = (2.0**low, ridge, 2.0**high)
    roof = tuple((x(i), y(min(peaks.flops, i * peaks.nbytes))) for i in ends)
    columns = tuple((x(2.0**p), f"{2.0**p:g}") for p in range(low, high + 1, 2))
    rows = tuple((y(peaks.flops / 10**d), count(peaks.flops / 10**d)) for d in range(DECADES))
    return Roofline(roof, columns, rows, tuple(dots)) if dots else None


def _log(number: float, base: int) -> float:
    """Of any number that a document may hold."""
    return math.log(min(max(number, 1e-300), 1e300), base)


def _naive(profile: Profiled, scale: float) -> Track:
    boxes, x = [], 0.0
    for i, lane in enumerate(profile.lanes):
        wide = lane.naive_ns * scale
        label = f"{lane.model}: {milliseconds(lane.naive_ns)} ms by a clock around its call"
        boxes.append(Box(x, 0, wide, 16, label, f"model-{i % COLOURS} naive"))
        x += wide
    return Track("by calls (wrong)", 0, tuple(boxes))


def _merged(
    spans: Sequence[tuple[float, float, Drawn]], scale: float, y: float, colour: str
) -> Iterator[Box]:
    """Boxes; commands that would lie closer than a reader can see become one."""
    group: list[tuple[float, float, Drawn]] = []
    for start, end, span in sorted(spans, key=lambda s: s[0]):
        reach = max((e for _, e, _ in group), default=-math.inf)
        if group and (start - reach) * scale >= APART:
            yield _box(group, scale, y, colour)
            group = []
        small = (end - start) * scale < 2 * NARROWEST
        if group and not (small and (reach - group[0][0]) * scale < 2 * NARROWEST):
            yield _box(group, scale, y, colour)
            group = []
        group.append((start, end, span))
    if group:
        yield _box(group, scale, y, colour)


def _box(group: Sequence[tuple[float, float, Drawn]], scale: float, y: float, colour: str) -> Box:
    start, end = group[0][0], max(e for _, e, _ in group)
    first = group[0][2]
    name = f"{first.title} ({first.kernel})"
    if len(group) > 1:
        name = f"{len(group)} commands, {first.title} to {group[-1][2].title}"
    took = milliseconds(max(end - start, 0.0))
    label = f"{name}: {took} ms from {milliseconds(max(start, 0.0))}"
    return Box(start * scale, y, max((end - start) * scale, NARROWEST), 16, label, colour)
