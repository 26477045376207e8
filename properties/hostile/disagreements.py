"""Where one outside engine is known to read ONNX differently, and why: data, not excuses.

Each entry carries a call that shows it: one that no longer holds fails `test_hostile.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from properties.hostile.asked import Call, Disagreement
from properties.hostile.known_of_both import BY_BOTH, CASTS
from properties.hostile.known_of_onnxruntime import OF_ONNXRUNTIME
from properties.hostile.known_of_own import OF_OWN
from properties.hostile.known_of_the_evaluator import OF_THE_EVALUATOR
from properties.hostile.known_of_trees import OF_TREES

KNOWN: tuple[Disagreement, ...] = (
    *OF_THE_EVALUATOR,
    *OF_ONNXRUNTIME,
    *OF_OWN,
    *BY_BOTH,
    *CASTS,
    *OF_TREES,
)


def reason_for(call: Call, witness: str) -> Disagreement | None:
    """The known reason why a witness differs on a call, None for none."""
    for known in KNOWN:
        if known.witness == witness and call.op_type in known.op_types:
            with suppress(KeyError):
                if known.applies(call):
                    return known
    return None


def explained(call: Call, witness: str, outputs: Collection[str]) -> bool:
    """Whether each of these outputs comes from some node with a known disagreement."""
    nodes = call.model.graph.node
    makers = {name: k for k, node in enumerate(nodes) for name in node.output}
    because = {k for k in range(len(nodes)) if reason_for(replace(call, node=k), witness)}
    return all(because & _ancestry(nodes, makers, name) for name in outputs)


def _ancestry(nodes: Any, makers: Mapping[str, int], output: str) -> set[int]:
    """Positions of all nodes that a value is computed from."""
    found: set[int] = set()
    names = [output]
    while names:
        k = makers.get(names.pop())
        if k is not None and k not in found:
            found.add(k)
            names += nodes[k].input
    return found
