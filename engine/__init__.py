"""Parallax's inference engine: the whole public API, and nothing else.

A model, a session on a device, one inference::

    import engine

    model = engine.Interpreter.from_file("model.onnx")
    config = engine.ScheduleConfig(type=engine.ForwardType.OPENCL, device="pocl")
    with model.create_session(config) as session:
        outputs = session({"x": array})
"""

from engine.config import (
    BackendConfig,
    ForwardType,
    GpuMode,
    MemoryMode,
    PowerMode,
    Precision,
    ScheduleConfig,
)
from engine.errors import (
    CompileError,
    ConfigError,
    DeviceError,
    DeviceMemoryError,
    GraphError,
    InputError,
    ModelError,
    ParallaxError,
    PlanError,
    ShapeError,
    UnsupportedError,
)
from engine.interpreter import Interpreter
from engine.runtime import Runtime
from engine.session import Session, SessionInfo

__all__ = [
    "BackendConfig",
    "CompileError",
    "ConfigError",
    "DeviceError",
    "DeviceMemoryError",
    "ForwardType",
    "GpuMode",
    "GraphError",
    "InputError",
    "Interpreter",
    "MemoryMode",
    "ModelError",
    "ParallaxError",
    "PlanError",
    "PowerMode",
    "Precision",
    "Runtime",
    "ScheduleConfig",
    "Session",
    "SessionInfo",
    "ShapeError",
    "UnsupportedError",
]
