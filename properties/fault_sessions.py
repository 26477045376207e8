"""Faults of sessions, runtimes, interpreters and modules, hunted by seeded lives."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from engine.arenas import Lease
from engine.errors import InputError
from engine.execution import plans as plans_module
from engine.execution.execution import Execution
from engine.execution.pipelines import Pipelines
from engine.execution.plans import Plans
from engine.interpreter import Interpreter
from engine.session import Session
from engine.var import Var
from properties.fault import Bench, Fault, Hunt, attribute
from properties.lifecycle import compiled_once, seeded_life
from properties.lifecycle_subjects import Reference


def lives(count: int = 300) -> Hunt:
    """Lives of as many seeds, on the OpenCL device where there is one."""

    def hunt(where: Bench) -> None:
        selector = where.opencl[0].id.rpartition("-")[0] if where.opencl else "cpu"
        reference = Reference(selector)
        try:
            with compiled_once(), tempfile.TemporaryDirectory() as folder:
                for seed in range(count):
                    where.step()
                    (own := Path(folder) / str(seed)).mkdir()
                    seeded_life(selector, reference, own, seed)
        finally:
            reference.close()

    return hunt


def _nothing(old: Any) -> Any:
    return lambda self, *args, **kwargs: None


def _without_restoring(old: Any) -> Any:
    def resize(self: Session, shapes: Any) -> Any:
        for name, shape in shapes.items():
            self.resize_tensor(name, shape)
        return self.resize_session()

    return resize


def _unchecked_run(old: Any) -> Any:
    def prepare(self: Session, feeds: Any) -> None:
        try:
            old(self, feeds)
        except InputError as error:
            if "not written" not in str(error):
                raise

    return prepare


def _in_order_of_making(old: Any) -> Any:
    return type("Queue", (old,), {"move_to_end": lambda self, key: None})


def _only_inputs(old: Any) -> Any:
    def forget(self: Execution) -> None:
        self.written.clear()
        self.complete = False

    return forget


def _always_complete(old: Any) -> Any:
    def enqueue_observed(self: Execution, *args: Any, **kwargs: Any) -> Any:
        try:
            return old(self, *args, **kwargs)
        finally:
            self.complete = True

    return enqueue_observed


class _Late:
    def __init__(self, session: Session, name: str) -> None:
        self._session, self._name = session, name

    def result(self) -> Any:
        return self._session.output(self._name).read()


def _late(old: Any) -> Any:
    def read_later(self: Session, name: str) -> _Late:
        old(self, name)
        return _Late(self, name)

    return read_later


def _takes_nothing(old: Any) -> Any:
    def take(self: Execution, value: Any, slot: Any, backend: Any) -> None:
        if value not in self.written:
            old(self, value, slot, backend)

    return take


def _pooled_by_size(old: Any) -> Any:
    pool: dict[Any, Any] = {}

    def allocate(self: Execution, shared: Any) -> None:
        old(self, shared)
        for name, arena in self._arenas.items():
            backend = self.backends[name.partition("/")[0]]
            self._arenas[name] = found = pool.setdefault((backend.memory, arena.nbytes), arena)
            found.release = lambda: None

    return allocate


def _unnoticed_on_the_host(old: Any) -> Any:
    """A command on a freed device buffer would end the process."""

    def tell_moved(self: Lease) -> None:
        if hasattr(self.shared.arena, "buffer"):
            old(self)

    return tell_moved


def _registered(old: Any) -> Any:
    registry: list[Any] = []

    def close(self: Plans) -> None:
        registry.append(dict(self._made))

    return close


SESSION_FAULTS: tuple[Fault, ...] = tuple(
    Fault(name, "session", plant, lives())
    for name, plant in {
        "refused-resize-stays-pending": attribute(Session, "resize", _without_restoring),
        "run-without-inputs": attribute(Session, "_prepare_run", _unchecked_run),
        "closed-session-answers": attribute(Session, "check_open", _nothing),
        "late-read-reads-late": attribute(Session, "read_later", _late),
        "one-plan-too-many": attribute(
            Pipelines, "plans_kept", lambda old: property(lambda self: old.fget(self) + 1)
        ),
        "first-made-plan-goes-first": attribute(plans_module, "OrderedDict", _in_order_of_making),
        "closed-plans-stay-registered": attribute(Plans, "close", _registered),
        "old-results-after-a-resize": attribute(Execution, "forget", _nothing),
        "attached-for-ever": attribute(Execution, "forget", _only_inputs),
        "stopped-run-is-complete": attribute(Execution, "enqueue_observed", _always_complete),
        "second-take-takes-nothing": attribute(Execution, "take", _takes_nothing),
        "outputs-shared-by-size": attribute(Execution, "_allocate", _pooled_by_size),
        "moved-arena-unnoticed": attribute(Lease, "tell_moved", _unnoticed_on_the_host),
        "released-model-stays": attribute(Interpreter, "release_model", _nothing),
        "results-not-set-aside": attribute(Var, "set_aside", _nothing),
    }.items()
)
