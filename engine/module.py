"""Module and Var: a model as a function that returns at once; `read_map` is where one waits."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np

from engine.config import GraphPath, PathMode, ScheduleConfig
from engine.errors import ClosedError, InputError
from engine.info import SessionInfo
from engine.interpreter import Interpreter
from engine.ir.graph import Graph, Value
from engine.ir.types import TensorType, type_of
from engine.locks import Locks
from engine.plans import Shapes, find
from engine.runtime import Runtime
from engine.session import Session
from engine.tensor import Snapshot, Tensor


class Var:
    """A tensor that may not be computed yet: an array of the user's, or a result of a Module.

    A result keeps its value for ever: when its module runs again while it is still referred to, the
    device copies it aside first.
    """

    def __init__(self, array: np.ndarray) -> None:
        self._array: np.ndarray | None = np.array(array, order="C")
        self._place: Tensor | Snapshot | None = None
        self._type = type_of(self._array)
        self._lock = threading.RLock()

    @classmethod
    def empty(cls, shape: Sequence[int], dtype: Any = np.float32) -> Var:
        """Zeros, to be filled through `write_map`."""
        return cls(np.zeros(tuple(shape), dtype))

    @classmethod
    def _of(cls, tensor: Tensor, lock: Any) -> Var:
        var = cls.__new__(cls)
        var._array, var._place, var._type, var._lock = None, tensor, tensor.type, lock
        return var

    @property
    def type(self) -> TensorType:
        """Dtype and shape; known before the value is."""
        return self._type

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents."""
        return self._type.dims

    @property
    def dtype(self) -> np.dtype:
        """Dtype."""
        return self._type.dtype

    @property
    def is_on_device(self) -> bool:
        """Whether the value lies (or will lie) where a module computed it."""
        return self._place is not None

    def read_map(self) -> np.ndarray:
        """The value, read-only; waits for it.

        Raises:
            ClosedError: the module was closed before. DeviceError: its run failed.
        """
        with self._lock:
            if self._array is None:
                assert self._place is not None
                pending = self._place.read_later()
            else:
                return _read_only(self._array)
        array = pending.result()
        with self._lock:
            if self._array is None:
                self._array = array
            return _read_only(self._array)

    def write_map(self) -> np.ndarray:
        """The value as an array to write to; the next `on_forward` that is given this Var sees it.

        A result is waited for first, and becomes the user's array.
        """
        self.read_map()
        with self._lock:
            assert self._array is not None
            if not self._array.flags.writeable:
                self._array = self._array.copy()
            self._place = None
            return self._array

    def _feed(self, target: Tensor) -> None:
        """Write the value to an input; the caller holds the lock."""
        if self._place is not None:
            target.copy_from(self._place)
        else:
            assert self._array is not None
            target.write(self._array)

    def _set_aside(self) -> None:
        """Leave the session's memory, which is about to be written again."""
        if isinstance(self._place, Tensor) and self._array is None:
            self._place = self._place.snapshot()
        elif isinstance(self._place, Tensor):
            self._place = None

    def __repr__(self) -> str:
        return f"<Var {self._type}, {'on a device' if self.is_on_device else 'on the host'}>"


class Module:
    """A model, or a part of it, as a function of Vars.

    Not closed explicitly, it lives as long as itself or a result that was not read is referred to.
    Any thread may call it; calls of one module take turns::

        import parallax as px

        module = px.Module.load("model.onnx")
        (result,) = module.on_forward([array])
        print(result.read_map())
    """

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
        self.runtime, self.inputs, self.outputs = runtime, tuple(inputs), tuple(outputs)
        self._interpreter, self._config, self._shapes = interpreter, config, shapes
        self._owns_runtime = owns_runtime
        self._lock = threading.RLock()
        self._results: WeakSet[Var] = WeakSet()
        self._session = interpreter.create_session(config, runtime, shapes)

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
        if isinstance(model, bytes):
            interpreter = Interpreter.from_buffer(model)
        else:
            interpreter = Interpreter.from_file(model)
        config = config or ScheduleConfig()
        graph = interpreter.imported
        if inputs is not None:
            _check_distinct(inputs)
        results = tuple(outputs) if outputs is not None else tuple(interpreter.outputs)
        operands = tuple(inputs) if inputs is not None else _needed(graph, results)
        if (set(operands), set(results)) != (set(interpreter.inputs), set(interpreter.outputs)):
            config = _with_path(config, operands, results)
        if cache_file is not None:
            interpreter.set_cache_file(cache_file)
        shared = runtime if runtime is not None else Runtime()
        return cls(
            interpreter, config, shared, operands, results, shapes, owns_runtime=runtime is None
        )

    def on_forward(self, inputs: Sequence[Var | np.ndarray]) -> list[Var]:
        """Enqueue one inference and return its results, which may not be computed yet.

        Args:
            inputs: in the order of `self.inputs`. Results of modules on the same runtime stay on
                the device.

        Raises:
            InputError: a wrong number, dtype or shape.
        """
        if len(inputs) != len(self.inputs):
            raise InputError(f"on_forward: got {len(inputs)} inputs, expected {list(self.inputs)}")
        given = [x if isinstance(x, Var) else Var(x) for x in inputs]
        with Locks([self._lock, *(var._lock for var in given)]):
            for result in list(self._results):
                result._set_aside()
            self._results.clear()
            session = self._session
            session.resize({n: v.shape for n, v in zip(self.inputs, given, strict=True)})
            for name, var in zip(self.inputs, given, strict=True):
                var._feed(session.input(name))
            session.run()
            results = [Var._of(session.output(name), self._lock) for name in self.outputs]
            self._results.update(results)
            return results

    def forward(self, *inputs: Var | np.ndarray) -> Var:
        """`on_forward` of a module with one output."""
        if len(self.outputs) != 1:
            raise InputError(f"forward: the outputs are {list(self.outputs)}; use on_forward")
        return self.on_forward(inputs)[0]

    def clone(self) -> Module:
        """Another module on the same runtime that shares weights and kernels, not results."""
        if self._session.closed:
            raise ClosedError("this Module is closed")
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
        """See `Session.info`."""
        return self._session.info()

    def close(self) -> None:
        """Free what is the module's own; harmless the second time. Unread results are lost."""
        with self._lock:
            self._session.close()
            if self._owns_runtime:
                self.runtime.close()

    def __enter__(self) -> Module:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


def _check_distinct(inputs: Sequence[str]) -> None:
    if isinstance(inputs, str) or len(set(inputs)) != len(inputs):
        raise InputError(f"Module.load: inputs={inputs!r}: expected a sequence of different names")


def _with_path(
    config: ScheduleConfig, inputs: Sequence[str], outputs: Sequence[str]
) -> ScheduleConfig:
    from dataclasses import replace

    if config.path is not None:
        raise InputError("Module.load: name inputs and outputs, or give a config with a path")
    return replace(config, path=GraphPath(tuple(inputs), tuple(outputs), PathMode.TENSOR))


def _needed(graph: Graph, outputs: Sequence[str]) -> tuple[str, ...]:
    """The model inputs that outputs depend on, in graph order; InputError for unknown names."""
    seen: set[Value] = set()
    known = {v.name: v for v in graph.values()}
    waiting = [find("outputs", name, known) for name in outputs]
    while waiting:
        value = waiting.pop()
        if value not in seen and value.producer is not None:
            waiting += [v for v in value.producer.inputs if v is not None]
        seen.add(value)
    return tuple(v.name for v in graph.inputs if v in seen)
