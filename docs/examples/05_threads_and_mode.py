"""num_threads for the CPU backend and mode for OpenCL: two options, never one in disguise."""

from __future__ import annotations

from place import MODELS, device_argument

import parallax as px


def refusal(**options: object) -> None:
    """Show why a configuration is refused."""
    try:
        px.ScheduleConfig(**options)  # type: ignore[arg-type]
    except px.ConfigError as error:
        print("refused:", error)


def main(device: str = "cpu") -> None:
    """What is in effect, and what cannot be."""
    if device == "cpu":
        config = px.ScheduleConfig(type=px.ForwardType.CPU, num_threads=1)
    else:
        mode = px.GpuMode.TUNING_NONE | px.GpuMode.MEMORY_BUFFER
        config = px.ScheduleConfig(type=px.ForwardType.OPENCL, device=device, mode=mode)
    with px.Interpreter.from_file(MODELS / "tiny_resnet.onnx") as model:
        info = model.create_session(config, shapes={"image": (1, 3, 32, 32)}).info()
        threads = info.pipelines[0].num_threads
        print("threads:", threads.effective, threads.reason)
        print("mode:", repr(info.mode), info.pipelines[0].mode.reason)

    refusal(type=px.ForwardType.CPU, mode=px.GpuMode.TUNING_NONE)
    refusal(type=px.ForwardType.OPENCL, strict=True, num_threads=4)
    refusal(type=px.ForwardType.OPENCL, mode=4)
    refusal(type=px.ForwardType.OPENCL, mode=px.GpuMode.TUNING_NONE | px.GpuMode.TUNING_WIDE)
    refusal(type=px.ForwardType.OPENCL, mode=px.GpuMode.TUNING_NORMAL | px.GpuMode.MEMORY_IMAGE)
    refusal(type=px.ForwardType.OPENCL, mode=px.GpuMode.TUNING_NONE | px.GpuMode.MEMORY_IMAGE)


if __name__ == "__main__":
    main(device_argument())
