"""Invariants: what must hold of every measurement. One that is broken makes it INVALID, no number.

I1 to I7 and I16 are of records and hold for every single one, however busy the machine is. I8 to
I14 compare times of different runs, which other programs disturb: such a claim counts as broken
only where all evidence says so (`is_refuted`). I15 only makes an attribution approximate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

from engine.timeline import union_ns
from perf.latency import PROFILED_RATIO_MAX, epsilon_ns
from perf.quantiles import quantile_ns
from perf.records import Records, Request

MEANING = {
    "I1": "a request is due, begun, enqueued, done and its outputs taken, in this order",
    "I2": "an event is queued, submitted, started and ended, in this order",
    "I3": "every command has one event, which is of one request of one model, and has ended",
    "I4": "an in-order queue starts a command after the one before has ended",
    "I5": "events lie within the window, and add up to no more than their queues can do",
    "I6": "models together are busy no longer than their sum and no shorter than the longest",
    "I7": "own work, others' work, idle time and both ends make up a request's latency",
    "I8": "what is attributed to a model does not depend on how heavy the others are",
    "I9": "a chain takes no less than its longest model and no more than with barriers",
    "I10": "a pipeline is no faster than its slower half, an item no faster than both",
    "I11": "nobody is faster in company than alone, and no device is more than all in use",
    "I12": "steady <= warm first <= cold first inference, and nothing is compiled while steady",
    "I13": "going back to a shape compiles nothing, and cycles of shapes need no more memory",
    "I14": "outputs are bitwise those of the model alone",
    "I15": "profiling slows by less than a tenth; else attribution is called approximate",
    "I16": "work enqueued before the window has ended when it begins",
}
RESIDUAL_MAX = 0.02
"""Of a request's latency, that its parts may leave unexplained or count twice."""
LOCAL_CHANGE_MAX = 1.05
"""By which the work of a model may differ after lighter and after heavier company."""

ROUNDS_NEEDED = 7
"""So many coins fall on one side by chance once in 128 times: what is borderline is let pass."""

Check = Callable[[Records], Iterator[str]]


def violations(records: Records) -> list[str]:
    """One sentence for each invariant that one window of requests breaks, its number in front."""
    return [f"{name}: {sentence}" for name, check in CHECKS.items() for sentence in check(records)]


def _ordered_requests(records: Records) -> Iterator[str]:
    for r in records.requests:
        stamps = (r.due_ns, r.start_ns, r.enqueued_ns, r.done_ns, r.posted_ns)
        if list(stamps) != sorted(stamps):
            names = ("due", "begun", "enqueued", "done", "posted")
            shown = ", ".join(f"{n} {s - r.due_ns}" for n, s in zip(names, stamps, strict=True))
            yield f"{_of(r)}: {shown} ns are not in this order"


def _ordered_events(records: Records) -> Iterator[str]:
    for e in records.events:
        stamps = (e.queued_ns, e.submit_ns, e.start_ns, e.end_ns)
        if list(stamps) != sorted(stamps):
            shown = ", ".join(str(stamp - e.queued_ns) for stamp in stamps)
            yield f"clock skew at {e.title} of {e.model}: {shown} ns are not in this order"


def _one_event_each(records: Records) -> Iterator[str]:
    for r in records.requests:
        seen = sum(event.queue != "host" for event in r.events)
        if seen != r.launched:
            yield f"{_of(r)}: {r.launched} commands gave {seen} events"
        if r.unfinished:
            yield f"{_of(r)}: {r.unfinished} commands had not ended when it was called done"
        foreign = {(e.model, e.request) for e in r.events} - {(r.model, r.number)}
        for model, number in sorted(foreign):
            yield f"{_of(r)} holds events of request {number} of {model}"
    stamps = Counter(
        (e.queue, e.title, e.queued_ns, e.start_ns, e.end_ns)
        for e in records.events
        if e.queue != "host"
    )
    for (_, title, *_), times in stamps.items():
        if times > 1:
            yield f"an event of {title} was counted {times} times"


def _in_order(records: Records) -> Iterator[str]:
    for queue in set(records.queues) - {"host"}:
        for before, after in pairwise(e for e in records.events if e.queue == queue):
            early = before.end_ns - after.start_ns
            if early > _epsilon(records):
                yield f"{after.title} started {early} ns before {before.title} had ended"


def _fits(records: Records) -> Iterator[str]:
    epsilon = _epsilon(records)
    first, last = records.started_ns - epsilon, records.done_ns + epsilon
    outside = [e for e in records.events if not first <= e.start_ns <= e.end_ns <= last]
    if outside:
        e = outside[0]
        yield (
            f"{len(outside)} events lie outside the window, the first of them {e.title} of "
            f"{e.model}, {e.start_ns - records.started_ns} to {e.end_ns - records.started_ns} of "
            f"{records.synced_ns} ns: the clock stopped too early, or it is not the driver's"
        )
    for queue in set(records.queues) - {"host"}:
        own = [e.interval for e in records.events if e.queue == queue]
        total, busy = sum(end - start for start, end in own), union_ns(own)
        if total > busy + epsilon:
            yield f"commands of one queue add up to {total} ns, it was busy for {busy} ns"


def _models_make_the_whole(records: Records) -> Iterator[str]:
    each = [records.busy_of(model) for model in records.models]
    if each and not sum(each) >= records.busy_ns >= max(each):
        yield f"busy {records.busy_ns} ns is not between {max(each)} and {sum(each)} ns"


def _parts_of_latency(records: Records) -> Iterator[str]:
    for r in records.requests:
        if not r.events:
            continue
        first, last = r.window
        synced = max(r.done_ns - r.start_ns, 1)
        ends = {"before its first START": first - r.start_ns, "after its last": r.done_ns - last}
        between = last - first - r.busy_ns
        behind = records.behind_ns(r) - _behind_before(records, r)
        short = min(*ends.values(), between - behind)
        if -short > max(RESIDUAL_MAX * synced, epsilon_ns(synced)):
            parts = ", ".join(f"{name} {ns}" for name, ns in ends.items())
            yield (
                f"{_of(r)}: {parts}, own work {r.busy_ns}, others' and idle between {between} ns "
                f"do not make up its {synced} ns"
            )


def _behind_before(records: Records, request: Request) -> int:
    """Others' work before the first START of a request."""
    first, own_first = request.start_ns, request.window[0]
    return union_ns(
        (max(e.start_ns, first), min(e.end_ns, own_first))
        for r in records.requests
        if r is not request
        for e in r.events
    )


def _drained_before(records: Records) -> Iterator[str]:
    late = [e for e in records.earlier if e.end_ns > records.started_ns + _epsilon(records)]
    if late:
        yield (
            f"{len(late)} commands enqueued before the window still ran in it, the last for "
            f"{max(e.end_ns for e in late) - records.started_ns} ns: a queue was not drained"
        )


CHECKS: Mapping[str, Check] = {
    "I1": _ordered_requests,
    "I2": _ordered_events,
    "I3": _one_event_each,
    "I4": _in_order,
    "I5": _fits,
    "I6": _models_make_the_whole,
    "I7": _parts_of_latency,
    "I16": _drained_before,
}


def _of(request: Request) -> str:
    return f"request {request.number} of {request.model}"


def _epsilon(records: Records) -> int:
    return epsilon_ns(records.synced_ns)


# ------------------------------------------------------------- comparisons of different runs
def is_refuted(less_ns: Sequence[int], more_ns: Sequence[int], factor: float = 1.0) -> bool:
    """Whether all evidence is against `less <= more * factor`.

    The evidence: in each round (the two are of the same rounds, which alternated), and of the
    shortest times, which other programs disturb least; each beyond the tolerance. Of fewer than
    `ROUNDS_NEEDED` rounds nothing is claimed.
    """
    rounds = [*zip(less_ns, more_ns, strict=True)]
    if len(rounds) < ROUNDS_NEEDED:
        return False
    pairs = [*rounds, (min(less_ns), min(more_ns))]
    return all(a > b * factor + epsilon_ns(b) for a, b in pairs)


def local(light_ns: Sequence[int], heavy_ns: Sequence[int], model: str) -> list[str]:
    """I8, of what is attributed to a model after a lighter and after heavier work of another."""
    changed = is_refuted(heavy_ns, light_ns, LOCAL_CHANGE_MAX)
    changed = changed or is_refuted(light_ns, heavy_ns, LOCAL_CHANGE_MAX)
    if not changed:
        return []
    return [
        f"I8: {model} is attributed {_median(light_ns)} ns after light and {_median(heavy_ns)} ns "
        "after heavy company: its number holds others' work"
    ]


def chained(
    alone_ns: Mapping[str, Sequence[int]],
    chain_ns: Sequence[int],
    barrier_ns: Sequence[int],
) -> list[str]:
    """I9, of rounds that alternated; `barrier_ns` is of the same chain with a drain in between."""
    found = []
    for model, times in alone_ns.items():
        if is_refuted(times, chain_ns):
            found.append(f"I9: {model} alone takes {_median(times)} ns, the chain of which it is")
            found[-1] += f" a part {_median(chain_ns)} ns"
    if is_refuted(chain_ns, barrier_ns):
        found.append(
            f"I9: the chain takes {_median(chain_ns)} ns, with a barrier {_median(barrier_ns)} ns"
        )
    return found


def pipelined(
    host_ns: Sequence[int],
    device_ns: Sequence[int],
    pipeline_ns: Sequence[int],
    item_ns: Sequence[int],
    items: int,
) -> list[str]:
    """I10, of the whole stream: host work, device work, both at once; and of the mean item."""
    found = []
    for name, times in (("host", host_ns), ("device", device_ns)):
        if is_refuted(times, pipeline_ns):
            found.append(
                f"I10: the {name} alone takes {_median(times)} ns, the pipeline "
                f"{_median(pipeline_ns)} ns: an item was not computed"
            )
    both = [(h + d) // items for h, d in zip(host_ns, device_ns, strict=True)]
    if is_refuted(both, item_ns):
        found.append(
            f"I10: an item takes {_median(item_ns)} ns, its parts alone {_median(both)} ns"
        )
    return found


def in_company(
    alone_ns: Mapping[str, Sequence[int]],
    shared_ns: Mapping[str, Sequence[int]],
    shares: Mapping[str, float],
) -> list[str]:
    """I11, of the medians of each round; `shares` of the device, by model, from events."""
    found = [
        f"I11: {model} takes {_median(shared_ns[model])} ns in company, {_median(times)} ns alone"
        for model, times in alone_ns.items()
        if is_refuted(times, shared_ns[model])
    ]
    if sum(shares.values()) > 1 + RESIDUAL_MAX:
        found.append(f"I11: the models used {sum(shares.values()):.0%} of one device")
    return found


def warmed(
    cold_ns: int, warm_ns: Sequence[int], steady_ns: Sequence[int], *, caches: bool
) -> list[str]:
    """I12, of first inferences in fresh processes, with empty and with filled caches.

    Args:
        caches: whether the driver keeps anything; else the two are the same.
    """
    found = []
    firsts = {"warm": warm_ns, "cold": [cold_ns]}
    for name, times in firsts.items():
        if times and min(steady_ns) > max(times) + epsilon_ns(max(times)):
            found.append(
                f"I12: no steady run takes less than {min(steady_ns)} ns, the first one with "
                f"{name} caches {max(times)} ns"
            )
    if caches and warm_ns and min(warm_ns) > cold_ns + epsilon_ns(cold_ns):
        found.append(
            f"I12: the first run with empty caches takes {cold_ns} ns, with filled ones "
            f"{min(warm_ns)} ns"
        )
    return found


def built_while_steady(builds: int, files: int) -> list[str]:
    """I12, of programs that were compiled and cache files that appeared."""
    if not builds and not files:
        return []
    return [f"I12: {builds} programs and {files} cache files were made during steady runs"]


def revisited(name: str, builds: int) -> list[str]:
    """I13, of programs that were compiled for shapes which were there before."""
    return [f"I13: going back to {name} compiled {builds} programs"] if builds else []


def unchanged(what: str, before: int, after: int) -> list[str]:
    """I13, of something that may not grow from one cycle to the next."""
    return [f"I13: {what} grew from {before} to {after}"] if after > before else []


def same_outputs(model: str, expected: str, got: Sequence[str]) -> list[str]:
    """I14, of digests of outputs."""
    other = sum(digest != expected for digest in got)
    if not other:
        return []
    return [f"I14: {other} of {len(got)} outputs of {model} are not those that it gives alone"]


def approximate(plain_ns: Sequence[int], profiled_ns: Sequence[int]) -> list[str]:
    """I15, a remark rather than a violation; of the shortest runs."""
    ratio = min(profiled_ns) / max(min(plain_ns), 1)
    if ratio < PROFILED_RATIO_MAX:
        return []
    return [f"I15: profiling slowed the run by {ratio:.2f}x: attribution is approximate"]


def _median(times_ns: Sequence[int]) -> int:
    return quantile_ns(times_ns, 50)
