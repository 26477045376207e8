"""One model on one device: load, run, and judge."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from conformance.devices import Target, config_of, target_of
from conformance.expectation import Arrays, bound
from conformance.inputs import default_shapes, random_inputs
from engine.arguments import AnyShape, shape
from engine.arrays import flattened
from engine.auto import probe
from engine.errors import DeviceMemoryError
from engine.interpreter import Interpreter
from engine.ir.graph import Graph
from engine.passes.infer_shapes import are_typed
from engine.runtime import Runtime
from properties.hostile.cases import TOO_LARGE, Outcome
from properties.hostile.hearing import Run, judged
from properties.hostile.witnesses import Court

INPUTS_NBYTES_MAX = 1 << 26
"""More is not made: a valid model may ask for any amount of memory."""
REFUSED_NBYTES_MIN = 1 << 33
"""A model with a tensor of so much is tried all the same: no child has that, and none may crash."""


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
            return Outcome(TOO_LARGE)
        feeds = random_inputs(interpreter, shapes)
    given = {name: feeds[name] for name in interpreter.inputs if name in feeds}
    sizes = {name: array.shape for name, array in given.items()}
    graph = bound(interpreter, given)
    if nbytes_of(graph) > INPUTS_NBYTES_MAX and largest_of(graph) < REFUSED_NBYTES_MIN:
        return Outcome(TOO_LARGE)
    with interpreter.create_session(
        config_of(bench.target(device)), bench.runtime, sizes
    ) as session:
        try:
            session.run(given)
        except DeviceMemoryError:
            if are_typed([v for node in graph.nodes for v in node.outputs]):
                raise
            return Outcome(TOO_LARGE)  # data decided how much it takes
        outputs = flattened({name: session.read(name) for name in session.outputs})
        (backend, *_) = session.execution.backends.values()
    return judged(bench.court, Run(data, graph, given, outputs, backend, device))


def nbytes_of(graph: Graph) -> int:
    """Of everything that nodes make and whose type can be told, and of constants that come out."""
    return sum(_made(graph))


def largest_of(graph: Graph) -> int:
    """Of these, the largest: the memory of others may be used again."""
    return max(_made(graph), default=0)


def _made(graph: Graph) -> list[int]:
    """Of what outputs depend on: the rest is never computed."""
    constants = [v.type for v in graph.outputs if v.is_constant and v.type is not None]
    needed = {*graph.outputs}
    for node in reversed(graph.nodes):
        if not needed.isdisjoint(node.outputs):
            needed.update(v for v in node.inputs if v is not None)
    made = [v.type for n in graph.nodes for v in n.outputs if v in needed and v.type is not None]
    return [t.nbytes for t in (*made, *constants) if t.is_static]


def _nbytes(interpreter: Interpreter, shapes: Mapping[str, AnyShape]) -> int:
    types = interpreter.inputs
    return sum(math.prod(shape("input", d)) * types[n].dtype.itemsize for n, d in shapes.items())
