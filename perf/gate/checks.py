"""What must hold before a time is believed: who answered, what was computed, how it was clocked.

Every function yields one sentence for each thing that does not hold; one is enough to make the
whole gate INVALID. Nothing is ever dropped instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from perf.candidates import PEER
from perf.gate.process import Arm
from perf.gate.records import ARMS, BASE, CAND

LEFT_SHARE, LEFT_NS = 0.25, 50_000
"""Of a latency, and at least: what reading outputs may still wait for once the clock stopped."""
BUSY_FACTOR = 2
"""Other programs may slow the profiled runs against the timed ones, between which they alternate,
but not by so much in every one of them."""
PARTS_SHARE = 0.02
"""By which the parts of a profiled run may miss its latency (I7)."""

Facts = Mapping[str, Any]


def identity(arms: Mapping[str, Arm], hello: Mapping[str, Facts]) -> Iterator[str]:
    """Whether the processes are the arms, and alike in all but what is compared."""
    for name in ARMS:
        built, facts = arms[name].build, hello[name]
        if built.sources and facts["sources"] != built.sources:
            yield (
                f"the {name} imported {facts['imported']}, whose sources "
                f"{facts['sources'][:12]} are not those built, {built.sources[:12]}: a stale build"
            )
        if built.path and facts["imported"] and not facts["imported"].startswith(built.path):
            yield f"the {name} imported {facts['imported']}, not what lies in {built.path}"
    shared = all(arms[name].build.is_shared for name in ARMS)
    same = ("machine", "cores", "variables", *(("python", "versions") if shared else ()))
    for key in same:
        ours, theirs = hello[CAND][key], hello[BASE][key]
        if ours != theirs:
            yield f"{key} of the arms differ: baseline {theirs}, candidate {ours}"
    if hello[BASE]["pid"] == hello[CAND]["pid"]:
        yield "both arms answered from one process"


def freshness(hello: Mapping[str, Facts], seen: set[int]) -> Iterator[str]:
    """Whether these processes are new; adds them to those seen."""
    for name in ARMS:
        if hello[name]["pid"] in seen:
            yield f"process {hello[name]['pid']} of the {name} had been measured before: not fresh"
    seen.update(hello[name]["pid"] for name in ARMS)


def placement(arms: Mapping[str, Arm], model: str, loaded: Mapping[str, Facts]) -> Iterator[str]:
    """Whether a model runs where it should, in both arms alike."""
    for name in ARMS:
        expected, found = arms[name].expected, loaded[name]["device"]
        if expected and found != expected:
            yield f"{model}: the {name} ran on {found}, not on {expected}"
    ours, theirs = loaded[CAND], loaded[BASE]
    if ours["precision"] != theirs["precision"]:
        yield (
            f"{model}: the effective precision of the baseline is {theirs['precision']}, of the "
            f"candidate {ours['precision']}"
        )
    shared = all(arms[name].build.is_shared for name in ARMS)
    if not shared or arms[BASE].device != arms[CAND].device or arms[CAND].device == PEER:
        return
    for key in ("device", "driver"):
        if ours[key] != theirs[key]:
            yield f"{model}: {key} of the baseline is {theirs[key]}, of the candidate {ours[key]}"


def slot(name: str, scenario: str, reply: Facts, runs: int) -> Iterator[str]:
    """Whether the times of one slot are times of its inferences."""
    where = f"{scenario}, {name}"
    synced, enqueue = reply["synced_ns"], reply["enqueue_ns"]
    if len(synced) != runs or len(enqueue) != runs:
        yield f"{where}: {len(synced)} times of {runs} inferences"
    if any(not 0 < e <= s for e, s in zip(enqueue, synced)):
        yield f"I1: {where}: enqueue is not within (0, synced]"
    stamps = [reply[k] for k in ("asked_ns", "started_ns", "ended_ns", "answered_ns")]
    if stamps != sorted(stamps):
        yield f"{where}: its clock is not the host's: {stamps} are not in order"
    elif sum(synced) > reply["ended_ns"] - reply["started_ns"]:
        yield f"{where}: latencies of {sum(synced)} ns in a slot that took less"
    for model in reply["wrong"]:
        yield f"{where}: the outputs of {model} were not those of its inputs"


def leftovers(name: str, scenario: str, replies: Sequence[Facts]) -> Iterator[str]:
    """Whether anything was in flight when the clock stopped: then it was so in every slot."""
    left = min(reply["left_ns"] for reply in replies)
    synced = median(median(reply["synced_ns"]) for reply in replies)
    if left > max(LEFT_NS, LEFT_SHARE * synced):
        yield (
            f"{scenario}, {name}: outputs were {left / 1e6:.3f} ms late after a latency of "
            f"{synced / 1e6:.3f} ms: the clock stopped before the queues were drained"
        )


def profiles(
    name: str, scenario: str, found: Sequence[Mapping[str, Any]], synced_ns: int
) -> Iterator[str]:
    """Whether what the device did fits into the latency, and its parts make the whole."""
    for one in found:
        for model, profile in one.items():
            parts = profile["account"]
            total = sum(parts[k] for k in ("device_ns", "host_ns", "submit_ns", "rest_ns"))
            if abs(total - parts["synced_ns"]) > PARTS_SHARE * parts["synced_ns"]:
                yield f"I7: {scenario}, {name}: the parts of {model} do not make its latency"
                return
    busy = [sum(p["account"]["device_ns"] for p in one.values()) for one in found]
    if busy and min(busy) > BUSY_FACTOR * synced_ns + LEFT_NS:
        yield (
            f"I5: {scenario}, {name}: the device was busy for {min(busy)} ns, and synced is "
            f"{synced_ns} ns"
        )
