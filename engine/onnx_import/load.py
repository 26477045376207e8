"""load_model: a whole model, or an error that says what stands in the way."""

from __future__ import annotations

import shlex
from pathlib import Path

from engine.errors import UnsupportedError
from engine.ir.graph import Graph
from engine.onnx_import.importing import Refusal, import_model


def load_model(source: str | Path | bytes, *, name: str | None = None) -> Graph:
    """Read an ONNX model into a verified Graph in the newest operator forms.

    Free dimensions of inputs are strings: the file's dim_param, or `input.axis0` where it has none.
    Constants are read-only arrays that share memory with what was read.

    Args:
        source: a path, or a serialised ModelProto (which cannot have external data).
        name: of the graph; by default the file's own.

    Raises:
        ModelError: unreadable or not a valid ONNX graph; names node and value.
        UnsupportedError: valid ONNX that Parallax cannot run.
    """
    _, found = import_model(source, name)
    if found.refusals:
        shown = source if isinstance(source, (str, Path)) else "MODEL"
        raise _error(found.refusals, shlex.quote(str(shown)))
    return found.graph


def _error(refusals: list[Refusal], file: str) -> Exception:
    """The first refusal; where it is an operator, with the number of all that are refused."""
    first = refusals[0]
    if first.node is None or not isinstance(first.error, UnsupportedError):
        return first.error
    nodes = [r.node for r in refusals if r.node is not None]
    types = {(node.domain, node.op_type) for node in nodes}
    count = f"{len(nodes)} nodes of {len(types)} operator types" if len(nodes) > 1 else "one node"
    return UnsupportedError(
        f"{first.error}; {count} cannot be imported, `parallax info {file}` lists all that is "
        "not supported"
    )
