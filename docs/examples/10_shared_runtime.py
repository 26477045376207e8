"""Three models in series on one runtime: one context, one queue, one arena, one set of threads."""

from __future__ import annotations

import numpy as np
from place import MODELS, config_on, device_argument

import parallax as px


def main(device: str = "cpu") -> None:
    """Detect, classify what was detected, and look at the classes once more."""
    config = config_on(device)
    with px.create_runtime([config]) as runtime:
        net1 = px.Interpreter.from_file(MODELS / "tiny_detector.onnx")
        session1 = net1.create_session(config, runtime, {"image": (1, 3, 64, 64)})
        net2 = px.Interpreter.from_file(MODELS / "tiny_resnet.onnx")
        session2 = net2.create_session(config, runtime, {"image": (1, 3, 32, 32)})
        net3 = px.Interpreter.from_file(MODELS / "tiny_mlp_opset7.onnx")
        session3 = net3.create_session(config, runtime, {"features": (1, 16)})

        image = np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32)
        session1.run({"image": image})
        heat = session1.read("heat")

        top, left = np.unravel_index(heat[0, 0, :32, :32].argmax(), (32, 32))
        session2.run({"image": image[..., top : top + 32, left : left + 32]})
        probabilities = session2.read("probabilities")

        session3.run({"features": np.pad(probabilities, [(0, 0), (0, 6)])})
        print("joint:", session3.read("joint").shape)
        print("backends:", [backend.name for backend in runtime.backends])
        arenas = {
            name: [s.info().memory[name].arena_nbytes for s in (session1, session2, session3)]
            for name in session1.info().memory
        }
        print("arena bytes leased by each:", arenas)
        print("bytes live on the runtime:", runtime.live().nbytes)
        for net in (net1, net2, net3):
            net.close()
        print("after the sessions are closed:", runtime.live())

    try:
        px.create_runtime([config_on("cpu", num_threads=n) for n in (1, 2)])
    except px.ConfigError as error:
        print("refused:", error)


if __name__ == "__main__":
    main(device_argument())
