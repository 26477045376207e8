"""A process that forks, for tests: `python -m tests.forked DEVICE HOW FOLDER`.

It says what each entry point does in the child.

HOW: "idle"; "locked": another thread holds every lock at the fork; "working": the queue is not
idle, and the child ends as programs do. Prints {entry point: outcome} as JSON; an outcome is the
name of an exception, "done", or "hangs".
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from engine import BackendConfig, Interpreter, Runtime, ScheduleConfig, create_runtime
from engine.backends import registry
from engine.module import Module
from engine.session import Session
from engine.tensor import Tensor
from tests.sharing_models import MODELS, config, feeds
from tests.test_shutdown import ARGUMENTS, HARMLESS, TENSOR_ARGUMENTS, public_methods

LAST_ENTRIES = ("nothing", "forget", "PendingRead.result", "Session.close", "Runtime.close")
"""After which a child ends while the queue is not idle."""
PATIENCE_S = 20
"""After which a child hangs; what it does takes milliseconds."""
X = feeds("conv", 0)["x"]


class Parent:
    """One of everything, made and used before the fork."""

    def __init__(self, device: str, folder: Path) -> None:
        self.device, self.config = device, config(device)
        self.model = Interpreter.from_buffer(MODELS["conv"])
        self.model.set_cache_file(folder / "kernels.cache")
        self.runtime = Runtime()
        self.session = self._session()
        self.session({"x": X})
        self.never_run = self._session()
        self.module = Module.load(
            MODELS["conv"], config=self.config, runtime=self.runtime, shapes={"x": X.shape}
        )
        self.tensor, self.result = self.session.input("x"), self.module(X)
        output = self.session.output("y")
        self.snapshot = output.snapshot()
        self.pending = self.session.read_later("y")
        backend = self.session.execution.backend_of(output._value)
        self.context = getattr(backend, "context", None)

    def _session(self, runtime: Runtime | None = None) -> Session:
        return self.model.create_session(
            self.config, self.runtime if runtime is None else runtime, {"x": X.shape}
        )

    def entries(self) -> dict[str, Callable[[], object]]:
        """Every public method, and what else reaches a device."""
        found: dict[str, Callable[[], object]] = {}
        for kind in HARMLESS:
            subject = getattr(self, kind.__name__.lower())
            arguments = {
                **ARGUMENTS,
                **(TENSOR_ARGUMENTS if kind is Tensor else {}),
                **({"__call__": (X,)} if kind is Module else {}),
                "take": ("x", self.tensor),
                "copy_from": (self.tensor,),
                "backend": (self.config.type, self.config),
                "arena": (None,),
                "adopt": (self.session,),
                "dismiss": (self.session,),
                "map_write": (),
            }
            for name in public_methods(kind):
                method = getattr(subject, name)
                given = arguments.get(name, ())
                found[f"{kind.__name__}.{name}"] = lambda m=method, g=given: _entered(m(*g))
        return {
            **found,
            "create_session": self._session,
            "Module.load": lambda: Module.load(MODELS["conv"], runtime=self.runtime),
            "support": lambda: self.model.support(self.config, self.runtime, {"x": X.shape}),
            "update_cache_file": self.model.update_cache_file,
            "update_cache_file of one": lambda: self.model.update_cache_file(self.never_run),
            "PendingRead.result": self.pending.result,
            "Var.read_map": self.result.read_map,
            "Snapshot.read_later": self.snapshot.read_later,
            "Tensor.device_memory": lambda: self.tensor.device_memory,
            "asarray": lambda: np.asarray(self.tensor),
            **({"lent context": self.lent} if self.context is not None else {}),
            "create_runtime": lambda: create_runtime([self.config]),
            "own runtime": lambda: self._session(Runtime())({"x": X}),
            "devices": registry.opencl_devices,
            "nothing": lambda: None,
            "forget": self.forget,
        }

    def lent(self) -> None:
        """A context that the user made before the fork."""
        lent = BackendConfig(shared_context=self.context.context)
        self.model.create_session(
            ScheduleConfig(type="opencl", backend_config=lent), None, {"x": X.shape}
        )

    def forget(self) -> None:
        """Finalisers run."""
        self.__dict__.clear()

    def locks(self) -> list[Any]:
        """All that a thread might hold."""
        inside = self.session.execution._lock
        holders = [self.session, self.never_run, self.runtime, self.module, self.model._cache]
        return [inside, *(h._lock for h in holders), self.result.lock]


def _entered(result: Any) -> None:
    if hasattr(result, "__enter__"):
        with result:
            pass


def _in_child(entry: Callable[[], object], *, ends_normally: bool) -> str:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(PATIENCE_S)
        try:
            entry()
            said = "done"
        except Exception as error:
            said = type(error).__name__
        os.write(writer, said.encode())
        if ends_normally:
            sys.exit()
        os._exit(0)
    os.close(writer)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with os.fdopen(reader) as file:
        said = file.read()
    return said if code == 0 else "hangs" if code == -signal.SIGALRM else f"ends with {code}"


def _hold(locks: list[Any]) -> None:
    """Another thread takes the locks and keeps them."""
    held = threading.Event()

    def work() -> None:
        with ExitStack() as stack:
            for lock in locks:
                stack.enter_context(lock)
            held.set()
            threading.Event().wait()

    threading.Thread(target=work, daemon=True).start()
    held.wait()


def _keep_busy(parent: Parent) -> None:
    """The queue waits for ever, with a run and a transfer behind."""
    cl, queue = parent.context.cl, parent.context.queue
    parent.gate = cl.UserEvent(parent.context.context)
    cl.enqueue_marker(queue, wait_for=[parent.gate])
    parent.session.run({"x": X})
    parent.pending = parent.session.read_later("y")


def main(device: str, how: str, folder: str) -> None:
    """See above."""
    parent = Parent(device, Path(folder))
    if how == "locked":
        _hold(parent.locks())
    if how == "working":
        _keep_busy(parent)
    found = {
        name: _in_child(entry, ends_normally=how == "working")
        for name, entry in parent.entries().items()
        if how != "working" or name in LAST_ENTRIES
    }
    print(json.dumps(found), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
