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


SQUARE = 4
"""The extent of all axes of some graphs: there, what lies along a wrong axis fits as well."""


class _Template:
    """core [-> BatchNormalization] [-> Add, Sub or Mul, constant or tensor] [-> an end].

    What passes look for, and its near misses: constants along another axis, other numbers, another
    operand, the same reader twice, a second reader, weights that two cores share. Without a core
    in some, so that the rest is not folded into anything.
    """

    twin: tuple[str, Value, np.ndarray, dict[str, object]] | None = None

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.dtype = DTYPES[int(self.rng.integers(len(DTYPES)))]
        self.is_square = self._maybe()
        self.graph = Graph("template")
        self.more: list[Value] = []
        self.is_plain = self._maybe(0.35)
        x = self._plain() if self.is_plain else self._core()
        mid = x
        if self.dtype in FLOATS and self._maybe():
            x = self._batch_norm(x)
        if self._maybe(0.15):
            x = self._through(x)
        for op_type in ("Add", "Mul", "Add", "Sub"):
            if self._maybe(0.4):
                mid, x = x, self._second(op_type, x)
        if self._maybe(0.9 if self.is_plain else 0.7):
            mid, x = x, self._end(x)
        self.graph.outputs = [x]
        if mid is not x and mid.producer is not None and self._maybe(0.3):
            self.graph.outputs.append(self.node("Abs", mid))
        self.graph.outputs += [self.node("Abs", value) for value in self.more]
        if self.twin is not None and self._maybe(0.3):
            self.graph.outputs.append(self._share(*self.twin))

    def _maybe(self, probability: float = 0.5) -> bool:
        return bool(self.rng.random() < probability)

    def _one_of(self, *options: object) -> object:
        return options[int(self.rng.integers(len(options)))]

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

    def _input(self, *shape: int) -> Value:
        name = f"x{len(self.graph.inputs)}"
        return self.graph.add_input(name, TensorType(self.dtype, shape))

    # ------------------------------------------------------------------ the beginning
    def _plain(self) -> Value:
        """An input of the graph."""
        n, c = self._extents(2)
        return self._input(n, c) if self._maybe() else self._input(n, c, SQUARE, SQUARE)

    def _extents(self, count: int) -> list[int]:
        drawn = self.rng.integers(1, 6, count)
        return [SQUARE if self.is_square else int(k) for k in drawn]

    def _core(self) -> Value:
        core = str(self.rng.choice(CORES if self.dtype in FLOATS else CORES[2:]))
        return self._matrices(core) if core in ("Gemm", "MatMul") else self._convolution(core)

    def _matrices(self, core: str) -> Value:
        n, c, m = self._extents(3)
        attributes: dict[str, object] = {}
        if core == "Gemm":
            attributes = {k: 1 for k in ("transA", "transB") if self._maybe(0.3)}
            if self._maybe(0.3):
                attributes |= {"alpha": self._factor(), "beta": 2.0}
        x = self._input(*((c, n) if "transA" in attributes else (n, c)))
        bias = (self._array(m),) if core == "Gemm" and self._maybe() else ()
        w = self._array(*((m, c) if "transB" in attributes else (c, m)))
        return self._made(core, x, w, *bias, **attributes)

    def _convolution(self, core: str) -> Value:
        n, c, m = self._extents(3)
        group = 2 if self._maybe(0.3) else 1
        c, m = (c + c % group, m + m % group) if group > 1 else (c, m)
        shape = (m, c // group, 3, 2) if core == "Conv" else (c, m // group, 3, 2)
        bias = (self._array(m),) if self._maybe() else ()
        attributes: dict[str, object] = {"pads": [1, 0, 1, 1]}
        attributes |= {"group": group} if group > 1 else {}
        attributes |= {"strides": [2, 1]} if self._maybe(0.3) else {}
        return self._made(core, self._input(n, c, 5, 4), self._array(*shape), *bias, **attributes)

    def _made(
        self, core: str, x: Value, w: np.ndarray, *bias: np.ndarray, **attributes: object
    ) -> Value:
        weights = self.graph.add_constant("w", w)
        self.twin = core, weights, self._array(1), attributes
        return self.node(core, x, weights, *bias, **attributes)

    def _share(
        self, core: str, weights: Value, factor: np.ndarray, attributes: dict[str, object]
    ) -> Value:
        """Another core with the same weights, which are scaled otherwise."""
        first = self.graph.inputs[0]
        other = self._input(*first.known_type.dims)
        made = self.node(core, other, weights, **attributes)
        return self.node("Mul", made, factor)

    def _factor(self) -> float:
        return float(self.rng.choice([0.5, 3.0]))

    # ------------------------------------------------------------------ what follows
    def _batch_norm(self, x: Value) -> Value:
        """With variances that epsilon rules; of halves also with a scale that leaves them none."""
        c = x.known_type.dims[1]
        variance = (self.rng.random(c) * 1e-4).astype(self.dtype)
        scale = self._array(c) * self.dtype.type(self.rng.choice([1.0, 1.0, 1e-3]))
        epsilon = {"epsilon": 1e-3} if self._maybe() else {}
        inputs = (scale, self._array(c), self._array(c), variance)
        return self.node("BatchNormalization", x, *inputs, **epsilon)

    def _through(self, x: Value) -> Value:
        """What may change nothing: of a square tensor any order of axes keeps its type."""
        kind = str(self._one_of("Identity", "Transpose", "Max", "Flatten"))
        if kind == "Transpose":
            rank = len(x.known_type.dims)
            order = [0, 1, *self.rng.permutation(range(2, rank))] if rank > 2 else [1, 0]
            return self.node("Transpose", x, perm=[int(a) for a in order])
        if kind == "Flatten" and len(x.known_type.dims) > 2:
            kind = "Identity"
        return self.node(kind, x)

    def _second(self, op_type: str, x: Value) -> Value:
        """With a constant, that may be computed of others, with a tensor, or with itself."""
        if op_type != "Sub" and self._maybe(0.1):
            return self.node(op_type, x, x)
        if op_type == "Mul" or self._maybe():
            constant: Value | np.ndarray = self._array(*self._beside(x, by_channel=0.5))
            if self._maybe(0.3):
                constant = self.node("Mul", constant, self._array(1))
            return self.node(op_type, x, constant)
        other = self._input(*self._beside(x, by_channel=0.0))
        swapped = self._maybe() and op_type == "Add"
        return self.node(op_type, other, x) if swapped else self.node(op_type, x, other)

    def _beside(self, x: Value, *, by_channel: float) -> tuple[int, ...]:
        """A shape: of the channels with that probability, else mostly of all of `x`."""
        dims = x.known_type.dims
        if self._maybe(by_channel):
            return (dims[1], *[1] * (len(dims) - 2))
        if self._maybe(0.5):
            return dims
        kept = int(self.rng.integers(len(dims)))
        alone = tuple(d if axis == kept else 1 for axis, d in enumerate(dims))
        return alone if self._maybe() else alone[kept:]

    def _end(self, x: Value) -> Value:
        if self.dtype not in FLOATS:
            return self.node("Clip", x, np.array(1, self.dtype), np.array(100, self.dtype))
        kind = str(self.rng.choice(["hard swish", "layer norm", *ACTIVATIONS]))
        if self.is_plain and self._maybe(0.8):
            kind = str(self._one_of("hard swish", "layer norm"))
        if kind == "hard swish":
            return self._hard_swish(x)
        if kind == "layer norm":
            return self._layer_norm(x)
        limits = self.rng.choice([[-0.5, 0.75], [-0.1, 0.7]]).astype(self.dtype)
        return self.node(kind, x, *(np.array(v) for v in limits) if kind == "Clip" else ())

    def _number(self, value: float) -> np.ndarray:
        """At the graph's dtype, sometimes as a float that was widened."""
        return np.array(np.float32(value) if self._maybe(0.3) else value, self.dtype)

    def _miss(self, *misses: str) -> str:
        """What is not as the passes want it; as often nothing."""
        return str(self._one_of(*misses)) if self._maybe() else ""

    def _hard_swish(self, x: Value) -> Value:
        miss = self._miss("addend", "low", "high", "operand", "divisor", "inverted", "reader")
        plus = self.node("Add", x, self._number(2.0 if miss == "addend" else 3.0))
        low, high = 1.0 if miss == "low" else 0.0, 5.0 if miss == "high" else 6.0
        clipped = self.node("Clip", plus, self._number(low), self._number(high))
        other = self._input(*x.known_type.dims) if miss == "operand" else x
        product = self.node("Mul", *((clipped, other) if self._maybe(0.3) else (other, clipped)))
        if miss == "reader":
            self.more.append(product)
        if miss == "inverted" and self.is_plain:
            return self.node("Div", self._number(6.0), product)
        divisor = 3.0 if miss == "divisor" else 6.0
        if self._maybe():
            return self.node("Div", product, self._number(divisor))
        return self.node("Mul", product, self._number(1 / divisor))

    def _layer_norm(self, x: Value) -> Value:
        """Along the last axis."""
        misses = ["mean", "variance", "power", "reader", "inverted", "swapped", "width"]
        misses += ["keepdims"] * 3 if len(x.known_type.dims) == 2 else []
        miss, width = self._miss(*misses), x.known_type.dims[-1]
        mean = self._mean(x, miss if miss in ("mean", "keepdims") else "")
        d = self.node("Sub", *((mean, x) if miss == "swapped" else (x, mean)))
        if miss == "power" or self._maybe():
            square = self.node("Pow", d, self._number(4.0 if miss == "power" else 2.0))
        else:
            square = self.node("Mul", d, d)
        variance = self._mean(square, "mean" if miss == "variance" else "")
        deviation = self.node("Sqrt", self.node("Add", variance, self._number(1e-3)))
        if miss == "reader":
            self.more.append(d)
        is_inverted = miss == "inverted" and self.is_plain
        ratio = self.node("Div", *((deviation, d) if is_inverted else (d, deviation)))
        gained = self.node("Mul", ratio, self._array(1 if miss == "width" else width))
        return self.node("Add", gained, self._array(width))

    def _mean(self, x: Value, miss: str) -> Value:
        """Along the last axis; or the first, or without it where it fits all the same."""
        dims = x.known_type.dims
        is_dropped = miss == "keepdims" and len(dims) == 2 and dims[0] in (1, dims[1])
        axis = np.array([0 if miss == "mean" else -1])
        return self.node("ReduceMean", x, axis, **({"keepdims": 0} if is_dropped else {}))


def template(seed: int) -> Model:
    """A small graph with a foldable or fusable shape."""
    graph = _Template(seed).graph
    return Model(Program(seed=seed), graph, dict.fromkeys([v.name for v in graph.inputs], EVEN))
