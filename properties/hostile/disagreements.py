"""Whether a known disagreement explains what a witness answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from properties.hostile.asked import Call, Disagreement
from properties.hostile.known import KNOWN


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
