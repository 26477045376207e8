"""Parallax's inference engine: what `import parallax` offers of it, and nothing else."""

from engine.backends.protocol import DeviceInfo, LiveMemory, PendingRead
from engine.backends.registry import opencl_device
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
    ParallaxWarning,
    PlanError,
    RunStopped,
    ShapeError,
    UnsupportedError,
)
from engine.info import (
    BorderInfo,
    Choice,
    CopyInfo,
    Loss,
    MemoryInfo,
    ModelInfo,
    ModelSurvey,
    OperatorCount,
    OperatorInfo,
    PipelineInfo,
    ResizeReport,
    ResizeStatus,
    SessionInfo,
    Support,
    Unsupported,
)
from engine.interpreter import Interpreter
from engine.model_file import survey
from engine.module import Module
from engine.profile import RunProfile
from engine.runtime import Runtime, create_runtime
from engine.session import Session
from engine.tensor import Tensor
from engine.var import Var

__all__ = [
    "BackendConfig",
    "BorderInfo",
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
    "Loss",
    "MemoryInfo",
    "MemoryMode",
    "ModelError",
    "ModelInfo",
    "ModelReleased",
    "ModelSurvey",
    "Module",
    "OperatorCount",
    "OperatorInfo",
    "ParallaxError",
    "ParallaxWarning",
    "PathMode",
    "PendingRead",
    "PipelineInfo",
    "PlanError",
    "PowerMode",
    "Precision",
    "ResizeReport",
    "ResizeStatus",
    "RunProfile",
    "RunStopped",
    "Runtime",
    "ScheduleConfig",
    "Session",
    "SessionInfo",
    "ShapeError",
    "Support",
    "Tensor",
    "Unsupported",
    "UnsupportedError",
    "Var",
    "create_runtime",
    "opencl_device",
    "survey",
]
