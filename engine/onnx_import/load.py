"""load_model: a whole model, or an error that says what stands in the way."""

from __future__ import annotations

from pathlib import Path

from engine.ir.graph import Graph
from engine.onnx_import.importing import import_model


def load_model(source: str | Path | bytes, *, name: str | None = None) -> Graph:
    """Read an ONNX model into a verified Graph in the newest operator forms.

    Free dimensions of inputs are strings: the file's dim_param, or `input.axis0` where it has none.
    Constants are read-only arrays; the large ones of a file are read when they are needed.

    Args:
        source: a path, or a serialised ModelProto (which cannot have external data).
        name: of the graph; by default the file's own.

    Raises:
        ModelError: unreadable or not a valid ONNX graph; names node and value.
        UnsupportedError: valid ONNX that Parallax cannot run.
    """
    _, found = import_model(source, name)
    if found.refusals:
        raise found.error()
    return found.graph
