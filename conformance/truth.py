"""A whole graph in float64: every node by its reference, on the outputs of the ones before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from conformance.judge import float64_inputs, units_for
from engine.arrays import AnyArray, flattened, shape_of
from engine.backends.protocol import Backend
from engine.errors import InputError
from engine.execution.stages import Held, Stages, Tensor
from engine.ir.graph import Graph, Node, Value
from engine.ir.types import BFLOAT16, element_name
from engine.ops.compose import error_of, reference_of, spec_of
from engine.ops.numerics import BFLOAT16_ROUNDOFF
from engine.passes import (
    bind_passes,
    bind_shapes,
    bind_values,
    cut_stages,
    deciding_inputs,
    run_passes,
)


class Rounding:
    """What honest rounding on a backend does to a float64 run (Monte Carlo arithmetic).

    Inputs and constants are rounded to how the backend stores them, and every element of every
    node's output gets a normal error of its own sigma, unless it can be stored as it is: a mask
    of ones stays one (D. S. Parker's Monte Carlo arithmetic, too, rounds only what is inexact).
    What is computed and then cast to bfloat16 has an error of one rounding there: engines that
    compute in bfloat16 round every step of an operator, Parallax its result.
    """

    def __init__(self, backend: Backend, seed: int | Sequence[int]) -> None:
        self._backend, self._rng = backend, np.random.default_rng(seed)

    def stored(self, array: np.ndarray) -> np.ndarray:
        """An input or a constant as the backend holds it."""
        return self._backend.stored(array)

    def disturbed(
        self,
        node: Node,
        inputs: Sequence[np.ndarray | None],
        outputs: Sequence[np.ndarray],
    ) -> list[np.ndarray]:
        """The outputs of a node with errors; what is not floating-point stays as it is."""
        if _rounds_to_bfloat16(node):
            return [self._rounded(y, x) for y, x in zip(outputs, inputs, strict=True)]
        units = units_for(self._backend, node)
        errors = error_of(node, inputs, units)
        return [
            self._noisy(y, error.sigma, units.storage) if y.dtype == np.float64 else y
            for y, error in zip(outputs, errors, strict=False)
        ]

    def _rounded(self, y: np.ndarray, x: np.ndarray | None) -> np.ndarray:
        """y, that x was rounded to, with an error as large as that rounding's."""
        sigma = np.where(np.isfinite(y) & (y != x), BFLOAT16_ROUNDOFF / np.sqrt(3) * np.abs(y), 0)
        return np.asarray(y + sigma * self._rng.standard_normal(y.shape))

    def _noisy(self, y: np.ndarray, sigma: np.ndarray, storage: np.dtype) -> np.ndarray:
        # a result that was rounded to float64 always fits there, and to float32 hardly ever
        narrow = np.float32 if storage == np.float64 else storage
        sigma = np.where(np.isfinite(sigma) & (y != y.astype(narrow)), sigma, 0.0)
        return np.asarray(y + sigma * self._rng.standard_normal(y.shape))


def _rounds_to_bfloat16(node: Node) -> bool:
    """Whether it is a Cast of what a node computed: one of an input is the same everywhere."""
    if node.op_type != "Cast" or node.outputs[0].known_type.dtype != BFLOAT16:
        return False
    return node.inputs[0] is not None and node.inputs[0].producer is not None


def float64_run(
    graph: Graph, feeds: Mapping[str, np.ndarray], rounding: Rounding | None = None
) -> dict[str, np.ndarray]:
    """Outputs by name; floating-point ones stay float64.

    Args:
        graph: bound to the shapes of `feeds` (that of a session's execution, for example).
        rounding: disturbs the run, so that the outputs show what honest rounding may become at
            the end.

    Raises:
        InputError: an input is missing.
    """
    values: dict[Value, np.ndarray] = {}
    for value in graph.inputs:
        if value.name not in feeds:
            raise InputError(f"missing input {value.name!r}")
        values[value] = _wide(feeds[value.name], rounding)
    readers = Counter(v for n in graph.nodes for v in n.inputs if v is not None)
    for node in graph.nodes:
        host_reads = spec_of(node.op_type).constant_inputs  # hence never rounded
        arrays = [
            None if v is None else _value(v, values, None if i in host_reads else rounding)
            for i, v in enumerate(node.inputs)
        ]
        with np.errstate(all="ignore"):
            results = [np.asarray(y) for y in reference_of(node, arrays)]
            if rounding is not None:
                results = rounding.disturbed(node, arrays, results)
        # optional outputs that the model leaves out have references all the same
        values.update(zip(node.outputs, results, strict=False))
        for value in filter(None, node.inputs):
            readers[value] -= 1
            if not readers[value] and value not in graph.outputs:
                values.pop(value, None)
    return {v.name: _value(v, values, rounding) for v in graph.outputs}


class _Part:
    """A stage in float64, which gives its values to other stages as they are."""

    def __init__(self, graph: Graph, rounding: Rounding | None) -> None:
        self.graph, self._rounding = graph, rounding
        self._values: dict[str, np.ndarray] = {}

    def write(self, value: Value, array: np.ndarray) -> None:
        """Fill an input; what only the host reads is not rounded to how a device stores."""
        (wide,) = float64_inputs([array])
        assert wide is not None
        self._values[value.name] = wide

    def take(self, value: Value, slot: np.ndarray, backend: None) -> None:
        """The same."""
        self._values[value.name] = slot

    def slot(self, value: Value) -> np.ndarray:
        """The array."""
        return self._values[value.name]

    def backend_of(self, value: Value) -> None:
        """None."""

    def read(self, value: Value) -> np.ndarray:
        """As an engine has it, at its dtype: what the host decides by."""
        array = self._values[value.name] if value.constant is None else value.constant
        return array.astype(value.known_type.dtype)

    def run(self) -> None:
        """Evaluate."""
        self._values.update(float64_run(self.graph, self._values, self._rounding))

    def close(self, deadline_s: float | None = None) -> None:
        """Nothing."""


Evaluate = Callable[[Rounding | None], dict[str, np.ndarray]]
"""Outputs by name in float64, with or without the roundings of a backend; `flattened`."""


def evaluation(
    graph: Graph, feeds: Mapping[str, AnyArray], prepare: Callable[[Graph], None]
) -> Evaluate:
    """`float64_run` of a graph that is not bound, also where it is planned in stages.

    Args:
        prepare: makes types known where shapes are bound; passes, if wanted.
    """
    program = cut_stages(graph)
    if program is None:
        bound = _bound(graph, feeds)
        prepare(bound)
        given = _opened(bound, feeds)
        return lambda rounding: _named(bound, float64_run(bound, given, rounding))

    def evaluate(rounding: Rounding | None) -> dict[str, np.ndarray]:
        def make(stage: Graph) -> _Part:
            prepare(stage)
            return _Part(stage, rounding)

        given: list[Held[_Part]] = [_held(feeds[v.name]) for v in program.graph.inputs]
        found = Stages(make).run_program(program, given, _Part.run)
        names = [v.name for v in program.graph.outputs]
        return flattened({n: _value_of(y, rounding) for n, y in zip(names, found, strict=True)})

    return evaluate


def _held(value: AnyArray) -> Held[_Part]:
    return [*value] if isinstance(value, list) else value


def _opened(bound: Graph, feeds: Mapping[str, AnyArray]) -> dict[str, np.ndarray]:
    """Arrays by the names that the inputs of a bound graph have."""
    given: dict[str, np.ndarray] = {}
    for name, value in feeds.items():
        if isinstance(value, list):
            given.update(zip(bound.lists_in[name] or (), value, strict=True))
        elif value is not None:
            given[name] = value
    return given


def _named(bound: Graph, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs under the names of `flattened`."""
    names = {
        inner: element_name(name, i)
        for name, members in bound.lists_out.items()
        for i, inner in enumerate(members or ())
    }
    return {names.get(name, name): array for name, array in outputs.items()}


def is_known(graph: Graph, feeds: Mapping[str, AnyArray]) -> bool:
    """Whether some output is there before a run, rounded once for each node."""
    if cut_stages(graph) is not None:
        return False
    bound = _bound(graph, feeds)
    run_passes(bound, bind_passes())
    return any(output.is_constant for output in bound.outputs)


def _bound(graph: Graph, feeds: Mapping[str, AnyArray]) -> Graph:
    """A copy for the shapes of some inputs, and the values that decide some."""
    bound = bind_shapes(graph, {n: shape_of(x) for n, x in feeds.items()})
    given = _opened(bound, feeds)
    bind_values(bound, {n: given[n] for n in deciding_inputs(bound)})
    return bound


def _value_of(held: Held[_Part], rounding: Rounding | None) -> AnyArray:
    if isinstance(held, list):
        return [_array(x, rounding) for x in held]
    return None if held is None else _array(held, rounding)


def _array(held: Tensor[_Part], rounding: Rounding | None) -> np.ndarray:
    if isinstance(held, np.ndarray):
        return held
    part, value = held
    return part.slot(value) if value.constant is None else _wide(value.constant, rounding)


def _value(
    value: Value, values: Mapping[Value, np.ndarray], rounding: Rounding | None
) -> np.ndarray:
    return values[value] if value.constant is None else _wide(value.constant, rounding)


def _wide(array: np.ndarray, rounding: Rounding | None) -> np.ndarray:
    (wide,) = float64_inputs([array if rounding is None else rounding.stored(array)])
    assert wide is not None
    return wide
