"""One session of two paths: the body on a device, the head on the CPU."""

from __future__ import annotations

import numpy as np
from place import MODELS, config_on, device_argument

import parallax as px

SHAPES = {"image": (1, 3, 32, 32)}


def main(device: str = "cpu") -> None:
    """Each path has its own backend and precision; the tensor between them crosses by itself."""
    body = px.GraphPath(["image"], ["relu_26"], px.PathMode.TENSOR)
    head = px.GraphPath(["relu_26"], ["probabilities"], px.PathMode.TENSOR)
    image = np.random.default_rng(0).normal(size=SHAPES["image"]).astype(np.float32)
    with px.Interpreter.from_file(MODELS / "tiny_resnet.onnx") as model:
        session = model.create_multi_path_session(
            [config_on(device, path=body), config_on("cpu", path=head)], shapes=SHAPES
        )
        result = session({"image": image})["probabilities"]
        for pipeline in session.info().pipelines:
            precision = pipeline.precision.effective.name
            print(f"{pipeline.inputs} -> {pipeline.outputs}: {pipeline.backend}, {precision}")
        for copy in session.info().copies:
            print(f"copy: {copy.tensor} {copy.source} -> {copy.target}, {copy.nbytes} bytes")
        whole = model.create_session(shapes=SHAPES)({"image": image})["probabilities"]
        print(f"largest difference to one path on the CPU: {np.abs(result - whole).max():.1e}")
        try:
            model.create_multi_path_session(
                [config_on("cpu", path=head), config_on(device, path=body)], shapes=SHAPES
            )
        except px.ConfigError as error:
            print("refused:", error)


if __name__ == "__main__":
    main(device_argument())
