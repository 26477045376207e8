"""Interpreter: holder of the model data; makes sessions."""

from __future__ import annotations

import gc
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from weakref import WeakSet, WeakValueDictionary, ref

from engine import arguments, heap
from engine.cache import CacheFile, CacheReport, fingerprint
from engine.config import ScheduleConfig
from engine.describe import constants_nbytes, describe_support
from engine.errors import ConfigError, InputError, ModelReleased
from engine.execution.pipelines import Pipelines
from engine.execution.plans import Shapes, find
from engine.info import ModelInfo, Support
from engine.ir.graph import Graph
from engine.ir.types import ListType, TensorType
from engine.onnx_import import load_model
from engine.passes import (
    bind_passes,
    bind_shapes,
    cut,
    cut_stages,
    deciding_inputs,
    infer_where_known,
    load_passes,
    resolve_path,
    run_passes,
)
from engine.runtime import Runtime
from engine.session import Session

logger = logging.getLogger("parallax.interpreter")

COLLECTED_NBYTES = 1 << 24
"""Weights that are worth a collection when their last session is closed, and a trim of the heap.

Either takes a share of a second where a process holds millions of objects.
"""


class Interpreter:
    """One model, read once; any number of sessions share its weights.

    Attributes:
        info: inputs, outputs, opset, operators; stays after `release_model`.
    """

    def __init__(self, graph: Graph) -> None:
        arguments.of_kind(
            "Interpreter", graph, Graph, "a Graph; Interpreter.from_file reads a path"
        )
        self._imported: Graph | None = graph
        self._default: Graph | None = self._optimise(graph.copy(), frozenset())
        self._optimised: WeakValueDictionary[Any, Graph] = WeakValueDictionary()
        self._sessions: WeakSet[Session] = WeakSet()
        self._cache: CacheFile | None = None
        self.info = ModelInfo(
            name=graph.name,
            opset=graph.opset,
            inputs={v.name: v.declared for v in graph.inputs},
            outputs=tuple(v.name for v in graph.outputs),
            operators=dict(Counter(node.op_type for node in graph.nodes).most_common()),
            weights_nbytes=constants_nbytes(graph),
        )
        logger.info(
            "read model %s: opset %d, %d operators, %d after optimisation, %d bytes of constants",
            *(graph.name, graph.opset, len(graph.nodes), len(self._default.nodes)),
            self.info.weights_nbytes,
        )

    @classmethod
    def from_file(cls, path: str | Path) -> Interpreter:
        """Read an ONNX file; raises ModelError or UnsupportedError."""
        return cls(load_model(arguments.path("from_file", path, "the path of an .onnx file")))

    @classmethod
    def from_buffer(cls, data: bytes, name: str = "model") -> Interpreter:
        """Read an ONNX model from memory; external data is refused."""
        arguments.of_kind("from_buffer: name", name, str, "a string")
        return cls(load_model(arguments.model_bytes("from_buffer", data), name=name))

    # ------------------------------------------------------------------ the model
    @property
    def inputs(self) -> dict[str, TensorType | ListType]:
        """Name and type of every input, in graph order; free dimensions are strings."""
        return dict(self.info.inputs)

    @property
    def outputs(self) -> list[str]:
        """Output names in graph order."""
        return list(self.info.outputs)

    @property
    def tensors(self) -> dict[str, TensorType | None]:
        """Name and type of every tensor of the file, in the order of the graph.

        These are the names that `save_tensors` and a `GraphPath` in mode TENSOR take. The type is
        None where it depends on free dimensions. Raises ModelReleased.
        """
        graph = self.imported.copy()
        infer_where_known(graph)
        return {n: v.type for n, v in graph.listed_values().items() if v.list_type is None}

    @property
    def operators(self) -> dict[str, str]:
        """Name and type of every operator of the file, in the order of the graph.

        These are the names that a `GraphPath` in mode OP takes. Types are those of the newest
        opset, into which older forms are rewritten; a function call is listed by the operators of
        its body, `call/operator`, and known by its own name too. Raises ModelReleased.
        """
        return {node.name: node.op_type for node in self.imported.listed_nodes()}

    @property
    def imported(self) -> Graph:
        """The graph as it was read; raises ModelReleased."""
        return self._unreleased(self._imported)

    @property
    def graph(self) -> Graph:
        """The device-free graph of the whole model after the passes that need no shapes."""
        return self._unreleased(self._default)

    def _unreleased(self, graph: Graph | None) -> Graph:
        if graph is None:
            raise ModelReleased(
                f"the data of model {self.info.name!r} was released by release_model; make all "
                "sessions before, or read the model again"
            )
        return graph

    @staticmethod
    def _optimise(graph: Graph, protected: frozenset[str]) -> Graph:
        run_passes(graph, load_passes(protected))
        graph.rest()
        return graph

    def support(
        self,
        config: ScheduleConfig,
        runtime: Runtime | None = None,
        shapes: Shapes | None = None,
    ) -> list[Support]:
        """Which operators of a config's path each of its backends would run.

        Compiles and allocates nothing.

        Args:
            shapes: of inputs with free dimensions.
        """
        pipelines = self._pipelines("support", [config])
        whole, known = self._graph_for(pipelines, arguments.shapes("support", shapes))
        if deciding := deciding_inputs(whole):
            names = ", ".join(map(repr, deciding))
            raise ConfigError(f"support: the value of input {names} decides shapes: unknown here")
        graph = bind_shapes(whole, known)
        if cut_stages(whole) is None:
            run_passes(graph, bind_passes(pipelines.protected))
        else:
            infer_where_known(graph)  # the rest is planned during a run
        with ExitStack() as stack:
            used = _runtime(runtime) or stack.enter_context(Runtime())
            backends = pipelines.backends(used).values()
            return [describe_support(graph.nodes, backend) for backend in backends]

    def release_model(self) -> None:
        """Free the model data; existing sessions run and resize on what they need of it.

        From then on `create_session` raises ModelReleased.
        """
        self._imported = self._default = None
        gc.collect()  # nodes and values refer to one another
        heap.trim()

    # ------------------------------------------------------------------ sessions
    def create_session(
        self,
        config: ScheduleConfig | None = None,
        runtime: Runtime | None = None,
        shapes: Shapes | None = None,
    ) -> Session:
        """A session of this model.

        Args:
            config: None means the CPU backend.
            runtime: to share a device context, queue, programs and memory with other sessions.
            shapes: input shapes; needed here, by `resize` or by the first `run(feeds)` when the
                model has free dimensions.

        Raises:
            ModelReleased: after `release_model`. InputError: an unknown name (save_tensors, path).
            UnsupportedError: an operator that no allowed backend runs; with its name and why.
        """
        given = ScheduleConfig() if config is None else config
        return self._create("create_session", [given], runtime, shapes)

    def create_multi_path_session(
        self,
        configs: Sequence[ScheduleConfig],
        runtime: Runtime | None = None,
        shapes: Shapes | None = None,
    ) -> Session:
        """One session of several paths, each with its own backends and precision.

        The paths run in order; a tensor that one computes and a later one reads crosses the border
        between them without the user.

        Raises:
            ConfigError: paths that overlap, are in the wrong order, or do not connect.
        """
        return self._create("create_multi_path_session", configs, runtime, shapes)

    def _create(
        self,
        where: str,
        configs: Sequence[ScheduleConfig],
        runtime: Runtime | None,
        shapes: Shapes | None,
    ) -> Session:
        pipelines = self._pipelines(where, configs)
        graph, known = self._graph_for(pipelines, arguments.shapes(f"{where}: shapes", shapes))
        runtime = _runtime(runtime)
        session = Session(
            graph,
            pipelines,
            runtime=Runtime() if runtime is None else runtime,
            owns_runtime=runtime is None,
            shapes=known,
            cache=self._cache,
            closed=self._collector(graph),
        )
        self._sessions.add(session)
        if self.info.weights_nbytes >= COLLECTED_NBYTES:
            heap.trim()
        return session

    def _collector(self, graph: Graph) -> Callable[[], object]:
        """What a session calls when it is closed: perhaps it was the last that held the graph."""
        if self.info.weights_nbytes < COLLECTED_NBYTES:
            return lambda: None
        mine, is_in_memory = ref(self), constants_nbytes(graph, in_memory=True) >= COLLECTED_NBYTES

        def collect() -> None:
            interpreter = mine()
            if is_in_memory and (interpreter is None or interpreter._imported is None):
                gc.collect()  # nodes and values refer to one another
            heap.trim()

        return collect

    def _pipelines(self, where: str, configs: Sequence[ScheduleConfig]) -> Pipelines:
        """What is to run where, with every name in it checked."""
        imported = self.imported
        if not isinstance(configs, Sequence) or not configs:
            got = arguments.shown(configs)
            raise ConfigError(f"{where}: got {got}, expected a list of at least one ScheduleConfig")
        for config in configs:
            arguments.of_kind(where, config, ScheduleConfig, "a ScheduleConfig", ConfigError)
        if len(configs) > 1 and any(c.path is None for c in configs):
            raise ConfigError("several configurations: each needs a path of its own")
        segments = [resolve_path(imported, c.path) for c in configs if c.path is not None]
        return Pipelines(configs, segments)

    def _graph_for(
        self, pipelines: Pipelines, shapes: dict[str, arguments.AnyShape]
    ) -> tuple[Graph, dict[str, arguments.AnyShape]]:
        """The optimised graph of some pipelines, shared while in use, and its known shapes."""
        if not pipelines.segments and not pipelines.protected:
            return self.graph, shapes
        key = (pipelines.protected, pipelines.segments, tuple(sorted(shapes.items())))
        graph = self.imported.copy()
        known = shapes
        if pipelines.segments:
            part = cut(self.imported, pipelines.segments, shapes)
            graph = part.graph
            given = {n: shapes[n] for n in shapes if n in {v.name for v in graph.inputs}}
            known = {**part.default_shapes, **given}
        self._check_saved(pipelines, graph)
        if (shared := self._optimised.get(key)) is None:
            shared = self._optimised[key] = self._optimise(graph, pipelines.protected)
        return shared, known

    def _check_saved(self, pipelines: Pipelines, part: Graph) -> None:
        """Every tensor to save is one of the part of the model that runs."""
        inside, everywhere = part.listed_values(), self.imported.listed_values()
        tensors = {n: v for n, v in inside.items() if v.list_type is None}
        for name in () if pipelines.keep == "*" else pipelines.keep:
            if name in everywhere and (type_ := everywhere[name].list_type) is not None:
                raise InputError(
                    f"save_tensors: {name!r} is {type_}, and only tensors are saved; outputs "
                    "are kept in any case"
                )
            if name in everywhere and name not in inside:
                raise InputError(f"save_tensors: tensor {name!r} has no part in the path that runs")
            find("save_tensors", name, tensors, more="Interpreter.tensors lists them")

    def release_session(self, session: Session) -> None:
        """Close a session of this interpreter, harmlessly the second time.

        Raises:
            InputError: it is one of another interpreter.
        """
        arguments.of_kind("release_session", session, Session, "a Session of this interpreter")
        if session not in self._sessions:
            raise InputError("release_session: this session was not made by this interpreter")
        session.close()

    def close(self) -> None:
        """Release the model and close every session; harmless the second time."""
        for session in list(self._sessions):
            session.close()
        self.release_model()

    def __repr__(self) -> str:
        inputs = ", ".join(f"{name} {type_}" for name, type_ in self.inputs.items())
        released = ", released" if self._imported is None else ""
        return f"<Interpreter {self.info.name!r}: {inputs} -> {', '.join(self.outputs)}{released}>"

    def __enter__(self) -> Interpreter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------ cache
    def set_cache_file(self, path: str | Path) -> CacheReport:
        """Keep compiled kernels in a file; call it before the sessions that shall profit.

        The file is written when a session that ran is closed, by `update_cache_file`, and at the
        end of the process: never before a first result, because some drivers take longer to give
        a compiled kernel away than to compile it. One that cannot be trusted or used is ignored,
        with the reason in the report, and replaced if it is a cache file of this user.
        """
        file = arguments.path("set_cache_file", path, "the path of a file", ConfigError)
        if "\0" in str(file):
            raise ConfigError(f"cache file {str(path)!r}: a path cannot hold a NUL character")
        if file.is_dir() or file.suffix.lower() == ".onnx":
            what = "a folder" if file.is_dir() else "the name of a model"
            raise ConfigError(f"cache file {str(path)!r}: this is {what}; choose another file")
        self._cache = CacheFile(file, fingerprint(self.imported))
        return self._cache.explain()

    def update_cache_file(self, session: Session | None = None) -> CacheReport:
        """Write what is not in the cache file yet, after the first run or after a resize.

        A session that never ran runs on zeros first, unless its inputs were written: some drivers
        compile at the first launch.

        Args:
            session: whose file to write; None: the file of the sessions made last.

        Raises:
            ConfigError: no cache file was set, or it cannot be written.
            InputError: a session of another interpreter. ClosedError: one of another process.
        """
        arguments.optional("update_cache_file", session, Session, "a Session")
        if session is not None and session not in self._sessions:
            raise InputError("update_cache_file: this session was not made by this interpreter")
        cache = self._cache if session is None else session.cache
        if cache is None:
            raise ConfigError("update_cache_file: call set_cache_file before the session is made")
        for each in self._sessions if session is None else [session]:
            if each.cache is cache and not each.closed:
                each.check_open()
                if cache.dirty:
                    each.launch_once()
        cache.save()
        return cache.explain()

    def explain_cache(self) -> CacheReport:
        """What the cache file held, what was found there and what was not, and why."""
        if self._cache is None:
            raise ConfigError("explain_cache: no cache file was set")
        return self._cache.explain()


def read_model(where: str, model: str | Path | bytes) -> Interpreter:
    """An Interpreter of a file or of the bytes of one."""
    return Interpreter(load_model(arguments.model(where, model)))


def _runtime(runtime: Runtime | None) -> Runtime | None:
    return arguments.optional("runtime", runtime, Runtime, "a Runtime, as create_runtime makes it")
