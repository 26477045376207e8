"""Module: a model as a function that returns at once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from weakref import WeakSet

from engine import arguments
from engine.arrays import ArrayLike, array_of
from engine.config import GraphPath, PathMode, ScheduleConfig
from engine.errors import ConfigError, InputError, UnsupportedError
from engine.execution.plans import Shapes, find
from engine.forks import ProcessBound, check_process
from engine.info import SessionInfo
from engine.interpreter import Interpreter, read_model
from engine.ir.graph import Graph, Value
from engine.ir.types import TensorType
from engine.locks import Locks
from engine.runtime import Runtime
from engine.session import Session
from engine.var import Var


class Module(ProcessBound):
    """A model, or a part of it, as a function of Vars.

    Not closed explicitly, it lives as long as itself or a result that was not read is referred to.
    Any thread may call it; calls of one module take turns::

        import parallax as px

        module = px.Module.load("model.onnx")
        (result,) = module.on_forward([array])
        print(result.read_map())
    """

    noun = "Module"

    def __init__(
        self,
        interpreter: Interpreter,
        config: ScheduleConfig,
        runtime: Runtime,
        inputs: Sequence[str],
        outputs: Sequence[str],
        shapes: Shapes | None,
        *,
        owns_runtime: bool = False,
    ) -> None:
        made = "an Interpreter; Module.load reads a model"
        arguments.of_kind("Module", interpreter, Interpreter, made)
        self.runtime = runtime
        self.inputs = arguments.names("Module: inputs", inputs)
        self.outputs = arguments.names("Module: outputs", outputs)
        self._interpreter, self._config, self._shapes = interpreter, config, shapes
        self._owns_runtime = owns_runtime
        self._lock = threading.RLock()
        self._bind_to_process()
        self._results: WeakSet[Var] = WeakSet()
        self._session = interpreter.create_session(config, runtime, shapes)
        self._session.noun = "Module"

    @classmethod
    def load(
        cls,
        model: str | Path | bytes,
        inputs: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
        *,
        config: ScheduleConfig | None = None,
        runtime: Runtime | None = None,
        shapes: Shapes | None = None,
        cache_file: str | Path | None = None,
    ) -> Module:
        """Read a model.

        Args:
            model: a path, or the bytes of a file.
            inputs, outputs: names in the order that `on_forward` takes and gives them; None: those
                of the model. Names of intermediate tensors cut the model.
            runtime: to share with other modules: then Vars pass between them on the device.
            shapes: of inputs with free dimensions, to make the plan before the first call.

        Raises:
            ModelError, UnsupportedError: from reading. InputError: an unknown name.
        """
        interpreter = read_model("Module.load", model)
        for value in (*interpreter.imported.inputs, *interpreter.imported.outputs):
            if value.list_type is not None:
                raise UnsupportedError(
                    f"Module.load: {value.name!r} is {value.list_type}, and a Module takes and "
                    "gives tensors; a Session takes and gives lists of them"
                )
        config = ScheduleConfig() if config is None else config
        results = tuple(interpreter.outputs)
        if outputs is not None:
            results = arguments.names("Module.load: outputs", outputs)
        if inputs is not None:
            operands = _distinct(inputs)
        else:
            operands = _needed(interpreter.imported, results)
        if (set(operands), set(results)) != (set(interpreter.inputs), set(interpreter.outputs)):
            config = _with_path(config, operands, results)
        if cache_file is not None:
            interpreter.set_cache_file(cache_file)
        shared = runtime if runtime is not None else Runtime()
        return cls(
            interpreter, config, shared, operands, results, shapes, owns_runtime=runtime is None
        )

    def on_forward(self, inputs: Sequence[Var | ArrayLike]) -> list[Var]:
        """Enqueue one inference and return its results, which may not be computed yet.

        Args:
            inputs: in the order of `self.inputs`. Results of modules on the same runtime stay on
                the device.

        Raises:
            InputError: a wrong number, dtype or shape.
        """
        check_process(self)
        given = self._vars(inputs)
        with Locks([self._lock, *(var.lock for var in given)]):
            self._session.check_open()
            for result in list(self._results):
                result.set_aside()
            self._results.clear()
            session = self._session
            shapes = {n: v.shape for n, v in zip(self.inputs, given, strict=True)}
            named = dict(zip(self.inputs, given, strict=True))
            session.resize(shapes, {n: named[n].read_map() for n in session.deciding})
            for name, var in named.items():
                if name not in session.deciding:
                    var.feed(session.input(name))
            session.run()
            results = [Var.of(session.output(name), self._lock) for name in self.outputs]
            self._results.update(results)
            return results

    def _vars(self, inputs: Sequence[Var | ArrayLike]) -> list[Var]:
        names = list(self.inputs)
        arguments.of_kind("on_forward", inputs, Sequence, f"a list of inputs, {names}")
        if len(inputs) != len(names):
            raise InputError(f"on_forward: got {len(inputs)} inputs, expected {names}")
        types = {n: t for n, t in self._session.inputs.items() if isinstance(t, TensorType)}
        return [
            x if isinstance(x, Var) else Var(array_of(f"input {name!r}", x, types[name]))
            for name, x in zip(names, inputs, strict=True)
        ]

    def forward(self, *inputs: Var | ArrayLike) -> Var:
        """`on_forward` of a module with one output."""
        if len(self.outputs) != 1:
            raise InputError(f"forward: the outputs are {list(self.outputs)}; use on_forward")
        return self.on_forward(inputs)[0]

    def __call__(self, *inputs: Var | ArrayLike) -> Var | list[Var]:
        """`forward` of a module with one output, `on_forward` of one with several."""
        results = self.on_forward(inputs)
        return results[0] if len(self.outputs) == 1 else results

    def clone(self) -> Module:
        """Another module on the same runtime that shares weights and kernels, not results."""
        self._session.check_open()
        return Module(
            self._interpreter,
            self._config,
            self.runtime,
            self.inputs,
            self.outputs,
            self._shapes,
        )

    @property
    def session(self) -> Session:
        """The session behind it: to measure it, or to look at its tensors."""
        return self._session

    def info(self) -> SessionInfo:
        """See `Session.info`; raises ConfigError while free dimensions are not known."""
        if not self._session.closed and not self._session.resize_status.ready:
            raise ConfigError(
                f"{self!r} has no plan yet: call it once, or give the shapes to Module.load"
            )
        return self._session.info()

    def close(self) -> None:
        """Free what is the module's own; harmless the second time. Unread results are lost."""
        with self._lock:
            self._session.close()
            if self._owns_runtime:
                self.runtime.close()

    def _after_fork(self) -> None:
        """What a thread of the parent was doing does not end here."""
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        inputs, outputs = ", ".join(self.inputs), ", ".join(self.outputs)
        state = ", closed" if self._session.closed else ""
        return f"<Module {self._interpreter.info.name!r}: {inputs} -> {outputs}{state}>"

    def __enter__(self) -> Module:
        self._session.check_open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _distinct(inputs: Sequence[str]) -> tuple[str, ...]:
    names = arguments.names("Module.load: inputs", inputs)
    if len(set(names)) != len(names):
        raise InputError(f"Module.load: inputs={inputs!r}: expected a sequence of different names")
    return names


def _with_path(
    config: ScheduleConfig, inputs: Sequence[str], outputs: Sequence[str]
) -> ScheduleConfig:
    if config.path is not None:
        raise InputError("Module.load: name inputs and outputs, or give a config with a path")
    return replace(config, path=GraphPath(tuple(inputs), tuple(outputs), PathMode.TENSOR))


def _needed(graph: Graph, outputs: Sequence[str]) -> tuple[str, ...]:
    """The model inputs that outputs depend on, in graph order; InputError for unknown names."""
    seen: set[Value] = set()
    known, more = graph.listed_values(), "Interpreter.tensors lists them"
    waiting = [find("Module.load: outputs", name, known, more=more) for name in outputs]
    while waiting:
        value = waiting.pop()
        if value not in seen and value.producer is not None:
            waiting += [v for v in value.producer.inputs if v is not None]
        seen.add(value)
    return tuple(v.name for v in graph.inputs if v in seen)
