"""What a model's outputs should be: its imported graph in float64, with bounds carried along."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import ml_dtypes
import numpy as np

from conformance.judge import float64_inputs, units_for
from engine.backends.protocol import Backend
from engine.interpreter import Interpreter
from engine.ir.graph import Graph, Node, Value
from engine.ir.types import BFLOAT16, FLOATS, NARROW_FLOATS
from engine.ops.compose import error_of, reference_of, spec_of
from engine.ops.numerics import Error, Units, where_settled
from engine.passes import bind_shapes, bind_values, deciding_inputs, infer_where_known

Arrays = Mapping[str, np.ndarray]
ErrorOf = Callable[[Node, Sequence[np.ndarray | None], Units], Sequence[Error]]


@dataclass(frozen=True)
class Expected:
    """One tensor.

    Attributes:
        reference: float64 for floating-point tensors, else of its own dtype.
        bound, sigma: worst case and expected error of an honest engine, per element; infinite
            where none is derived. What errors of inputs become has a worst case alone, which is
            its sigma, too.
        units: of the node that computes it. dtype: as the graph types it.
        op_type: of the node that computes it, by the newest name. chain: operators of all nodes
            between it and what was known.
    """

    reference: np.ndarray
    bound: np.ndarray
    sigma: np.ndarray
    units: Units
    dtype: np.dtype
    op_type: str
    chain: frozenset[str] = frozenset()


def bound(interpreter: Interpreter, feeds: Arrays) -> Graph:
    """The imported graph for the shapes of its inputs, with all types that can be told."""
    graph = bind_shapes(interpreter.imported, {n: a.shape for n, a in feeds.items()})
    bind_values(graph, {name: feeds[name] for name in deciding_inputs(graph)})
    infer_where_known(graph)
    return graph


def expect(graph: Graph, feeds: Arrays, backend: Backend) -> dict[str, Expected]:
    """The outputs of a graph, by name.

    Args:
        graph: as imported, bound to shapes and typed; nothing folded or fused, so that whatever
            passes do to it shows.
    """
    walk = Walk(graph, feeds, backend)
    made = {value: e for node in graph.nodes for value, e in walk.after(node)}
    nothing = Units(np.dtype(np.float32), np.dtype(np.float32))
    outputs = {}
    for value in graph.outputs:
        if (found := made.get(value)) is None:
            y, dtype = walk.value(value), value.known_type.dtype
            zero = np.zeros(y.shape)
            found = Expected(y, zero, zero, nothing, dtype, "no node")
        outputs[value.name] = found
    return outputs


def moved_by_storage(graph: Graph, feeds: Arrays) -> dict[str, np.ndarray]:
    """How far each floating-point output moves when every value is stored in its dtype.

    Where no bound is derived, this one sample of honest roundings tells whether they matter.
    """
    wide = {v: _wide(feeds[v.name]) for v in graph.inputs}
    stored = dict(wide)
    for node in graph.nodes:
        with np.errstate(all="ignore"):
            for values, is_stored in ((wide, False), (stored, True)):
                arrays = [None if v is None else _known(v, values) for v in node.inputs]
                results = reference_of(node, arrays)
                for value, y in zip(node.outputs, results, strict=False):
                    dtype = value.known_type.dtype
                    stays = not (is_stored and is_float(dtype))
                    values[value] = np.asarray(y) if stays else _wide(np.asarray(y).astype(dtype))
    return {
        v.name: np.abs(_known(v, stored) - _known(v, wide))
        for v in graph.outputs
        if is_float(v.known_type.dtype)
    }


class Walk:
    """Goes through a graph in its order, and knows of each value what it should be.

    Args:
        reported: what an engine says that values are, by name: from there on they are that, and
            exact. So every node is judged on inputs that the engine itself had.
        error: of a node by itself. carries: whether errors of what it reads are added to it.
    """

    def __init__(
        self,
        graph: Graph,
        feeds: Arrays,
        backend: Backend,
        reported: Arrays | None = None,
        error: ErrorOf = error_of,
        carries: bool = True,
    ) -> None:
        self._backend, self._reported, self._error = backend, reported or {}, error
        self._carries = carries
        self._values: dict[Value, np.ndarray] = {v: _wide(feeds[v.name]) for v in graph.inputs}
        self._bounds: dict[Value, np.ndarray] = {}
        self._chains: dict[Value, frozenset[str]] = {}

    def value(self, value: Value) -> np.ndarray:
        """What a value is; raises KeyError before the node that computes it.

        Of what was computed at import, another engine may have computed something else.
        """
        known = self._reported.get(value.name, value.constant)
        return self._values[value] if known is None else _wide(known)

    def knows(self, value: Value) -> bool:
        """Whether `value` says what it is."""
        return value.is_constant or value in self._values or value.name in self._reported

    def after(self, node: Node) -> Iterator[tuple[Value, Expected]]:
        """What the outputs of the next node should be."""
        arrays = [None if v is None else self.value(v) for v in node.inputs]
        units = units_for(self._backend, node)
        inherited = [None if v is None else self._bounds.get(v) for v in node.inputs]
        before = (self._chains.get(v, frozenset()) for v in node.inputs if v is not None)
        chain = frozenset({node.op_type}).union(*before)
        with np.errstate(all="ignore"):
            results = [np.asarray(y) for y in reference_of(node, arrays)]
            errors = _with(self._error(node, arrays, units), node, arrays, results, inherited)
        for value, y, error in zip(node.outputs, results, errors, strict=False):
            bound = np.broadcast_to(error.bound, y.shape)
            sigma = np.broadcast_to(error.sigma, y.shape)
            dtype = value.known_type.dtype
            yield value, Expected(y, bound, sigma, units, dtype, node.op_type, chain)
            self._values[value] = y
            if value.name not in self._reported:
                self._chains[value] = chain
                carried = _where_it_fits(y, bound, dtype)
                if self._carries and np.any(carried):
                    self._bounds[value] = carried


def _where_it_fits(y: np.ndarray, bound: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """What is known of an element by who reads it: nothing where it may be stored as infinite."""
    if not is_float(dtype):
        return bound
    overflows = np.isfinite(y) & (np.abs(y) + bound > float(ml_dtypes.finfo(dtype).max))
    return np.where(overflows, np.inf, bound)


def _with(
    own: Sequence[Error],
    node: Node,
    inputs: Sequence[np.ndarray | None],
    outputs: Sequence[np.ndarray],
    inherited: Sequence[np.ndarray | None],
) -> Sequence[Error]:
    """The node's own error, with what those of its inputs become in it."""
    if all(b is None for b in inherited):
        return own
    errors = [np.broadcast_to(e.bound, y.shape) for e, y in zip(own, outputs)]
    return [Error(b, b) for b in _carried(node, inputs, outputs, inherited, errors)]


def is_elementwise(node: Node) -> bool:
    """Whether it is known what errors of the inputs become in it, element by element."""
    return spec_of(node.op_type).slope is not None or node.op_type in THROUGH


def _carried(
    node: Node,
    inputs: Sequence[np.ndarray | None],
    outputs: Sequence[np.ndarray],
    inherited: Sequence[np.ndarray | None],
    errors: Sequence[np.ndarray],
) -> list[np.ndarray]:
    """Bounds of the node's own, and of what the errors of its inputs become in it.

    Elementwise operators magnify them by their slope, or jump, also into what is no number; what
    moves, repeats or selects elements does to errors what it does to elements; of anything else no
    bound is known.
    """
    if is_elementwise(node):
        found = errors[0] + _magnified(node, inputs, outputs[0], inherited)
        at_ends = (reference_of(node, ends)[0] for ends in _ends(inputs, inherited))
        return [where_settled(Error(found, found), (outputs[0], *at_ends)).bound]
    is_rounding = node.outputs[0].known_type.dtype in FLOATS | NARROW_FLOATS
    if node.op_type == "Cast" and is_rounding and inherited[0] is not None:
        return [_steps(node, inputs[:1], outputs[0], [inherited[0]])]
    if any(e.any() for e in errors) or outputs[0].dtype != np.float64:
        return [np.full(y.shape, np.inf) for y in outputs]
    moved = [
        x if x is None or x.dtype != np.float64 else np.zeros(x.shape) if b is None else b
        for x, b in zip(inputs, inherited)
    ]
    return [np.abs(y) for y in reference_of(node, moved)]


def _magnified(
    node: Node,
    inputs: Sequence[np.ndarray | None],
    y: np.ndarray,
    inherited: Sequence[np.ndarray | None],
) -> np.ndarray:
    """What errors of the inputs of an elementwise operator become in it."""
    slope = spec_of(node.op_type).slope
    if slope is None:
        given = [np.zeros(()) if b is None else b for b in inherited]
        return THROUGH[node.op_type](node, inputs, y, given)
    parts = [
        np.asarray(s) * b
        for s, b in zip(slope(inputs, node.attributes), inherited)
        if b is not None
    ]
    return np.asarray(np.nan_to_num(sum(parts), nan=np.inf, posinf=np.inf))


def _ends(
    inputs: Sequence[np.ndarray | None], inherited: Sequence[np.ndarray | None]
) -> Iterator[list[np.ndarray | None]]:
    """The inputs with every one that has an error at either end of it."""
    pairs = [
        (x,) if x is None or b is None else (x - b, x + b)
        for x, b in zip(inputs, inherited, strict=True)
    ]
    return (list(ends) for ends in product(*pairs))


def _steps(
    node: Node, inputs: Sequence[np.ndarray | None], y: np.ndarray, given: Sequence[np.ndarray]
) -> np.ndarray:
    """Of functions that never fall and jump: an error may carry an argument over a jump."""
    (x,), (b,) = inputs, given
    assert x is not None
    ends = (reference_of(node, [end])[0] for end in (x - b, x + b))
    off = [np.where((end == y) | np.isnan(y), 0.0, np.abs(end - y)) for end in ends]
    return np.asarray(np.max(np.nan_to_num(off, nan=np.inf, posinf=np.inf), axis=0))


def _monotone(
    node: Node, inputs: Sequence[np.ndarray | None], y: np.ndarray, given: Sequence[np.ndarray]
) -> np.ndarray:
    """As far as from y to what either end of the interval of x gives.

    The error of the function is relative, to a result that is off itself: 4 ULP of half at most.
    """
    return _steps(node, inputs, y, given) * (1 + 2.0**-8)


def _quotient(
    node: Node, inputs: Sequence[np.ndarray | None], y: np.ndarray, given: Sequence[np.ndarray]
) -> np.ndarray:
    """(a + da) / (b + db) - y = (da - y db) / (b + db)."""
    divisor = inputs[1]
    assert divisor is not None
    with np.errstate(all="ignore"):
        least = np.abs(divisor) - given[1]
        off = (given[0] + np.abs(y) * given[1]) / least
    return np.where((least > 0) & np.isfinite(off), off, np.inf)


def _root(
    node: Node, inputs: Sequence[np.ndarray | None], y: np.ndarray, given: Sequence[np.ndarray]
) -> np.ndarray:
    """sqrt(x) - sqrt(x - dx), which is more than on the other side."""
    x = inputs[0]
    assert x is not None
    with np.errstate(all="ignore"):
        off = y - np.sqrt(np.maximum(x - given[0], 0))
    return np.where(np.isfinite(off), np.maximum(off, np.sqrt(x + given[0]) - y), np.inf)


Through = Callable[
    [Node, Sequence[np.ndarray | None], np.ndarray, Sequence[np.ndarray]], np.ndarray
]
THROUGH: dict[str, Through] = {
    **dict.fromkeys(("Ceil", "Floor", "Round", "Sign"), _steps),
    **dict.fromkeys(("Acos", "Acosh", "Asin", "Atanh", "Exp", "Log", "Sinh"), _monotone),
    "Div": _quotient,
    "Sqrt": _root,
}
"""Elementwise operators without a slope: of what errors of inputs become in them."""


def _known(value: Value, made: Mapping[Value, np.ndarray]) -> np.ndarray:
    return made[value] if value.constant is None else _wide(value.constant)


def _wide(array: np.ndarray) -> np.ndarray:
    (wide,) = float64_inputs([array])
    assert wide is not None
    return wide


def is_float(dtype: np.dtype) -> bool:
    """Whether a dtype is one that rounds."""
    return dtype in FLOATS | {BFLOAT16}
