"""BackendConfig: precision, memory, power and shared_context, asked for and in effect."""

from __future__ import annotations

import numpy as np
from place import MODELS, config_on, device_argument

import parallax as px

SHAPES = {"image": (1, 3, 32, 32)}


def refusal(device: str, **options: object) -> None:
    """Show why an option is refused on a device."""
    try:
        config = config_on(device, backend_config=px.BackendConfig(**options))  # type: ignore[arg-type]
        px.create_runtime([config]).close()
        print(f"accepted: {options}")
    except px.ConfigError as error:
        print("refused:", error)


def precisions(model: px.Interpreter, runtime: px.Runtime, device: str) -> None:
    """The same input at every precision."""
    image = np.random.default_rng(0).normal(size=SHAPES["image"]).astype(np.float32)
    exact = model.create_session(None, runtime, SHAPES)({"image": image})["probabilities"]
    for precision in px.Precision:
        if device == "cpu" and precision is px.Precision.LOW:
            continue
        config = config_on(device, backend_config=px.BackendConfig(precision=precision))
        session = model.create_session(config, runtime, SHAPES)
        result = session({"image": image})["probabilities"]
        choice = session.info().pipelines[0].precision
        got = f"{choice.requested.name} -> {choice.effective.name} {choice.reason}".strip()
        print(f"precision {got}: stored as {session.input().storage_dtype}, "
              f"largest difference {np.abs(result - exact).max():.1e}")  # fmt: skip


def lend_context(model: px.Interpreter, device: str) -> None:
    """Work in a context of the user's own, on a buffer of the user's own."""
    import pyopencl as cl

    mine = px.opencl_device(device)  # cl.get_platforms() may lack its driver
    context = cl.Context([mine])  # must outlive the session: drivers differ in who keeps it
    queue = cl.CommandQueue(context)
    high = px.BackendConfig(precision=px.Precision.HIGH, shared_context=queue)
    config = px.ScheduleConfig(type=px.ForwardType.OPENCL, backend_config=high)
    image = np.ones(SHAPES["image"], np.float32)
    buffer = cl.Buffer(context, cl.mem_flags.READ_WRITE, image.nbytes)
    cl.enqueue_copy(queue, buffer, image)
    with model.create_session(config, shapes=SHAPES) as session:
        session.attach("image", buffer)
        session.run()
        from_buffer = session.read("probabilities")
        from_array = session({"image": image})["probabilities"]
        print("attached buffer, same result:", np.array_equal(from_buffer, from_array))


def main(device: str = "cpu") -> None:
    """Every option of BackendConfig once."""
    path = MODELS / "tiny_resnet.onnx"
    with px.Interpreter.from_file(path) as model, px.Runtime() as runtime:
        precisions(model, runtime, device)

        config = config_on(device, backend_config=px.BackendConfig(memory=px.MemoryMode.HIGH))
        session = model.create_session(config, runtime, SHAPES)
        session.resize({"image": (2, 3, 32, 32)})
        print("memory HIGH: going back is free:", session.resize(SHAPES).reused)

        refusal(device, memory=px.MemoryMode.LOW)
        refusal(device, power=px.PowerMode.LOW)
        refusal(device, power=px.PowerMode.HIGH)
        refusal(device, precision=px.Precision.LOW)
        if device != "cpu":
            lend_context(model, device)
        else:
            refusal(device, shared_context=(0, 0))


if __name__ == "__main__":
    main(device_argument())
