"""release_model frees the model data, release_session a session; both say what is gone."""

from __future__ import annotations

import gc

import numpy as np
from place import MODELS, config_on, device_argument

import parallax as px


def main(device: str = "cpu") -> None:
    """An existing session runs and resizes on; a new one is refused."""
    model = px.Interpreter.from_file(MODELS / "tiny_resnet.onnx")
    session = model.create_session(config_on(device), shapes={"image": (1, 3, 32, 32)})
    model.release_model()
    gc.collect()
    print(session.resize({"image": (2, 3, 32, 32)}).shapes)
    result = session({"image": np.ones((2, 3, 32, 32), np.float32)})
    print("runs and resizes after release_model:", result["probabilities"].shape)
    try:
        model.create_session(config_on(device))
    except px.ModelReleased as error:
        print("refused:", error)

    model.release_session(session)
    session.close()
    try:
        session.run()
    except px.ClosedError as error:
        print("refused:", error)


if __name__ == "__main__":
    main(device_argument())
