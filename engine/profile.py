"""RunProfile: where the time of one run went, by events: by operator, by kernel, and in total."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median_low

from engine.timeline import DEVICE, HOST, Span, Timeline, union_ns

Interval = tuple[int, int]


@dataclass(frozen=True)
class Work:
    """What one operator of the optimised graph had to do in a run, over all its calls.

    Attributes:
        title: `Conv+Relu 'name'`. type: `Conv+Relu`. is_copy: it only crosses a border.
        flops: arithmetic operations. nbytes: read and written once, as the tensors are stored.
    """

    title: str
    type: str
    backend: str
    is_copy: bool
    calls: int
    flops: int
    nbytes: int


@dataclass(frozen=True)
class Share:
    """The time of some launches: of a node, of all nodes of an operator, of a kernel.

    Attributes:
        nodes: how many operators of the graph they are of. launches: how many there were.
        device_ns: length of the union of their intervals on the device; host_ns: the same of what
            the host computed or copied. enqueue_ns: what the host took to submit them.
        flops, nbytes: of the nodes; None of a kernel that does only a part of theirs.
    """

    name: str
    nodes: int
    launches: int
    device_ns: int
    host_ns: int
    enqueue_ns: int
    flops: int | None
    nbytes: int | None

    @property
    def work_ns(self) -> int:
        """Of the device and of the host."""
        return self.device_ns + self.host_ns


@dataclass(frozen=True)
class Account:
    """What a time from drained queues to drained queues was spent on; the parts are its sum.

    Attributes:
        device_ns: the device at work. host_ns: the host computed or copied while the device was
            idle. submit_ns: the host called `enqueue` while nothing else happened.
        rest_ns: what no event and no call explains: the way of a command to the device and of its
            end to the host, Python between two calls.
        gaps_ns: the device idle between its first command and its last, a part of the other three.
        copies_ns: tensors that cross borders between backends, a part of device and host.
    """

    synced_ns: int
    device_ns: int
    host_ns: int
    submit_ns: int
    rest_ns: int
    gaps_ns: int
    copies_ns: int


@dataclass(frozen=True)
class Clock:
    """How the device's clock relates to the host's: host = device + offset.

    Attributes:
        uncertainty_ns: the calls of `enqueue`, within which QUEUED lies, allow so much around the
            offset; negative where no offset fits all of them.
    """

    offset_ns: int
    uncertainty_ns: int

    @classmethod
    def of(cls, spans: Iterable[Span]) -> Clock:
        """From the stamps of a run: QUEUED is taken between the call of `enqueue` and its end."""
        queued = [s for s in spans if s.clock == DEVICE]
        if not queued:
            return cls(0, 0)
        low = max(s.called_ns - s.queued_ns for s in queued)
        high = min(s.returned_ns - s.queued_ns for s in queued)
        if low > high:
            middles = ((s.called_ns + s.returned_ns) // 2 - s.queued_ns for s in queued)
            return cls(median_low(middles), -((low - high) // 2 + 1))
        return cls((low + high) // 2, (high - low) // 2)


@dataclass(frozen=True)
class RunProfile:
    """One run of a session, command by command, as `Session.profile` gives it; times in ns.

    ::

        import parallax as px

        session = px.Interpreter.from_file("model.onnx").create_session(shapes={"x": (2, 4)})
        profile = session.profile({"x": array})
        print(profile)
        slowest = max(profile.nodes, key=lambda node: node.work_ns)

    Attributes:
        work: what each operator had to do, in the order of the run.
        timeline: every launch, on the clock that stamped it.
    """

    work: tuple[Work, ...]
    timeline: Timeline

    # ------------------------------------------------------------------ tables
    @property
    def nodes(self) -> tuple[Share, ...]:
        """A share for each operator of the graph that ran, in the order of the run."""
        return tuple(self._shares(lambda span: span.title))

    @property
    def operators(self) -> tuple[Share, ...]:
        """The same by type (`Conv+Relu`), the longest first."""
        types = {work.title: work.type for work in self.work}
        return _longest_first(self._shares(lambda span: types[span.title]))

    @property
    def kernels(self) -> tuple[Share, ...]:
        """The same by kernel, or by what ran on the host, the longest first."""
        return _longest_first(self._shares(lambda span: span.kernel))

    def _shares(self, key: Callable[[Span], str]) -> Iterator[Share]:
        groups: dict[str, list[Span]] = {}
        for span in self.timeline.spans:
            groups.setdefault(key(span), []).append(span)
        launches: dict[str, int] = {}
        for span in self.timeline.spans:
            launches[span.title] = launches.get(span.title, 0) + 1
        works = {work.title: work for work in self.work}
        for name, spans in groups.items():
            own: dict[str, int] = {}
            for span in spans:
                own[span.title] = own.get(span.title, 0) + 1
            whole = all(own[title] == launches[title] for title in own)
            yield _share(name, spans, [works[title] for title in own], whole=whole)

    # ------------------------------------------------------------------ totals
    @property
    def clock(self) -> Clock:
        """Of its device."""
        return Clock.of(self.timeline.spans)

    @property
    def synced_ns(self) -> int:
        """From drained queues to drained queues, with profiling."""
        return self.timeline.synced_ns

    @property
    def enqueue_ns(self) -> int:
        """Until the last command was submitted."""
        return self.timeline.enqueue_ns

    @property
    def account(self) -> Account:
        """What the run was spent on."""
        return account([self])

    def intervals(self, clock: str) -> list[Interval]:
        """START to END on the device or on the host, on the host's clock, within the run."""
        offset = self.clock.offset_ns if clock == DEVICE else 0
        spans = (s for s in self.timeline.spans if s.clock == clock)
        return self._within((s.start_ns + offset, s.end_ns + offset) for s in spans)

    def calls(self) -> list[Interval]:
        """When the host called `enqueue` of a device."""
        spans = (s for s in self.timeline.spans if s.clock == DEVICE)
        return self._within((s.called_ns, s.returned_ns) for s in spans)

    @property
    def copies_ns(self) -> int:
        """Of the nodes that only cross a border."""
        copies = {work.title for work in self.work if work.is_copy}
        return sum(share.work_ns for share in self.nodes if share.name in copies)

    def _within(self, intervals: Iterable[Interval]) -> list[Interval]:
        first = self.timeline.started_ns
        last = first + self.timeline.synced_ns
        return [(max(a, first), min(b, last)) for a, b in intervals]

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        spent = self.account
        yield (
            f"synced {_ms(spent.synced_ns)} ms = device {_ms(spent.device_ns)} + host "
            f"{_ms(spent.host_ns)} + enqueue {_ms(spent.submit_ns)} + unexplained "
            f"{_ms(spent.rest_ns)}"
        )
        for share in self.operators:
            nodes = "1 node" if share.nodes == 1 else f"{share.nodes} nodes"
            yield f"{_ms(share.work_ns)} ms {share.name}, {nodes}, {share.launches} launches"


def account(profiles: Sequence[RunProfile]) -> Account:
    """What the time was spent on that some models took together; they have one start and end."""
    device = [i for p in profiles for i in p.intervals(DEVICE)]
    host = [i for p in profiles for i in p.intervals(HOST)]
    calls = [i for p in profiles for i in p.calls()]
    synced = profiles[0].synced_ns
    reached = [union_ns(some) for some in (device, [*device, *host], [*device, *host, *calls])]
    window = max((b for _, b in device), default=0) - min((a for a, _ in device), default=0)
    return Account(
        synced_ns=synced,
        device_ns=reached[0],
        host_ns=reached[1] - reached[0],
        submit_ns=reached[2] - reached[1],
        rest_ns=synced - reached[2],
        gaps_ns=window - reached[0],
        copies_ns=sum(p.copies_ns for p in profiles),
    )


def _share(name: str, spans: Sequence[Span], works: Sequence[Work], *, whole: bool) -> Share:
    device = [s for s in spans if s.clock == DEVICE]
    host = [s for s in spans if s.clock != DEVICE]
    return Share(
        name=name,
        nodes=len(works),
        launches=len(spans),
        device_ns=union_ns((s.start_ns, s.end_ns) for s in device),
        host_ns=union_ns((s.start_ns, s.end_ns) for s in host),
        enqueue_ns=sum(s.returned_ns - s.called_ns for s in device),
        flops=sum(work.flops for work in works) if whole else None,
        nbytes=sum(work.nbytes for work in works) if whole else None,
    )


def _longest_first(shares: Iterable[Share]) -> tuple[Share, ...]:
    return tuple(sorted(shares, key=lambda share: -share.work_ns))


def _ms(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:.3g}"
