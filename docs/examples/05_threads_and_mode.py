"""num_threads for the CPU backend and mode for OpenCL: two options, never one in disguise."""

from __future__ import annotations

from place import MODELS, device_argument

import engine
from engine import ForwardType, GpuMode, ScheduleConfig


def refusal(**options: object) -> None:
    """Show why a configuration is refused."""
    try:
        ScheduleConfig(**options)  # type: ignore[arg-type]
    except engine.ConfigError as error:
        print("refused:", error)


def main(device: str = "cpu") -> None:
    """What is in effect, and what cannot be."""
    if device == "cpu":
        config = ScheduleConfig(type=ForwardType.CPU, num_threads=2)
    else:
        mode = GpuMode.TUNING_NONE | GpuMode.MEMORY_BUFFER
        config = ScheduleConfig(type=ForwardType.OPENCL, device=device, mode=mode)
    with engine.Interpreter.from_file(MODELS / "tiny_resnet.onnx") as model:
        info = model.create_session(config, shapes={"image": (1, 3, 32, 32)}).info()
        threads = info.pipelines[0].num_threads
        print("threads:", threads.effective, threads.reason)
        print("mode:", repr(info.mode), info.pipelines[0].mode.reason)

    refusal(type=ForwardType.CPU, mode=GpuMode.TUNING_NONE)
    refusal(type=ForwardType.OPENCL, strict=True, num_threads=4)
    refusal(type=ForwardType.OPENCL, mode=4)
    refusal(type=ForwardType.OPENCL, mode=GpuMode.TUNING_NONE | GpuMode.TUNING_WIDE)
    refusal(type=ForwardType.OPENCL, mode=GpuMode.TUNING_NORMAL | GpuMode.MEMORY_IMAGE)
    refusal(type=ForwardType.OPENCL, mode=GpuMode.TUNING_NONE | GpuMode.MEMORY_IMAGE)


if __name__ == "__main__":
    main(device_argument())
