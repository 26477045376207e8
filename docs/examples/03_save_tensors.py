"""save_tensors keeps intermediate tensors; it costs exactly their bytes."""

from __future__ import annotations

import numpy as np
from place import MODELS, config_on, device_argument

import parallax as px


def main(device: str = "cpu") -> None:
    """The same model without and with a saved tensor."""
    shapes = {"image": (1, 3, 32, 32)}
    image = np.ones(shapes["image"], np.float32)
    path = MODELS / "tiny_resnet.onnx"
    with px.Interpreter.from_file(path) as model, px.Runtime() as runtime:
        plain = model.create_session(config_on(device), runtime, shapes)
        saving = model.create_session(config_on(device, save_tensors=["relu_26"]), runtime, shapes)
        outputs = saving({"image": image})
        print("outputs:", list(outputs), "saved:", saving.saved)
        features = saving.output("relu_26")
        print("relu_26:", features.type, "mean", round(float(features.read().mean()), 4))
        kept = [
            next(iter(session.info().memory.values())).kept_nbytes for session in (plain, saving)
        ]
        print(f"kept bytes grow by {kept[1] - kept[0]}, the tensor has {features.storage_nbytes}")
        try:
            model.create_session(config_on(device, save_tensors=["relu_62"]), runtime, shapes)
        except px.InputError as error:
            print("refused:", error)


if __name__ == "__main__":
    main(device_argument())
