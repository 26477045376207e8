"""From a path or bytes to a parsed ModelProto; every way a file can be unreadable has a message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from mmap import ACCESS_READ, mmap
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from engine.errors import ModelError
from engine.ir.constant import REST_NBYTES_MIN
from engine.onnx_import.weights_file import WeightsFile
from engine.onnx_import.wire import Extent, NotUnderstood, without_weights

FILES_MAX = 64
"""Files of external data that stay open for a model; what lies in others stays in memory."""


@dataclass
class Origin:
    """Where the data of a model's tensors lies.

    Attributes:
        file: the model's own; None where it was given as bytes.
        folder: where external data must lie; None where there can be none.
        extents: for each initialiser, where in `file` its raw data is that was not parsed, or None.
    """

    file: WeightsFile | None = None
    folder: Path | None = None
    extents: Sequence[Extent | None] = ()
    _opened: dict[Path, WeightsFile] = field(default_factory=dict)

    def open(self, path: Path) -> tuple[WeightsFile, bool]:
        """A file of external data, and whether it may stay open; raises OSError."""
        if path not in self._opened:
            if len(self._opened) >= FILES_MAX:
                return WeightsFile(path), False
            self._opened[path] = WeightsFile(path)
        return self._opened[path], True


def read_model(source: str | Path | bytes) -> tuple[onnx.ModelProto, Origin]:
    """The parsed model, and where the data lies that is not in it.

    Raises:
        ModelError: no such file, a directory, unreadable, empty, or not a serialised ModelProto.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _parsed(bytes(source), "the model given as bytes"), Origin()
    path = Path(source)
    label = f"model file '{path}'"
    try:
        if path.is_dir():
            raise ModelError(f"{label} is a directory: expected one .onnx file")
        folder = path.resolve().parent
        if not path.is_file():
            return _parsed(path.read_bytes(), label), Origin(folder=folder)
        file = WeightsFile(path)
    except FileNotFoundError:
        raise ModelError(f"{label} does not exist") from None
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelError(f"{label} cannot be read: {reason}") from None
    if not file.nbytes:
        return _parsed(b"", label), Origin()
    with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        try:
            small, places = without_weights(data, REST_NBYTES_MIN)
        except NotUnderstood:
            small, places = data[:], []
    return _parsed(small, label), Origin(file, folder, places)


def _parsed(data: bytes, label: str) -> onnx.ModelProto:
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
    return model
