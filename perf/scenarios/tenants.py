"""Tenants: models that share one runtime, ready to run, with what each gives when it is alone."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from conformance.inputs import Feeds, shuffled
from engine.arrays import AnyArray, flattened
from engine.config import ScheduleConfig
from engine.interpreter import Interpreter
from engine.runtime import Runtime
from engine.session import Session
from perf.candidates import Candidate
from perf.foreign import Load, Moment
from perf.latency import timed_run
from perf.records import Records, Request, Tape, drain, recording_queues

Outputs = Mapping[str, AnyArray]
AnyFeeds = Mapping[str, AnyArray]


@dataclass(frozen=True)
class Model:
    """A model of the user's: where it lies, what it is called here, and inputs for it."""

    path: Path
    name: str
    feeds: Feeds


@dataclass(frozen=True)
class Tenant:
    """A model in a session.

    Attributes:
        feeds: inputs of the same shapes, taken by turns: outputs that were remembered show.
        expected: digests of the outputs for each of them, when nothing else ran.
    """

    model: Model
    interpreter: Interpreter
    session: Session
    feeds: tuple[AnyFeeds, ...]
    expected: tuple[str, ...]

    @property
    def name(self) -> str:
        """What it is called."""
        return self.model.name

    def serve(self, number: int, due_ns: int | None = None) -> tuple[Request, Outputs]:
        """One request as a server has it: inputs written, run, outputs read."""
        start = time.perf_counter_ns()
        self.session.run(self.feeds[number % len(self.feeds)])
        enqueued = time.perf_counter_ns()
        outputs = {name: self.session.read(name) for name in self.session.outputs}
        done = time.perf_counter_ns()
        due = start if due_ns is None else due_ns
        return Request(self.name, number, due, start, enqueued, done, done), outputs

    def expects(self, number: int) -> str:
        """The digest of the outputs that request `number` must have."""
        return self.expected[number % len(self.expected)]


@dataclass(frozen=True)
class Tenancy:
    """Models on one runtime, on one device at one precision.

    Attributes:
        candidate: device and precision as they were asked for.
    """

    runtime: Runtime
    config: ScheduleConfig
    candidate: Candidate
    tenants: tuple[Tenant, ...]
    threads: int | None = None
    seed: int = 0

    @property
    def is_asynchronous(self) -> bool:
        """Whether there is a queue."""
        return any(hasattr(backend, "context") for backend in self.runtime._made())


@dataclass
class Window:
    """A recorded window, and what else the machine did meanwhile."""

    records: Records
    load: Load


@contextmanager
def open_tenancy(
    models: Sequence[Model],
    config: ScheduleConfig,
    candidate: Candidate,
    runtime: Runtime | None = None,
    *,
    threads: int | None = None,
    seed: int = 0,
) -> Iterator[Tenancy]:
    """Sessions of all models; each has run alone on its inputs.

    Args:
        runtime: whose devices to use; None: one that ends with the tenancy.
        seed: of what is drawn: other orders of the inputs, times of arrival.

    Raises:
        ParallaxError: what creating and running a session raises.
    """
    with ExitStack() as stack:
        if runtime is None:
            runtime = stack.enter_context(Runtime())
        tenants = [_tenant(model, config, runtime, stack, seed) for model in models]
        yield Tenancy(runtime, config, candidate, tuple(tenants), threads, seed)


def _tenant(
    model: Model, config: ScheduleConfig, runtime: Runtime, stack: ExitStack, seed: int
) -> Tenant:
    interpreter = stack.enter_context(Interpreter.from_file(model.path))
    shapes = {name: array.shape for name, array in model.feeds.items()}
    session = stack.enter_context(interpreter.create_session(config, runtime, shapes))
    feeds: tuple[AnyFeeds, ...] = (model.feeds,)
    if not session.deciding:  # another value of those is another shape
        feeds = (shuffled(model.feeds, seed + 1), model.feeds)
    expected = tuple(digest(session(given)) for given in feeds)
    return Tenant(model, interpreter, session, feeds, expected)


def digest(outputs: Outputs) -> str:
    """Of names, dtypes, shapes and every bit."""
    found = blake2b(digest_size=16)
    for name, array in flattened(outputs).items():
        found.update(f"{name} {array.dtype} {array.shape}\n".encode())
        plain = array.tolist() if array.dtype.hasobject else None
        contents = np.ascontiguousarray(array).tobytes() if plain is None else repr(plain).encode()
        found.update(contents)
    return found.hexdigest()


def synced(tenant: Tenant) -> tuple[int, int]:
    """Enqueue and synced ns of one inference on what the inputs hold, drained to drained."""
    return timed_run(tenant.session)


def chain(runtime: Runtime, tenants: Sequence[Tenant], *, barrier: bool = False) -> list[int]:
    """Run one after the other: ns from the start to each call's return, and to the end of all.

    Args:
        barrier: drain the queues after each of them.
    """
    clock, stamps = time.perf_counter_ns, []
    drain(runtime)
    started = clock()
    for tenant in tenants:
        tenant.session.run()
        if barrier:
            drain(runtime)
        stamps.append(clock() - started)
    drain(runtime)
    return [*stamps, clock() - started]


def recorded(
    tenancy: Tenancy, orders: Sequence[Sequence[Tenant]], rounds: int
) -> list[list[Window]]:
    """Each order of requests recorded once in each round; one round more goes before, unkept.

    In front of every window work is planted, whose end the window must not see.
    """
    found: list[list[Window]] = []
    with recording_queues(tenancy.runtime):
        for _ in range(rounds + 1):
            found.append([_window(tenancy, order) for order in orders])
    return found[1:]


def _window(tenancy: Tenancy, order: Sequence[Tenant]) -> Window:
    tape = Tape(tenancy.runtime)
    tape.plant({id(tenant): tenant.session for tenant in order}.values())
    before = Moment.now()
    tape.start()
    for tenant in order:
        tape.enqueue(tenant.name, tenant.session)
    records = tape.stop()
    return Window(records, Load.between(before, Moment.now()))
