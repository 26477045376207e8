"""The verdict on a run: by our own bounds, then by engines that are not ours."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from engine.backends.protocol import Backend
from engine.errors import ParallaxError
from engine.interpreter import Interpreter
from engine.ir.graph import Graph
from engine.ops.compose import flops_of
from engine.passes import bind_shapes, bind_values, deciding_inputs, infer_where_known
from engine.passes.infer_shapes import are_typed
from properties.hostile.asked import Call, is_finite
from properties.hostile.cases import Outcome
from properties.hostile.disagreements import explained
from properties.hostile.expectation import Arrays, Expected, expect
from properties.hostile.verdict import differences, misses
from properties.hostile.witnesses import WITNESSES, Court, Declined

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
    return heard(court, Call(run.data, run.feeds), expected)


def bound(interpreter: Interpreter, feeds: Arrays) -> Graph:
    """The imported graph for the shapes of its inputs, with all types that can be told."""
    graph = bind_shapes(interpreter.imported, {n: a.shape for n, a in feeds.items()})
    bind_values(graph, {name: feeds[name] for name in deciding_inputs(graph)})
    infer_where_known(graph)
    return graph


def can_be_expected(graph: Graph) -> bool:
    """Whether every type is known, and references take neither too much work nor memory."""
    values = [v for node in graph.nodes for v in node.outputs]
    if not are_typed([*values, *graph.outputs]):
        return False
    elements = sum(v.known_type.size for v in values)
    work = elements + sum(flops_of(node) for node in graph.nodes)
    return elements <= ELEMENTS_MAX and work <= WORK_MAX


def heard(court: Court, call: Call, expected: Mapping[str, Expected]) -> Outcome:
    """What the witnesses say to our reading of a model."""
    said: dict[str, Arrays] = {}
    for name in WITNESSES:
        with suppress(Declined):
            said[name] = court.ask(name, call.data, call.feeds)
    if not said:
        return Outcome("no witness", call.op_types)
    against = {name: told for name, y in said.items() if (told := differences(y, expected))}
    if not against:
        return Outcome("agreed")
    text = "; ".join(
        f"{name}: output '{output}' {told}"
        for name, outputs in against.items()
        for output, told in outputs.items()
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


def _is_of_infinities(
    call: Call, said: Arrays, outputs: Collection[str], expected: Mapping[str, Expected]
) -> bool:
    """Whether infinities or NaN go in, or come out where a number is expected.

    What becomes of them on the way ONNX leaves open; that one engine reads them as we do is enough.
    """
    return not is_finite(call) or all(
        name in said
        and said[name].shape == expected[name].reference.shape
        and bool((~_finite(said[name]) & _finite(expected[name].reference)).any())
        for name in outputs
    )


def _finite(array: np.ndarray) -> np.ndarray:
    return np.isfinite(array.astype(np.float64))


def refused_alone(court: Court, data: bytes, feeds: Arrays, error: ParallaxError) -> Outcome | None:
    """A note where all witnesses run what we refuse."""
    for name in WITNESSES:
        try:
            court.ask(name, data, feeds)
        except Declined:
            return None
    sentence = str(error).splitlines()[0]
    return Outcome("refused alone", re.sub(r"\d+", "0", sentence)[:100], sentence)
