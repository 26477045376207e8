"""Session: holder of the inference data of one model, or of a part of it, on one runtime."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NoReturn, cast

import numpy as np

from engine import arguments, heap
from engine.arrays import AnyArray, AnyArrayLike, ArrayLike, array_of, shape_of, value_of
from engine.backends.protocol import PendingRead
from engine.cache import CacheFile
from engine.config import ScheduleConfig
from engine.describe import describe_operator, describe_session
from engine.errors import ClosedError, ConfigError, InputError, RunStopped
from engine.execution.execution import Execution, Listener
from engine.execution.pipelines import Pipelines
from engine.execution.plans import Plans, Shapes, find
from engine.forks import ProcessBound, check_process
from engine.info import OperatorInfo, ResizeReport, ResizeStatus, SessionInfo
from engine.ir.constant import Constant
from engine.ir.graph import Graph, Node, Value
from engine.ir.types import ListType, TensorType, type_of
from engine.passes import free_dimensions
from engine.profile import RunProfile
from engine.recording import record
from engine.runtime import Runtime
from engine.tensor import Tensor

logger = logging.getLogger("parallax.session")

Callback = Callable[[Sequence[Tensor], OperatorInfo], "bool | np.bool_ | None"]
"""Called with an operator's inputs (before it) or outputs (after it); False is an answer."""


class Session(ProcessBound):
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

    Attributes:
        noun: what errors call it; that of a Module is one to the user.
    """

    noun = "Session"

    def __init__(
        self,
        graph: Graph,
        pipelines: Pipelines,
        *,
        runtime: Runtime,
        owns_runtime: bool = False,
        shapes: Shapes | None = None,
        cache: CacheFile | None = None,
        closed: Callable[[], object] = lambda: None,
    ) -> None:
        remedy = "Interpreter.create_session makes a Session"
        arguments.of_kind("Session", graph, Graph, f"a Graph; {remedy}")
        arguments.of_kind("Session", pipelines, Pipelines, f"Pipelines; {remedy}")
        for name in shapes or ():
            find("shapes", name, {v.name: v for v in graph.inputs})
        self.config: ScheduleConfig = pipelines.configs[0]
        self.runtime = runtime
        self.closed = False
        self._has_run = False
        self.cache = cache
        self._interface, self._pipelines = graph.interface(), pipelines
        self._lock = threading.RLock()
        self._bind_to_process()
        self._execution: Execution | None = None
        self._inputs: dict[str, Value] = {}
        self._readable: dict[str, Value] = {}
        self._lists: dict[str, tuple[str, ...] | None] = {}
        self._shapes: dict[str, arguments.AnyShape] = dict(shapes or {})
        self._pending: dict[str, arguments.AnyShape] = {}
        self._values: dict[str, np.ndarray] = {}
        self._closing = ExitStack()
        self._closing.callback(closed)
        if owns_runtime:
            self._closing.callback(runtime.close)
        try:
            runtime.adopt(self)
            self._closing.callback(runtime.dismiss, self)
            self._plans = Plans(graph, pipelines, runtime, cache)
            self._closing.callback(self._plans.close)
            ready = (shapes or not free_dimensions(graph)) and not self.deciding
            if ready and not any(c.defer_resize for c in pipelines.configs):
                self.resize(self._shapes)
        except BaseException:
            self.close()
            raise

    # ------------------------------------------------------------------ names
    @property
    def inputs(self) -> dict[str, TensorType | ListType]:
        """Name and type of every input, in graph order; concrete once resized."""
        known = self._inputs if self._execution else {}
        return {v.name: known.get(v.name, v).declared for v in self._interface.inputs}

    @property
    def deciding(self) -> tuple[str, ...]:
        """Names of the inputs whose values decide shapes: another value is another plan."""
        return self._plans.deciding

    @property
    def outputs(self) -> list[str]:
        """Output names in graph order."""
        return [v.name for v in self._interface.outputs]

    @property
    def saved(self) -> list[str]:
        """Names of the values that stay readable beside the outputs."""
        outputs = {*self.outputs, *(n for names in self._lists.values() for n in names or ())}
        return [name for name in self._readable if name not in outputs]

    def input(self, name: str | None = None) -> Tensor:
        """An input by name; None means the only one.

        Raises:
            InputError: unknown name (with near matches), or several inputs and no name.
        """
        with self._lock:
            self.execution.check_open()
            return self._tensor("input", name, self._inputs)

    def output(self, name: str | None = None) -> Tensor:
        """An output or saved tensor by name; None means the only output. Raises like `input`."""
        with self._lock:
            self.execution.check_open()
            known = self._readable
            if name is None:
                known = {n: self._readable.get(n, Value(n)) for n in self.outputs}
                name = next(iter(known)) if len(known) == 1 else None
            if _is_one_of(name, self._lists):
                raise InputError(
                    f"output {name!r} is no tensor: read({name!r}) gives a list, or None for what "
                    "is optional and not there"
                )
            return self._tensor("output", name, known)

    def _tensor(self, kind: str, name: str | None, known: Mapping[str, Value]) -> Tensor:
        if name is None:
            if len(known) != 1:
                raise InputError(f"{kind}: the model has {list(known)}; say which")
            (name,) = known
        value = find(kind, name, known)
        return Tensor(self.execution.part_of(value), value)

    # ------------------------------------------------------------------ shapes
    def resize(
        self, shapes: Shapes, values: Mapping[str, AnyArrayLike] | None = None
    ) -> ResizeReport:
        """Bind input shapes, optimise, place, plan and allocate for them.

        Inputs must be written again, unless nothing changed.

        Args:
            shapes: by input name; inputs left out keep the shape they have, if it is known.
            values: of inputs in `deciding`; those left out keep the value they have.

        Raises:
            InputError: unknown input, wrong rank, a contradiction to fixed dimensions, or a
                deciding input without a value; the session stays as it was.
        """
        with self._lock:
            before = dict(self._pending), dict(self._values)
            asked = {} if values is None else values
            try:
                for name, shape in arguments.shapes("resize", shapes).items():
                    self.resize_tensor(name, shape)
                for name, array in arguments.feeds("resize: values", asked).items():
                    self._decide(name, array)
                return self.resize_session()
            except BaseException:
                self._pending, self._values = before
                raise

    def _decide(self, name: str, array: AnyArrayLike) -> None:
        """Ask for a value of a deciding input, and the shape that goes with it."""
        find("deciding input", name, dict.fromkeys(self.deciding))
        declared = next(v for v in self._interface.inputs if v.name == name)
        value = np.array(array_of(f"input {name!r}", array, declared.known_type))
        self.resize_tensor(name, value.shape)
        self._values[name] = value

    def resize_tensor(
        self, name: str, shape: Sequence[int] | Sequence[Sequence[int]] | None
    ) -> None:
        """Ask for another shape of one input; `resize_session` applies all that were asked for."""
        with self._lock:
            self.check_open()
            declared = find("input", name, {v.name: v for v in self._interface.inputs})
            of_kind = arguments.any_shape if declared.list_type else arguments.shape
            new = of_kind(f"input {name!r}", shape)
            if self._has_plan and self._planned_shape(name) == new:
                self._pending.pop(name, None)
            else:
                self._pending[name] = new

    def _planned_shape(self, name: str) -> arguments.AnyShape:
        """What the plan is for."""
        assert self._execution is not None
        names = self._execution.graph.lists_in.get(name, (name,))
        if names is None:
            return None
        shapes = tuple(self._inputs[n].known_type.dims for n in names)
        return shapes if name in self._execution.graph.lists_in else shapes[0]

    def resize_session(self, *, reallocate: bool = False) -> ResizeReport:
        """Plan and allocate for the shapes asked for by `resize_tensor`.

        Args:
            reallocate: even when no shape changed.
        """
        afresh = arguments.switch("reallocate", reallocate)
        with self._lock:
            self.check_open()
            self._check_decided()
            merged = {**self._shapes, **self._pending}
            for name in self.deciding:
                if merged.get(name, self._values[name].shape) != self._values[name].shape:
                    raise InputError(
                        f"input {name!r}: its value decides shapes: for the shape {merged[name]} "
                        "give a value that has it"
                    )
            asked, self._pending = self._pending, {}
            if self._has_plan and not asked and not afresh and self._is_as_decided:
                shapes = {name: value.known_type.dims for name, value in self._inputs.items()}
                return ResizeReport(shapes, reused=True)
            execution, report = self._plans.get(merged, self._values, afresh=afresh)
            self._use(execution)
            self._shapes = merged
            return report

    def _check_decided(self) -> None:
        if missing := [name for name in self.deciding if name not in self._values]:
            names = ", ".join(map(repr, missing))
            raise InputError(
                f"the value of input {names} decides shapes, and is not known yet: call "
                f"run(feeds), write({missing[0]!r}, array) or resize(shapes, values)"
            )

    @property
    def _is_as_decided(self) -> bool:
        """Whether the plan is that of the values asked for."""
        bound = ((self._inputs[n].constant, self._values[n]) for n in self.deciding)
        return all(old is not None and old.tobytes() == new.tobytes() for old, new in bound)

    def _use(self, execution: Execution) -> None:
        if execution is not self._execution:
            execution.forget()
        self._execution = execution
        decided = {n: Value(n, type_of(x), Constant(x)) for n, x in self._values.items()}
        self._inputs = {v.name: v for v in execution.graph.inputs} | decided
        self._find_readable()

    def _find_readable(self) -> None:
        """Outputs and saved tensors, as far as the parts that have them are there."""
        assert self._execution is not None
        results, self._lists = self._execution.results, dict(self._execution.lists_out)
        names = [e for n in self.outputs for e in self._lists.get(n, (n,)) or ()]
        outputs = {n: results[n][1] if n in results else Value(n) for n in names}
        saved = [v for part in self._execution.parts for v in self._saved_of(part)]
        self._readable = {**{v.name: v for v in saved}, **outputs}

    def _saved_of(self, part: Execution) -> Iterator[Value]:
        keep = self._pipelines.keep
        if keep == "*":
            yield from (v for v in part.kept if v.name in part.computed)
        else:
            yield from part.kept
            yield from (v for v in part.graph.values() if v.is_constant and v.name in keep)

    @property
    def _has_plan(self) -> bool:
        """An exception such as KeyboardInterrupt can end a resize after the old plan was closed."""
        return self._execution is not None and not self._execution.closed

    @property
    def resize_status(self) -> ResizeStatus:
        """Whether the session can run, and what it waits for."""
        if self.closed:
            return ResizeStatus(False, "this Session is closed")
        if self._pending:
            shapes = {n: arguments.shown_shape(s) for n, s in self._pending.items()}
            asked = ", ".join(f"{n!r} to {shape}" for n, shape in shapes.items())
            return ResizeStatus(False, f"resize_tensor asked for {asked}; call resize_session")
        if not self._has_plan:
            free = ", ".join(free_dimensions(self._interface)) or "none"
            deciding = ", ".join(map(repr, self.deciding))
            return ResizeStatus(
                False,
                "the session has no plan yet; call resize({name: shape}) or run(feeds); free "
                f"dimensions: {free}"
                + (f"; values that decide shapes: {deciding}" if deciding else ""),
            )
        return ResizeStatus(True)

    @property
    def execution(self) -> Execution:
        """The plan and commands of the current shapes; raises ConfigError before any resize."""
        self.check_open()
        status = self.resize_status
        if self._execution is None or not status.ready:
            raise ConfigError(status.reason)
        return self._execution

    # ------------------------------------------------------------------ running
    def write(self, name: str, array: AnyArrayLike) -> None:
        """Fill one input, as `Tensor.write` does; raises InputError for an unknown name too.

        A sequence is a list of arrays, of the shapes that the session is resized to.
        Another value of an input that decides shapes resizes the session, once its shapes and all
        deciding values are known; other inputs that were written keep what they hold.
        """
        with self._lock:
            self.check_open()
            lists = {v.name: v.list_type for v in self._interface.inputs if v.list_type}
            if name in self.deciding:
                self._write_deciding(name, array)
            elif _is_one_of(name, lists):
                self._write_list(name, value_of(f"input {name!r}", array, lists[name]))
            else:
                self.input(name).write(cast("ArrayLike", array))

    def _write_list(self, name: str, value: AnyArray) -> None:
        graph, planned = self.execution.graph, self._planned_shape(name)
        if planned != shape_of(value):
            got, expected = map(arguments.shown_shape, (shape_of(value), planned))
            raise InputError(
                f"input {name!r}: got the shapes {got}, expected {expected}; resize the session"
            )
        if isinstance(value, list):
            for n, x in zip(graph.lists_in[name] or (), value, strict=True):
                self.input(n).write(x)
        elif value is not None:
            self.input(name).write(value)

    def _write_deciding(self, name: str, array: AnyArrayLike) -> None:
        before = dict(self._pending), dict(self._values)
        waits = self._has_plan and bool(self._pending)  # for the user's resize_session
        held = {}
        if self._has_plan and not waits:
            execution = self.execution
            held = {v.name: execution.read(v) for v in execution.written}
        try:
            self._decide(name, array)
            if waits or not self._is_decided:
                return
            plan = self._execution
            self.resize_session()
        except BaseException:
            self._pending, self._values = before
            raise
        if self._execution is not plan:
            for other, data in held.items():
                self.input(other).write(data)

    @property
    def _is_decided(self) -> bool:
        """Whether all that a plan depends on is known."""
        known = {**self._shapes, **self._pending}
        free = [v for v in self._interface.inputs if not v.declared.is_static]
        return all(v.name in known for v in free) and all(n in self._values for n in self.deciding)

    def attach(self, name: str, memory: Any) -> None:
        """Let an input lie in the user's own memory, until the next resize: nothing is copied.

        Args:
            memory: OpenCL: a `pyopencl.Buffer` of the same context that holds the input at its
                `storage_dtype` in row-major order. CPU: a NumPy array.

        Raises:
            InputError: it does not fit, or its value decides shapes.
        """
        with self._lock:
            self.check_open()
            if name in self.deciding:
                raise InputError(f"input {name!r}: its value decides shapes; write it")
            self.execution.attach(find("input", name, self._inputs), memory)

    def take(self, name: str, tensor: Tensor) -> None:
        """Fill one input from a tensor of another session; on one device without the host."""
        with self._lock:
            self.check_open()
            if name in self.deciding:
                self.write(name, tensor.read())
            else:
                self.input(name).copy_from(tensor)

    def run(
        self,
        feeds: Mapping[str, AnyArrayLike] | None = None,
        *others: NoReturn,
        listener: Listener | None = None,
        sync: bool = False,
    ) -> None:
        """Enqueue one inference; on OpenCL returns before it is done.

        Waits while 32 runs are in flight on a device: whoever enqueues faster than it computes
        would fill the memory.

        Args:
            feeds: arrays for all inputs, of any kind that `write` takes; an optional one left out
                is None; a new shape resizes the session. None runs again on what the inputs hold.
            others: none; onnxruntime's `run(None, feeds)` is `session(feeds)` here.
            listener: called with (node, event) after each command was enqueued.
            sync: return when it is done.

        Raises:
            InputError: a wrong feed, or an input that was never written.
            ConfigError: the session waits for a resize. DeviceError: the device failed.
        """
        if others:
            raise InputError(
                "run takes the feeds alone: session(feeds) writes, runs and gives all outputs by "
                "name, as onnxruntime's run(None, feeds) does in a list"
            )
        waits = arguments.switch("sync", sync)
        with self._lock:
            self._prepare_run(feeds)
            execution = self.execution
            execution.enqueue(arguments.function("listener", listener))
            self._note_run()
        execution.limit_runs()
        if waits:
            self._wait()

    def run_with_callbacks(
        self,
        before: Callback | None = None,
        after: Callback | None = None,
        *,
        feeds: Mapping[str, AnyArrayLike] | None = None,
        sync: bool = False,
    ) -> None:
        """One inference that shows every operator to callbacks, in order.

        A callback answers True or nothing (None) to go on. NumPy's booleans count as Python's.

        Args:
            before: called with the input tensors; False skips the operator, whose outputs hold what
                they held (the callback may write them through `after`).
            after: called with the output tensors, for a skipped operator too; False stops the run.
            sync: wait for each operator before `after` is called.

        Raises:
            RunStopped: `after` answered False.
            InputError: a callback answered neither True, False nor None. And what `run` raises.
        """
        with self._lock:
            self._prepare_run(feeds)
            execution = self.execution
            stopped = execution.enqueue_observed(
                self._observer(
                    "before", before, lambda node: [v for v in node.inputs if v is not None]
                ),
                self._observer("after", after, lambda node: node.outputs),
                sync=arguments.switch("sync", sync),
            )
            self._note_run()
        execution.limit_runs()
        if stopped is not None:
            raise RunStopped(stopped.title)

    def profile(self, feeds: Mapping[str, AnyArrayLike] | None = None) -> RunProfile:
        """One inference with every command timed; returns when it is done.

        On OpenCL the times are those of the device's events, on a queue that records them; commands
        go there one by one, so that it takes longer than `run`. A run that is not kept goes before
        it: some drivers compile at the first launch. Outputs are there as after `run`.

        Args, Raises: as `run`.
        """
        with self._lock:
            self._prepare_run(feeds)
            found = record(self.execution, self._wait)
            self._note_run()
        return found

    def warm_up(self) -> None:
        """Run once on zeros: some drivers compile at the first launch. Inputs are lost."""
        with self._lock:
            self.execution.warm_up()
            self._note_run()

    def launch_once(self) -> None:
        """Run on zeros, if nothing ran since the resize and no inputs would be lost."""
        with self._lock:
            self.check_open()
            ready = self.resize_status.ready
            if ready and not self.execution.launched and not self.execution.written:
                self.warm_up()

    def _note_run(self) -> None:
        if self._execution is not None and len(self._execution.parts) > 1:
            self._find_readable()
        if not self._has_run and self.cache is not None:
            self.cache.save_at_exit()
        self._has_run = True

    def _observer(
        self, when: str, callback: Callback | None, values: Callable[[Node], Iterable[Value]]
    ) -> Callable[[Node], bool]:
        execution = self.execution
        arguments.function(when, callback)

        def observe(node: Node) -> bool:
            if callback is None:
                return True
            part = execution.part_of(node.outputs[0])
            tensors = [Tensor(part, v) for v in values(node)]
            answer = callback(tensors, describe_operator(part, node))
            return arguments.answer(f"{when} {node.title}", answer)

        return observe

    def _prepare_run(self, feeds: Mapping[str, AnyArrayLike] | None) -> None:
        self.check_open()
        if feeds is not None:
            self._feed(feeds)
        execution = self.execution
        empty = [v.name for v in execution.graph.inputs if v not in execution.written]
        if empty:
            raise InputError(
                f"input {', '.join(map(repr, empty))} was not written since the resize"
            )

    def _feed(self, feeds: Mapping[str, AnyArrayLike]) -> None:
        arguments.feeds("feeds", feeds)
        inputs = {v.name: v for v in self._interface.inputs}
        for name in feeds:
            find("input", name, inputs)
        optional = {n for n, v in inputs.items() if v.list_type and v.list_type.is_optional}
        missing = [n for n in inputs if n not in feeds and n not in optional]
        if missing:
            raise InputError(
                f"missing input {', '.join(map(repr, missing))}; all of {list(inputs)} needed"
            )
        with heap.enough_for("the inputs"):
            arrays = {
                n: value_of(f"input {n!r}", feeds.get(n), v.declared) for n, v in inputs.items()
            }
        self._pending = {}
        self.resize(
            {name: shape_of(array) for name, array in arrays.items()},
            {name: arrays[name] for name in self.deciding},
        )
        for name in arrays:
            if name not in self.deciding:
                self.write(name, arrays[name])

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
            if not _is_one_of(name, self._lists):
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

    def synchronize(self) -> None:
        """Return when everything enqueued is done; other threads may enqueue more meanwhile."""
        with self._lock:
            self.execution.check_open()
        self._wait()

    def _wait(self) -> None:
        for backend in self._plans.backends.values():
            backend.synchronize()

    def value(self, name: str) -> Value:
        """A readable value of the current graph."""
        with self._lock:
            self.check_open()
            return find("output", name, self._readable)

    # ------------------------------------------------------------------ life
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

    def close(self) -> None:
        """Free what is the session's own, after a bounded wait; harmless the second time.

        One that ran writes its compiled kernels into the cache file, if there is one.

        Use after close raises ClosedError.
        """
        with self._lock:
            if self.closed:
                return
            self.closed = True
            self._execution = None
            self._inputs, self._readable = {}, {}
            if not self._is_inherited:
                try:
                    self._save_cache()
                finally:
                    self._closing.close()
                    heap.trim()

    def _save_cache(self) -> None:
        """A cache that cannot be written costs time, and nothing else."""
        if self.cache is not None and self._has_run:
            try:
                self.cache.save()
            except ConfigError as error:
                logger.warning("%s", error)

    def check_open(self) -> None:
        """Raise ClosedError after `close`, and in a process that was forked since."""
        if self.closed:
            raise ClosedError(f"this {self.noun} is closed")
        check_process(self)

    def _after_fork(self) -> None:
        """What a thread of the parent was doing does not end here."""
        self._lock = threading.RLock()

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


def _is_one_of(name: object, names: Collection[str]) -> bool:
    """What is no name is left to `find`, which says so."""
    return isinstance(name, str) and name in names
