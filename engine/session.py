"""Session: holder of the inference data of one model on one runtime."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from engine.backends.protocol import Backend, DeviceInfo
from engine.config import ForwardType, Precision, ScheduleConfig
from engine.errors import ConfigError, InputError
from engine.execution import Execution, Listener
from engine.ir.graph import Graph, Value
from engine.ir.types import TensorType
from engine.passes import bind_passes, bind_shapes, free_dimensions, run_passes
from engine.planner import Placement
from engine.runtime import Runtime

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class SessionInfo:
    """What a session effectively is; sizes in bytes.

    Attributes:
        precision: the effective one; `requested_precision` what was asked for.
        arenas_nbytes: per backend, what the plan needs; `lower_bounds_nbytes` the largest live set.
    """

    device: DeviceInfo
    precision: Precision
    requested_precision: Precision
    placements: tuple[Placement, ...]
    arenas_nbytes: dict[str, int]
    lower_bounds_nbytes: dict[str, int]
    constants_nbytes: int

    @property
    def fallbacks(self) -> list[Placement]:
        """Nodes that do not run on the primary backend, with the reason."""
        return [p for p in self.placements if p.reason]


class Session:
    """Runs one model: write inputs, run, read outputs.

    `run` on OpenCL returns once everything is enqueued; `read` and `synchronize` wait. A session
    whose input shapes are not known yet is resized by the first `run(feeds)` or by `resize`.
    """

    def __init__(
        self,
        graph: Graph,
        config: ScheduleConfig,
        runtime: Runtime | None = None,
        shapes: Shapes | None = None,
    ) -> None:
        self.config = config
        self._graph = graph
        self._owned = None if runtime is not None else Runtime()
        self.runtime = runtime if runtime is not None else self._owned or Runtime()
        self._execution: Execution | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._closed = False
        self._backends = self._choose_backends()
        if shapes or not free_dimensions(graph):
            self.resize(shapes or {})

    def _choose_backends(self) -> dict[str, Backend]:
        wanted = [self.config.type, *([] if self.config.strict else [self.config.backup_type])]
        chosen: dict[str, Backend] = {}
        for forward in wanted:
            backend = self.runtime.backend(forward, self.config)
            chosen.setdefault(backend.name, backend)
        return chosen

    # ------------------------------------------------------------------ shapes
    @property
    def inputs(self) -> dict[str, TensorType]:
        """Name and type of every input, in graph order; concrete once resized."""
        graph = self._execution.graph if self._execution else self._graph
        return {v.name: v.known_type for v in graph.inputs}

    @property
    def outputs(self) -> list[str]:
        """Output names in graph order."""
        return [v.name for v in self._graph.outputs]

    def resize(self, shapes: Shapes) -> None:
        """Bind input shapes, optimise, place, plan and allocate for them.

        Args:
            shapes: by input name; inputs left out keep the shape they have, if it is known.

        Raises:
            InputError: unknown input, wrong rank, or a contradiction to fixed dimensions.
        """
        self._check_open()
        merged = {**self._shapes, **{k: tuple(int(d) for d in s) for k, s in shapes.items()}}
        if self._execution is not None and merged == self._shapes:
            return
        bound = bind_shapes(self._graph, merged)
        keep = "*" if "*" in self.config.save_tensors else tuple(self.config.save_tensors)
        self._check_saved(bound, keep)
        run_passes(bound, bind_passes(keep))
        execution = Execution(bound, self._backends, keep=keep, strict=self.config.strict)
        if self._execution is not None:
            self._execution.close()
        self._execution, self._shapes = execution, merged
        self._values = {v.name: v for v in (*bound.outputs, *execution.kept)}
        self._inputs = {v.name: v for v in bound.inputs}

    def _check_saved(self, graph: Graph, keep: str | tuple[str, ...]) -> None:
        known = {v.name for v in graph.values()}
        for name in () if keep == "*" else keep:
            if name not in known:
                raise InputError(f"save_tensors: {_unknown(name, known)}")

    @property
    def execution(self) -> Execution:
        """The plan and commands of the current shapes; raises ConfigError before any resize."""
        self._check_open()
        if self._execution is None:
            free = ", ".join(free_dimensions(self._graph))
            raise ConfigError(
                f"the session has no shapes yet: {free} are free; call resize({{name: shape}})"
            )
        return self._execution

    # ------------------------------------------------------------------ running
    def write(self, name: str, array: np.ndarray) -> None:
        """Fill one input; raises InputError for an unknown name, wrong dtype or shape."""
        execution = self.execution
        if name not in self._inputs:
            raise InputError(f"input: {_unknown(name, self._inputs)}")
        value = self._inputs[name]
        array = np.asarray(array)
        if array.dtype != value.known_type.dtype or array.shape != value.known_type.dims:
            raise InputError(
                f"input {name!r}: got {array.dtype.name}{list(array.shape)}, expected "
                f"{value.known_type}; convert the array, or resize the session"
            )
        execution.write(value, array)

    def run(
        self, feeds: Mapping[str, np.ndarray] | None = None, *, listener: Listener | None = None
    ) -> None:
        """Enqueue one inference; on OpenCL returns before it is done.

        Args:
            feeds: arrays for all inputs; a new shape resizes the session. None runs again on
                what the inputs hold.
            listener: called with (node, event) after each command was enqueued.
        """
        if feeds is not None:
            self._feed(feeds)
        self.execution.enqueue(listener)

    def _feed(self, feeds: Mapping[str, np.ndarray]) -> None:
        self._check_open()
        names = [v.name for v in self._graph.inputs]
        for name in feeds:
            if name not in names:
                raise InputError(f"input: {_unknown(name, names)}")
        missing = [n for n in names if n not in feeds]
        if missing:
            raise InputError(
                f"missing input {', '.join(map(repr, missing))}; all of {names} needed"
            )
        for value in self._graph.inputs:
            array = np.asarray(feeds[value.name])
            if array.dtype != value.known_type.dtype:
                raise InputError(
                    f"input {value.name!r}: got dtype {array.dtype.name}, expected "
                    f"{value.known_type.dtype.name}"
                )
        self.resize({n: np.asarray(feeds[n]).shape for n in names})
        for name in names:
            self.write(name, feeds[name])

    def read(self, name: str) -> np.ndarray:
        """One output or kept value; waits for the work it depends on."""
        execution = self.execution
        if name not in self._values:
            raise InputError(f"output: {_unknown(name, self._values)}")
        return execution.read(self._values[name])

    def __call__(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Write, run and read all outputs."""
        self.run(feeds)
        return {name: self.read(name) for name in self.outputs}

    def synchronize(self) -> None:
        """Return when everything enqueued is done."""
        self.execution.synchronize()

    def value(self, name: str) -> Value:
        """A readable value of the current graph."""
        return self._values[name]

    # ------------------------------------------------------------------ life
    @property
    def info(self) -> SessionInfo:
        """Effective device, precision, placement and memory."""
        execution = self.execution
        primary = next(iter(self._backends.values()))
        return SessionInfo(
            device=primary.info,
            precision=primary.precision,
            requested_precision=self.config.backend_config.precision
            if self.config.type is not ForwardType.CPU
            else primary.precision,
            placements=tuple(execution.placements),
            arenas_nbytes={k: a.peak_nbytes for k, a in execution.plan.arenas.items()},
            lower_bounds_nbytes={k: a.lower_bound_nbytes for k, a in execution.plan.arenas.items()},
            constants_nbytes=execution.constants_nbytes,
        )

    def close(self) -> None:
        """Wait and free; harmless the second time. Use after close raises ConfigError."""
        if self._closed:
            return
        if self._execution is not None:
            self._execution.close()
            self._execution = None
        if self._owned is not None:
            self._owned.close()
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise ConfigError("this Session is closed")

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _unknown(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, 3)
    hint = f"did you mean {', '.join(map(repr, near))}?" if near else f"there are {names[:20]}"
    return f"no tensor named {name!r}; {hint}"
