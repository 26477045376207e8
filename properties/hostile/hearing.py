"""The verdict on a run: by our own bounds, then by engines that are not ours."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass

from conformance.expectation import Arrays, Expected, expect, moved_by_storage
from engine.backends.protocol import Backend
from engine.errors import ParallaxError
from engine.ir.graph import Graph
from engine.onnx_import.microsoft.schemas import DOMAIN
from engine.ops.compose import flops_of
from engine.passes.infer_shapes import are_typed
from properties.hostile.asked import Call, is_finite
from properties.hostile.cases import Outcome
from properties.hostile.disagreements import explained
from properties.hostile.verdict import are_numbers, differences, misses
from properties.hostile.witnesses import WITNESSES, WITNESSES_OF_OWN, Court, Declined

WORK_MAX = 1 << 24
"""Multiplications beyond which the float64 references are not worth their time."""
ELEMENTS_MAX = 1 << 21
"""Elements made by nodes; bounds of a ConvTranspose take 43 doubles for each, 0.7 GiB of one."""


@dataclass(frozen=True)
class Run:
    """A model that ran, from what, to what, and where.

    Attributes:
        graph: `bound`.
    """

    data: bytes
    graph: Graph
    feeds: Arrays
    outputs: Arrays
    backend: Backend
    device: str


def judged(court: Court, run: Run) -> Outcome:
    """The verdict on the outputs of a run."""
    if not can_be_expected(run.graph):
        return Outcome("ran")
    expected = expect(run.graph, run.feeds, run.backend)
    makers = "+".join(sorted({e.op_type for e in expected.values()}))
    if sentence := misses(run.outputs, expected):
        return Outcome("wrong answer", f"{makers} on {run.device}", sentence)
    return heard(court, Call(run.data, run.feeds), expected, run.graph)


def can_be_expected(graph: Graph) -> bool:
    """Whether every type is known, and references take neither too much work nor memory."""
    values = [v for node in graph.nodes for v in node.outputs]
    if not are_typed([*values, *graph.outputs]):
        return False
    elements = sum(v.known_type.size for v in values)
    work = elements + sum(flops_of(node) for node in graph.nodes)
    return elements <= ELEMENTS_MAX and work <= WORK_MAX


def heard(court: Court, call: Call, expected: Mapping[str, Expected], graph: Graph) -> Outcome:
    """What the witnesses say to our reading of a model."""
    said: dict[str, Arrays] = {}
    for name in WITNESSES:
        with suppress(Declined):
            said[name] = court.ask(name, call.data, call.feeds)
    if not said:
        return Outcome("no witness", call.op_types)
    against = _against(said, expected, call.has_own, None)
    if against and call.has_own:
        against = _against(said, expected, True, moved_by_storage(graph, call.feeds))
    if not against:
        return Outcome("agreed")
    text = "; ".join(
        f"{name}: output '{output}' {how}"
        for name, outputs in against.items()
        for output, how in outputs.items()
    )
    unexplained = [n for n, outputs in against.items() if not explained(call, n, outputs)]
    who = " and ".join(unexplained or against)
    if not unexplained:
        return Outcome("known disagreement", f"{call.op_types}: {who}", text)
    if len(against) < len(said):
        is_open = all(
            _is_of_infinities(call, said[name], against[name], expected) for name in unexplained
        )
        what = "differ on infinities" if is_open else "unexplained witness"
        return Outcome(what, f"{call.op_types}: {who}", text)
    return Outcome("wrong answer", f"{call.op_types} by {who}", text)


def _against(
    said: Mapping[str, Arrays],
    expected: Mapping[str, Expected],
    has_own: bool,
    moved: Arrays | None,
) -> dict[str, dict[str, str]]:
    """Witness -> output -> how it differs; those alone that do."""
    told = {n: differences(y, expected, has_own=has_own, moved=moved) for n, y in said.items()}
    return {name: differing for name, differing in told.items() if differing}


def _is_of_infinities(
    call: Call, said: Arrays, outputs: Collection[str], expected: Mapping[str, Expected]
) -> bool:
    """Whether infinities or NaN go in, or come out where a number is expected.

    What becomes of them on the way ONNX leaves open; that one engine reads them as we do is enough.
    """
    return not is_finite(call) or all(
        name in said
        and said[name].shape == expected[name].reference.shape
        and bool((~are_numbers(said[name]) & are_numbers(expected[name].reference)).any())
        for name in outputs
    )


def refused_alone(court: Court, data: bytes, feeds: Arrays, error: ParallaxError) -> Outcome | None:
    """A note where all witnesses that know the operators run what we refuse."""
    for name in WITNESSES if DOMAIN.encode() not in data else WITNESSES_OF_OWN:
        try:
            court.ask(name, data, feeds)
        except Declined:
            return None
    sentence = str(error).splitlines()[0]
    return Outcome("refused alone", re.sub(r"\d+", "0", sentence)[:100], sentence)
