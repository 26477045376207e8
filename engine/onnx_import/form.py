"""Form: one node on its way into the graph, and what rewrites of it may do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from engine.ir.graph import Value
from engine.onnx_import.attributes import default_of


@dataclass
class Form:
    """One node on its way into the graph; `outputs` are names, "" where omitted in between."""

    title: str
    op_type: str
    opset: int
    inputs: list[Value | None]
    outputs: list[str]
    attributes: dict[str, Any]
    domain: str = ""

    def value(self, name: str) -> Any:
        """An attribute; where it is left out, its default at the node's opset, None for none."""
        return self.attributes.get(name, default_of(self.op_type, self.opset, name, self.domain))

    def take(self, name: str) -> Any:
        """The same, and the attribute is gone."""
        value = self.value(name)
        self.attributes.pop(name, None)
        return value

    def input(self, index: int) -> Value | None:
        """An input, None when omitted."""
        return self.inputs[index] if index < len(self.inputs) else None

    def set_input(self, index: int, value: Value | None) -> None:
        """Replace or append, padding with omitted inputs."""
        self.inputs += [None] * (index + 1 - len(self.inputs))
        self.inputs[index] = value


class Emitter(Protocol):
    """What rules may do to the graph that is being built."""

    def constant(self, name: str, array: np.ndarray) -> Value:
        """A new constant; the name is made unique."""
        ...

    def emit(
        self,
        op_type: str,
        inputs: Sequence[Value | None],
        attributes: dict[str, Any],
        output: str = "",
    ) -> Value:
        """A node before the one being rewritten; returns its only output.

        Args:
            output: an output of the one being rewritten, which it then is; "" where it is none.
        """
        ...

    def rank(self, value: Value | None) -> int | None:
        """The rank of a value, None where it cannot be told before shapes are known."""
        ...

    def dtype(self, value: Value | None) -> np.dtype | None:
        """The dtype of a value, None where it cannot be told before shapes are known."""
        ...

    def is_read(self, name: str) -> bool:
        """True when a node or the model's outputs read that name."""
        ...


Rewrite = Callable[[Form, Emitter], None]
