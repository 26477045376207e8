"""path: run a part of a model, named by tensors or by operators."""

from __future__ import annotations

import numpy as np
from place import MODELS, config_on, device_argument

import parallax as px


def main(device: str = "cpu") -> None:
    """The head of a network on features that its body computed."""
    shapes = {"image": (1, 3, 32, 32)}
    image = np.ones(shapes["image"], np.float32)
    path = MODELS / "tiny_resnet.onnx"
    with px.Interpreter.from_file(path) as model, px.Runtime() as runtime:
        high = px.BackendConfig(precision=px.Precision.HIGH)
        whole = model.create_session(
            config_on(device, save_tensors=["relu_26"], backend_config=high), runtime, shapes
        )
        expected = whole({"image": image})["probabilities"]

        head = px.GraphPath(["relu_26"], ["probabilities"], px.PathMode.TENSOR)
        session = model.create_session(
            config_on(device, path=head, backend_config=high), runtime, shapes
        )
        result = session({"relu_26": whole.read("relu_26")})["probabilities"]
        print("tensor mode:", list(session.inputs), "->", session.outputs)
        print("the same result:", np.allclose(result, expected, atol=1e-6))

        for include_sink in (False, True):
            operators = px.GraphPath(["n_conv_2"], ["n_maxpool_9"], include_sink=include_sink)
            session = model.create_session(config_on(device, path=operators), runtime, shapes)
            types = [operator.title for operator in session.info().operators]
            print(f"op mode, include_sink={include_sink}: outputs {session.outputs}, {types}")
        try:
            wrong = px.GraphPath(["relu_26"], ["probability"], px.PathMode.TENSOR)
            model.create_session(config_on(device, path=wrong))
        except px.InputError as error:
            print("refused:", error)


if __name__ == "__main__":
    main(device_argument())
