"""An Interpreter from a file and from a buffer, and what it knows before any session exists."""

from __future__ import annotations

from place import MODELS, config_on, device_argument

import parallax as px


def main(device: str = "cpu") -> None:
    """Read a model twice, and a file that is none."""
    path = MODELS / "tiny_resnet.onnx"
    with (
        px.Interpreter.from_file(path) as from_file,
        px.Interpreter.from_buffer(path.read_bytes()) as from_buffer,
    ):
        print("inputs:", {name: str(type_) for name, type_ in from_file.inputs.items()})
        print("outputs:", from_file.outputs)
        print("operators:", dict(from_file.info.operators))
        print("the same from a buffer:", from_buffer.inputs == from_file.inputs)
        shapes = {"image": (1, 3, 32, 32)}
        for found in from_file.support(config_on(device), shapes=shapes):
            print(f"{found.backend}: runs {found.supported} operators, lacks {dict(found.missing)}")
    try:
        px.Interpreter.from_buffer(b"not a model")
    except px.ModelError as error:
        print("refused:", error)


if __name__ == "__main__":
    main(device_argument())
