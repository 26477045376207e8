"""Shapes: what a session is resized to, and the plan that follows from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from engine import arguments
from engine.arrays import AnyArrayLike, array_of
from engine.cache import CacheFile
from engine.config import ScheduleConfig
from engine.errors import ConfigError, InputError
from engine.execution.execution import Execution
from engine.execution.pipelines import Pipelines
from engine.execution.plans import Plans, Shapes, find
from engine.info import ResizeReport, ResizeStatus
from engine.ir.constant import Constant
from engine.ir.graph import Graph, Value
from engine.ir.types import ListType, TensorType, type_of
from engine.passes import free_dimensions
from engine.runtime import Runtime
from engine.session.life import Owner


class Resizable(Owner):
    """What has a plan for the shapes of its inputs, and the values that decide shapes.

    Shapes and values that were asked for wait (`_pending`, `_values`) until a resize applies all
    of them, or none. Args: as `Session`.
    """

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
        super().__init__(runtime, owns_runtime=owns_runtime, cache=cache, closed=closed)
        self.config: ScheduleConfig = pipelines.configs[0]
        self._interface, self._pipelines = graph.interface(), pipelines
        self._execution: Execution | None = None
        self._inputs: dict[str, Value] = {}
        self._readable: dict[str, Value] = {}
        self._lists: dict[str, tuple[str, ...] | None] = {}
        self._shapes: dict[str, arguments.AnyShape] = dict(shapes or {})
        self._pending: dict[str, arguments.AnyShape] = {}
        self._values: dict[str, np.ndarray] = {}
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

    def _forget(self) -> None:
        self._execution = None
        self._inputs, self._readable = {}, {}

    @property
    def inputs(self) -> dict[str, TensorType | ListType]:
        """Name and type of every input, in graph order; concrete once resized."""
        known = self._inputs if self._execution else {}
        return {v.name: known.get(v.name, v).declared for v in self._interface.inputs}

    @property
    def deciding(self) -> tuple[str, ...]:
        """Names of the inputs whose values decide shapes: another value is another plan."""
        return self._plans.deciding

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
    def _is_decided(self) -> bool:
        """Whether all that a plan depends on is known."""
        known = {**self._shapes, **self._pending}
        free = [v for v in self._interface.inputs if not v.declared.is_static]
        return all(v.name in known for v in free) and all(n in self._values for n in self.deciding)

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
    def outputs(self) -> list[str]:
        """Output names in graph order."""
        return [v.name for v in self._interface.outputs]

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
