"""The time of an inference: from before on_forward to after read_map."""

from __future__ import annotations

import time

import numpy as np
from place import MODELS, config_on, device_argument

import parallax as px


def main(device: str = "cpu") -> None:
    """Time on_forward alone, and with the read that waits for it."""
    with px.Module.load(MODELS / "tiny_resnet.onnx", config=config_on(device)) as module:
        inputs = [np.ones((8, 3, 32, 32), np.float32)]
        module.on_forward(inputs)[0].read_map()  # the first call plans and compiles

        start = time.perf_counter()
        outputs = module.on_forward(inputs)
        submitted = time.perf_counter()
        outputs[0].read_map()  # forces synchronisation
        end = time.perf_counter()
        print(f"on_forward returned after {(submitted - start) * 1e3:.2f} ms")
        print(f"on_forward and read_map took {(end - start) * 1e3:.2f} ms: this is the latency")


if __name__ == "__main__":
    main(device_argument())
