"""A session without any option, used for many inferences."""

from __future__ import annotations

import numpy as np
from place import MODELS, config_on, device_argument

import parallax as px


def main(device: str = "cpu") -> None:
    """Create once, run often; by name or by Tensor."""
    with px.Interpreter.from_file(MODELS / "tiny_resnet.onnx") as model:
        session = model.create_session(shapes={"image": (1, 3, 32, 32)})
        print("simple mode runs on:", session.info().device.name)

        session = model.create_session(config_on(device), shapes={"image": (1, 3, 32, 32)})
        for brightness in (0.0, 0.5, 1.0):
            session.input("image").write(np.full((1, 3, 32, 32), brightness, np.float32))
            session.run()
            probabilities = session.output("probabilities").read()
            print(f"brightness {brightness}: {probabilities.max():.4f} for class 0")

        once = session({"image": np.ones((1, 3, 32, 32), np.float32)})
        same = np.array_equal(once["probabilities"], probabilities)
        print("one call does the same:", same)
        try:
            session.input("imgae")
        except px.InputError as error:
            print("refused:", error)


if __name__ == "__main__":
    main(device_argument())
