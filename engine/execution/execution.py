"""Execution: a bound graph made ready on its backends; decides everything that resize decides."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine import heap
from engine.arenas import Lease, SharedArena
from engine.backends.protocol import Arena, Backend, Command, Kernel, KernelCache, PendingRead, Slot
from engine.errors import (
    ClosedError,
    DeviceError,
    DeviceMemoryError,
    InputError,
    ParallaxError,
)
from engine.execution.blueprint import KEPT, Blueprint
from engine.execution.indices import readers_of
from engine.execution.watch import Watch
from engine.forks import ProcessBound, check_process
from engine.ir.graph import Graph, Node, Value
from engine.ir.types import zero_of
from engine.locks import together
from engine.passes.cut_stages import Border
from engine.planner.lifetimes import root_of

logger = logging.getLogger("parallax.session")

Listener = Callable[[Node, Any], None]
"""Called after each command was enqueued, with the node and the backend's event."""
Observer = Callable[[Node], bool]
"""Called before or after a node; what its answer means is said where it is passed."""
CLOSE_TIMEOUT_S = 10.0
"""How long `close` waits for work in flight; drivers keep its memory until it ends."""
LEAST_WAIT_S = 0.05
"""In which an idle queue answers."""
_OF_A_STEP = (DeviceError, InputError)
"""What a command raises: its device failed, or the data that it reads cannot be (indices)."""


class HostCopy:
    """Moves a tensor between memories through the host; waits for the source."""

    name = "host copy"

    def __init__(self, source: Backend, target: Backend, old: Slot, new: Slot) -> None:
        self._source, self._target, self._old, self._new = source, target, old, new

    def enqueue(self) -> None:
        """Read there, write here."""
        self._target.write(self._new, self._source.read(self._old))


@dataclass(frozen=True)
class Step:
    """One command of a run, with the node it computes and the backend it runs on."""

    node: Node
    backend: str
    command: Command


class Execution(ProcessBound):
    """Slots in arenas and commands in order, for one set of shapes.

    Each backend has two arenas: graph inputs, outputs and kept values lie in one that is this
    execution's own; all others in one that may be shared with executions that take turns.

    Args:
        graph: bound and optimised; taken over and changed (copies, layouts).
        backends: by name, in order of preference.
        keep: values that stay readable after a run; "*" keeps every one.
        strict: refuse any node that the first backend lacks.
        order: which backends a node may run on, best first; None: all of them.
        shared: the arena to lease the memory of intermediate values from; None: one of its own.
        cache: where compiled kernels are looked up.
        guard_nbytes: free bytes after each window, for tests that look for overruns.
        watch: told of the values that are stored, and waits for every run to see its results.

    Attributes:
        written: graph inputs that hold data. complete: the last run computed every output.
        launched: there was a complete run, whatever became of its outputs.
        computed: names of what the operators of the optimised graph compute.
    """

    noun = "Tensor"  # through which a user meets it

    def __init__(
        self,
        graph: Graph,
        backends: Mapping[str, Backend],
        *,
        keep: Collection[str] | str = (),
        strict: bool = False,
        order: Callable[[Node], Sequence[str]] | None = None,
        shared: Callable[[Backend], SharedArena] | None = None,
        cache: KernelCache | None = None,
        guard_nbytes: int = 0,
        watch: Watch | None = None,
    ) -> None:
        self.graph, self._watch = graph, watch
        self.backends = dict(backends)
        self.written: set[Value] = set()
        self.complete = self.launched = False
        self._ends: dict[str, Any] = {}
        self._shown: set[Value] | None = None
        self.mapped: set[Value] = set()
        self.closed = False
        self._bind_to_process()
        self._arenas: dict[str, Arena] = {}
        self._leases: dict[str, Lease] = {}
        self._constants: dict[tuple[str, Value], Slot] = {}
        self._attached: dict[Value, Slot] = {}
        self._unbind()
        self._weights: dict[str, dict[int, Arena]] = {name: {} for name in backends}
        design = Blueprint(
            graph, backends, keep=keep, strict=strict, order=order, guard_nbytes=guard_nbytes
        )
        self.placements, self.aliases = design.placements, design.aliases
        self.kept, self.plan, self.computed = design.kept, design.plan, design.computed
        self._where, self._home = design.where, design.home
        self._readers = {value: readers_of(value) for value in graph.inputs}
        self._used = {self.backends[n] for n in (*self._where.values(), *self._home.values())}
        self._lock = together(backend.lock for backend in self._used)
        try:
            with self._lock, self._building(cache):
                self._kernels = {n: self._prepare(n) for n in graph.nodes}
                self._allocate(shared or _private)
                self._bind_all()
            self._watch_constants()
        except BaseException:
            self.close()
            raise

    # ------------------------------------------------------------------ building
    def _building(self, cache: KernelCache | None) -> AbstractContextManager[Any]:
        """With the locks held: notes the memory of all constants that the backends hand out."""
        stack = ExitStack()
        for name, backend in self.backends.items():
            if backend in self._used:
                arenas = stack.enter_context(backend.building(cache))
                stack.callback(self._note_weights, name, arenas)
        return stack

    def _note_weights(self, name: str, arenas: Collection[Arena]) -> None:
        self._weights[name].update((id(arena), arena) for arena in arenas)

    def _prepare(self, node: Node) -> Kernel | None:
        if node.op_type == "Copy":
            return None
        try:
            with heap.enough_for("its kernel"):
                return self.backends[self._where[node]].prepare(node)
        except ParallaxError as error:
            operands = ", ".join(str(v.known_type) for v in node.inputs if v is not None)
            error.args = (f"{node.place} on ({operands}): {error}", *error.args[1:])
            raise

    def _allocate(self, shared: Callable[[Backend], SharedArena]) -> None:
        for name in {window.arena: None for window in self.plan.windows.values()}:
            backend, size = self.backends[name.removesuffix(KEPT)], self.plan.arenas[name]
            if name.endswith(KEPT):
                self._arenas[name] = backend.allocate(size.peak_nbytes)
            else:
                self._leases[name] = shared(backend).lease(size.peak_nbytes, self._unbind)

    def _bind_all(self) -> None:
        self._steps = list(self._bind())
        self._enqueues = [(step, step.command.enqueue) for step in self._steps]
        self._steps_of = {step.node: step for step in self._steps}
        self._bound = True

    def _unbind(self) -> None:
        """Let go of the commands, which hold memory that was moved or is freed."""
        self._steps, self._enqueues, self._steps_of = [], [], {}
        self._bound = False

    def _follow_moves(self) -> None:
        """Bind again when another execution made a shared arena move."""
        if not self._bound:
            with self._building(None):
                self._bind_all()

    @property
    def steps(self) -> list[Step]:
        """The commands of a run, in order."""
        self.check_open()
        with self._lock:
            self._follow_moves()
            return self._steps

    def _bind(self) -> Iterator[Step]:
        slots: dict[Value, Slot] = {}

        def slot(value: Value) -> Slot:
            if value not in slots:
                slots[value] = self.slot(value)
            return slots[value]

        def operand(value: Value) -> Slot:
            return slot(value) if value.contents is None else self._constant(value, name)

        for node in self.graph.nodes:
            name = self._where[node]
            if any(out in self.aliases for out in node.outputs):
                continue
            outputs = [slot(v) for v in node.outputs]
            kernel = self._kernels[node]
            if kernel is None:
                command = self._copy(node, outputs[0])
            else:
                inputs = [
                    None if v is None or i in kernel.packed_inputs else operand(v)
                    for i, v in enumerate(node.inputs)
                ]
                command = kernel.bind(inputs, outputs)
            yield Step(node, name, command)

    def _copy(self, node: Node, target: Slot) -> Command:
        (value,) = node.inputs
        assert value is not None
        here, there = self.backends[self._where[node]], self.backends[self._home[value]]
        if here.memory == there.memory:
            return here.copy(self.slot(value), target)
        return HostCopy(there, here, self.slot(value), target)

    def _constant(self, value: Value, name: str) -> Slot:
        assert value.contents is not None
        if (name, value) not in self._constants:
            with heap.enough_for(lambda: f"constant {value.name!r} of {value.type}"):
                self._constants[name, value] = self.backends[name].constant(value.contents)
        return self._constants[name, value]

    # ------------------------------------------------------------------ its parts
    @property
    def parts(self) -> Sequence[Execution]:
        """The executions of one run: this one, which may go on with others."""
        return [self]

    @property
    def results(self) -> Mapping[str, tuple[Execution, Value]]:
        """Every output that is known, by name, with the part that it is of."""
        return {v.name: (self, v) for v in self.graph.outputs}

    @property
    def lists_out(self) -> Mapping[str, tuple[str, ...] | None]:
        """Outputs that are no tensors, see `Graph`; the names in them are those of results."""
        return self.graph.lists_out

    @property
    def borders(self) -> Sequence[Border]:
        """Where a run stops for the host: nowhere."""
        return ()

    @property
    def stages_planned(self) -> int:
        """How many plans of later stages were made so far."""
        return 0

    def part_of(self, value: Value) -> Execution:
        """The part that a value is of."""
        return next((p for p in self.parts if value in p._home), self)

    # ------------------------------------------------------------------ using
    def slot(self, value: Value) -> Slot:
        """Where a value that is not constant lies."""
        root = root_of(value, self.aliases)
        window = self.plan.windows[root]
        backend = self.backends[self._home[value]]
        type_ = value.known_type
        storage = backend.storage(type_.dtype)
        if root in self._attached:
            there = self._attached[root]
            return Slot(there.arena, there.offset_nbytes, type_, storage, value.layout)
        return Slot(self.arena(window.arena), window.offset_nbytes, type_, storage, value.layout)

    def arena(self, name: str) -> Arena:
        """The memory behind an arena of the plan."""
        return self._arenas[name] if name.endswith(KEPT) else self._leases[name].shared.arena

    def backend_of(self, value: Value) -> Backend:
        """The backend a value lies on."""
        return self.backends[self._home[value]]

    def attach(self, value: Value, memory: Any) -> None:
        """Let a graph input lie in the user's own memory; raises InputError if it does not fit."""
        self.check_open()
        with self._lock:
            self._attached[value] = self.backend_of(value).attach(memory, value.known_type)
            with self._building(None):
                self._bind_all()
        self.written.add(value)

    def write(self, value: Value, array: np.ndarray) -> None:
        """Fill a graph input, in order with what is enqueued.

        Raises:
            InputError: indices that a node of the plan cannot have.
        """
        self.check_open()
        for reader in self._readers.get(value, ()):
            reader.check(array)
        self.backend_of(value).write(self.slot(value), array)
        self.written.add(value)
        if self._watch is not None:
            self._watch.note_stored("input", value.name, array, self.slot(value).storage)

    def take(self, value: Value, slot: Slot, backend: Backend) -> None:
        """Fill a graph input from another slot: on the device where both lie in one memory."""
        self.check_open()
        target = self.backend_of(value)
        if target.memory == backend.memory:
            with self._lock:
                target.copy(slot, self.slot(value)).enqueue()
        else:
            target.write(self.slot(value), backend.read(slot))
        self.written.add(value)

    def read(self, value: Value) -> np.ndarray:
        """A kept value, output or constant as a logical array; waits for it."""
        self.check_open()
        with heap.enough_for(f"reading {value.name!r}"):
            if value.constant is not None:
                return value.constant.copy()
            return self.read_later(value).result()

    def read_later(self, value: Value) -> PendingRead:
        """Enqueue the read of a value that is not constant."""
        check_process(self)
        with self._lock:
            self.check_open()
            return self.backend_of(value).read_later(self.slot(value))

    def _run(self) -> AbstractContextManager[Any]:
        """With the locks held: ready to enqueue, and alone on the shared arenas."""
        self._follow_moves()
        shared = {id(lease.shared): lease.shared for lease in self._leases.values()}
        return together([arena.run() for arena in shared.values()])

    def enqueue(self, listener: Listener | None = None) -> None:
        """Submit every command in order; on OpenCL returns before they are done."""
        self.check_open()
        self.complete = False
        with self._lock, self._run():
            done = 0
            try:
                for step, enqueue in self._enqueues:
                    event = self._ends[step.backend] = enqueue()
                    if listener is not None:
                        listener(step.node, event)
                        self.check_open()
                    done += 1
            except (*_OF_A_STEP, MemoryError) as error:
                raise _at(self._steps[done], error) from error
            finally:
                self.complete = False  # whatever a run in the listener left
        self.complete = self.launched = True
        self._watch_results()

    def enqueue_by(self, submit: Callable[[Step], Any]) -> None:
        """The same through `submit(step)`, which enqueues a command and returns its event."""
        self.check_open()
        self.complete = False
        with self._lock, self._run():
            for step in self._steps:
                try:
                    self._ends[step.backend] = submit(step)
                except (*_OF_A_STEP, MemoryError) as error:
                    raise _at(step, error) from error
        self.complete = self.launched = True
        self._watch_results()

    def _watch_constants(self) -> None:
        if self._watch is None:
            return
        seen = set()
        for node in self.graph.nodes:
            backend = self.backends[self._where[node]]
            for value in node.inputs:
                if value is None or value.constant is None or (value, backend) in seen:
                    continue
                seen.add((value, backend))
                storage = backend.storage(value.constant.dtype)
                self._watch.note_stored("constant", value.name, value.constant, storage)

    def _watch_results(self) -> None:
        if self._watch is not None:
            for value in dict.fromkeys((*self.graph.outputs, *self.kept)):
                self._watch.note_result(value.name, self.read(value))

    def limit_runs(self) -> None:
        """Wait while too many runs are in flight on a device; called without locks after a run."""
        for name, last in self._ends.items():
            self.backends[name].limit_runs(last)

    def warm_up(self) -> None:
        """Run on zeros and wait; then inputs count as not written, outputs as not computed."""
        self._warm_up(self.enqueue)

    def _warm_up(self, enqueue: Callable[[], None]) -> None:
        for value in self.graph.inputs:
            type_ = value.known_type
            zeros = np.full(type_.dims, zero_of(type_.dtype))
            self.backend_of(value).write(self.slot(value), zeros)
        enqueue()
        self.synchronize()
        self.forget()

    def enqueue_observed(self, before: Observer, after: Observer, *, sync: bool) -> Node | None:
        """Submit node by node, in order, and say what happens.

        Args:
            before: its False skips the node, whose outputs then hold what they held.
            after: its False stops the run.
            sync: wait for each node before `after` is asked.

        Returns:
            The node after which the run was stopped, or None.
        """
        self.check_open()
        self.complete = False
        with self._lock, self._run(), self._showing() as shown:
            for node in self.graph.nodes:
                step = self._steps_of.get(node)
                is_wanted = before(node)
                self.check_open()
                if is_wanted and step is not None:
                    try:
                        self._ends[step.backend] = step.command.enqueue()
                    except (*_OF_A_STEP, MemoryError) as error:
                        raise _at(step, error) from error
                if sync:
                    self.backends[self._where[node]].synchronize()
                shown.update(node.outputs)
                goes_on = after(node)
                self.check_open()
                if not goes_on:
                    return node
        self.complete = self.launched = True
        self._watch_results()
        return None

    @contextmanager
    def _showing(self) -> Iterator[set[Value]]:
        """Inside, callbacks may read every tensor that is in the set that this gives."""
        self._shown = set()
        try:
            yield self._shown
        finally:
            self._shown = None
            self.complete = False  # whatever a run in a callback left

    def holds(self, value: Value) -> bool:
        """Whether a value was written, or computed by a complete run, since the resize.

        Within a run that is observed: by this run. After it, those in shared memory are lost.
        """
        if value.is_constant or value in self.graph.inputs:
            return value.is_constant or value in self.written
        if self._shown is not None:
            return value in self._shown
        root = root_of(value, self.aliases)
        return self.complete and self.plan.windows[root].arena.endswith(KEPT)

    def forget(self) -> None:
        """Inputs count as not written, outputs as not computed; the user's memory is let go."""
        self.written.clear()
        self.complete = False
        if self._attached:
            with self._lock:
                self._attached.clear()
                self._unbind()

    def where(self, node: Node) -> str:
        """The name of the backend that a node runs on."""
        return self._where[node]

    def home(self, value: Value) -> str:
        """The name of the backend that a value lies on."""
        return self._home[value]

    def synchronize(self) -> None:
        """Return when the work of every backend is done."""
        self.check_open()
        for backend in self.backends.values():
            backend.synchronize()

    def kept_nbytes(self, name: str) -> int:
        """Bytes of inputs, outputs and kept values on a backend."""
        return self.plan.arenas[name + KEPT].peak_nbytes

    def weights_nbytes(self, name: str) -> int:
        """Bytes of constants that this execution uses on a backend, shared ones included."""
        return sum(arena.nbytes for arena in self._weights[name].values())

    def check_open(self) -> None:
        """Raises ClosedError after `close`, and in a forked process."""
        if self.closed:
            raise ClosedError("these shapes were resized away or their session was closed")
        check_process(self)

    def close(self, deadline_s: float | None = None) -> None:
        """Free arenas and constants after a bounded wait; harmless the second time.

        Args:
            deadline_s: when to stop waiting, on `time.monotonic`; None: `closing_deadline_s()`.
        """
        if self.closed:
            return
        self.closed = True
        end_s = closing_deadline_s() if deadline_s is None else deadline_s
        for backend in {b.memory: b for b in self._used}.values():
            try:
                if not backend.wait(max(end_s - time.monotonic(), LEAST_WAIT_S)):
                    logger.warning("%s still works: not waited for any more", backend.info.name)
            except DeviceError as error:
                logger.warning("closing after a failure: %s", error)
        for arena in self._arenas.values():
            arena.release()
        for lease in self._leases.values():
            lease.release()
        for holder in (self._arenas, self._leases, self._constants, self._attached, self._weights):
            holder.clear()
        self._unbind()
        self._kernels, self._ends = {}, {}
        self.graph.dissolve()  # tensors that outlive it hold values, and those the graph


def closing_deadline_s() -> float:
    """When whoever begins to close now stops waiting, on `time.monotonic`."""
    return time.monotonic() + CLOSE_TIMEOUT_S


def _private(backend: Backend) -> SharedArena:
    return SharedArena(backend.allocate, backend.lock)


def _at(step: Step, error: DeviceError | InputError | MemoryError) -> ParallaxError:
    kind = DeviceMemoryError if isinstance(error, MemoryError) else type(error)
    return kind(step.node.placed(str(error)))
