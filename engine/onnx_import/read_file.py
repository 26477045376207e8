"""From a path or bytes to a parsed ModelProto; every way a file can be unreadable has a message."""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from engine.errors import ModelError


def read_model(source: str | Path | bytes) -> tuple[onnx.ModelProto, Path | None]:
    """The parsed model, and the folder its external data must lie in (None for bytes).

    Raises:
        ModelError: no such file, a directory, unreadable, empty, or not a serialised ModelProto.
    """
    data, label, folder = _read_bytes(source)
    if not data:
        raise ModelError(f"{label} is empty: expected a serialised ONNX model")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise ModelError(
            f"{label} is not an ONNX model, or is truncated or damaged ({len(data)} bytes "
            "that do not parse as a ModelProto): export or download it again"
        ) from None
    if not model.HasField("graph"):
        raise ModelError(f"{label} has no graph: it is not an ONNX model, or is damaged")
    return model, folder


def _read_bytes(source: str | Path | bytes) -> tuple[bytes, str, Path | None]:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source), "the model given as bytes", None
    path = Path(source)
    label = f"model file '{path}'"
    try:
        if path.is_dir():
            raise ModelError(f"{label} is a directory: expected one .onnx file")
        return path.read_bytes(), label, path.resolve().parent
    except FileNotFoundError:
        raise ModelError(f"{label} does not exist") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelError(f"{label} cannot be read: {reason}") from None
