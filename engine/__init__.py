"""Parallax's inference engine: the whole public API, and nothing else.

A model, a session on a device, one inference::

    import engine

    model = engine.Interpreter.from_file("model.onnx")
    config = engine.ScheduleConfig(type=engine.ForwardType.OPENCL, device="pocl")
    with model.create_session(config) as session:
        outputs = session({"x": array})
"""

from engine.backends.protocol import DeviceInfo, LiveMemory, PendingRead
from engine.cache import CacheReport
from engine.config import (
    BackendConfig,
    ForwardType,
    GpuMode,
    GraphPath,
    MemoryMode,
    PathMode,
    PowerMode,
    Precision,
    ScheduleConfig,
)
from engine.errors import (
    ClosedError,
    CompileError,
    ConfigError,
    DeviceError,
    DeviceMemoryError,
    GraphError,
    InputError,
    ModelError,
    ModelReleased,
    ParallaxError,
    PlanError,
    RunStopped,
    ShapeError,
    UnsupportedError,
)
from engine.info import (
    Choice,
    CopyInfo,
    MemoryInfo,
    ModelInfo,
    OperatorInfo,
    PipelineInfo,
    ResizeReport,
    ResizeStatus,
    SessionInfo,
    Support,
)
from engine.interpreter import Interpreter
from engine.module import Module, Var
from engine.runtime import Runtime, create_runtime
from engine.session import Session
from engine.tensor import Tensor

__all__ = [
    "BackendConfig",
    "CacheReport",
    "Choice",
    "ClosedError",
    "CompileError",
    "ConfigError",
    "CopyInfo",
    "DeviceError",
    "DeviceInfo",
    "DeviceMemoryError",
    "ForwardType",
    "GpuMode",
    "GraphError",
    "GraphPath",
    "InputError",
    "Interpreter",
    "LiveMemory",
    "MemoryInfo",
    "MemoryMode",
    "ModelError",
    "ModelInfo",
    "ModelReleased",
    "Module",
    "OperatorInfo",
    "ParallaxError",
    "PathMode",
    "PendingRead",
    "PipelineInfo",
    "PlanError",
    "PowerMode",
    "Precision",
    "ResizeReport",
    "ResizeStatus",
    "RunStopped",
    "Runtime",
    "ScheduleConfig",
    "Session",
    "SessionInfo",
    "ShapeError",
    "Support",
    "Tensor",
    "UnsupportedError",
    "Var",
    "create_runtime",
]
