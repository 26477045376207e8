"""A profile as a trace that chrome://tracing and https://ui.perfetto.dev open.

The format is "Trace Event Format" (JSON object form): complete events (`ph` X), flows (s, f) and
metadata (M); `ts` and `dur` in microseconds, here with fractions, since kernels are shorter than
one. Each model is a process, which has a track for the host and one for each queue. On a track
events nest or follow one another: what overlaps gets a track of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Any

from engine.profile import RunProfile
from engine.timeline import DEVICE, Span
from perf.observe import Observation

FORM = "parallax trace 1"
"""By which a trace of ours is known."""
WHOLE, HOST_TRACK, QUEUE_TRACK = 1, 1, 2
"""The process of the whole run; the first tracks of each model's process."""

Event = dict[str, Any]


def chrome_trace(found: Observation, device: str) -> dict[str, Any]:
    """The median profiled run; its start is 0.

    Args:
        device: what the tracks of its queue are called after.
    """
    events = [
        *_named(WHOLE, "parallax", {HOST_TRACK: "run, drained to drained"}),
        _complete(WHOLE, HOST_TRACK, "synced", "run", 0, found.account.synced_ns),
    ]
    ids = count(1)
    for pid, (model, profile) in enumerate(
        zip(found.models, found.profiles, strict=True), WHOLE + 1
    ):
        events += _of_model(pid, model, profile, device, ids)
    return {"form": FORM, "displayTimeUnit": "ns", "traceEvents": events}


def _of_model(
    pid: int, model: str, profile: RunProfile, device: str, ids: Iterator[int]
) -> Iterator[Event]:
    run, offset = profile.timeline, profile.clock.offset_ns
    queued = [span for span in run.spans if span.clock == DEVICE]
    lanes = _lanes(queued)
    tracks = {HOST_TRACK: "host"}
    for lane in sorted(set(lanes)):
        overlapping = f", overlapping ({lane + 1})" if lane else ""
        tracks[QUEUE_TRACK + lane] = f"queue of {device}{overlapping}"
    yield from _named(pid, model, tracks)
    facts = {work.title: work for work in profile.work}
    calls = [(span.called_ns, span.returned_ns) for span in run.spans]
    if calls:
        first, last = min(calls)[0], max(end for _, end in calls)
        yield _complete(
            pid, HOST_TRACK, f"enqueue {model}", "run", first - run.started_ns, last - first
        )
    for span in run.spans:
        called = span.called_ns - run.started_ns
        kind = "enqueue" if span.clock == DEVICE else "compute"
        taken = span.returned_ns - span.called_ns
        yield _complete(pid, HOST_TRACK, span.title, kind, called, taken, _arguments(span))
    for lane, span in zip(lanes, queued, strict=True):
        start = span.start_ns + offset - run.started_ns
        work, track, flow = facts[span.title], QUEUE_TRACK + lane, next(ids)
        more = {"flops": work.flops, "nbytes": work.nbytes, **_waits(span)}
        arguments = {**_arguments(span), **more}
        yield _complete(pid, track, span.title, "device", start, span.duration_ns, arguments)
        called = span.called_ns - run.started_ns
        yield _flow("s", pid, HOST_TRACK, called, flow)
        yield {**_flow("f", pid, track, start, flow), "bp": "e"}


def _lanes(spans: Sequence[Span]) -> list[int]:
    """For each span the first track on which nothing before it still runs."""
    ends: list[int] = []
    found = [0] * len(spans)
    for i in sorted(range(len(spans)), key=lambda i: spans[i].start_ns):
        free = (lane for lane, end in enumerate(ends) if end <= spans[i].start_ns)
        found[i] = next(free, len(ends))
        ends[found[i] :] = [spans[i].end_ns, *ends[found[i] + 1 :]]
    return found


def _arguments(span: Span) -> dict[str, Any]:
    return {"kernel": span.kernel}


def _waits(span: Span) -> dict[str, float]:
    return {
        "queued_to_submit_us": _us(span.submit_ns - span.queued_ns),
        "submit_to_start_us": _us(span.start_ns - span.submit_ns),
    }


def _complete(
    pid: int,
    tid: int,
    name: str,
    category: str,
    start_ns: int,
    duration_ns: int,
    arguments: dict[str, Any] | None = None,
) -> Event:
    return {
        "ph": "X",
        "pid": pid,
        "tid": tid,
        "ts": _us(start_ns),
        "dur": _us(duration_ns),
        "name": name,
        "cat": category,
        "args": arguments or {},
    }


def _flow(phase: str, pid: int, tid: int, at_ns: int, flow: int) -> Event:
    place = {"ph": phase, "pid": pid, "tid": tid, "ts": _us(at_ns)}
    return {**place, "id": flow, "name": "enqueue", "cat": "flow"}


def _named(pid: int, process: str, tracks: dict[int, str]) -> Iterable[Event]:
    def name(what: str, tid: int, text: str) -> Event:
        return {"ph": "M", "pid": pid, "tid": tid, "ts": 0, "name": what, "args": {"name": text}}

    yield name("process_name", HOST_TRACK, process)
    for tid, text in tracks.items():
        yield name("thread_name", tid, text)


def _us(nanoseconds: int) -> float:
    return nanoseconds / 1000
