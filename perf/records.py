"""Records: what is kept of every request, of whichever scenario, on one clock.

A request is one inference of one model: when it was due, begun, enqueued, done and its outputs
taken, and the event of every command that it enqueued. All stamps are of `time.perf_counter_ns`;
those of a device are brought there by its `DeviceClock`. A `Tape` makes the records of one window,
from drained queues to drained queues; work of before the window is kept apart as `earlier`, to show
that the drain held (I16).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from engine.execution.recorder import Recorder
from engine.runtime import Runtime
from engine.session import Session
from engine.timeline import DEVICE, Span, union_ns
from perf.device_clock import DeviceClock

Interval = tuple[int, int]


@dataclass(frozen=True)
class Event:
    """One command of one request, in ns of the host's clock.

    Attributes:
        queue: which one it was in; "host" for what the host computed or copied.
    """

    queue: str
    model: str
    request: int
    title: str
    kernel: str
    queued_ns: int
    submit_ns: int
    start_ns: int
    end_ns: int

    @property
    def interval(self) -> Interval:
        """START and END."""
        return self.start_ns, self.end_ns


@dataclass(frozen=True)
class Request:
    """One inference of one model; stamps in ns.

    Attributes:
        due_ns: when it was to begin. start_ns: when it did. enqueued_ns: its last command was
            submitted. done_ns: whoever waited for it knew that it was done. posted_ns: its outputs
            were taken. The last two are equal where nobody took them.
        launched: commands that were given to a queue, counted apart from their events.
        unfinished: those that had not ended at `done_ns`.
    """

    model: str
    number: int
    due_ns: int
    start_ns: int
    enqueued_ns: int
    done_ns: int
    posted_ns: int
    launched: int = 0
    unfinished: int = 0
    events: tuple[Event, ...] = ()

    @property
    def enqueue_ns(self) -> int:
        """Until its last command was submitted; not a latency."""
        return self.enqueued_ns - self.start_ns

    @property
    def service_ns(self) -> int:
        """From its beginning."""
        return self.posted_ns - self.start_ns

    @property
    def latency_ns(self) -> int:
        """From when it was due: that it had to wait for its turn counts."""
        return self.posted_ns - self.due_ns

    @cached_property
    def busy_ns(self) -> int:
        """Length of the union of its events: what it truly took of the device, or of the host."""
        return union_ns(event.interval for event in self.events)

    @property
    def window(self) -> Interval:
        """Its first START and its last END; its beginning and end where it has no events."""
        if not self.events:
            return self.start_ns, self.done_ns
        return min(e.start_ns for e in self.events), max(e.end_ns for e in self.events)


@dataclass(frozen=True)
class Records:
    """The requests between a drained start and a drained end.

    Attributes:
        requests: in the order in which they were begun.
        earlier: events of what was enqueued before the start.
        clocks: by queue.
    """

    started_ns: int
    done_ns: int
    requests: tuple[Request, ...]
    earlier: tuple[Event, ...] = ()
    clocks: tuple[tuple[str, DeviceClock], ...] = ()

    @property
    def synced_ns(self) -> int:
        """Of the whole window."""
        return self.done_ns - self.started_ns

    @property
    def models(self) -> tuple[str, ...]:
        """In the order in which they began."""
        return tuple(dict.fromkeys(request.model for request in self.requests))

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """Of all requests, in the order in which they were enqueued."""
        return tuple(
            sorted((e for r in self.requests for e in r.events), key=lambda e: e.queued_ns)
        )

    @property
    def queues(self) -> tuple[str, ...]:
        """Those that worked."""
        return tuple(dict.fromkeys(event.queue for event in self.events))

    @cached_property
    def busy_ns(self) -> int:
        """Something was at work for whichever model."""
        return union_ns(event.interval for event in self.events)

    def of(self, model: str) -> tuple[Request, ...]:
        """The requests of one model."""
        return tuple(request for request in self.requests if request.model == model)

    def busy_of(self, model: str) -> int:
        """What a model took, by its events."""
        return union_ns(e.interval for r in self.of(model) for e in r.events)

    def behind_ns(self, request: Request) -> int:
        """Others' work between the beginning of a request and its last END, while it had none."""
        first, last = request.start_ns, request.window[1]
        own = [event.interval for event in request.events]
        others = [
            (max(e.start_ns, first), min(e.end_ns, last))
            for r in self.requests
            if r is not request
            for e in r.events
        ]
        return union_ns([*own, *others]) - union_ns(own)


class Tape:
    """Keeps the requests of one window of a runtime; may be used from several threads.

    Inside `recording_queues`: `plant` earlier work, of which the window must see nothing, `start`,
    `enqueue` requests, wait for them or not, and `stop`, which gives the records.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._begun: list[Begun] = []
        self._planted: list[Begun] = []
        self._started_ns = 0
        self._lock = threading.Lock()

    def plant(self, sessions: Iterable[Session]) -> None:
        """Enqueue work before the window, and do not wait for it."""
        self._planted += [Begun("earlier", i, session) for i, session in enumerate(sessions)]
        for begun in self._planted:
            begun.enqueue()

    def start(self) -> None:
        """Drain every queue; the window begins."""
        drain(self._runtime)
        self._started_ns = time.perf_counter_ns()

    def enqueue(self, model: str, session: Session, due_ns: int | None = None) -> Begun:
        """Begin a request on what the inputs of its session hold."""
        with self._lock:
            begun = Begun(model, len(self._begun), session, due_ns)
            self._begun.append(begun)
        begun.enqueue()
        return begun

    def stop(self) -> Records:
        """Drain every queue, harvest the events and let go of them; the window ends.

        Requests that nobody waited for are done at its end.
        """
        drain(self._runtime)
        done_ns = time.perf_counter_ns()
        for begun in (*self._begun, *self._planted):
            begun.note_done(done_ns)
        self._runtime.synchronize()
        clocks = self._clocks()
        by_queue = dict(clocks)
        return Records(
            started_ns=self._started_ns,
            done_ns=done_ns,
            requests=tuple(begun.request(by_queue) for begun in self._begun),
            earlier=tuple(e for begun in self._planted for e in begun.request(by_queue).events),
            clocks=clocks,
        )

    def _clocks(self) -> tuple[tuple[str, DeviceClock], ...]:
        spans: dict[str, list[Span]] = {}
        for begun in (*self._begun, *self._planted):
            for queue, span in begun.spans():
                if span.clock == DEVICE:
                    spans.setdefault(queue, []).append(span)
        return tuple((queue, DeviceClock.of(found)) for queue, found in spans.items())


class Begun:
    """A request that was begun: what a tape knows of it before its events can be read."""

    def __init__(
        self, model: str, number: int, session: Session, due_ns: int | None = None
    ) -> None:
        self.model, self.number, self._session = model, number, session
        self._recorder = Recorder(session.execution.backends)
        self._due_ns = due_ns
        self.start_ns = self.enqueued_ns = self.done_ns = self.posted_ns = 0
        self._unfinished = 0

    def enqueue(self) -> None:
        """Submit its commands one by one."""
        self.start_ns = time.perf_counter_ns()
        self._session.execution.enqueue_by(self._recorder)
        self.enqueued_ns = time.perf_counter_ns()

    def wait(self) -> None:
        """Return when its own commands have ended, whoever enqueued more meanwhile."""
        for record in self._recorder.records:
            if record.event is not None:
                record.event.wait()
        self.note_done(time.perf_counter_ns())

    def note_done(self, done_ns: int) -> None:
        """Whoever waited for it came back; only the first time counts."""
        if not self.done_ns:
            self.done_ns = self.posted_ns = done_ns
            self._unfinished = self._recorder.unfinished

    def note_posted(self) -> None:
        """Its outputs were taken."""
        self.posted_ns = time.perf_counter_ns()

    def spans(self) -> Iterator[tuple[str, Span]]:
        """Every launch that has ended, with its queue."""
        for record in self._recorder.records:
            if (span := record.span) is not None:
                yield (self._queue_of(record.step) if span.clock == DEVICE else "host"), span

    def _queue_of(self, step: Any) -> str:
        backend: Any = self._session.execution.backends[step.backend]
        return f"{backend.info.platform} {id(backend.memory):x}"

    def request(self, clocks: dict[str, DeviceClock]) -> Request:
        """With its events on the host's clock."""
        own = self.model, self.number
        return Request(
            *own,
            self.start_ns if self._due_ns is None else self._due_ns,
            self.start_ns,
            self.enqueued_ns,
            self.done_ns,
            self.posted_ns,
            launched=sum(record.gives_event for record in self._recorder.records),
            unfinished=self._unfinished,
            events=tuple(
                _event(span, queue, own, clocks[queue].offset_ns if queue in clocks else 0)
                for queue, span in self.spans()
            ),
        )


def _event(span: Span, queue: str, own: tuple[str, int], offset_ns: int) -> Event:
    stamps = (span.queued_ns, span.submit_ns, span.start_ns, span.end_ns)
    return Event(queue, *own, span.title, span.kernel, *(stamp + offset_ns for stamp in stamps))


def drain(runtime: Runtime) -> None:
    """Return when every queue of the runtime is idle."""
    runtime.synchronize()


@contextmanager
def recording_queues(runtime: Runtime) -> Iterator[None]:
    """Inside, what any thread enqueues goes to queues that record event times.

    `Backend.profiling` is for one thread, since it holds the lock of the device.
    """
    with ExitStack() as stack:
        for backend in {b.memory: b for b in runtime._made()}.values():
            context: Any = getattr(backend, "context", None)
            if context is not None:
                stack.enter_context(_recording_queue(context))
        yield


@contextmanager
def _recording_queue(context: Any) -> Iterator[None]:
    """Swap the queue of an OpenCL context while it is idle, and swap it back."""
    with context.lock:
        with context.profiled():
            recording = context.queue
        context.finish()
        plain, context.queue = context.queue, recording
    try:
        yield
    finally:
        with context.lock:
            try:
                context.finish()
            finally:
                context.queue = plain
