"""type, backup_type and strict: who computes what, and how to see it."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from place import config_on, device_argument

import parallax as px


def volume_model() -> bytes:
    """Relu, a convolution over four axes (which has no OpenCL kernel), Neg."""
    weights = np.full((2, 1, 3, 3, 3, 3), 0.1, np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Relu", ["volume"], ["positive"], "before"),
            helper.make_node("Conv", ["positive", "weights"], ["filtered"], "filter"),
            helper.make_node("Neg", ["filtered"], ["result"], "after"),
        ],
        "volume",
        [helper.make_tensor_value_info("volume", TensorProto.FLOAT, (1, 1, 6, 6, 6, 6))],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights, "weights")],
    )
    imports = [helper.make_opsetid("", 13)]
    return bytes(helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString())


def main(device: str = "cpu") -> None:
    """A fallback and its price, the refusal of any, and what AUTO chooses."""
    with px.Interpreter.from_buffer(volume_model(), "volume") as model:
        session = model.create_session(config_on(device))
        result = session({"volume": np.ones((1, 1, 6, 6, 6, 6), np.float32)})["result"]
        print("result:", result.shape, "each", round(float(result.mean()), 2))
        info = session.info()
        for operator in info.operators:
            print(f"{operator.title} on {operator.backend} {operator.reason}".rstrip())
        for copy in info.copies:
            print(f"copy: {copy.tensor} {copy.source} -> {copy.target}, {copy.nbytes} bytes")
        try:
            strict = model.create_session(config_on(device, strict=True))
            print("strict: fallbacks", len(strict.info().fallbacks))
        except px.UnsupportedError as error:
            print("refused:", error)

        automatic = model.create_session(px.ScheduleConfig(type=px.ForwardType.AUTO))
        print(*automatic.info().choices)
    try:
        px.create_runtime([config_on("no such device")])
    except px.DeviceError as error:
        print("refused:", str(error).splitlines()[0])


if __name__ == "__main__":
    main(device_argument())
