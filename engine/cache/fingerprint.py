"""fingerprint: tells models apart by their structure, the same in every process."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from engine.ir.graph import Graph, Value
from engine.ir.types import NARROW, STRING

SMALL_NBYTES = 1024
"""Constants up to this size count with their values."""


def fingerprint(graph: Graph) -> str:
    """SHA-256, in hexadecimal, of the operators, their attributes, the names and the types.

    Of large constants only shape and dtype count: models that differ in nothing but their weights
    are compiled and tuned alike, so they may share what is cached.
    """
    lines = [f"opset {graph.opset}"]
    lines += [f"{_text(v)} {v.is_constant}" for v in graph.inputs]
    for value in graph.values():
        if value.contents is not None:
            whole = value.contents.type.nbytes <= SMALL_NBYTES
            text = _text(value.contents.array) if whole else ""
            lines.append(f"constant {_text(value)} {text}")
    for node in graph.nodes:
        outputs, inputs = _text(node.outputs), _text(node.inputs)
        what = _text((node.domain, node.op_type, node.name, node.attributes))
        body = _text(tuple((b.op_type, b.attributes, b.inputs, str(b.type)) for b in node.body))
        lines.append(f"{outputs} = {what} {inputs} {body}")
        lines += [f"{name} {fingerprint(g)}" for name, g in sorted(node.subgraphs.items())]
    lines.append(_text(tuple(graph.outputs)))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _text(item: Any) -> str:
    """A text that depends on nothing but the value, whatever the process and the addresses."""
    if isinstance(item, Value):
        return f"{item.name!r}: {item.list_type or item.type}"
    if isinstance(item, np.ndarray):
        is_text = item.dtype == STRING
        data = repr(item.tolist()).encode() if is_text else np.ascontiguousarray(item).tobytes()
        digest = hashlib.sha256(data).hexdigest()
        name = item.dtype.name if item.dtype in NARROW else item.dtype.str
        return f"{name}{item.shape} {digest}"
    if isinstance(item, dict):
        return "{" + ", ".join(f"{k!r}: {_text(v)}" for k, v in sorted(item.items())) + "}"
    if isinstance(item, tuple | list):
        return "(" + ", ".join(map(_text, item)) + ")"
    return repr(item)
