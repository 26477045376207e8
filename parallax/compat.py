"""The call surface of onnxruntime that applications use, on Parallax.

Import it instead, or run an application that cannot be changed with `parallax as-onnxruntime`::

    import parallax.compat as ort

    session = ort.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    outputs = session.run(None, {session.get_inputs()[0].name: array})

What is not here raises AttributeError or InputError by its name: nothing is accepted and forgotten,
but for hints on speed and memory of onnxruntime's own (threads apart, which are heeded).
"""

from __future__ import annotations

import enum
import functools
import os
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TypeProto, ValueInfoProto

from engine import arguments
from engine.arrays import ArrayLike
from engine.config import BackendConfig, ForwardType, MemoryMode, Precision, ScheduleConfig
from engine.errors import InputError, UnsupportedError
from engine.interpreter import Interpreter
from engine.runtime import Runtime
from parallax.compat_values import IOBinding, MissingInput, NodeArg, OrtValue, tensor_name

__all__ = [
    "ExecutionMode",
    "GraphOptimizationLevel",
    "IOBinding",
    "InferenceSession",
    "ModelMetadata",
    "NodeArg",
    "OrtValue",
    "RunOptions",
    "SessionOptions",
    "disable_telemetry_events",
    "enable_telemetry_events",
    "get_all_providers",
    "get_available_providers",
    "get_device",
    "set_default_logger_severity",
    "set_default_logger_verbosity",
    "set_seed",
]
__version__ = "1.20.0"
"""Of the onnxruntime whose calls these are; applications compare it."""
DEVICE, PRECISION = "PARALLAX_COMPAT_DEVICE", "PARALLAX_COMPAT_PRECISION"
"""Environment variables that override what an application asks for."""
CPU, OPENCL = "CPUExecutionProvider", "OpenCLExecutionProvider"


class GraphOptimizationLevel(enum.IntEnum):
    """A hint that changes nothing here: every graph is optimised."""

    ORT_DISABLE_ALL = 0
    ORT_ENABLE_BASIC = 1
    ORT_ENABLE_EXTENDED = 2
    ORT_ENABLE_LAYOUT = 3
    ORT_ENABLE_ALL = 99


class ExecutionMode(enum.IntEnum):
    """A hint that changes nothing here."""

    ORT_SEQUENTIAL = 0
    ORT_PARALLEL = 1


class _Options:
    """Of names that there are; another name is an AttributeError, as in onnxruntime."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in vars(type(self))["__dataclass_fields__"]:
            raise AttributeError(
                f"{type(self).__name__}.{name} is not supported by parallax.compat"
            )
        super().__setattr__(name, value)


@dataclass
class SessionOptions(_Options):
    """Options of a session."""

    intra_op_num_threads: int = 0
    inter_op_num_threads: int = 0
    log_severity_level: int = 2
    log_verbosity_level: int = 0
    logid: str = ""
    graph_optimization_level: int = GraphOptimizationLevel.ORT_ENABLE_ALL
    execution_mode: int = ExecutionMode.ORT_SEQUENTIAL
    enable_cpu_mem_arena: bool = True
    enable_mem_pattern: bool = True
    enable_mem_reuse: bool = True
    use_deterministic_compute: bool = False
    _entries: dict[str, str] = field(default_factory=dict, repr=False)

    def add_session_config_entry(self, key: str, value: str) -> None:
        """A hint to onnxruntime's own implementation; kept, and nothing more."""
        self._entries[key] = value

    def get_session_config_entry(self, key: str) -> str:
        """What was added; raises InputError for what was not."""
        if key not in self._entries:
            raise InputError(f"SessionOptions: no config entry {key!r} was added")
        return self._entries[key]


@dataclass
class RunOptions(_Options):
    """Options of a run, none of which changes what it computes."""

    log_severity_level: int = 2
    log_verbosity_level: int = 0
    logid: str = ""


@dataclass(frozen=True)
class ModelMetadata:
    """What a file says of itself."""

    producer_name: str
    graph_name: str
    graph_description: str
    domain: str
    description: str
    version: int
    custom_metadata_map: dict[str, str]


class InferenceSession:
    """A model on a device.

    Args:
        path_or_bytes: of an .onnx file; or a ModelProto.
        sess_options: of which `intra_op_num_threads` has an effect.
        providers: "CPUExecutionProvider" (the default) or "OpenCLExecutionProvider"; the first that
            is known counts. The environment variable PARALLAX_COMPAT_DEVICE overrides it with any
            device that `--device` takes, PARALLAX_COMPAT_PRECISION the precision, which is high.

    Raises:
        ModelError, UnsupportedError: from reading. DeviceError: no such device.
        InputError: a provider or an option that there is none of here.
    """

    def __init__(
        self,
        path_or_bytes: str | Path | bytes | ModelProto,
        sess_options: SessionOptions | None = None,
        providers: Sequence[Any] | None = None,
        provider_options: Sequence[Mapping[str, Any]] | None = None,
        **others: Any,
    ) -> None:
        for name in others:
            raise InputError(f"InferenceSession: argument {name!r} is not supported")
        self._options = SessionOptions() if sess_options is None else sess_options
        self._providers = _providers(providers, provider_options)
        if isinstance(path_or_bytes, ModelProto):
            path_or_bytes = path_or_bytes.SerializeToString()
        if isinstance(path_or_bytes, (str, os.PathLike)):
            self._interpreter = Interpreter.from_file(Path(path_or_bytes))
            proto = onnx.load(path_or_bytes, load_external_data=False)
        else:
            self._interpreter = Interpreter.from_buffer(path_or_bytes)
            proto = onnx.load_from_string(path_or_bytes)
        self._describe(proto)
        config = _config(self._providers[0], self._options)
        self._session = self._interpreter.create_session(config, _runtime())
        weakref.finalize(self, self._session.close)

    def _describe(self, proto: ModelProto) -> None:
        graph, initialised = proto.graph, {t.name for t in proto.graph.initializer}
        self._inputs = [_node_arg(i) for i in graph.input if i.name not in initialised]
        self._outputs = [_node_arg(o) for o in graph.output]
        self._meta = ModelMetadata(
            producer_name=proto.producer_name,
            graph_name=graph.name,
            graph_description=graph.doc_string,
            domain=proto.domain,
            description=proto.doc_string,
            version=proto.model_version,
            custom_metadata_map={p.key: p.value for p in proto.metadata_props},
        )

    # ------------------------------------------------------------------ what it is
    def get_inputs(self) -> list[NodeArg]:
        """In the order of the file, initialisers left out."""
        return list(self._inputs)

    def get_outputs(self) -> list[NodeArg]:
        """In the order of the file."""
        return list(self._outputs)

    def get_overridable_initializers(self) -> list[NodeArg]:
        """None: initialisers are constants here."""
        return []

    def get_modelmeta(self) -> ModelMetadata:
        """What the file says of itself."""
        return self._meta

    def get_providers(self) -> list[str]:
        """The one that runs the model, and the CPU that it falls back to."""
        return list(dict.fromkeys((self._providers[0], CPU)))

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        """None for each."""
        return {name: {} for name in self.get_providers()}

    def get_session_options(self) -> SessionOptions:
        """As they were given."""
        return self._options

    # ------------------------------------------------------------------ running
    def run(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, ArrayLike | OrtValue],
        run_options: RunOptions | None = None,
    ) -> list[np.ndarray]:
        """One inference; threads may call it at once, and take turns.

        Args:
            output_names: None or an empty list: all.

        Raises:
            InputError: unknown names, wrong dtypes or shapes; MissingInput for missing inputs.
        """
        names = [o.name for o in self._outputs]
        asked = output_names if output_names is not None else ()
        wanted = arguments.names("run: output_names", asked) or names
        for name in wanted:
            if name not in names:
                raise arguments.unknown("run: no output", name, dict.fromkeys(names))
        feeds = {
            name: value.numpy() if isinstance(value, OrtValue) else value
            for name, value in arguments.feeds("run: input_feed", input_feed).items()
        }
        try:
            outputs = self._session(feeds)
        except InputError as error:
            if any(i.name not in feeds and not i.type.startswith("optional") for i in self._inputs):
                raise MissingInput(str(error)) from error
            raise
        return [outputs[name] for name in wanted]

    def run_with_ort_values(
        self,
        output_names: Sequence[str] | None,
        input_dict_ort_values: Mapping[str, OrtValue],
        run_options: RunOptions | None = None,
    ) -> list[OrtValue]:
        """The same with OrtValues."""
        return [OrtValue(y) for y in self.run(output_names, input_dict_ort_values)]

    def io_binding(self) -> IOBinding:
        """A binding without inputs and outputs."""
        return IOBinding(self)

    def run_with_iobinding(
        self, iobinding: IOBinding, run_options: RunOptions | None = None
    ) -> None:
        """Run what is bound; raises BindingError where no output is, or something does not fit."""
        iobinding.run()


def get_available_providers() -> list[str]:
    """What `providers` may name."""
    return [OPENCL, CPU]


def get_all_providers() -> list[str]:
    """The same."""
    return get_available_providers()


def get_device() -> str:
    """What an onnxruntime without other devices says: CPU."""
    return "CPU"


def set_default_logger_severity(severity: int) -> None:
    """A hint on onnxruntime's log; Parallax logs through `logging`."""


def set_default_logger_verbosity(verbosity: int) -> None:
    """The same."""


def disable_telemetry_events() -> None:
    """There are none."""


def enable_telemetry_events() -> None:
    """There are none."""


def set_seed(seed: int) -> None:
    """Refused: there are no random operators here."""
    raise UnsupportedError("set_seed: no operator here draws random numbers")


@functools.cache
def _runtime() -> Runtime:
    """All sessions of a process share it."""
    return Runtime()


def _providers(
    names: Sequence[Any] | None, options: Sequence[Mapping[str, Any]] | None
) -> list[str]:
    """Those that are known, best first; those of other hardware are passed over, as there."""
    if options is not None and any(options):
        raise InputError(f"InferenceSession: provider_options={options!r} is not supported")
    found = []
    for entry in names or [CPU]:
        name = entry[0] if isinstance(entry, tuple) else entry
        if not isinstance(name, str) or not name.endswith("ExecutionProvider"):
            raise InputError(
                f"InferenceSession: {entry!r} is no provider; expected {OPENCL} or {CPU}"
            )
        found += [name] if name in (OPENCL, CPU) else []
    return found or [CPU]


def _config(provider: str, options: SessionOptions) -> ScheduleConfig:
    device = os.environ.get(DEVICE, "") or ("auto" if provider == OPENCL else "cpu")
    precision = os.environ.get(PRECISION, "") or Precision.HIGH
    preferences = BackendConfig(precision=precision, memory=MemoryMode.HIGH)
    threads = options.intra_op_num_threads or None
    if device == "cpu":
        return ScheduleConfig(backend_config=preferences, num_threads=threads)
    return ScheduleConfig(
        ForwardType.OPENCL, device=None if device == "auto" else device, backend_config=preferences
    )


def _node_arg(info: ValueInfoProto) -> NodeArg:
    dims = info.type.tensor_type.shape.dim
    shape: list[int | str | None] = [
        d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in dims
    ]
    return NodeArg(info.name, _type_name(info.type), shape)


def _type_name(type_: TypeProto) -> str:
    """`tensor(float)`, `seq(tensor(float))`, `optional(tensor(float))`."""
    if type_.HasField("sequence_type"):
        return f"seq({_type_name(type_.sequence_type.elem_type)})"
    if type_.HasField("optional_type"):
        return f"optional({_type_name(type_.optional_type.elem_type)})"
    return tensor_name(type_.tensor_type.elem_type)


def __getattr__(name: str) -> Any:
    raise AttributeError(f"onnxruntime's {name!r} is not supported by parallax.compat")
