"""Small graphs of the shapes that passes look for, at every dtype that they may meet."""

from __future__ import annotations

import numpy as np

from engine.ir import Graph, TensorType, Value
from engine.ir.types import DOUBLE, FLOAT, FLOAT16, FLOATS
from engine.ops import matmul
from engine.ops.compose import ACTIVATIONS, spec_of
from engine.ops.spec import Operand
from properties.graphs import Model, Program

CORES = ("Conv", "ConvTranspose", "Gemm", "MatMul")
DTYPES = (*[FLOAT] * 3, FLOAT16, *[DOUBLE] * 3, *sorted(matmul.DTYPES - FLOATS, key=str))
EVEN = 5
"""The distribution of all inputs (`choose.DISTRIBUTIONS`)."""


class _Template:
    """core [-> BatchNormalization] [-> Add, Sub or Mul, constant or tensor] [-> an end]."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.dtype = DTYPES[int(self.rng.integers(len(DTYPES)))]
        self.graph = Graph("template")
        x = self._core()
        mid = x
        if self.dtype in FLOATS and self._maybe():
            x = self._batch_norm(x)
        for op_type in ("Add", "Mul", "Add", "Sub"):
            if self._maybe(0.4):
                mid, x = x, self._second(op_type, x)
        if self._maybe(0.7):
            mid, x = x, self._end(x)
        self.graph.outputs = [x]
        if mid is not x and mid.producer is not None and self._maybe(0.3):
            self.graph.outputs.append(self.node("Abs", mid))

    def _maybe(self, probability: float = 0.5) -> bool:
        return bool(self.rng.random() < probability)

    def _array(self, *shape: int) -> np.ndarray:
        """Floats within -1..1, or integers up to their ends, half of them at one."""
        if self.dtype in FLOATS:
            return self.rng.uniform(-1, 1, shape).astype(self.dtype)
        limits = np.iinfo(self.dtype)
        any_of = self.rng.integers(limits.min, limits.max, shape, self.dtype, endpoint=True)
        ends = np.where(self.rng.random(shape) < 0.5, limits.min, limits.max).astype(self.dtype)
        return np.where(self.rng.random(shape) < 0.5, any_of, ends)

    def node(self, op_type: str, *inputs: Value | np.ndarray | None, **attributes: object) -> Value:
        """Append a node, constants for arrays, and return its output."""
        values = [
            self.graph.add_constant("c", x) if isinstance(x, np.ndarray) else x for x in inputs
        ]
        operands = [None if v is None else Operand(v.known_type, v.constant) for v in values]
        type_ = spec_of(op_type).infer_types(operands, attributes)[0]
        name = self.graph.unique(op_type.lower())
        return self.graph.add_node(op_type, values, [(name, type_)], attributes).outputs[0]

    def _core(self) -> Value:
        core = str(self.rng.choice(CORES if self.dtype in FLOATS else CORES[2:]))
        n, c, m = (int(k) for k in self.rng.integers(1, 6, 3))
        if core in ("Gemm", "MatMul"):
            x = self.graph.add_input("x", TensorType(self.dtype, (n, c)))
            bias = (self._array(m),) if core == "Gemm" and self._maybe() else ()
            factors = {"alpha": self._factor(), "beta": 2.0}
            with_factors = core == "Gemm" and self._maybe(0.3)
            return self.node(core, x, self._array(c, m), *bias, **factors if with_factors else {})
        x = self.graph.add_input("x", TensorType(self.dtype, (n, c, 5, 4)))
        shape = (m, c, 3, 2) if core == "Conv" else (c, m, 3, 2)
        bias = (self._array(m),) if self._maybe() else ()
        return self.node(core, x, self._array(*shape), *bias, pads=[1, 0, 1, 1])

    def _factor(self) -> float:
        return float(self.rng.choice([0.5, 3.0]))

    def _batch_norm(self, x: Value) -> Value:
        """With variances that epsilon rules; of halves also with a scale that leaves them none."""
        c = x.known_type.dims[1]
        variance = (self.rng.random(c) * 1e-4).astype(self.dtype)
        scale = self._array(c) * self.dtype.type(self.rng.choice([1.0, 1.0, 1e-3]))
        epsilon = {"epsilon": 1e-3} if self._maybe() else {}
        inputs = (scale, self._array(c), self._array(c), variance)
        return self.node("BatchNormalization", x, *inputs, **epsilon)

    def _second(self, op_type: str, x: Value) -> Value:
        """With a per-channel constant, that may be computed of others, or a tensor of its shape."""
        shape = x.known_type.dims
        if op_type == "Mul" or self._maybe():
            constant: Value | np.ndarray = self._array(shape[1], *[1] * (len(shape) - 2))
            if self._maybe(0.3):
                constant = self.node("Mul", constant, self._array(1))
            return self.node(op_type, x, constant)
        other = self.graph.add_input(f"r{len(self.graph.inputs)}", x.known_type)
        swapped = self._maybe() and op_type == "Add"
        return self.node(op_type, other, x) if swapped else self.node(op_type, x, other)

    def _end(self, x: Value) -> Value:
        if self.dtype not in FLOATS:
            return self.node("Clip", x, np.array(1, self.dtype), np.array(100, self.dtype))
        kind = str(self.rng.choice(["hard swish", "layer norm", *ACTIVATIONS]))
        if kind == "hard swish":
            return self._hard_swish(x)
        if kind == "layer norm":
            return self._layer_norm(x)
        limits = self.rng.choice([[-0.5, 0.75], [-0.1, 0.7]]).astype(self.dtype)
        return self.node(kind, x, *(np.array(v) for v in limits) if kind == "Clip" else ())

    def _number(self, value: float) -> np.ndarray:
        """At the graph's dtype, sometimes as a float that was widened."""
        return np.array(np.float32(value) if self._maybe(0.3) else value, self.dtype)

    def _hard_swish(self, x: Value) -> Value:
        plus = self.node("Add", x, self._number(3.0))
        clipped = self.node("Clip", plus, self._number(0.0), self._number(6.0))
        product = self.node("Mul", x, clipped)
        if self._maybe():
            return self.node("Div", product, self._number(6.0))
        return self.node("Mul", product, self._number(1 / 6))

    def _layer_norm(self, x: Value) -> Value:
        axes, width = np.array([-1]), x.known_type.dims[-1]
        d = self.node("Sub", x, self.node("ReduceMean", x, axes))
        variance = self.node("ReduceMean", self.node("Mul", d, d), axes)
        deviation = self.node("Sqrt", self.node("Add", variance, self._number(1e-3)))
        gained = self.node("Mul", self.node("Div", d, deviation), self._array(width))
        return self.node("Add", gained, self._array(width))


def template(seed: int) -> Model:
    """A small graph with a foldable or fusable shape."""
    graph = _Template(seed).graph
    return Model(Program(seed=seed), graph, dict.fromkeys([v.name for v in graph.inputs], EVEN))
