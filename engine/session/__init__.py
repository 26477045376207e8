"""Session: holder of the inference data of one model, or of a part of it, on one runtime.

Each file adds one idea to the one beneath: `life`, `shapes`, `inputs`, `running`, and here reading.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from engine import arguments, heap
from engine.arrays import AnyArray, AnyArrayLike
from engine.backends.protocol import PendingRead
from engine.describe import describe_session
from engine.errors import ConfigError, InputError
from engine.execution.plans import find
from engine.info import SessionInfo
from engine.ir.graph import Value
from engine.session.inputs import is_one_of
from engine.session.running import Callback, Runnable
from engine.tensor import Tensor

__all__ = ["Callback", "Session"]


class Session(Runnable):
    """Runs a model: write inputs, run, read outputs.

    `run` on OpenCL returns once everything is enqueued; `read` and `synchronize` wait. A session
    whose input shapes are not known yet is resized by the first `run(feeds)` or by `resize`. Every
    method is atomic: threads that share a session take turns, call by call. Values of an input that
    decide shapes or axes (`deciding`) are part of what a session is resized to. A sequence is a
    list of arrays, and its shape a list of shapes; something optional that is not there is None;
    `name[0]` is the first tensor of a sequence::

        import parallax as px

        with px.Interpreter.from_file("model.onnx").create_session() as session:
            outputs = session({"x": array})
            session.write("x", array)
            session.run()
            again = session.read("y")

    Args:
        graph: what to run, cut to its path and optimised; shared with other sessions.
        pipelines: where its parts run, and what it saves.
        runtime: whose devices to use; it is told of the session's end.
        owns_runtime: close the runtime with the session.
        shapes: of the inputs, as far as they are known.
        cache: where compiled kernels are looked up and left.
        closed: called when the session is closed.
    """

    @property
    def saved(self) -> list[str]:
        """Names of the values that stay readable beside the outputs."""
        outputs = {*self.outputs, *(n for names in self._lists.values() for n in names or ())}
        return [name for name in self._readable if name not in outputs]

    def output(self, name: str | None = None) -> Tensor:
        """An output or saved tensor by name; None means the only output. Raises like `input`."""
        with self._lock:
            self.execution.check_open()
            known = self._readable
            if name is None:
                known = {n: self._readable.get(n, Value(n)) for n in self.outputs}
                name = next(iter(known)) if len(known) == 1 else None
            if is_one_of(name, self._lists):
                raise InputError(
                    f"output {name!r} is no tensor: read({name!r}) gives a list, or None for what "
                    "is optional and not there"
                )
            return self._tensor("output", name, known)

    def value(self, name: str) -> Value:
        """A readable value of the current graph."""
        with self._lock:
            self.check_open()
            return find("output", name, self._readable)

    def read(self, name: str) -> Any:
        """One output or saved tensor, as an array; waits for the work it depends on.

        A sequence is a list of arrays; something optional that is not there is None.

        Raises:
            InputError: unknown name, or nothing was run since the resize.
        """
        with heap.enough_for(f"reading {name!r}"):
            return self._reading(name)()

    def _reading(self, name: str) -> Callable[[], AnyArray]:
        """Enqueue the read of an output; what is returned waits for it."""
        with self._lock:
            self.check_open()
            if not is_one_of(name, self._lists):
                return self.read_later(name).result
            self._check_complete(name)
            names = self._lists[name]
            pending = [self.read_later(n) for n in names or ()]
        return lambda: None if names is None else [read.result() for read in pending]

    def read_later(self, name: str) -> PendingRead:
        """Enqueue the read of an output; `result()` waits. Later runs do not change what it gives.

        Between the two, the next frame may be written and run.
        """
        with self._lock:
            return self._result(name).read_later()

    def _result(self, name: str) -> Tensor:
        tensor = self.output(name)
        self._check_complete(name)
        return tensor

    def _check_complete(self, name: str) -> None:
        if not self.execution.complete:
            raise InputError(f"output {name!r}: no run was completed since the resize")

    def __call__(self, feeds: Mapping[str, AnyArrayLike]) -> dict[str, Any]:
        """Write, run and read all outputs, with no other thread's call in between.

        Returns:
            By name an array, the list of a sequence, or None for what is optional and not there.
        """
        with self._lock:
            self.run(arguments.feeds("session(feeds)", feeds))
            with heap.enough_for("reading the outputs"):
                pending = {name: self._reading(name) for name in self.outputs}
        with heap.enough_for("reading the outputs"):
            return {name: read() for name, read in pending.items()}

    def info(self) -> SessionInfo:
        """Effective options with reasons, placement, work and memory."""
        with self._lock:
            self.check_open()
            if self._execution is None:
                raise ConfigError(self.resize_status.reason)
            return describe_session(
                self._execution,
                self._pipelines,
                self._plans.backends,
                others=self._plans.others(self._execution),
                resize_status=self.resize_status,
                saved=self.saved,
                choices=tuple(self.runtime.explanations),
                losses=self._plans.watch or (),
            )

    def __repr__(self) -> str:
        inputs = ", ".join(f"{name} {type_}" for name, type_ in self.inputs.items())
        state = "closed" if self.closed else "ready" if self.resize_status.ready else "no plan yet"
        backends = ", ".join(b.name for b in self._plans.backends.values())
        return (
            f"<Session of {self._interface.name!r} on {backends}: {inputs} -> "
            f"{', '.join(self.outputs)}, {state}>"
        )

    def __enter__(self) -> Session:
        self.check_open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
