"""One model on one device: load, run, and compare with what it should be and with other engines."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import onnx

from conformance.devices import Target, config_of, target_of
from conformance.inputs import default_shapes, random_inputs
from engine.auto import probe
from engine.backends.protocol import Backend
from engine.errors import ParallaxError
from engine.interpreter import Interpreter
from engine.ir.graph import Graph
from engine.ops.compose import flops_of
from engine.passes import bind_shapes, infer_where_known
from engine.passes.infer_shapes import are_typed
from engine.runtime import Runtime
from properties.hostile.cases import Outcome
from properties.hostile.disagreements import Call, reason_for
from properties.hostile.expectation import Arrays, Expected, expect
from properties.hostile.verdict import alike, differs, misses
from properties.hostile.witnesses import WITNESSES, Court, Declined

INPUTS_NBYTES_MAX = 1 << 26
"""Larger inputs are not made: a valid model may ask for any amount of memory."""
WORK_MAX = 1 << 24
"""Multiplications beyond which the float64 references are not worth their time."""


@dataclass
class Bench:
    """What every trial in a process shares.

    Attributes:
        devices: names as a user types them.
    """

    devices: tuple[str, ...]
    court: Court
    runtime: Runtime = field(default_factory=Runtime)
    targets: dict[str, Target] = field(default_factory=dict)

    def target(self, device: str) -> Target:
        """The device of a name, looked up once."""
        if device not in self.targets:
            self.targets[device] = target_of(device, self.runtime)
        return self.targets[device]

    def warm(self) -> None:
        """Compute something on every device, so that the first case does not pay for drivers."""
        for device in self.devices:
            forward, _ = target = self.target(device)
            probe(self.runtime.backend(forward, config_of(target)))


def attempt(bench: Bench, data: bytes, feeds: Arrays | None, device: str) -> Outcome:
    """Load, run and judge; raises whatever the engine raises.

    Args:
        feeds: None to draw inputs at random.
    """
    interpreter = Interpreter.from_buffer(data)
    if feeds is None:
        shapes = default_shapes(interpreter.graph)
        if _nbytes(interpreter, shapes) > INPUTS_NBYTES_MAX:
            return Outcome("too large")
        feeds = random_inputs(interpreter, shapes)
    given = {name: feeds[name] for name in interpreter.inputs if name in feeds}
    sizes = {name: array.shape for name, array in given.items()}
    with interpreter.create_session(
        config_of(bench.target(device)), bench.runtime, sizes
    ) as session:
        session.run(given)
        outputs = {name: session.read(name) for name in session.outputs}
        (backend, *_) = session.execution.backends.values()
    return judged(bench, interpreter, data, given, outputs, backend, device)


def _nbytes(interpreter: Interpreter, shapes: Mapping[str, tuple[int, ...]]) -> int:
    return sum(math.prod(shapes[n]) * t.dtype.itemsize for n, t in interpreter.inputs.items())


def judged(
    bench: Bench,
    interpreter: Interpreter,
    data: bytes,
    feeds: Arrays,
    outputs: Arrays,
    backend: Backend,
    device: str,
) -> Outcome:
    """The verdict on the outputs of a run."""
    graph = typed(interpreter, feeds)
    if graph is None:
        return Outcome("ran")
    expected = expect(graph, feeds, backend)
    makers = sorted({e.op_type for e in expected.values()})
    if sentence := misses(outputs, expected):
        return Outcome("wrong answer", f"{'+'.join(makers)} on {device}", sentence)
    nodes = onnx.load_from_string(data).graph.node
    place = nodes[0].op_type if len(nodes) == 1 else "+".join(makers)
    return heard(bench.court, data, feeds, expected, place)


def typed(interpreter: Interpreter, feeds: Arrays) -> Graph | None:
    """The imported graph with every type known; None where that is too large or not possible."""
    graph = bind_shapes(interpreter.imported, {n: a.shape for n, a in feeds.items()})
    values = [v for node in graph.nodes for v in node.outputs]
    if infer_where_known(graph) or not are_typed([*values, *graph.outputs]):
        return None
    return graph if _work(graph) <= WORK_MAX else None


def _work(graph: Graph) -> int:
    sizes = sum(v.known_type.size for node in graph.nodes for v in node.outputs)
    return sizes + sum(flops_of(node) for node in graph.nodes)


def heard(
    court: Court, data: bytes, feeds: Arrays, expected: Mapping[str, Expected], place: str
) -> Outcome:
    """What the witnesses say to our reading of a model."""
    said: dict[str, Arrays] = {}
    for name in WITNESSES:
        with suppress(Declined):
            said[name] = court.ask(name, data, feeds)
    if not said:
        return Outcome("no witness", place)
    against = {name: text for name, y in said.items() if (text := differs(y, expected))}
    if not against:
        return Outcome("agreed")
    who, text = " and ".join(against), "; ".join(f"{n}: {t}" for n, t in against.items())
    if len(against) < len(said) or not alike(list(said.values())):
        return Outcome("witnesses disagree", f"{place}: {who}", text)
    call = Call(place, data, feeds)
    if all(reason_for(call, name) for name in against):
        return Outcome("known disagreement", f"{place}: {who}", text)
    return Outcome("wrong answer", f"{place} by {who}", text)


def refused_alone(court: Court, data: bytes, feeds: Arrays, error: ParallaxError) -> Outcome | None:
    """A note where all witnesses run what we refuse."""
    for name in WITNESSES:
        try:
            court.ask(name, data, feeds)
        except Declined:
            return None
    sentence = str(error).splitlines()[0]
    return Outcome("refused alone", re.sub(r"\d+", "0", sentence)[:100], sentence)
