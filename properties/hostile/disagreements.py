"""Where one outside engine is known to read ONNX differently, and why: data, not excuses.

A reason that no longer holds fails `test_hostile.py`: every entry carries a call that shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx


@dataclass(frozen=True)
class Call:
    """What was asked of the witnesses: op types of the outputs, the model, its inputs."""

    op_type: str
    data: bytes
    feeds: Mapping[str, np.ndarray]

    @property
    def node(self) -> onnx.NodeProto:
        """The first node of the model."""
        return onnx.load_from_string(self.data).graph.node[0]


@dataclass(frozen=True)
class Disagreement:
    """One reason.

    Attributes:
        reason: with the sentence of the specification, or of the witness, that settles it.
        applies: whether it explains a call. shown: a call that shows it.
    """

    witness: str
    op_types: frozenset[str]
    reason: str
    applies: Callable[[Call], bool]
    shown: Callable[[], Call]


KNOWN: tuple[Disagreement, ...] = ()


def reason_for(call: Call, witness: str) -> Disagreement | None:
    """The known reason why a witness differs on a call, None for none."""
    for known in KNOWN:
        if known.witness == witness and call.op_type in known.op_types and known.applies(call):
            return known
    return None
