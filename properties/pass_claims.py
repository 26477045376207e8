"""Translation validation of the passes: a linear node with everything that may be folded into it.

The graph before and after is evaluated by float64 references alone; the difference is at most what
rounding the folded constants once costs. Then the optimised graph runs, and every node is judged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.backends.protocol import Backend
from engine.ir import Graph, TensorType, Value
from engine.ir.types import FLOAT, FLOATS
from engine.ops import OPERATORS
from engine.ops.compose import ACTIVATIONS, reference_of, spec_of
from engine.ops.spec import Operand
from properties.devices import Target
from properties.graph_runs import check_nodes, optimised
from properties.graphs import Feeds, Model, Program, graph_text
from properties.memory import Violation

CORES = ("Conv", "ConvTranspose", "Gemm", "MatMul")
SLOPE = 1.5
"""The largest |dy/dx| of any activation drawn here."""


class _Template:
    """core [-> BatchNormalization] [-> Add or Sub, constant or tensor] [-> activation]."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.graph = Graph("template")
        x = self._core()
        mid = x
        if "BatchNormalization" in OPERATORS and self._maybe():
            x = self._batch_norm(x)
        for op_type in ("Add", "Add", "Sub"):
            if self._maybe(0.4):
                mid, x = x, self._second(op_type, x)
        if self._maybe(0.7):
            mid, x = x, self._activation(x)
        self.graph.outputs = [x]
        if mid is not x and mid.producer is not None and self._maybe(0.3):
            self.graph.outputs.append(self.node("Neg", mid))

    def _maybe(self, probability: float = 0.5) -> bool:
        return bool(self.rng.random() < probability)

    def _array(self, *shape: int) -> np.ndarray:
        return self.rng.uniform(-1, 1, shape).astype(np.float32)

    def node(self, op_type: str, *inputs: Value | np.ndarray | None, **attributes: object) -> Value:
        """Append a node, constants for arrays, and return its output."""
        values = [
            self.graph.add_constant("c", x) if isinstance(x, np.ndarray) else x for x in inputs
        ]
        operands = [None if v is None else Operand(v.known_type, v.constant) for v in values]
        (type_,) = spec_of(op_type).infer_types(operands, attributes)
        name = self.graph.unique(op_type.lower())
        return self.graph.add_node(op_type, values, [(name, type_)], attributes).outputs[0]

    def _core(self) -> Value:
        core = str(self.rng.choice([c for c in CORES if c in OPERATORS]))
        n, c, m = (int(k) for k in self.rng.integers(1, 6, 3))
        if core in ("Gemm", "MatMul"):
            x = self.graph.add_input("x", TensorType(FLOAT, (n, c)))
            bias = (self._array(m),) if core == "Gemm" and self._maybe() else ()
            factors = {"alpha": 0.5, "beta": 2.0} if core == "Gemm" and self._maybe(0.3) else {}
            return self.node(core, x, self._array(c, m), *bias, **factors)
        x = self.graph.add_input("x", TensorType(FLOAT, (n, c, 5, 4)))
        shape = (m, c, 3, 2) if core == "Conv" else (c, m, 3, 2)
        bias = (self._array(m),) if self._maybe() else ()
        return self.node(core, x, self._array(*shape), *bias, pads=[1, 0, 1, 1])

    def _batch_norm(self, x: Value) -> Value:
        c = x.known_type.dims[1]
        variance = (self.rng.random(c) * 1e-4).astype(np.float32)
        inputs = (self._array(c), self._array(c), self._array(c), variance)
        return self.node("BatchNormalization", x, *inputs, epsilon=1e-3)

    def _second(self, op_type: str, x: Value) -> Value:
        """Add or subtract a per-channel constant, or a tensor of the same shape."""
        shape = x.known_type.dims
        if self._maybe():
            return self.node(op_type, x, self._array(shape[1], *[1] * (len(shape) - 2)))
        other = self.graph.add_input(f"r{len(self.graph.inputs)}", x.known_type)
        swapped = self._maybe() and op_type == "Add"
        return self.node(op_type, other, x) if swapped else self.node(op_type, x, other)

    def _activation(self, x: Value) -> Value:
        op_type = str(self.rng.choice(ACTIVATIONS))
        limits = (np.array(-0.5, np.float32), np.array(0.75, np.float32))
        return self.node(op_type, x, *(limits if op_type == "Clip" else ()))


def template(seed: int) -> Model:
    """A small graph with a foldable or fusable shape."""
    graph = _Template(seed).graph
    tags = {v.name: 5 for v in graph.inputs}
    return Model(Program(seed=seed), graph, tags)


def evaluate(graph: Graph, feeds: Feeds, *, magnitudes: bool = False) -> dict[str, np.ndarray]:
    """Every value by float64 references; `magnitudes`: of the cores alone, on absolute values."""
    known: dict[str, np.ndarray] = {v.name: feeds[v.name].astype(np.float64) for v in graph.inputs}
    largest = 0.0
    for node in graph.nodes:
        inputs = []
        for value in node.inputs:
            array = None if value is None else value.constant
            if value is not None and array is None:
                array = known[value.name]
            if array is not None and array.dtype in FLOATS:
                array = array.astype(np.float64)
            inputs.append(array)
        if node.op_type in CORES:
            core = [None if a is None else np.abs(a) for a in inputs[:3]]
            size = spec_of(node.op_type).reference(core, node.attributes)[0]
            largest = max(largest, float(np.max(size, initial=0.0)))
        with np.errstate(all="ignore"):
            for out, array in zip(node.outputs, reference_of(node, inputs), strict=True):
                known[out.name] = array
    if magnitudes:
        known["largest"] = np.asarray(largest)
    return known


def check_template(model: Model, cpu: Backend, targets: Sequence[Target] = ()) -> None:
    """The passes keep what one template computes, and its optimised nodes run right."""
    after = optimised(model.graph)
    feeds = model.feeds()
    expected = evaluate(model.graph, feeds)
    got = evaluate(after, feeds, magnitudes=True)
    limit = 4 * 2.0**-24 * SLOPE * float(got["largest"]) + 1e-12
    for old, new in zip(model.graph.outputs, after.outputs, strict=True):
        worst = float(np.max(np.abs(expected[old.name] - got[new.name]), initial=0.0))
        if not worst <= limit:
            raise Violation(
                f"passes change {old.name!r} by {worst:.3g}, expected at most {limit:.3g}\n"
                f"{graph_text(model.graph)}\nbecame\n{graph_text(after)}"
            )
    for target in targets:
        check_nodes(model, after, target, cpu)
